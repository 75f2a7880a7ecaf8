"""Values that no device has are refused by name before anything runs; an overflow is never a result."""

from __future__ import annotations

import typing
from types import SimpleNamespace
from typing import Any, cast

import annotated_types
import numpy as np
import pytest
import torch
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from imc_sim import InputError
from imc_sim.array import Chip, Crossbar, Differential, Tile, load_chip
from imc_sim.config import Spec, build
from imc_sim.device import (
    Correlated,
    Device,
    Drift,
    LogRelaxation,
    MeasuredRelaxation,
    PolynomialVariation,
    PulseScheme,
    Read,
    ReadDisturb,
    Retention,
    StanfordPKU,
    StatePiece,
    Time,
    program_and_verify,
    switching_model,
    switching_names,
)

#: state laws are numbers or pieces, which validators limit; see LAWS
BY_VALIDATOR = {("Drift", "nu"), ("Drift", "nu_std"), ("Flicker", "q")}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("levels", 65536), ("g_lrs_S", 1e3), ("temperature_K", 1e5), ("programming.sigma", 1e9),
        ("programming.sigma_hrs", 50), ("correlated.gradient", 1e100), ("correlated.chip", 1e9),
        ("read.bandwidth_Hz", 1e100), ("read.sigma", 1e300), ("read.v_read_V", 1e6), ("read.flicker.q", 1e9),
        ("read.telegraph.spread", 1e9), ("time.t_s", 1e100), ("time.drift.nu", 1e100), ("time.drift.nu", -0.1),
        ("time.drift.nu_std", 50.0),
        ("time.retention.rate_Hz", 1e100), ("time.retention.activation_eV", 1e9), ("time.relaxation.sigma_S", 1e9),
        ("time.relaxation.shift_S", -1e9), ("faults.dead_S", 1e9), ("faults.failure", 1.5), ("faults.stuck_lrs", -0.1),
        ("read.nonlinearity_per_V", 1e9), ("verify.tolerance", 1e9), ("disturb.c1", 1e9), ("table_S", [0.0, 5.0]),
    ],
)  # fmt: skip
def test_values_beyond_the_physical_range_are_refused(path: str, value: Any) -> None:
    with pytest.raises(InputError, match=path.rsplit(".", maxsplit=1)[-1]):
        load_chip("rram_hfo2_1t1r").replace(f"device.{path}", value)


def specs(annotation: Any) -> set[type[BaseModel]]:
    """Yield every specification that a type names."""
    here = {annotation} if isinstance(annotation, type) and issubclass(annotation, BaseModel) else set()
    return here.union(*(specs(part) for part in typing.get_args(annotation)))


def limited(annotation: Any, metadata: tuple[Any, ...]) -> bool:
    """Tell if every number that a type accepts has a lowest and a highest value."""
    both = [any(isinstance(m, kinds) for m in metadata) for kinds in (
        (annotated_types.Ge, annotated_types.Gt), (annotated_types.Le, annotated_types.Lt),
    )]  # fmt: skip
    if all(both):
        return True
    if annotation in (float, int):
        return False
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        own = tuple(m for part in parts[1:] for m in (part.metadata if isinstance(part, FieldInfo) else [part]))
        return limited(parts[0], own)
    return all(limited(part, ()) for part in parts if not isinstance(part, str))


def test_every_number_of_a_chip_has_a_range() -> None:
    found: set[type[BaseModel]] = {Chip}
    todo: list[type[BaseModel]] = [Chip]
    while todo:
        for info in todo.pop().model_fields.values():
            new = specs(info.annotation) - found
            found |= new
            todo += new
    assert len(found) > 20
    fields = [(spec.__name__, name, info) for spec in found for name, info in spec.model_fields.items()]
    without = {(spec, name) for spec, name, info in fields if not limited(info.annotation, tuple(info.metadata))}
    assert without == BY_VALIDATOR


STEEP = StatePiece(law="power", coefficients=(0.1, -4.0))
LAWS: dict[str, Any] = {
    "coefficients_S": lambda: PolynomialVariation(coefficients_S=(2.0,), g_max_S=1.0),
    "3 g_max_S": lambda: PolynomialVariation(coefficients_S=(0.0, 2e-4), g_max_S=5e-5),
    "g_max_S": lambda: MeasuredRelaxation(times_s=(1.0, 2.0), coefficients_S=((0.0,), (1e-3,)), g_max_S=1e-4),
    "coefficients": lambda: StatePiece(coefficients=(1e9,)),
    "exponent": lambda: StatePiece(law="power", coefficients=(1.0, 50.0)),
    "nu from": lambda: Drift(nu=(STEEP,), g_max_S=1e-4),
    "nu_std from": lambda: Drift(nu_std=(STEEP,), g_max_S=1e-4),
    "100 g_0_m": lambda: StanfordPKU(g_0_m=1e-12),
    "v_0_V": lambda: StanfordPKU(v_0_V=1e-6),
    "set_V": lambda: PulseScheme(set_V=160.0, reset_V=-1.5, width_s=1e-9),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws_beyond_the_physical_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LAWS[name]()
    assert Drift(nu=(STEEP.model_copy(update={"high": 2.0}),), g_max_S=1e-4).nu


def ends(spec: type[Spec], name: str) -> list[float]:
    """Return both ends of a field's range, where they are allowed."""
    metadata = spec.model_fields[name].metadata
    low = [cast("float", m.ge) for m in metadata if isinstance(m, annotated_types.Ge)]
    return low + [cast("float", m.le) for m in metadata if isinstance(m, annotated_types.Le)]


@pytest.mark.parametrize("name", switching_names())
def test_switching_models_at_the_ends_of_every_range_are_finite_or_refused(name: str) -> None:
    model = switching_model(name)
    numbers = [key for key, info in type(model).model_fields.items() if info.annotation is float]
    refused = 0
    for key in numbers:
        for value in ends(type(model), key):
            try:
                other = model.replace(key, value)
                state = torch.tensor(other.bounds, dtype=torch.float64).mean()[None]
                for v in (10.0, -10.0, 0.5, -0.5):
                    for compliance in (None, 1e-4):
                        moved = other.step(state, v, 1e-6, compliance)
                        assert bool(torch.isfinite(moved).all()), (key, value, v)
                        assert other.bounds[0] <= float(moved) <= other.bounds[1]
            except InputError:
                refused += 1
    assert refused < len(numbers)


def test_pulses_grow_up_to_10_volts() -> None:
    applied: list[float] = []

    def step(state: torch.Tensor, v_V: torch.Tensor, _dt_s: torch.Tensor, _compliance_A: None) -> torch.Tensor:
        applied.append(float(v_V[0]))
        return state

    model = SimpleNamespace(range_S=(0.0, 10.0), conductance=lambda state: state, step=step)
    scheme = PulseScheme(set_V=-1.0, reset_V=1.0, width_s=1e-9, step_V=4.0, max_pulses=5)
    target = torch.tensor([5.0], dtype=torch.float64)
    program_and_verify(cast("Any", model), target, 0.01, scheme, torch.zeros_like(target))
    assert applied == [-1.0, -5.0, -9.0, -10.0, -10.0]


@pytest.mark.parametrize("sign", ["u", "\u00b5", "\u03bc"])
def test_both_mu_characters_mean_micro(sign: str) -> None:
    assert load_chip("rram_hfo2_1t1r").replace("device.g_hrs_S", f"50 {sign}S").device.g_hrs_S == 50e-6


# -- overflow beyond the ranges, as a bug or a new effect would cause it ---------------------------------------


def beyond(spec: Spec, **values: Any) -> Any:
    """Return the same specification with values that validation refuses."""
    return spec.model_copy(update=values)


def test_an_overflow_of_programming_is_an_error() -> None:
    law = beyond(PolynomialVariation(coefficients_S=(1e-6,), g_max_S=1e-4), coefficients_S=(1e308, 1e308), g_max_S=1e-9)
    with pytest.raises(InputError, match=r"device\.programming: got an overflow"):
        beyond(Device(g_lrs_S=1e-4, g_hrs_S=2e-5), programming=law).table(1)


CELL = Device(g_lrs_S=1e-4, g_hrs_S=1e-5)


def cells_of(device: Device, inputs: int = 8) -> Crossbar:
    """Return two outputs on tiles of 4 x 4 cells."""
    return Crossbar.program(torch.ones(2, inputs), Chip(device=device, tile=Tile(rows=4, cols=4)), layer="fc")


LATE = Time(t_s=1e9)
AGED: dict[str, Any] = {
    "correlated": {"correlated": beyond(Correlated(gradient=0.1), gradient=float("inf"))},
    "time.relaxation": {"time": beyond(LATE, relaxation=beyond(LogRelaxation(), sigma_S=1e308, growth_S=1e308))},
    "time.drift": {"time": beyond(LATE, drift=beyond(Drift(nu=0.1), nu=float("nan")))},
    "time.retention": {"time": beyond(LATE, retention=beyond(Retention(rate_Hz=1.0), end_S=float("inf")))},
    "disturb": {"disturb": beyond(ReadDisturb(reads=1), base=float("nan"))},
}


@pytest.mark.parametrize("effect", AGED)
def test_an_overflow_after_programming_names_layer_tile_and_effect(effect: str) -> None:
    with pytest.raises(
        InputError, match=rf"layer 'fc', tile 0, device\.{effect}: got an overflow in .* device\.{effect}"
    ):
        cells_of(beyond(CELL, **AGED[effect])).cells(0)


def test_an_overflow_names_its_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    crossbar = cells_of(beyond(CELL, time=Time(t_s=2.0, drift=Drift(nu=0.1))), inputs=12)
    factor = torch.ones(crossbar.cells(0).shape, dtype=torch.float64)
    factor[1, 0, 0, 9] = float("inf")  # input 9: the third row of tiles
    monkeypatch.setattr(Drift, "apply", lambda _self, G, _t, _normal: G * factor)
    with pytest.raises(InputError, match="tile 2, device.time.drift: got an overflow in 1 of 48 values"):
        crossbar.cells(0)


def test_reads_are_finite_or_an_error() -> None:
    with pytest.raises(InputError, match=r"layer 'fc', tile 0, device\.read: got an overflow.*device\.read"):
        cells_of(beyond(CELL, read=beyond(Read(sigma=0.1), sigma=1e200)))
    x = torch.zeros(3, 8)
    x[1, 5:7] = 3e38
    chip = Chip(device=CELL, tile=Tile(rows=4, cols=4), encoding_multibit=Differential())
    for adc, where in (({}, "layer 'fc', currents"), ({"kind": "auto", "bits": 4}, "layer 'fc', tile 1, currents")):
        crossbar = Crossbar.program(torch.ones(2, 8), chip.replace("converter", adc), layer="fc")
        with pytest.raises(InputError, match=f"{where}: got an overflow in 2 of 6 values"):
            crossbar.mvm(x)
        assert bool(torch.isfinite(crossbar.mvm(x / 1e10)).all())


def test_an_overflow_of_wires_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = load_chip("rram_hfo2_1t1r").replace("wires", {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 1.0})
    crossbar = Crossbar.program(torch.ones(2, 8), chip, layer="fc")
    broken = torch.full(crossbar.cells(0).shape, np.nan, dtype=torch.float64)
    monkeypatch.setattr("imc_sim.array._programming.wired", lambda *_: ((broken,), None))
    with pytest.raises(InputError, match="layer 'fc', tile 0, wires: got an overflow"):
        Crossbar.program(torch.ones(2, 8), chip, layer="fc")


def test_read_disturb_and_endurance_have_one_number_of_cycles() -> None:
    """disturb.cycles is that of endurance where it is left out; another number is refused, also the other way round."""
    cell = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
    reads, life = {"reads": 10**6}, {"life_cycles": 1e9}

    def device(disturb: dict[str, Any], **endurance: float) -> Device:
        return build(Device, cell | {"disturb": disturb, "endurance": endurance}, "device")

    fresh, worn = device(reads).wear, device(reads | {"cycles": 10**5}).wear
    assert device(reads, cycles=1e5, **life).wear == worn != fresh
    assert device(reads, cycles=1e5).wear == fresh, "no law of endurance"
    assert device(reads | {"cycles": 10**5}, cycles=1e5, **life).wear == worn
    for cycles in (1e4, 0.0):
        with pytest.raises(InputError, match=r"disturb\.cycles left out"):
            device(reads | {"cycles": 10**5}, cycles=cycles, **life)
