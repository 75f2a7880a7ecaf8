"""Calibrated ranges: what each rule sets, on which data, and that each chip has the same range with any others."""

import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from imc_sim.array import Converter, Crossbar, load_chip
from imc_sim.array._limits import calibrated
from imc_sim.evaluate import ClassificationTask, FewShotTask, Session, build_task, evaluate_chips
from imc_sim.evaluate._calibration import calibration_images, calibration_task, training_split

MODEL = "batmann_small_xnor"
TASK = {"kind": "few_shot", "dataset": "glyphs", "split": "test", "episodes": 4, "queries": 2, "classes": 40}


def rule(**changes: Any) -> Converter:
    return Converter.model_validate({"kind": "auto", "bits": 4, "range": "calibrated"} | changes)


def batches(x: torch.Tensor) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: x.split(7000)


def test_rules_set_the_limits_that_they_state() -> None:
    """For 100,001 evenly placed values from -1 to 3, and for a normal law."""
    even = torch.linspace(-1, 3, 100_001)
    for signed in (True, False):
        assert calibrated(batches(even), rule(limits="minmax"), signed) == (-1.0, 3.0)
    low, high = calibrated(batches(even), rule(limits="percentile", percentile=90.0), signed=False)
    assert (low, high) == pytest.approx((-0.8, 2.8), abs=2e-3)
    low, high = calibrated(batches(even), rule(limits="percentile", percentile=75.0), signed=True)
    assert (low, high) == pytest.approx((-2.0, 2.0), abs=2e-3)  # 3/4 of the values are from -1 to 2
    low, high = calibrated(batches(even), rule(limits="sigma", sigmas=0.5), signed=False)
    assert (low, high) == pytest.approx((1 - 2 / 12**0.5, 1 + 2 / 12**0.5), abs=1e-3)
    assert calibrated(batches(even), rule(limits="sigma"), signed=False) == (-1.0, 3.0)  # 3 sigma reach beyond


@pytest.mark.parametrize("limits", ["auto", "minmax", "percentile", "sigma", "mse"])
def test_only_settings_that_a_rule_uses_act(limits: Any) -> None:
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).double()
    usual = rule(limits=limits)
    for changed in ({"percentile": 90.0}, {"sigmas": 1.0}):
        same = calibrated(batches(values), rule(limits=limits, **changed), False) == calibrated(
            batches(values), usual, False
        )
        assert same == (changed.keys() <= usual.idle())


@pytest.mark.parametrize("signed", [True, False])
def test_the_default_is_three_sigma_with_few_bits_and_clips_nothing_with_many(signed: bool) -> None:
    """For 39,998 normal values and two outliers at -30 and 30."""
    x = torch.randn(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[:2] = torch.tensor([-30.0, 30.0])
    found = {bits: calibrated(batches(x), rule(bits=bits), signed) for bits in (2, 4, 14)}
    assert found[2] == found[4] == calibrated(batches(x), rule(limits="sigma"), signed)
    assert found[14] == pytest.approx((-30.0, 30.0), rel=0.01)


@pytest.mark.parametrize(("bits", "optimum"), [(2, 1.224), (3, 1.967), (4, 2.602)])
def test_least_squares_limit_of_a_normal_law(bits: int, optimum: float) -> None:
    """The step of the best uniform quantiser of 2^b - 1 levels is found, and no other is better."""
    x = torch.randn(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    converter = rule(bits=bits, limits="mse")
    found = calibrated(batches(x), converter, signed=True)
    assert found[0] == -found[1]
    error = lambda top: float((converter.quantiser(-top, top, signed=True)(x) - x).square().mean())  # noqa: E731
    tried = [error(top) for top in torch.linspace(0.3, 5.0, 80).tolist()]
    assert error(found[1]) <= min(tried) * 1.02
    assert found[1] == pytest.approx(optimum, rel=0.08)


def test_limits_depend_on_values_only() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(2))
    for name in ("auto", "minmax", "percentile", "sigma", "mse"):
        for signed in (True, False):
            found = calibrated(batches(x), rule(limits=name), signed)
            assert found == calibrated(lambda: (x.flip(0),), rule(limits=name), signed)
            assert calibrated(lambda: (torch.ones(5),), rule(limits=name), signed) == (1.0, 1.0)


# -- data ------------------------------------------------------------------------------------------------


def test_calibration_sees_no_image_of_the_evaluation() -> None:
    known = {
        "evaluation": "background", "pooled_test": "pooled_train", "test": "train",
        "evaluation_test": "evaluation_train", "background": "background", "all": "all",
    }  # fmt: skip
    assert {split: training_split(split) for split in known} == known
    for task in (TASK, {"kind": "classification", "dataset": "digits", "split": "test"}):
        built = cast("FewShotTask | ClassificationTask", build_task(task, "task"))
        assert calibration_task(built).split == "train"
        assert len(calibration_images(Session.on("cpu"), built)) == 100


@pytest.mark.parametrize("kind", ["few_shot", "classification"])
def test_a_task_on_the_training_split_is_calibrated_on_other_draws(kind: str) -> None:
    """At the seed of the task they would be the very images that are evaluated."""
    plain = {"kind": kind, "dataset": "glyphs" if kind == "few_shot" else "digits", "split": "train"}
    more = {"episodes": 40, "queries": 2} if kind == "few_shot" else {"images": 100}
    found = {}
    for seed in (0, 1):
        session, task = Session.on("cpu"), build_task(plain | more | {"seed": seed}, "task")
        assert isinstance(task, FewShotTask | ClassificationTask)
        found["drawn", seed] = (
            session.images(task).images(0, 100)
            if isinstance(task, ClassificationTask)
            else session.episodes(task).images[:100]
        )
        found["calibrated", seed] = calibration_images(session, task)
    assert all(len(images) == 100 for images in found.values())
    for one, other in itertools.combinations(found.values(), 2):
        assert not torch.equal(one, other)


@pytest.mark.parametrize("changes", [{"batch": 10}, {"batch": 200}, {"classes": 6, "instances": 6}])
def test_ranges_do_not_depend_on_which_images_are_evaluated(changes: dict[str, Any]) -> None:
    task = {**TASK, "episodes": 2, **changes}
    converter = {"kind": "auto", "bits": 4, "range": "calibrated"}
    ranges = [
        evaluate_chips(MODEL, load_chip("rram_hfo2_1t1r").replace("converter", converter).to_dict(), t, [0], 0)[
            0
        ].ranges
        for t in (task, TASK)
    ]
    assert ranges[0]
    assert ranges[0] == ranges[1]


# -- other chips -------------------------------------------------------------------------------------------

NODAL = {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 1.0}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "float keys, DAC": ({"inputs": {"kind": "levels", "bits": 4}}, {"keys": "float"}),
    "bipolar keys": ({}, {}),
    "binary keys": ({}, {"keys": "binary"}),
    "float keys, mean prototypes": ({}, {"keys": "float", "prototypes": "mean", "shot": 2}),
    "majority prototypes": ({}, {"prototypes": "majority", "shot": 3}),
    "support mean, projected": ({}, {"threshold": "support_mean", "dim": 64}),
    "float keys, minmax": ({"limits": "minmax"}, {"keys": "float"}),
    "float keys, sigma": ({"limits": "sigma"}, {"keys": "float"}),
    "float keys, percentile": ({"limits": "percentile"}, {"keys": "float"}),
    "float keys, full scale": ({"range": "max"}, {"keys": "float"}),
    "wires, BNN I": ({"encoding": {"kind": "bnn_i"}, "wires": NODAL}, {}),
    "read noise, BNN V": ({"encoding": {"kind": "bnn_v"}, "noise": 0.2}, {}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_chip_is_the_same_with_any_other_chips(name: str) -> None:
    settings, task = SETTINGS[name]
    settings = dict(settings)
    chip = load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.6)
    if noise := settings.pop("noise", None):
        chip = chip.replace("device.read.sigma", noise)
    for path in ("inputs", "encoding", "wires"):
        chip = chip.replace(path, settings.pop(path)) if path in settings else chip
    chip = chip.replace("converter", {"kind": "auto", "bits": 3, "range": "calibrated"} | settings)
    wanted = {**TASK, **task}
    together = [r.correct for r in evaluate_chips(MODEL, chip.to_dict(), wanted, range(3), 5)]
    alone = [evaluate_chips(MODEL, chip.to_dict(), wanted, [n], 5)[0].correct for n in (0, 2)]
    assert together[::2] == alone


@pytest.mark.parametrize("kind", ["tnn_i", "tnn_ii", "tnn_iii", "tnn_iv", "tnn_v"])
def test_a_chip_without_a_stuck_cell_is_computed_as_the_others_of_its_call(kind: str) -> None:
    chip = load_chip("ideal").replace("encoding", {"kind": kind}).replace("device.faults.stuck_lrs", 0.01)
    weights = torch.randint(-1, 2, (4, 8), generator=torch.Generator().manual_seed(0)).float()
    x = torch.randint(-1, 2, (16, 8), generator=torch.Generator().manual_seed(1)).float()
    together = Crossbar.program(weights, chip, chips=20, seed=0)
    unchanged = (together.mvm(x) == x @ weights.T).flatten(1).all(1)
    assert 0 < unchanged.sum() < 20  # with and without a stuck cell that matters, in one call
    for number, y in enumerate(together.mvm(x)):
        assert torch.equal(Crossbar.program(weights, chip, range(number, number + 1), seed=0).mvm(x)[0], y)


@pytest.mark.parametrize("kind", ["few_shot", "classification"])
def test_a_task_on_training_data_is_calibrated_on_other_episodes(kind: str) -> None:
    data = {"kind": kind, "dataset": "glyphs" if kind == "few_shot" else "digits", "split": "train"}
    task = cast("FewShotTask | ClassificationTask", build_task(data, "task"))
    training = calibration_task(task)
    assert (training.split, training.seed == task.seed) == ("train", False)
