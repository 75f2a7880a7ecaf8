"""Parts of an attack on few-shot episodes: which queries go together, where they start, and what they are kept for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._rng import Stream
from imc_sim.array import load_chip
from imc_sim.config import build
from imc_sim.data import DATASETS
from imc_sim.evaluate import FewShotData, FewShotTask, _few_shot
from imc_sim.evaluate import _attacked_queries as attacked
from imc_sim.evaluate._attacked_queries import Target
from imc_sim.evaluate._sampled_chips import Calibration, SampledChips
from imc_sim.nn.similarity import cosine


def task(attack: dict[str, Any] | None = None, **changes: Any) -> FewShotTask:
    shape = {"way": 2, "shot": 1, "queries": 3, "episodes": 5, "batch": 4, "dataset": "glyphs", "split": "test"}
    return build(FewShotTask, shape | changes | ({} if attack is None else {"attack": attack}), "task")


@pytest.mark.parametrize(
    ("batch", "parts"),
    [
        (4, [(k, k + 1, *ends) for k in range(5) for ends in ((0, 4), (4, 6))]),
        (6, [(k, k + 1, 0, 6) for k in range(5)]),
        (13, [(0, 2, 0, 6), (2, 4, 0, 6), (4, 5, 0, 6)]),
        (99, [(0, 5, 0, 6)]),
    ],
)
def test_queries_go_together_in_whole_episodes_or_in_parts_of_one(batch: int, parts: list[Any]) -> None:
    of = task(batch=batch)
    assert list(attacked._parts(of)) == parts
    assert attacked._together(of) == max(1, batch // 6)
    numbers = torch.arange(1000.0).reshape(-1, 1, 1, 1)
    query = np.arange(30).reshape(5, 2, 3) * 7 + 3
    data = FewShotData(numbers, np.zeros((5, 2, 1), int), query)
    assert attacked._each(data, of, lambda _, images: images).flatten().tolist() == query.flatten().tolist()


def test_starts_are_those_of_seed_episode_and_place() -> None:
    part, images = attacked._Part(2, 4, 1, 3), torch.zeros(4, 1, 2, 2)
    found = attacked._start(part, images, 7)
    stream = Stream(7, "attack", "start")
    wanted = np.concatenate([stream.uniform(12, chip=episode)[4:] for episode in (2, 3)])
    np.testing.assert_array_equal(found.flatten().numpy(), 2 * wanted.astype(np.float64) - 1)
    assert float(found.min()) < 0 < float(found.max())
    whole = attacked._start(attacked._Part(2, 3, 0, 3), torch.zeros(3, 1, 2, 2), 7)
    assert torch.equal(whole[1:], found[:2]), "a query starts at the same place in any part"
    assert not torch.equal(found[:2], found[2:])
    assert not torch.equal(attacked._start(part, images, 8), found)


def test_pixels_of_unit_images_are_not_rounded() -> None:
    unit, plain = attacked.pixel_space(task(scaling="unit")), attacked.pixel_space(task())
    assert (unit.mean, unit.std, unit.levels) == (0.0, 1.0, 0)
    info = DATASETS["glyphs"]
    assert (plain.mean, plain.std, plain.levels) == (info.mean[0], info.std[0], 255)
    image = torch.tensor([[0.1234567]])
    assert torch.equal(unit.images(unit.pixels(image)), image)


def test_directions_are_kept_for_every_strength_of_one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[Any, Any] = {}
    clean: Any = SimpleNamespace(with_queries=lambda queries: queries)
    session: Any = SimpleNamespace(
        once=lambda kind, key, make: kept[kind, key] if (kind, key) in kept else kept.setdefault((kind, key), make()),
        episodes=lambda _: clean, model=lambda _: None, features=lambda *_: None,
    )  # fmt: skip
    calls: list[FewShotTask] = []
    monkeypatch.setattr(attacked, "features_digest", lambda model: f"digest of {model}")
    monkeypatch.setattr(attacked, "directions", lambda _, of, __: (calls.append(of), torch.ones(len(calls)))[1])
    monkeypatch.setattr(attacked, "stepped", lambda _, of, direction: (of.attack.epsilon, len(direction)))
    found = [
        attacked.attacked_episodes(session, model, task({"kind": "fgsm"} | attack, **changes))
        for model, attack, changes in (
            ("m", {"epsilon": 0.1}, {}), ("m", {"epsilon": 0.2}, {}), ("m", {"space": "normalised"}, {}),
            ("m", {"loss": "memory"}, {}), ("n", {}, {}), ("m", {}, {"seed": 3}), ("m", {"epsilon": 0.3}, {}),
        )
    ]  # fmt: skip
    assert found == [(0.1, 1), (0.2, 1), (0.1, 1), (0.1, 2), (0.1, 3), (0.1, 4), (0.3, 1)]
    assert [(of.attack.epsilon, of.attack.loss) for of in calls if of.attack] == [
        (0.0, loss) for loss in ("cosine", "memory", "cosine", "cosine")
    ]


def test_an_attack_by_cosine_is_that_of_any_read_out() -> None:
    plain = attacked._through_digital(task({"kind": "fgsm", "through": "analog", "transfer": "chip"}))
    other = task({"kind": "fgsm"}, keys="binary", query_form="float", similarity="cosine", sharpening="softmax", seed=0)
    assert attacked._through_digital(other) == plain
    for change in ({"threshold": "support_mean"}, {"dim": 9}, {"prototypes": "mean"}, {"way": 3}, {"seed": 1}):
        assert attacked._through_digital(task({"kind": "fgsm"}, **change)) != plain
    memory = task({"kind": "fgsm", "loss": "memory"}, keys="binary")
    assert attacked._through_digital(memory) == memory
    assert attacked._through_digital(task()) == task()


def few(features: Tensor) -> tuple[FewShotData, Tensor]:
    """Return two episodes of two classes with one support and three queries each, and their features."""
    support = np.arange(4).reshape(2, 2, 1)
    query = 4 + np.arange(12).reshape(2, 2, 3)
    return FewShotData(torch.arange(16.0).reshape(16, 1, 1, 1), support, query), features


@pytest.mark.parametrize("part", [attacked._Part(0, 2, 0, 6), attacked._Part(1, 2, 2, 5)])
def test_the_loss_is_the_sum_over_queries_against_the_keys_of_their_episodes(part: attacked._Part) -> None:
    generator = torch.Generator().manual_seed(1)
    data, features = few(torch.randn(16, 5, generator=generator))
    of = task({"kind": "fgsm"}, episodes=2)
    target = Target(lambda images: features[images.flatten().long()], features)
    images = data.images[
        torch.from_numpy(data.query).flatten(1)[part.first : part.last, part.start : part.stop].flatten()
    ]
    found = attacked._loss(part, data, of, target)(images)
    total = torch.zeros(())
    for episode in range(part.first, part.last):
        keys = features[data.support[episode].ravel()]
        for place in range(part.start, part.stop):
            query = features[data.query[episode].ravel()[place]]
            total = total + F.cross_entropy(cosine(query[None], keys), torch.tensor([place // 3]))
    assert float(found) == pytest.approx(float(total), rel=1e-5)


def test_the_searched_logits_are_those_of_each_episode() -> None:
    data, features = few(torch.randn(16, 5, generator=torch.Generator().manual_seed(2)))
    requested: list[Any] = []

    def search(episode: int, queries: Tensor) -> Tensor:
        requested.append((episode, queries.requires_grad, tuple(queries.shape)))
        return torch.full((len(queries), 2), float(episode))

    keys = features.clone().requires_grad_()
    target, part = Target(lambda x: x, keys, search), attacked._Part(0, 2, 0, 6)
    of = task({"kind": "fgsm", "loss": "memory"}, episodes=2)
    queries = features[4:].clone().requires_grad_()
    logits = attacked._logits(part, queries, data, of, target)
    assert requested == [(0, False, (6, 5)), (1, False, (6, 5))]
    assert logits[0].eq(0).all()
    assert logits[1].eq(1).all()
    logits[:, :, 0].sum().backward()
    assert queries.grad is not None
    assert float(queries.grad.abs().sum()) > 0
    assert keys.grad is None, "the keys stay clean"
    later = attacked._Part(1, 2, 0, 6)
    requested.clear()
    attacked._logits(later, features[10:], data, of, target)
    assert requested[0][0] == 1


def test_the_loss_of_the_memory_compares_queries_in_their_own_form() -> None:
    data, features = few(torch.randn(16, 5, generator=torch.Generator().manual_seed(3)))
    target, part, keys = Target(lambda x: x, features), attacked._Part(0, 2, 0, 6), features[:4].sign().reshape(2, 2, 5)
    for form in ("float", "bipolar"):
        of = task({"kind": "fgsm", "loss": "memory"}, episodes=2, keys="bipolar", query_form=form)
        queries = features[4:].reshape(2, 6, 5)
        wanted = (queries if form == "float" else queries.sign()) @ keys.mT / 5  # the width
        torch.testing.assert_close(attacked._logits(part, features[4:], data, of, target), wanted, rtol=1e-6, atol=1e-6)


def test_the_memory_of_an_attack_is_written_for_each_episode_and_reads_after_the_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []

    class Memory:
        def write(self, keys: Tensor, labels: Tensor, epoch: int) -> None:
            calls.append(("write", epoch, keys.flatten().tolist(), labels.tolist()))

        def skip_reads(self, count: int) -> None:
            calls.append(("skip", count))

        def search(self, queries: Tensor) -> Tensor:
            calls.append(("search", len(queries)))
            return torch.stack([queries + 1, queries + 2])

    of = task({"kind": "pgd", "loss": "memory"}, episodes=3, batch=6, keys="float")
    monkeypatch.setattr(attacked, "memory_of", lambda maker, chip, known: (calls.append((chip, known)), Memory())[1])
    data = FewShotData(torch.zeros(1), np.arange(6).reshape(3, 2, 1), np.zeros((3, 2, 3), int))
    search = attacked._search(torch.arange(6.0)[:, None], data, of, "chip", "known")  # type: ignore[arg-type]
    for episode in (1, 1, 2, 1):
        assert search(episode, torch.zeros(4, 1)).tolist() == [[1.0]] * 4, "of the first chip"
    write = [("write", k, [2.0 * k, 2.0 * k + 1], [0, 1]) for k in (1, 2)]
    skip, found = ("skip", 6), ("search", 4)
    assert calls == [("chip", "known"), write[0], skip, found, found, write[1], skip, found, write[0], skip, found]


@pytest.mark.parametrize(("loss", "memory", "searches"), [("memory", "crossbar", True), ("memory", "digital", False),
                                                         ("cosine", "crossbar", False)])  # fmt: skip
def test_a_target_on_a_chip_has_the_keys_of_the_supports_and_its_memory(
    loss: str, memory: str, searches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(attacked, "_search", lambda keys, data, of, chip, known: (chip.numbers, chip.seed, known))
    data = FewShotData(
        torch.arange(9.0).reshape(9, 1, 1, 1), np.array([[[7], [2]], [[7], [5]]]), np.zeros((2, 2, 3), int)
    )
    analog: Any = lambda images: (seen.append(len(images)), torch.stack([images.flatten(1), images.flatten(1) + 50]))[1]  # noqa: E731
    analog.chips = range(11, 13)
    chips = SampledChips(load_chip("ideal").replace("policy.memory", memory), range(4), 9)
    of = task({"kind": "fgsm", "through": "analog", "loss": loss}, batch=2)
    target = attacked.chip_target(analog, data, of, chips, "known")  # type: ignore[arg-type]
    assert seen == [2, 1], "three supports in batches of two"
    assert target.keys.flatten().tolist() == [0, 0, 2, 0, 0, 5, 0, 7, 0], "those of the first chip"
    assert target.search == ((range(11, 12), 9, "known") if searches else None)


@pytest.mark.parametrize(("transfer", "attacker"), [("none", 3), ("digital", 3), ("chip", 3 + 2**32)])
def test_an_attack_through_a_chip_is_evaluated_where_it_is_transferred(
    transfer: str, attacker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = task({"kind": "fgsm", "through": "analog", "transfer": transfer}, episodes=1, queries=1)
    clean = FewShotData(torch.zeros(4, 1, 1, 1), np.array([[[1], [3]]]), np.array([[[0], [2]]]))
    session: Any = SimpleNamespace(episodes=lambda _: clean, model=lambda _: "network")
    made: list[range] = []

    def programmed(*a: Any) -> Any:
        made.append(a[4].numbers)
        return ("chip", a[4].numbers[0]), Calibration({"layer": (0.0, float(len(made)))})

    monkeypatch.setattr(_few_shot, "programmed", programmed)
    monkeypatch.setattr(_few_shot, "calibration_keys", lambda *_: "known")
    monkeypatch.setattr(_few_shot, "chip_target", lambda *a: SimpleNamespace(keys=torch.arange(4.0)[:, None] + 10))
    monkeypatch.setattr(_few_shot, "attack_queries", lambda *_: torch.full((2, 1, 1, 1), 5.0))
    through: list[Any] = []

    def features_of(network: Any, images: Tensor, batch: int) -> Tensor:
        through.append((network, images.flatten().tolist()))
        return images.flatten(1) if network == "network" else images.flatten(1)[None]

    monkeypatch.setattr(_few_shot, "features_of", features_of)
    monkeypatch.setattr(_few_shot, "digital_accuracy_of", lambda features, *_: ("digital", features.flatten().tolist()))
    monkeypatch.setattr(
        _few_shot,
        "chip_answers",
        lambda features, _, __, chips, known, costs: ([features.flatten().tolist()], Calibration()),
    )
    monkeypatch.setattr(_few_shot, "accuracy_of", lambda answers, *_: answers)
    found, calibration, costs = _few_shot._under_attack_through_chips(
        session, "m", of, SampledChips(load_chip("ideal"), range(3, 4), 0)
    )
    assert costs is None, "the chip states none"
    assert made[0] == range(attacker, attacker + 1)
    attacked_images = [0.0, 0.0, 5.0, 5.0]
    if transfer == "digital":
        assert (found, through) == ([("digital", attacked_images)], [("network", attacked_images)])
        assert calibration == Calibration()
    elif transfer == "chip":
        assert made[1] == range(3, 4)
        assert (found, through) == ([attacked_images], [(("chip", 3), attacked_images)])
        assert calibration.ranges == {"layer": (0.0, 2.0)}, "that of the evaluated chip"
    else:
        assert found == [[11.0, 13.0, 5.0, 5.0]], "the supports have gone through the chip already"
        assert through == [(("chip", 3), [5.0, 5.0])]
