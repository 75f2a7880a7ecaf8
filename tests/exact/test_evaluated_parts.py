"""Histograms, embeddings, confusions and calibration alone: what is counted, compared and left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.array import Chip, load_chip
from imc_sim.config import build
from imc_sim.data import LabelledImages
from imc_sim.evaluate import (
    ClassificationTask,
    FewShotData,
    FewShotTask,
    _calibration,
    _confusion,
    _embedding,
    _read_out,
)
from imc_sim.evaluate._converter_inputs import _images, _of_layers, _Probe, _probing
from imc_sim.evaluate._embedding import EmbeddingPanel, _Shown
from imc_sim.evaluate._labelled import ClassificationData, drawn_rows
from imc_sim.evaluate._memory_keys import KeyMaker
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._sensitivity import _alone
from imc_sim.mapping import map_model
from imc_sim.nn import Linear
from tests.exact.networks import seeded

SMALL = {"dataset": "glyphs", "split": "test", "rotations": False, "size": 32}


def task(**changes: Any) -> FewShotTask:
    return build(FewShotTask, SMALL | changes, "task")


# -- inputs of ADCs -----------------------------------------------------------------------------------------


def probe(*tiles: tuple[int, list[float]], ideal: bool = False) -> tuple[_Probe, list[Any]]:
    """Return a probe of tiles with these ADC inputs, in units of 0.1 A, and the reads that it asks for."""
    requested: list[Any] = []
    levels = [SimpleNamespace(base=0.0, step=1.0, lowest=-1, highest=2), SimpleNamespace(base=10.0, step=2.0, lowest=0,
                                                                                       highest=1)]  # fmt: skip
    readout = SimpleNamespace(
        quantisers=lambda: levels,
        converter_inputs=lambda _, *reads: (requested.append(reads), ((k, torch.tensor(u)) for k, u in tiles))[1],
    )
    device = SimpleNamespace(read=SimpleNamespace(v_read_V=0.5), window_S=2.0)
    plan = SimpleNamespace(targets=SimpleNamespace(steps=10))
    bar: Any = SimpleNamespace(tiled=readout, plan=plan, chip=SimpleNamespace(device=device))
    return _Probe(bar, 7, 3, ideal), requested


def test_inputs_beyond_half_a_step_of_the_levels_of_a_tile_are_clipped() -> None:
    made, requested = probe((0, [-1.5, -1.75, 2.5, 2.75]), (1, [9.0, 8.75, 13.0, 13.25]))
    assert made.profile(lambda rows: torch.zeros(1)) == (-1.75, 13.25)
    assert requested == [(3, 7)] * 2
    found = made.result("a")
    assert (found.layer, found.clipped, int(found.counts.sum())) == ("a", 0.5, 8)
    assert (found.edges_A[0], found.edges_A[-1], len(found.edges_A)) == (
        pytest.approx(-0.175),
        pytest.approx(1.325),
        81,
    )
    assert found.levels is not None
    assert (found.levels.first_A, found.levels.step_A, found.levels.count) == pytest.approx((-0.1, 0.1, 4))
    assert found.levels.last_A == pytest.approx(0.2)


def test_ideal_adcs_have_no_levels_and_equal_inputs_a_width() -> None:
    made, _ = probe((0, [90.0, 90.0]), ideal=True)
    made.profile(lambda rows: torch.zeros(1))
    found = made.result("a")
    assert (found.levels, found.clipped) == (None, 0.0)
    assert [found.edges_A[0], found.edges_A[-1]] == pytest.approx([8.95, 9.05])
    assert found.counts.nonzero()[0].tolist() == [40], "in the middle"


def test_the_inputs_of_ideal_adcs_are_those_of_fine_ones() -> None:
    """The same cells, DACs and limits: only the levels differ."""
    data = {"device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "levels": 16,
                       "programming": {"kind": "relative", "sigma": 0.2}},
            "tile": {"rows": 8}, "policy": {"float": "crossbar"}, "encoding_multibit": {"kind": "differential"},
            "inputs": {"kind": "levels", "bits": 4}}  # fmt: skip
    ideal = build(Chip, data, "chip")
    network = seeded(lambda: nn.Sequential(Linear(12, 5, "float"), nn.ReLU(), Linear(5, 3, "float"))).eval()
    x = 0.1 * torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    found = []
    for chip in (ideal, _probing(ideal)):
        analog = map_model(network, chip, chips=range(4, 5), seed=3)
        analog.calibrate(x)
        found.append(_of_layers(analog, x, chip))
        assert not any(layer._forward_pre_hooks for layer in analog.analog_layers.values()), "hooks are removed"
    assert [[each.layer for each in one] for one in found] == [["0", "2"]] * 2
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.edges_A, other.edges_A, rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(one.counts, other.counts)
        assert (one.levels is None, other.levels is None) == (True, False)
    assert _probing(_probing(ideal)) == _probing(ideal), "an ADC that is there stays"


def test_images_of_the_first_episodes_are_counted_once() -> None:
    data = FewShotData(
        torch.zeros(9), np.array([[[4], [0]], [[8], [1]]]), np.array([[[7, 7], [4, 2]], [[3, 3], [3, 5]]])
    )
    assert _images(data, 1).tolist() == [0, 2, 4, 7]
    assert _images(data, 2).tolist() == [0, 1, 2, 3, 4, 5, 7, 8]


# -- embeddings ---------------------------------------------------------------------------------------------


def test_neighbours_are_other_images() -> None:
    features, classes = np.array([[0.0, 0], [1, 0], [10, 0], [11, 0], [10.4, 0]]), np.array([0, 0, 1, 1, 0])
    assert _embedding._nearest(features, features, classes) == 2 / 5
    far = features.copy()
    far[1] = 10.9
    assert _embedding._nearest(features, far, classes) == 1 / 5


def test_later_panels_start_from_the_first_and_are_turned_onto_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        _embedding, "tsne",
        lambda features, *at, start=None: (calls.append((features[0, 0], *at, start)), features[:, :2] + len(calls))[1],
    )  # fmt: skip
    monkeypatch.setattr(_embedding, "turned", lambda points, onto: points * 100 + onto)
    monkeypatch.setattr(_embedding, "_nearest", lambda features, among, classes: features[0, 0] * 10 + among[0, 0])
    panels = [
        _Shown(f"r{k}", f"c{k}", np.full((3, 2), float(k)), np.full((3, 2), k + 5.0), np.arange(3)) for k in range(3)
    ]
    found = _embedding._arranged(panels, 4.0, 9)
    first = np.full((3, 2), 1.0)
    assert [(value, *at[:2]) for value, *at in calls] == [(0.0, 4.0, 9), (1.0, 4.0, 9), (2.0, 4.0, 9)]
    assert calls[0][-1] is None
    assert all((call[-1] == first).all() for call in calls[1:])
    assert [each.points[0, 0] for each in found] == [1.0, 100 * 3.0 + 1, 100 * 5.0 + 1]
    assert [(each.row, each.column, each.nearest, each.nearest_clean) for each in found] == [
        (f"r{k}", f"c{k}", 11.0 * k, 11.0 * k + 5) for k in range(3)
    ]  # fmt: skip


def test_an_embedding_is_exact_and_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Plane:
        def __init__(self, *a: Any, **k: Any) -> None:
            made.append((a, k))

        def fit_transform(self, features: Any) -> Any:
            return features[:, :2].astype(np.float32)

    monkeypatch.setattr("sklearn.manifold.TSNE", Plane)
    features, start = np.arange(8.0).reshape(4, 2), np.array([[0.0, 2], [4, 2], [0, 2], [4, 2]])
    assert _embedding.tsne(features, 3.0, 7).dtype == np.float64
    _embedding.tsne(features, 3.0, 7, start)
    (place, first), (_, second) = made
    assert place == (2,)
    init = second.pop("init")
    assert first == second | {"init": "pca"}
    assert second == {"perplexity": 3.0, "method": "exact", "random_state": 7, "learning_rate": "auto"}
    np.testing.assert_allclose(init, 1e-4 * start / np.sqrt(2.0), rtol=1e-6)
    np.testing.assert_allclose(_embedding.tsne(features[:, [0, 1]], 3.0, 7), features)


def test_panels_compare_attacked_images_with_the_clean_ones_of_the_same_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requested = task(way=2, shot=2, keys="float", attack={"kind": "fgsm"})
    data = FewShotData(torch.arange(4.0).reshape(4, 1, 1, 1), np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int))
    monkeypatch.setattr(_embedding, "_as_one_episode", lambda *a: (requested, data))
    session = SimpleNamespace(sized=lambda what, _: what, model=lambda _: lambda x: x.flatten(1))
    monkeypatch.setattr(_embedding.Session, "on", lambda _: session)
    seen: list[Any] = []
    monkeypatch.setattr(
        _embedding,
        "programmed",
        lambda *a: (seen.append((a[4].numbers, a[4].seed)), (lambda x: 10 * x.flatten(1)[None], 0))[1],
    )
    monkeypatch.setattr(_embedding, "calibration_keys", lambda *_: "known")
    monkeypatch.setattr(_embedding, "_target", lambda *a: a[5])
    monkeypatch.setattr(_embedding, "attack_queries", lambda d, _, known: (seen.append(known), d.images + 100)[1])
    shown: list[Any] = []
    monkeypatch.setattr(_embedding, "_arranged", lambda panels, *at: (shown.extend(panels), at)[1])
    assert _embedding.embedding("m", "ideal", SMALL, number=3, seed=8, perplexity=1.0) == (1.0, 8)
    assert seen == [(range(3, 4), 8), "known"]
    clean = np.arange(4.0)
    wanted = [("clean", "digital", clean, clean), ("clean", "ideal, chip 3", 10 * clean, 10 * clean),
              ("attacked", "digital", clean + 100, clean),
              ("attacked", "ideal, chip 3", 10 * (clean + 100), 10 * clean)]  # fmt: skip
    assert [(s.row, s.column, s.features[:, 0].tolist(), s.clean[:, 0].tolist()) for s in shown] == [
        (row, column, features.tolist(), own.tolist()) for row, column, features, own in wanted
    ]
    assert all(s.classes.tolist() == [0, 0, 1, 1] for s in shown)
    panel = _embedding._digital(EmbeddingPanel("r", "c", "m", {}), 2, 2, 1.0)
    assert (panel.features[:, 0].tolist(), panel.clean[:, 0].tolist()) == ((clean + 100).tolist(), clean.tolist())


# -- confusions and read-outs -------------------------------------------------------------------------------


def test_true_classes_are_those_of_the_evaluated_episodes() -> None:
    for changes in ({}, {"classes": 9}, {"instances": 6}, {"seed": 3}, {"way": 7, "shot": 2, "queries": 1}):
        of = task(episodes=4, **changes)
        assert (_confusion._classes(of) == FewShotData.load(of).classes).all()
    with pytest.raises(InputError, match="digital, for the answers of chips"):
        _confusion._refuse_attack_through_chips(task(attack={"kind": "fgsm", "through": "analog"}), load_chip("ideal"))
    _confusion._refuse_attack_through_chips(task(attack={"kind": "fgsm"}), load_chip("ideal"))


def test_answers_are_finite_and_those_of_each_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (np.nan, np.inf):
        with pytest.raises(InputError, match="answers of the key memory"):
            _read_out._chosen(torch.tensor([[0.0, wrong]]))
    assert _read_out._chosen(torch.tensor([[1.0, 1.0], [0.0, 2.0]])).tolist() == [0, 1], "the first of equal ones"
    monkeypatch.setattr(_read_out, "digital_answers", lambda features, *_: features[0])
    digital = load_chip("ideal").replace("policy.memory", "digital")
    chips = SampledChips(digital, range(3), 0)
    same, _ = _read_out.chip_answers(torch.arange(4.0)[:, None], task(), None, chips)  # type: ignore[arg-type]
    own, _ = _read_out.chip_answers(torch.arange(12.0).reshape(3, 4, 1), task(), None, chips)  # type: ignore[arg-type]
    assert (same.flatten().tolist(), own.flatten().tolist()) == ([0, 0, 0], [0, 4, 8])


def test_a_memory_is_that_of_its_chips_backend_and_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Memory:
        def __init__(self, *a: Any, **k: Any) -> None:
            made.append((a, k))

        def calibrate(self, *known: Any) -> None:
            made.append(known)

    monkeypatch.setattr(_read_out, "AssociativeMemory", Memory)
    maker = KeyMaker(torch.zeros(4, 6), task(keys="binary"), np.zeros((1, 5, 1), int), np.zeros((1, 5, 4), int))
    chips = SampledChips(load_chip("ideal"), range(2, 4), 7, "memtorch")
    _read_out.memory_of(maker, chips, None)
    assert made == [((chips.chip, 6, range(2, 4), 7), {"form": "binary", "engine": "memtorch"})]
    _read_out.memory_of(maker, chips, ("keys", "queries"))  # type: ignore[arg-type]
    assert made[2] == ("keys", "queries")


def test_each_episode_is_another_programming_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    memory = SimpleNamespace(
        write=lambda keys, labels, epoch: epochs.append(epoch), search=lambda queries: queries[:, :2][None],
        limits=(0.0, 1.0), layer="memory", driven_rows=None,
    )  # fmt: skip
    monkeypatch.setattr(_read_out, "memory_of", lambda *_: memory)
    data = FewShotData(torch.zeros(1), np.zeros((3, 2, 1), int), np.zeros((3, 2, 4), int))
    answers, calibration = _read_out.crossbar_answers(
        torch.zeros(1, 6), task(way=2), data, SampledChips(load_chip("ideal"), range(1), 0)
    )
    assert (epochs, tuple(answers.shape)) == ([0, 1, 2], (1, 3, 8))
    assert calibration.ranges == {"memory": (0.0, 1.0)}


# -- calibration --------------------------------------------------------------------------------------------


def test_layers_are_calibrated_on_a_sample_of_the_training_images() -> None:
    images = np.arange(300, dtype=np.float32)[:, None]
    source = LabelledImages("own", "train", images, np.zeros(300, int), ("0",))  # type: ignore[arg-type]
    requested: list[Any] = []
    session: Any = SimpleNamespace(
        images=lambda of: (requested.append(of), ClassificationData(source, np.arange(300), "unit"))[1],
        episodes=lambda of: (requested.append(of), SimpleNamespace(images=torch.arange(400)))[1],
    )
    found = _calibration.calibration_images(session, ClassificationTask(dataset="digits", seed=4, images=9))
    assert found.flatten().tolist() == drawn_rows(300, 100, 4 + 1_000_003).tolist()
    assert (requested[0].split, requested[0].images) == ("train", None)
    assert len(_calibration.calibration_images(session, task())) == 100
    assert len(_calibration.calibration_images(session, task(passes="episodes", batch=150))) == 150


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, True), ({"converter.range": "max"}, False), ({"policy.memory": "digital"}, False),
        ({"engine": {"kind": "memtorch"}}, False),
    ],
)  # fmt: skip
def test_a_memory_is_calibrated_where_it_needs_ranges(
    changes: dict[str, Any], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = load_chip("ideal").replace("converter", {"kind": "auto", "range": "calibrated"})
    for path, value in changes.items():
        chip = chip.replace(path, value)
    kept: dict[Any, Any] = {}
    session: Any = SimpleNamespace(
        kept=lambda *key: kept.get(key), keep=lambda kind, key, made: kept.setdefault((kind, key), made),
        episodes=lambda of: FewShotData(torch.zeros(2, 4), np.zeros((1, of.way, 1), int), np.ones((1, of.way, 4), int)),
        model=lambda _: lambda x: x,
    )  # fmt: skip
    monkeypatch.setattr(_calibration, "features_digest", lambda model: f"digest of {model}")
    for name, changed in (
        ("m", {}),
        ("m", {}),
        ("n", {}),
        ("m", {"keys": "binary"}),
        ("m", {"way": 3}),
        ("m", {"seed": 1}),
    ):
        found = _calibration.calibration_keys(session, name, chip, task(**changed))
        assert (found is not None) is known
    assert len(kept) == (5 if known else 0), "kept for the features, the episodes and the form of keys"


def test_a_layer_alone_precedes_the_globs_of_the_policy() -> None:
    policy = {
        "layers": {"conv*": "digital", "fc": "crossbar", "*": "crossbar"},
        "memory": "crossbar",
        "float": "digital",
    }
    found = _alone({"policy": policy, "x": 1}, "b", ["a", "b", "fc"], "digital")
    assert list(found["policy"]["layers"].items()) == [
        ("a", "digital"), ("b", "crossbar"), ("fc", "digital"), ("conv*", "digital"), ("*", "crossbar"),
    ]  # fmt: skip
    assert (found["policy"]["memory"], found["policy"]["float"], found["x"]) == ("digital", "digital", 1)


def test_projections_keep_lengths_on_average_and_their_first_rows() -> None:
    from imc_sim.evaluate._memory_keys import centred_forms, minus_squared_distance, projected

    features = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    wide, narrow = projected(features, 3000, 2), projected(features, 7, 2)
    assert torch.equal(wide[:, :7], narrow)
    assert not torch.equal(projected(features, 7, 3), narrow)
    assert projected(features, None, 2) is features
    ratio = wide.square().sum(-1) / features.square().sum(-1)
    assert ratio.tolist() == pytest.approx([3000 / 40] * 5, rel=0.2), "a Gaussian matrix over the root of d"
    forms = centred_forms(features, task(keys="float", threshold="support_mean"))
    torch.testing.assert_close(forms, features - features.mean(0), rtol=1e-5, atol=1e-6)
    assert torch.equal(centred_forms(features, task(dim=7, seed=2)), narrow.sign())
    q, k = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [4.0, 2.0], [1.0, 3.0]])
    assert minus_squared_distance(q, k).tolist() == [[-4.0 + 1, -9.0 + 1, 0.0]]
    stacked: Tensor = minus_squared_distance(q[None].expand(2, -1, -1), torch.stack([k, k + 1]))
    assert stacked[0].tolist() == [[-3.0, -8.0, 0.0]]
