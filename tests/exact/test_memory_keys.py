"""Keys of a memory: centring, averaging, projection, sizes; each acts, and is off by default."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import build
from imc_sim.data import gather_images, load_pool
from imc_sim.evaluate import FewShotData, FewShotTask, Session, confusion, evaluate_chips, features_of, task_identity
from imc_sim.evaluate._few_shot import digital_accuracy_of
from imc_sim.evaluate._memory_keys import KeyMaker, projected
from imc_sim.evaluate._read_out import accuracy_of, crossbar_answers
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.similarity import key_form
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.study import Point

WAY, SHOT, QUERIES, EPISODES, DIM = 4, 3, 2, 12, 32  # dot products over a power of two: no tie is broken by rounding


def task(**keys: object) -> FewShotTask:
    plain = {"way": WAY, "shot": SHOT, "queries": QUERIES, "episodes": EPISODES, "rotations": False}
    return build(FewShotTask, plain | keys, "task")


@pytest.fixture(scope="module")
def data() -> FewShotData:
    """Return episodes over 60 images; the content of the images does not matter."""
    index = np.random.default_rng(1).permuted(np.tile(np.arange(60), (EPISODES, 1)), axis=1)
    index = index[:, : WAY * (SHOT + QUERIES)].reshape(EPISODES, WAY, SHOT + QUERIES)
    return FewShotData(torch.zeros(60, 1, 1, 1), index[..., :SHOT], index[..., SHOT:])


@pytest.fixture(scope="module")
def features() -> Tensor:
    """Return features whose mean is as large as their variation, for which a sign at zero is a poor key."""
    return torch.randn(60, DIM, generator=torch.Generator().manual_seed(2)) + 1.0


def scores(features: Tensor, spec: FewShotTask, data: FewShotData) -> list[float]:
    return digital_accuracy_of(features, spec, data).values.tolist()


def brute(features: Tensor, spec: FewShotTask, data: FewShotData) -> list[float]:
    """Return signs of features less the support's mean, averaged or not, one query and one key at a time."""
    found = []
    for support, query in zip(data.support, data.query, strict=True):
        mean = features[torch.from_numpy(support.ravel())].double().mean(0).float()
        right = 0
        for label, rows in enumerate(query):
            for row in rows:
                sums = []
                for members in support:
                    each = torch.stack([features[i] - mean for i in members])
                    if spec.prototypes == "mean":
                        each = each.double().mean(0, keepdim=True).float()
                    signs = torch.where(each > 0, 1.0, -1.0)
                    if spec.prototypes == "majority":
                        signs = torch.where(signs.sum(0, keepdim=True) > 0, 1.0, -1.0)
                    keys = signs if spec.keys == "bipolar" else (signs + 1) / 2
                    bits = torch.where(features[row] - mean > 0, 1.0, -1.0)
                    q = bits if spec.keys == "bipolar" else (bits + 1) / 2
                    sums.append(float((keys * q).sum()))
                right += int(np.argmax(sums) == label)
        found.append(right / (WAY * QUERIES))
    return found


@pytest.mark.parametrize("prototypes", ["none", "mean", "majority"])
@pytest.mark.parametrize("keys", ["bipolar", "binary"])
def test_centred_and_averaged_keys_equal_those_of_a_loop(
    features: Tensor, data: FewShotData, keys: str, prototypes: str
) -> None:
    spec = task(threshold="support_mean", prototypes=prototypes, keys=keys)
    assert scores(features, spec, data) == brute(features, spec, data)
    assert scores(features, spec, data) != scores(features, spec.model_copy(update={"threshold": "zero"}), data)


def test_each_way_of_averaging_gives_other_keys(features: Tensor, data: FewShotData) -> None:
    kinds = ("none", "mean", "majority")
    made = [KeyMaker(features, task(prototypes=kind), data.support, data.query) for kind in kinds]
    assert [len(m.labels) for m in made] == [WAY * SHOT, WAY, WAY]
    keys = [m.one(0).keys for m in made]
    assert [k.shape[0] for k in keys] == [WAY * SHOT, WAY, WAY]
    assert not torch.equal(keys[1], keys[2])


@pytest.mark.parametrize("extra", [{"threshold": "support_mean"}, {"prototypes": "mean"}, {"dim": 16}])
@pytest.mark.parametrize("keys", ["bipolar", "binary"])
def test_an_ideal_crossbar_reads_the_same_keys(
    features: Tensor, data: FewShotData, keys: str, extra: dict[str, object]
) -> None:
    spec = task(keys=keys, **extra)
    chips = SampledChips(load_chip("ideal"), range(2), 0)
    for each in (features, features.expand(2, -1, -1)):
        on_chip = [accuracy_of(answers, spec, data) for answers in crossbar_answers(each, spec, data, chips)[0]]
        assert [a.values.tolist() for a in on_chip] == [scores(features, spec, data)] * 2


def test_squared_distance_finds_the_nearest_and_weighs_as_matching_networks_do(data: FewShotData) -> None:
    near = 30 * torch.randn(60, 5, generator=torch.Generator().manual_seed(3))  # exp of minus these distances is 0
    distance = torch.cdist(near.double(), near.double()).square()
    for sharpening in ("none", "softmax"):
        spec = task(keys="float", similarity="l2", sharpening=sharpening)
        expected = []
        for support, query in zip(data.support, data.query, strict=True):
            d = -distance[torch.from_numpy(query.ravel())][:, torch.from_numpy(support.ravel())]
            weights = d.softmax(-1) if sharpening == "softmax" else d
            chosen = weights.unflatten(-1, (WAY, SHOT)).sum(-1).argmax(-1)
            expected.append(float((chosen == torch.arange(WAY).repeat_interleave(QUERIES)).double().mean()))
        assert scores(near, spec, data) == pytest.approx(expected)


def test_projections_are_nested_seeded_and_keep_angles() -> None:
    """The share of unequal signs estimates the angle over pi; 5 standard errors of 20,000 independent signs."""
    x = torch.eye(3)[:2] @ torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]])
    codes = projected(x, 20_000, seed=5) > 0
    angle = math.acos(0.6) / math.pi
    unequal = float((codes[0] != codes[1]).double().mean())
    assert abs(unequal - angle) < 5 * math.sqrt(angle * (1 - angle) / 20_000)
    assert torch.equal(projected(x, 64, seed=5), projected(x, 20_000, seed=5)[:, :64])
    assert not torch.equal(projected(x, 64, seed=6), projected(x, 64, seed=5))
    assert projected(x, None, seed=5) is x


def test_defaults_are_not_part_of_a_trial() -> None:
    """Results stored before these settings keep their identity; each setting changes it."""
    later = {"threshold": "support_mean", "prototypes": "mean", "dim": 8, "size": 28, "scaling": "unit"}
    later |= {"passes": "episodes"}
    plain = task().to_dict()
    assert not set(later) & set(task_identity(plain))
    ids = {Point("case", (), "m", "w", None, task(batch=20, **{k: v}).to_dict(), 0).id for k, v in later.items()}
    assert len(ids | {Point("case", (), "m", "w", None, task(batch=20).to_dict(), 0).id}) == 7


def test_majority_of_float_keys_is_refused() -> None:
    with pytest.raises(InputError, match="keys bipolar or binary with prototypes majority"):
        task(prototypes="majority", keys="float")


def test_size_defaults_to_that_of_the_model_and_units_are_zero_to_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("models") / "small"
    args = {"kind": "xnor", "width": 4, "dim": 16, "size": 28}
    save_model(
        folder, BatmannController(**args), ModelCard(name="small", summary="t", arch=Arch(name="batmann", args=args))
    )
    spec = {"dataset": "glyphs", "split": "test", "episodes": 3, "classes": 6, "way": 3, "rotations": False}
    resolved = Session().sized(build(FewShotTask, spec, "task"), str(folder))
    assert resolved.size == 28
    assert FewShotData.load(resolved).images.shape[-1] == 28
    assert Session().sized(build(FewShotTask, spec | {"size": 36}, "task"), str(folder)).size == 36
    assert evaluate_chips(str(folder), None, spec, [], 0)[0].total == 3 * 3 * 4
    assert confusion(str(folder), None, spec).counts.sum() == 3 * 3 * 4
    units = FewShotData.load(build(FewShotTask, spec | {"scaling": "unit"}, "task")).images
    assert (float(units.min()), float(units.max())) == (0.0, 1.0)
    assert bool((units.amax((1, 2, 3)) == 1).all())
    pool = load_pool("glyphs", "test", 32)
    paper = gather_images(pool, np.zeros((1, 3), np.int64), "unit")[0, 0, 0, 0]
    assert paper == 1.0


def test_keys_are_signs_at_zero_by_default(features: Tensor, data: FewShotData) -> None:
    keys, queries = KeyMaker(features, task(), data.support, data.query).one(3)
    assert torch.equal(keys, key_form(features[torch.from_numpy(data.support[3].ravel())], "bipolar"))
    assert torch.equal(queries, key_form(features[torch.from_numpy(data.query[3].ravel())], "bipolar"))


class BatchMean(torch.nn.Module):
    """Every feature is the mean over the images of its batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean().expand(len(x), 1)


def test_batches_of_one_episode_hold_its_images_and_no_others() -> None:
    spec = {"dataset": "glyphs", "split": "test", "episodes": 4, "classes": 6, "way": 3, "shot": 2, "queries": 2}
    whole = FewShotData.load(build(FewShotTask, spec, "task"))
    apart = FewShotData.load(build(FewShotTask, spec | {"passes": "episodes", "batch": 12}, "task"))
    for index in ("support", "query"):
        here, there = (d.images[torch.from_numpy(getattr(d, index))] for d in (whole, apart))
        assert torch.equal(here, there)
    assert sorted(np.concatenate([apart.support[1].ravel(), apart.query[1].ravel()])) == list(range(12, 24))
    found = features_of(BatchMean(), apart.images, 12)
    assert [float(f) for f in found[::12, 0]] == [float(apart.images[i : i + 12].mean()) for i in range(0, 48, 12)]
    with pytest.raises(InputError, match="batch 12, the images of an episode"):
        build(FewShotTask, spec | {"passes": "episodes"}, "task")
