"""Shipped device effects and networks fulfil the contracts that new ones are tested with."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.config import build
from imc_sim.device import Device
from imc_sim.nn.networks import build_arch
from imc_sim.testing import (
    DeviceEffectContract,
    EncodingContract,
    ExecutorContract,
    NetworkContract,
    ProgrammingContract,
    _stand_in,
    stand_in_evaluator,
)
from imc_sim.testing._require import require

EFFECTS: dict[str, tuple[dict[str, Any], bool]] = {
    "variation": ({"programming.sigma": 0.3}, True),
    "polynomial": ({"programming": {"kind": "polynomial", "coefficients_S": [2e-6], "g_max_S": 1e-4}}, True),
    "faults": ({"faults.stuck_lrs": 0.2}, True),
    "drift": ({"time.t_s": 1e4, "time.drift.nu": 0.05, "time.drift.nu_std": 0.02}, True),
    "equal drift": ({"time.t_s": 1e4, "time.drift.nu": 0.05}, False),
    "relaxation": ({"time.t_s": 10.0, "time.relaxation": {"kind": "logarithmic", "sigma_S": 2e-6}}, True),
    "relaxation by state": (
        {
            "time.t_s": 10.0,
            "time.relaxation": {
                "kind": "by_state",
                "states_S": [1e-5, 1e-4],
                "sigma_S": [1e-6, 4e-6],
                "growth_S": 2e-7,
                "shift_S": [3e-7, -2e-7],
                "tail": 0.4,
            },
        },
        True,
    ),
    "ends of states": (
        {"time.t_s": 1e4, "time.retention": {"rate_Hz": 1e-5, "states_S": [1e-5, 1e-4], "end_S": [2e-5, 3e-5]}},
        False,
    ),
    "retention": ({"time.t_s": 1e4, "time.retention.rate_Hz": 1e-5}, False),
    "cycle to cycle": (
        {"programming.sigma": 0.3, "cycle_to_cycle.share": 0.5, "cycle_to_cycle.correlation": 0.3},
        True,
    ),
    "worn-out cells": ({"endurance.cycles": 1e6, "endurance.life_cycles": 2e6, "endurance.life_shape": 2.0}, True),
    "closed window": (
        {"endurance.cycles": 1e6, "endurance.lrs_exponent": -0.02, "endurance.hrs_exponent": 0.05},
        False,
    ),
    "chip to chip": ({"correlated.chip": 0.1}, True),
    "read noise": ({"read.sigma": 0.1}, True),
    "disturb": ({"disturb.reads": 10**14}, False),
}


@pytest.mark.parametrize(("on", "random"), EFFECTS.values(), ids=EFFECTS)
class TestEffects(DeviceEffectContract):
    @pytest.fixture(autouse=True)
    def _effect(self, on: dict[str, Any], random: bool) -> None:
        self.on, self.random = on, random


class TestController(NetworkContract):
    arch, args = "batmann", {"kind": "xnor", "width": 8, "dim": 16, "size": 28}
    shape = (3, 1, 28, 28)


class TestMlp(NetworkContract):
    arch, args = "bnn_mlp", {"inputs": 64, "hidden": [32], "classes": 4}
    shape = (4, 1, 8, 8)


# -- contracts fail on what breaks them ---------------------------------------------------------------------


class Xnor(EncodingContract):
    encoding = build(Chip, {"device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}, "encoding": {"kind": "bnn_vi"}}, "x").encoding


class Law(ProgrammingContract):
    def __init__(self, law: Callable[[Tensor], Tensor], ideal: bool = False) -> None:
        self.programming: Any = SimpleNamespace(apply=lambda target, normal, *_: law(normal), is_ideal=ideal)


def a_tenth_is_equal(bar: Crossbar, index: int) -> Tensor:
    own = torch.rand(90, generator=torch.Generator().manual_seed(bar.chips[index]))
    return torch.cat([torch.ones(10), own])


def test_the_contract_of_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Xnor()
    for name in dir(contract):
        if name.startswith("test_"):
            getattr(contract, name)()
    exact: Any = lambda bar, x: (x @ contract.weights(16, 96, seed=6).T)[None]  # noqa: E731
    for test, attribute, value, message in (
        ("test_ideal_is_the_digital_product_to_the_bit", "mvm", lambda *_: torch.zeros(2, 9, 13), "tiles of 4 rows"),
        ("test_fine_adc_changes_little_and_coarse_one_more", "mvm", exact, "errors at 16 and 4 bits"),
        ("test_fine_adc_changes_little_and_coarse_one_more", "mvm", lambda *a: exact(*a) + 1, "errors at 16 and 4"),
        ("test_currents_are_ohms_law_on_the_cells", "currents", lambda *_: torch.zeros(1, 1, 1).double(), "Ohm's law"),
        ("test_variation_reaches_every_cell", "cells", lambda *_: torch.ones(9), "cells without variation"),
        ("test_variation_reaches_every_cell", "cells", a_tenth_is_equal, "cells without variation"),
        ("test_variation_reaches_every_cell", "cells", lambda *_: torch.rand(9), "depends on the others"),
        (
            "test_cells_hold_the_weights",
            "conductance",
            torch.zeros(1, 6, 24, 16).double(),
            "not reversible|wrong cells",
        ),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Crossbar, attribute, value, raising=False)
            with pytest.raises(AssertionError, match=message):
                getattr(contract, test)()


def test_the_contract_of_programming_laws() -> None:
    good = Law(lambda normal: normal + 5)
    good.test_never_below_zero_conductance()
    good.test_is_not_ideal()
    below = [lambda n: n, lambda n: 0.1 * n]  # 0 S is 0.1 windows below HRS
    for law, message in (
        *((law, "negative conductance") for law in below),
        (lambda n: 5 - n, "a larger normal number"),
    ):
        with pytest.raises(AssertionError, match=message):
            Law(law).test_never_below_zero_conductance()
    with pytest.raises(AssertionError, match="reported as ideal"):
        Law(lambda n: n, ideal=True).test_is_not_ideal()


class Effect(DeviceEffectContract):
    """An effect whose products are given by a function of (is ideal, chips, seed)."""

    def __init__(self, product: Callable[[bool, range, int], Tensor] | None = None, random: bool = True) -> None:
        self.on, self.given, self.random = {"programming.sigma": 0.3}, product, random

    def product(self, device: Device, chips: int | range = 2, seed: int = 3) -> Tensor:
        numbers = range(chips) if isinstance(chips, int) else chips
        return (
            super().product(device, chips, seed)
            if self.given is None
            else self.given(device.programming.is_ideal, numbers, seed)
        )


def by(key: Callable[[int, int], int]) -> Callable[[bool, range, int], Tensor]:
    return lambda exact, chips, seed: torch.stack([torch.full((5, 24), float(key(chip, seed))) for chip in chips])


@pytest.mark.parametrize(
    ("test", "effect", "message"),
    [
        ("test_off_is_the_digital_product_to_the_bit", Effect(by(lambda *_: 1)), "switched off"),
        ("test_on_changes_products", Effect(by(lambda *_: 1)), "no effect"),
        ("test_on_changes_products", Effect(lambda exact, *_: torch.tensor([[1.0 if exact else torch.inf]])), "finite"),
        ("chips", Effect(by(lambda chip, seed: seed)), "contradicts two chips"),
        ("chips", Effect(by(lambda chip, seed: chip)), "contradicts two seeds"),
        ("chips", Effect(by(lambda chip, seed: seed), random=False), "contradicts two seeds"),
        ("chips", Effect(by(lambda chip, seed: chip), random=False), "contradicts two chips"),
        (
            "chips",
            Effect(lambda exact, chips, seed: by(lambda c, s: c + len(chips))(exact, chips, seed)),
            "other chips",
        ),
        ("chips", Effect(lambda exact, chips, seed: torch.rand(len(chips), 1)), "the same seed gives another chip"),
    ],
)
def test_the_contract_of_effects(test: str, effect: Effect, message: str) -> None:
    test = "test_chips_differ_and_depend_on_seed_and_number_alone" if test == "chips" else test
    with pytest.raises(AssertionError, match=message):
        getattr(effect, test)()
    getattr(Effect(), test)()


def test_settings_that_a_device_reports_as_idle_break_the_contract() -> None:
    effect = Effect()
    effect.on = {"time.drift.nu": 0.05}
    with pytest.raises(AssertionError, match=r"`idle` reports time\.drift\.nu"):
        effect.test_settings_are_reported_as_acting()


def test_the_contract_of_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = TestMlp()
    for patch, test, message in (
        (("chip", lambda: load_chip("ideal").replace("policy.layers", {"*": "digital"})),
         "report_lists_every_product_layer", "no layer on a crossbar"),
        (("chip", lambda: load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.5)),
         "ideal_chip_equals_the_digital_network_to_the_bit", "an ideal chip changes"),
        (("chip", lambda: load_chip("ideal").replace("policy.layers", {"*": "digital"})),
         "device_variation_reaches_the_outputs", "variation changes no output"),
        (("images", lambda: torch.zeros(4, 1, 8, 8).requires_grad_(False)), "gradients_reach_every_weight",
         "no gradient reaches"),
    ):  # fmt: skip
        with monkeypatch.context() as patched:
            patched.setattr(contract, *patch)
            with pytest.raises(AssertionError, match=message):
                getattr(contract, f"test_{test}")()
    other = build_arch("bnn_mlp", {"inputs": 64, "hidden": [32], "classes": 4}, Path()).eval()
    monkeypatch.setattr("imc_sim.testing._network_contract.load_model", lambda _: other)
    with pytest.raises(AssertionError, match="loading changes outputs"):
        contract.test_saved_and_loaded_is_the_same_network(tmp_path)


class Calls:
    """An executor whose calls end as told."""

    width = 2

    def __init__(self, **told: Any) -> None:
        self.told = told

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if fn.__name__ == "_die_once" and "flag" not in self.told:
            Path(args[0]).unlink()
        if fn.__name__ == "_die":
            future.set_exception(RuntimeError(self.told.get("fatal", "3 workers lost")))
        elif fn.__name__ == "_fail" and "error" not in self.told:
            try:
                fn(*args)
            except ArithmeticError as error:
                future.set_exception(error)
        elif fn.__name__ == "_fail":
            future.set_exception(self.told["error"])
        else:
            future.set_result({"_square": self.told.get("square", args[0] ** 2 if fn.__name__ == "_square" else 0)}.get(
                fn.__name__, self.told.get("process", 0)
            ))  # fmt: skip
        return future

    def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("test", "told", "message"),
    [
        ("calls_give_what_they_return_or_raise", {"square": 7}, "wrong results"),
        ("calls_give_what_they_return_or_raise", {"error": ValueError("x")}, "raised ValueError"),
        ("calls_give_what_they_return_or_raise", {"error": ArithmeticError("x")}, "does not name the line"),
        ("lost_workers", {"square": 7}, "others were lost"),
        ("lost_workers", {"fatal": "gone"}, "gone"),
        ("lost_workers", {"process": os.getpid()}, "not run again"),
        ("lost_workers", {"flag": "kept"}, "not run again"),
    ],
)
def test_the_contract_of_executors(test: str, told: dict[str, Any], message: str, tmp_path: Path) -> None:
    class Contract(ExecutorContract):
        told: ClassVar[dict[str, Any]] = {}

        def make(self) -> Any:
            return Calls(**self.told)

    arguments = (tmp_path,) if test == "lost_workers" else ()
    contract = Contract()
    getattr(contract, f"test_{test}")(*arguments)
    Contract.told = told
    with pytest.raises(AssertionError, match=message):
        getattr(contract, f"test_{test}")(*arguments)


@pytest.mark.parametrize("condition", [False, 0, None, np.bool_(False), torch.tensor(False), ""])
def test_what_is_required_is_true(condition: Any) -> None:
    require(bool(not condition), "x")
    with pytest.raises(AssertionError, match="what is wrong"):
        require(condition, "what is wrong")


# -- the stand-in -------------------------------------------------------------------------------------------


def test_counts_of_the_stand_in_follow_from_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (_stand_in.SLOW, _stand_in.FAIL, _stand_in.KILL, _stand_in.KILL_ONCE, _stand_in.FATAL):
        monkeypatch.delenv(name, raising=False)
    chip = {"device": {"programming": {"sigma": 0.2}}}

    def counts(model: str, chip: dict[str, Any] | None, way: int, chips: range, seed: int) -> list[tuple[int, int]]:
        found = stand_in_evaluator(model, chip, {"way": way}, chips, seed)
        assert {(each.total, each.seconds) for each in found} == {(1000, 0.01)}
        return [(each.chip, each.correct) for each in found]

    first = counts("m", chip, 5, range(6), 0)
    assert [number for number, _ in first] == list(range(6))
    assert len({correct for _, correct in first}) > 1
    assert all(750 <= correct <= 850 for _, correct in first)
    assert counts("m", chip, 5, range(2, 4), 0) == first[2:4], "whatever is computed with it"
    other = {"device": {"programming": {"sigma": 0.2, "x": 1}}}
    for changed in (("n", chip, 5, 0), ("m", other, 5, 0), ("m", chip, 6, 0), ("m", chip, 5, 1)):
        assert counts(*changed[:3], range(6), changed[3]) != first
    ((number, correct),) = counts("m", None, 5, range(6), 0)
    assert number == -1
    assert 850 <= correct <= 950


def test_the_stand_in_fails_and_is_killed_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip, flag = {"device": {"programming": {"sigma": 0}}}, tmp_path / "flag"
    killed: list[Any] = []
    slept: list[float] = []
    monkeypatch.setattr(_stand_in.os, "kill", lambda *given: killed.append(given[1]))
    monkeypatch.setattr(_stand_in.time, "sleep", slept.append)
    ran = lambda chips: len(stand_in_evaluator("m", chip, {}, chips, 0))  # noqa: E731
    monkeypatch.setenv(_stand_in.FAIL, str(flag))
    assert ran([3]) == 1, "no file"
    flag.touch()
    assert ran([2, 4]) == 2
    with pytest.raises(ArithmeticError, match="chip 3 is out of order"):
        ran([2, 3])
    monkeypatch.delenv(_stand_in.FAIL)
    assert killed == []
    monkeypatch.setenv(_stand_in.KILL, str(flag))
    ran([0])
    assert flag.exists()
    monkeypatch.delenv(_stand_in.KILL)
    monkeypatch.setenv(_stand_in.KILL_ONCE, str(flag))
    ran([0])
    ran([0])
    assert not flag.exists()
    monkeypatch.delenv(_stand_in.KILL_ONCE)
    monkeypatch.setenv(_stand_in.FATAL, "3")
    ran([2])
    ran([2, 3])
    assert killed == [signal.SIGKILL] * 3
    monkeypatch.setenv(_stand_in.SLOW, "0.5")
    ran([0])
    assert slept[-2:] == [0.0, 0.5]
