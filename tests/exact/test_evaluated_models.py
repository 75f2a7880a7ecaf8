"""Models, sessions and functions of an evaluation alone: by content, kept once, each on its own chips and samples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import Held, as_engine, build, holding_objects
from imc_sim.data import LabelledImages
from imc_sim.evaluate import (
    ChipResult,
    ClassificationTask,
    FewShotData,
    FewShotTask,
    FunctionTask,
    Session,
    _features,
    _identity,
    _mapped_card,
    _run,
    _sampled_chips,
    _scoring,
    _session,
    build_task,
)
from imc_sim.evaluate._classification import class_accuracy
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.evaluate._sampled_chips import Calibration, SampledChips
from imc_sim.nn import Linear

SMALL = {"dataset": "glyphs", "split": "test", "rotations": False, "size": 32}


# -- identities ---------------------------------------------------------------------------------------------

CARD: dict[str, Any] = {"weights": {"sha256": "w"}, "arch": {"name": "x", "args": {"a": 1}}, "inputs": {"sha256": "i"}}


def test_features_follow_from_weights_architecture_and_inputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cards: dict[str, Any] = {
        "plain": CARD, "note": CARD | {"summary": "n"}, "weights": CARD | {"weights": {"sha256": "v"}},
        "name": CARD | {"arch": {"name": "y", "args": {"a": 1}}},
        "args": CARD | {"arch": {"name": "x", "args": {"a": 2}}},
        "inputs": CARD | {"inputs": {"sha256": "j"}}, "none": {k: v for k, v in CARD.items() if k != "inputs"},
        "batmann": CARD | {"arch": {"name": "batmann", "args": {}}}, "untrained": CARD | {"weights": None},
    }  # fmt: skip
    found = lambda name: SimpleNamespace(data=cards[name], folder=tmp_path, place=tmp_path / name, where=name)  # noqa: E731
    monkeypatch.setattr(_identity, "find_card", found)
    digests = {name: _identity.features_digest(name) for name in cards if name != "untrained"}
    assert digests["plain"] == digests["note"]
    assert len(set(digests.values())) == len(digests) - 1
    assert len({_identity.network_key(name) for name in cards}) == len(cards), "the whole card and its place"
    assert len({_identity.network_key(name)[1] for name in cards}) == len(cards)
    assert [_identity.weights_digest(name) for name in ("plain", "weights")] == ["w", "v"]
    with pytest.raises(InputError, match="imc-sim train untrained"):
        _identity.weights_digest("untrained")
    assert _identity.arch_of("batmann") is None
    assert _identity.arch_of("plain") == {"name": "x", "args": {"a": 1}, "inputs": "i"}


@pytest.mark.parametrize(
    ("args", "samples"),
    [({}, False), ({"stochastic": True}, True), ({"arch": "binact", "args": {"stochastic": True}}, True),
     ({"stochastic": False}, False)],
)  # fmt: skip
def test_chips_vary_where_they_or_neurons_are_sampled(
    args: dict[str, Any], samples: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = SimpleNamespace(data={"arch": {"name": "x", "args": args}}, folder=tmp_path)
    monkeypatch.setattr(_identity, "find_card", lambda _: card)
    assert _identity.chips_vary("m", load_chip("ideal")) is samples
    assert _identity.chips_vary("m", load_chip("ideal").replace("device.programming.sigma", 0.1))


# -- what a session keeps -----------------------------------------------------------------------------------


def test_a_session_computes_again_what_depends_on_other_content(monkeypatch: pytest.MonkeyPatch) -> None:
    session, calls = Session(), []
    contents = {"m": "1", "n": "1", "f": "1"}
    monkeypatch.setattr(_session, "features_digest", contents.__getitem__)
    monkeypatch.setattr(_session, "network_key", lambda name: (name, contents[name]))
    monkeypatch.setattr(_session, "load_model", lambda name: (calls.append(f"load {name}"), nn.Identity())[1])
    monkeypatch.setattr(
        _session, "features_of", lambda _, images, batch: (calls.append(f"features of {batch}"), images.flatten(1))[1]
    )
    data = FewShotData(torch.zeros(3, 1, 1, 1), np.zeros((1, 2, 1), int), np.zeros((1, 2, 4), int))
    monkeypatch.setattr(FewShotData, "load", lambda task: (calls.append(f"episodes of {task.seed}"), data)[1])
    plain = build(FewShotTask, SMALL | {"batch": 7}, "task")
    for name in ("m", "m", "n"):
        session.features(name, plain)
    assert calls == ["episodes of 0", "load m", "features of 7"], "equal content is computed once"
    contents["m"] = "2"
    session.features("m", plain.model_copy(update={"keys": "float", "dim": 3}))
    session.features("m", plain.model_copy(update={"seed": 1}))
    session.features("m", plain.model_copy(update={"batch": 8}))
    assert calls[3:] == ["load m", "features of 7", "episodes of 1", "features of 7", "features of 8"]
    calls.clear()
    source = LabelledImages("own", "test", np.zeros((2, 1), np.float32), np.zeros(2, int), ("0",))  # type: ignore[arg-type]
    monkeypatch.setattr(
        ClassificationData,
        "load",
        lambda task: (calls.append("images"), ClassificationData(source, np.arange(2), "unit"))[1],
    )
    of = ClassificationTask(dataset="digits", features="f")
    for more in ({}, {"batch": 3, "stage": 1, "statistics": "batch", "vote": "hard"}):
        session.images(of.model_copy(update=more))
    assert calls == ["images"]
    contents["f"] = "2"
    session.images(of)
    session.images(of.model_copy(update={"offset": 3}))
    assert calls == ["images"] * 3


def test_products_are_found_again_for_another_network_or_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(_session, "Probe", lambda *a: (made.append(a), len(made))[1])
    monkeypatch.setattr(_session, "network_key", lambda name: (name, "1"))
    session, one, two = Session(), nn.Linear(1, 1), nn.Linear(1, 1)
    x, y = torch.zeros(1), torch.ones(1)
    calls = [("m", one, x), ("m", one, x), ("m", one, x.clone()), ("m", two, x), ("m", two, y), ("n", two, y)]
    assert [session.probe(*call) for call in calls] == [1, 1, 1, 2, 3, 4]
    assert session.probe("m", one, None) is None


def test_the_size_of_a_task_is_its_own_or_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "refresh_data", lambda _: None)
    monkeypatch.setattr(Session, "model", lambda *_: SimpleNamespace(size=20))
    found = [Session.on("cpu").sized(build(FewShotTask, SMALL | {"size": size}, "t"), "m").size for size in (None, 28)]
    assert found == [20, 28]


# -- features as inputs -------------------------------------------------------------------------------------


def test_features_are_cached_for_all_that_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, Any] = {"digest": "1", "images": np.zeros((2, 3, 3), np.uint8), "sizes": []}
    monkeypatch.setattr(_features, "features_digest", lambda _: state["digest"])
    monkeypatch.setattr(
        _features, "load_card", lambda _: (SimpleNamespace(recipe=state.get("recipe", {}), name="m"), 0)
    )
    monkeypatch.setattr(_features, "load_model", lambda _: SimpleNamespace(size=20))

    def load(dataset: str, split: str, size: int | None) -> LabelledImages:
        state["sizes"].append(size)
        return LabelledImages(dataset, split, state["images"], np.zeros(2, int), ("0",))

    monkeypatch.setattr(_features, "load_classes", load)
    keys: list[Any] = []
    monkeypatch.setattr(_features, "cached_array", lambda name, key, _: (keys.append((name, key)), np.zeros((2, 5)))[1])

    def key(*of: Any) -> Any:
        _features.feature_vectors("m", *of)
        return keys[-1]

    base = key("digits", "test")
    assert key("digits", "test") == base
    found = {base, key("mnist", "test"), key("digits", "train"), key("digits", "test", None, "unit")}
    state["digest"] = "2"
    found.add(key("digits", "test"))
    for images in (np.ones((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), np.zeros((2, 9), np.uint8)):
        state["images"] = images
        found.add(key("digits", "test"))
    assert len(found) == 8
    assert base[0] == "features-test"
    key("digits", "test", 28)
    assert (state["sizes"][0], state["sizes"][-1]) == (20, 28)
    state["recipe"] = {"scaling": "unit"}
    key("digits", "test", None, "unit")
    with pytest.raises(InputError, match=r"scaling: got 'standard'; allowed: unit, as 'm' was trained"):
        key("digits", "test")


def test_features_sample_neurons_by_the_place_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_features, "_BATCH", 2)
    sampled: list[Any] = []
    monkeypatch.setattr(_features, "draw_neurons", lambda _, draws: sampled.append((draws.seed, draws.first)))
    layer = Linear(4, 2, "float", bias=False)
    data = LabelledImages("mnist", "test", np.arange(20, dtype=np.uint8).reshape(5, 2, 2), np.zeros(5, int), ("0",))
    found = np.concatenate(list(_features._in_batches(nn.Sequential(nn.Flatten(), layer), data, "unit")))
    assert (sampled, found.shape, found.dtype) == ([(0, 0), (0, 2), (0, 4)], (5, 4), np.float32)


def test_classifiers_sample_neurons_by_seed_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: list[Any] = []
    monkeypatch.setattr(
        "imc_sim.evaluate._classification.draw_neurons", lambda _, draws: sampled.append((draws.seed, draws.first))
    )
    images = np.zeros((5, 2), np.float32)
    source = LabelledImages("own", "test", images, np.zeros(5, int), ("0", "1"))  # type: ignore[arg-type]
    task = ClassificationTask(dataset="digits", seed=4, batch=2)
    class_accuracy(nn.Linear(2, 2), task, ClassificationData(source, np.arange(5), "unit"))
    assert sampled == [(4, 0), (4, 2), (4, 4)]


# -- functions of users -------------------------------------------------------------------------------------


def test_a_function_scores_a_copy_in_eval_mode_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen, sampled = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train(), [], []

    def score(model: Any, chip: int | None) -> dict[str, float]:
        weight = model[0].weight
        seen.append((model is network, weight is network[0].weight, model.training, torch.is_grad_enabled(), chip))
        weight.zero_()
        return {"score": float(len(seen)) if chip == 5 else 1.0}

    monkeypatch.setattr(_scoring, "draw_neurons", lambda _, draws: sampled.append(draws.seed))
    names = [f"{stem}@{'0' * 16}" for stem in ("net", "f")]
    with holding_objects(dict(zip(names, (Held(network, "0"), Held(score, "1")), strict=True))):
        session: Any = SimpleNamespace(model=lambda _: network, device="cpu")
        task = FunctionTask(call=names[1], seed=6)
        found = _scoring.score_network(session, names[0], task)
        assert seen == [(False, False, False, False, None)]
        assert (found.chip, found.score, sampled) == (-1, 1.0, [6])
        assert float(network[0].weight.detach().abs().sum()) > 0  # type: ignore[arg-type]
        _scoring.check_function(session, names[0], task)
        assert len(seen) == 3, "scored twice"
    odd = iter([1.0, 2.0])
    with (
        holding_objects({names[1]: Held(lambda *_: next(odd), "1")}),
        pytest.raises(InputError, match=r"got 1\.0 and then 2\.0 for 'score'"),
    ):
        _scoring.check_function(session, names[0], task)


def test_every_chip_is_scored_alone_with_its_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def program(self: SampledChips, network: Any, images: Any, probe: Any) -> Any:
        made.append((self.numbers, self.seed, self.engine, images, probe))
        number = self.numbers[0]
        return nn.Linear(number, 1), Calibration({"l": (0.0, float(number))}, {"l": [[number / 8]]})

    monkeypatch.setattr(SampledChips, "program", program)
    monkeypatch.setattr(_scoring, "calibration_inputs", lambda *_: "images")
    monkeypatch.setattr(_scoring, "probe_of", lambda *_: "probe")
    name = f"f@{'0' * 16}"
    with holding_objects({name: Held(lambda model, chip: model.analog.in_features * 10 + chip, "1")}):
        chips = SampledChips(load_chip("ideal"), range(4, 5), 9, "native")
        found = _scoring.score_chips(SimpleNamespace(model=lambda _: 0), "m", FunctionTask(call=name), chips, [4, 2])  # type: ignore[arg-type]
    assert made == [(range(n, n + 1), 9, "native", "images", "probe") for n in (4, 2)]
    assert [(r.chip, r.score, r.ranges, r.rows_on) for r in found] == [
        (n, 11.0 * n, {"l": (0.0, float(n))}, {"l": [[n / 8]]}) for n in (4, 2)
    ]  # fmt: skip


def test_a_function_task_reaches_its_chips_and_seconds_are_per_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(_scoring, "score_chips", lambda session, *a: (seen.append(a), ["scored"])[1])
    monkeypatch.setattr(_scoring, "score_network", lambda session, *a: ["digital", *a])
    task = FunctionTask(call="/f.py:g").to_dict()
    chip = load_chip("ideal").to_dict()
    found: Any = _run.evaluate_chips("m", chip, task, [5, 3], 9, {"kind": "memtorch"}, "cpu", "/c.npz")
    ((model, what, chips, numbers),) = seen
    assert (found, model, what.call, numbers) == (["scored"], "m", "/f.py:g", [5, 3])
    assert (chips.numbers, chips.seed, chips.conductances) == (range(5, 6), 9, "/c.npz")
    assert chips.engine == as_engine({"kind": "memtorch"})
    assert _run.evaluate_chips("m", None, task, [], 9) == [["digital", "m", what]]
    with pytest.raises(InputError, match="a whole number of 0 or more"):
        _run.evaluate_chips("m", chip, task, [-1], 9)
    accuracy = SimpleNamespace(correct=1, total=2, loss=None, sample=None)
    monkeypatch.setattr(_run, "_on_chips", lambda *_: ([accuracy] * 3, Calibration(), None))
    now = iter([10.0, 16.0])
    monkeypatch.setattr(_run.time, "perf_counter", lambda: next(now))
    assert [r.seconds for r in _run.evaluate_chips("m", chip, SMALL, [0, 1, 2], 0)] == [2.0] * 3


@pytest.mark.parametrize(
    ("attack", "runs"),
    [(None, [range(8), range(8, 10)]), ({"kind": "fgsm", "through": "analog"}, [range(n, n + 1) for n in range(10)])],
)
def test_chips_share_a_call_unless_each_has_its_own_images(
    attack: Any, runs: list[range], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    accuracy = SimpleNamespace(correct=1, total=2, loss=None)

    def on_chips(session: Any, model: str, task: Any, chips: SampledChips) -> Any:
        seen.append(chips)
        return [accuracy] * len(chips.numbers), Calibration(), None

    monkeypatch.setattr(_run, "_evaluation", lambda _: SimpleNamespace(on_chips=on_chips))
    task = build(FewShotTask, SMALL | {"attack": attack}, "t").to_dict()
    found = _run.evaluate_chips("m", load_chip("ideal").to_dict(), task, range(10), 4, None, "cpu", "/c.npz")
    assert [each.numbers for each in seen] == runs
    assert {(each.seed, each.engine, each.conductances) for each in seen} == {(4, None, "/c.npz")}
    assert [r.chip for r in found] == list(range(10))
    assert ChipResult(0, 3, 4, 0.0).accuracy == 0.75


def test_images_that_a_network_does_not_take_are_named_and_other_errors_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2")

    checked: list[Any] = []
    monkeypatch.setattr("imc_sim.evaluate._checks.check_images", lambda *a: checked.append(a))
    monkeypatch.setattr(_run, "_evaluation", lambda _: SimpleNamespace(on_chips=broken, digital=broken))
    for call in ((None, []), (load_chip("ideal").to_dict(), [0])):
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            _run.evaluate_chips("m", call[0], SMALL, call[1], 0)
    assert checked == [("m", build_task(SMALL, "task").to_dict())] * 2


# -- mapping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [torch.ones(1), (torch.ones(1), torch.zeros(1)), {"x": torch.ones(1)}])
def test_chips_are_mapped_with_their_backend_and_calibrated_on_all_inputs(
    images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Analog:
        analog_layers: ClassVar[Any] = ["layer"]
        rows_on: ClassVar[Any] = {"l": [[0.5]]}

        def calibrate(self, *a: Any, **k: Any) -> Any:
            seen.append((a, k))
            return {"l": (0.0, 1.0)}

    monkeypatch.setattr(_sampled_chips, "map_model", lambda *a, **k: (seen.append((a, k)), Analog())[1])
    monkeypatch.setattr(_sampled_chips, "measured_cells", lambda path: f"cells of {path}")
    chip = load_chip("ideal").replace("converter", {"kind": "auto", "range": "calibrated"})
    chips = SampledChips(chip, range(2, 4), 7, "memtorch", "/c.npz")
    network: Any = "network"
    analog, calibration = chips.program(network, images, "probe")  # type: ignore[arg-type]
    options = {"engine": "memtorch", "inputs": "probe", "conductances": "cells of /c.npz"}
    assert seen[0] == (("network", chip, range(2, 4), 7), options)
    positional, named = seen[1]
    assert len(positional) == {dict: 0, tuple: 2}.get(type(images), 1)
    assert set(named) == (set(images) if isinstance(images, dict) else set())
    assert (calibration.ranges, calibration.rows_on) == ({"l": (0.0, 1.0)}, {"l": [[0.5]]})
    for other, given in ((load_chip("ideal"), images), (chip, None)):
        assert SampledChips(other, range(1), 0).program(network, given)[1] == Calibration()
    monkeypatch.setattr(Analog, "analog_layers", [])
    assert chips.program(network, images)[1] == Calibration(), "nothing is on crossbars"
    assert analog.analog_layers == []


@pytest.mark.parametrize(
    ("card", "layers", "inputs", "searches", "probed"),
    [
        ({"measured": [1]}, [1], None, True, None),
        ({"measured": [1]}, [], None, True, "probe of images"),
        ({"recipe": {"measure": [1]}}, [], None, True, "probe of images"),
        ({"name": "conv4"}, [], None, True, "probe of images"),
        ({"measured": [1]}, [], "own", True, "own"),
        ({}, [1], None, False, None),
        ({}, [], None, None, None),
    ],
)
def test_a_card_is_mapped_on_the_inputs_that_it_states(
    card: dict[str, Any],
    layers: list[int],
    inputs: Any,
    searches: bool | None,
    probed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    arch = SimpleNamespace(name=card.get("name", "x"))
    stated = SimpleNamespace(measured=card.get("measured", []), recipe=card.get("recipe", {}), arch=arch, name="n")
    patches: dict[str, Any] = {
        "inputs_of": lambda _: inputs, "load_card": lambda _: (stated, 0), "product_layers": lambda _: layers,
        "probe_for": lambda *a: f"probe of {a[3]}", "_first_task": lambda *_: "images",
        "read_conductances": lambda path: {"path": path}, "chip_count": lambda _: 3,
        "map_model": lambda *a, **k: (seen.append((a, k)), SimpleNamespace(report="report"))[1],
        "check_on_chip": lambda *a: seen.append(a),
    }  # fmt: skip
    for name, value in patches.items():
        monkeypatch.setattr(_mapped_card, name, value)
    monkeypatch.setattr(_mapped_card.Session, "model", lambda *_: "network")
    chip = load_chip("ideal")
    if searches is None:
        with pytest.raises(InputError, match="Add --inputs FILE"):
            _mapped_card.map_for_card("m", chip)
        return
    task = build(FewShotTask, SMALL, "t")
    if not layers and inputs is None:
        task = "images"
    monkeypatch.setattr(_mapped_card, "_first_task", lambda *_: task)
    for file, chips, count in ((None, None, 1), (None, 4, 4), (Path("/c.npz"), None, 3), (Path("/c.npz"), 2, 2)):
        seen.clear()
        _mapped_card.map_for_card("m", chip, file, chips)
        (arguments, options), checked = seen
        assert arguments == ("network", chip, count)
        assert options == {"seed": 0, "inputs": probed, "conductances": None if file is None else {"path": file}}
        assert checked == ("report", searches and not isinstance(task, str))


def test_a_mapped_card_is_calibrated_on_its_first_task_where_layers_are_on_crossbars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_mapped_card, "_first_task", lambda _, name: f"task of {name}")
    monkeypatch.setattr(_mapped_card, "calibration_images", lambda _, task: f"images of {task}")
    for layers, wanted in ((["a"], ["images of task of m"]), ([], [])):
        seen: list[Tensor] = []
        _mapped_card.calibrate_for_card(SimpleNamespace(analog_layers=layers, calibrate=seen.append), "m")  # type: ignore[arg-type]
        assert seen == wanted
