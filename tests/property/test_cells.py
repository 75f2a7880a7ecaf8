"""Every parameter has an effect, and every pair of effects combines: no conductance below 0 S, no NaN."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imc_sim._quantiles import PARTS, TAIL, WIDTH
from imc_sim.config import Spec
from imc_sim.device import (
    VTEAM,
    ArrayRefresh,
    CellRefresh,
    Correlated,
    CycleToCycle,
    Device,
    Drift,
    Endurance,
    Faults,
    Flicker,
    LogRelaxation,
    MeasuredRelaxation,
    MeasuredVariation,
    PolynomialVariation,
    PulsedProgramming,
    PulseScheme,
    Read,
    ReadDisturb,
    RelativeVariation,
    Retention,
    StatePiece,
    StateRelaxation,
    Switching,
    Telegraph,
    Time,
    WriteVerify,
)

N = 400
AGEING = Time(
    relaxation=LogRelaxation(sigma_S=1e-6, growth_S=2e-7, shift_S=-3e-7),
    drift=Drift(nu=0.05, nu_std=0.02),
    retention=Retention(rate_Hz=1e-6),
)


def device(**changes: Any) -> Device:
    return Device(g_lrs_S=1e-4, g_hrs_S=2e-5, **changes)


def programmed(d: Device, steps: int) -> torch.Tensor:
    """Return g of one chip's cells on all levels, in units of window / steps."""
    levels = (torch.arange(N) % (steps + 1)).to(torch.int32)
    return d.table(steps).reshape(-1)[d.draw(levels, steps, 1, "l", 2).long()] * steps


def aged(d: Device, g: torch.Tensor, steps: int) -> torch.Tensor:
    y = torch.linspace(-0.5, 0.5, N, dtype=torch.float64)
    return d.age(g, steps, 1, "l", 2, rows=y, cols=-y, tile=torch.arange(N) % 3)


def siemens(d: Device, g: torch.Tensor, steps: int) -> torch.Tensor:
    return (g / steps + d.floor) * d.window_S


POLY = StatePiece(coefficients=(0.02, 0.1))
MEASURED = MeasuredRelaxation(times_s=(1.0, 50.0), coefficients_S=((1e-6,), (3e-6, 1e-6)), g_max_S=1e-4)
BY_STATE = StateRelaxation(states_S=(2e-5, 1e-4), sigma_S=(1e-6, 2e-6), tail=(0.2, 0.5))
ENDS = Retention(rate_Hz=0.1, states_S=(2e-5, 1e-4), end_S=(1e-6, 5e-6))
QUANTILES = MeasuredVariation(
    targets_S=(2e-5, 1e-4), probabilities=(0.1, 0.5, 0.9), quantiles_S=((1e-5, 2e-5, 4e-5), (9e-5, 1e-4, 1.2e-4))
)
WORN = Endurance(cycles=1e6, lrs_exponent=-0.02, hrs_exponent=0.05, life_cycles=3e6)
AGAIN = Time(t_s=9.0, refresh_s=2.5)
CONSTANT = PolynomialVariation(coefficients_S=(1e-6,), g_max_S=1e-4)
READ_HARD = Read(v_read_V=0.4)
PULSES = PulsedProgramming(cell=VTEAM(r_on_ohm=5e3, r_off_ohm=1e5), tolerance=0.05)
#: path -> (another value, what must be on for it to matter)
PARAMETERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "g_lrs_S": (1.2e-4, {}),
    "g_hrs_S": (1e-5, {}),
    "levels": (5, {}),
    "spacing": ("resistance", {"levels": 5}),
    "table_S": ((2e-5, 3e-5, 1e-4), {"levels": 3}),
    "programming.sigma": (0.3, {}),
    "programming.sigma_hrs": (0.3, {}),
    "programming.law": ("log_normal", {"programming": RelativeVariation(sigma=0.2)}),
    "programming.law_hrs": ("log_normal", {"programming": RelativeVariation(sigma=0.2)}),
    "programming.sigma_of": ("cv", {"programming": RelativeVariation(sigma=0.2, law="log_normal")}),
    "programming.target_is": ("mean", {"programming": RelativeVariation(sigma=0.2, law="log_normal")}),
    "programming.coefficients_S": ((1e-6, 2e-6), {"programming": CONSTANT}),
    "programming.g_max_S": (2e-4, {"programming": PolynomialVariation(coefficients_S=(0.0, 1e-6), g_max_S=1e-4)}),
    "programming.targets_S": ((3e-5, 1e-4), {"programming": QUANTILES}),
    "programming.probabilities": ((0.2, 0.5, 0.9), {"programming": QUANTILES}),
    "programming.quantiles_S": (((1e-5, 3e-5, 4e-5), (9e-5, 1e-4, 1.2e-4)), {"programming": QUANTILES}),
    "programming.scale": (2.0, {"programming": CONSTANT}),
    "programming.cell": (VTEAM(r_on_ohm=9e3, r_off_ohm=9e4), {"programming": PULSES}),
    "programming.scheme": (PulseScheme(set_V=-0.3, reset_V=1.1, width_s=2e-9), {"programming": PULSES}),
    "programming.tolerance": (0.01, {"programming": PULSES}),
    "programming.speed_spread": (0.5, {"programming": PULSES}),
    "verify.tolerance": (0.1, {"programming": RelativeVariation(sigma=0.2), "verify": WriteVerify(max_pulses=3)}),
    "verify.tolerance_S": (5e-6, {"programming": RelativeVariation(sigma=0.2), "verify": WriteVerify(max_pulses=3)}),
    "verify.max_pulses": (4, {"programming": RelativeVariation(sigma=0.2), "verify": WriteVerify(tolerance=0.05)}),
    "faults.stuck_lrs": (0.2, {}),
    "faults.stuck_hrs": (0.2, {}),
    "faults.cell_yield": (0.8, {}),
    "faults.dead_S": (1e-6, {"faults": Faults(cell_yield=0.5)}),
    "faults.failure": (0.2, {}),
    "faults.failure_state": ("undefined", {"faults": Faults(failure=0.2)}),
    "cycle_to_cycle.share": (0.5, {"programming": RelativeVariation(sigma=0.2)}),
    "cycle_to_cycle.correlation": (0.5, {"programming": RelativeVariation(sigma=0.2), "time": AGAIN}),
    "endurance.cycles": (1.2e6, {"endurance": WORN}),
    "endurance.onset_cycles": (10.0, {"endurance": WORN}),
    "endurance.lrs_exponent": (-0.03, {"endurance": WORN}),
    "endurance.hrs_exponent": (0.02, {"endurance": WORN}),
    "endurance.life_cycles": (2e6, {"endurance": WORN}),
    "endurance.life_shape": (2.0, {"endurance": WORN}),
    "endurance.failed_at": ("lrs", {"endurance": WORN}),
    "correlated.chip": (0.1, {}),
    "correlated.gradient": (0.1, {}),
    "time.t_s": (99.0, {"time": AGEING}),
    "time.relaxation.sigma_S": (1e-6, {"time": Time(t_s=9.0)}),
    "time.relaxation.growth_S": (1e-6, {"time": Time(t_s=9.0)}),
    "time.relaxation.shift_S": (-1e-6, {"time": Time(t_s=9.0)}),
    "time.relaxation.t0_s": (2.0, {"time": Time(t_s=9.0, relaxation=LogRelaxation(growth_S=1e-6))}),
    "time.relaxation.times_s": ((1.0, 70.0), {"time": Time(t_s=9.0, relaxation=MEASURED)}),
    "time.relaxation.coefficients_S": (((1e-6,), (4e-6,)), {"time": Time(t_s=9.0, relaxation=MEASURED)}),
    "time.relaxation.g_max_S": (2e-4, {"time": Time(t_s=9.0, relaxation=MEASURED)}),
    "time.relaxation.scale": (2.0, {"time": Time(t_s=9.0, relaxation=MEASURED)}),
    "time.relaxation.states_S": ((1e-5, 2e-4), {"time": Time(t_s=9.0, relaxation=BY_STATE)}),
    "time.relaxation.tail": (0.9, {"time": Time(t_s=9.0, relaxation=BY_STATE)}),
    "time.drift.nu": (0.1, {"time": Time(t_s=9.0)}),
    "time.drift.nu_std": (0.1, {"time": Time(t_s=9.0)}),
    "time.drift.t0_s": (2.0, {"time": Time(t_s=9.0, drift=Drift(nu=0.1))}),
    "time.drift.g_max_S": (2e-4, {"time": Time(t_s=9.0, drift=Drift(nu=(POLY,), g_max_S=1e-4))}),
    "time.retention.rate_Hz": (0.01, {"time": Time(t_s=9.0)}),
    "time.retention.activation_eV": (0.1, {"time": Time(t_s=9.0, retention=Retention(rate_Hz=0.1, reference_K=350.0))}),
    "time.retention.reference_K": (350.0, {"time": Time(t_s=9.0, retention=Retention(rate_Hz=0.1, activation_eV=0.1))}),
    "time.retention.beta": (0.5, {"time": Time(t_s=9.0, retention=Retention(rate_Hz=0.1))}),
    "time.retention.end_S": (1e-6, {"time": Time(t_s=9.0, retention=Retention(rate_Hz=0.1))}),
    "time.retention.states_S": ((1e-5, 2e-4), {"time": Time(t_s=9.0, retention=ENDS)}),
    "time.refresh_s": (2.5, {"time": Time(t_s=9.0, drift=Drift(nu=0.1))}),
    "time.compensation": (True, {"time": Time(t_s=9.0, drift=Drift(nu=0.1))}),
    "disturb.reads": (10**8, {"read": READ_HARD}),
    "disturb.refresh.f": (3.0, {"disturb": ReadDisturb(reads=10**6, refresh=ArrayRefresh()), "read": READ_HARD}),
    "disturb.refresh.tolerance": (
        0.2,
        {"disturb": ReadDisturb(reads=10**6, refresh=CellRefresh()), "read": READ_HARD},
    ),
    "read.v_read_V": (0.3, {"read": Read(nonlinearity_per_V=2.0)}),
    "read.sigma": (0.1, {}),
    "read.bandwidth_Hz": (1e9, {}),
    "read.flicker.q": (0.1, {"time": Time(t_s=1.0)}),
    "read.flicker.t_read_s": (1e-6, {"time": Time(t_s=1.0), "read": Read(flicker=Flicker(q=0.1))}),
    "read.flicker.g_max_S": (2e-4, {"time": Time(t_s=1.0), "read": Read(flicker=Flicker(q=(POLY,), g_max_S=1e-4))}),
    "read.telegraph.probability": (0.5, {"read": Read(telegraph=Telegraph(amplitude=0.1))}),
    "read.telegraph.amplitude": (0.5, {"read": Read(telegraph=Telegraph(probability=0.1))}),
    "read.telegraph.spread": (0.5, {"read": Read(telegraph=Telegraph(probability=0.1, amplitude=0.1))}),
    "read.telegraph.occupancy": (0.1, {"read": Read(telegraph=Telegraph(probability=0.1, amplitude=0.1))}),
    "read.nonlinearity_per_V": (1.0, {}),
    "temperature_K": (400.0, {"read": Read(bandwidth_Hz=1e6)}),
} | {
    f"disturb.{name}": (value, {"disturb": ReadDisturb(reads=10**9), "read": READ_HARD})
    for name, value in {"t_read_s": 2e-7, "cycles": 9, "t0_s": 1e-8, "base": 1.4, "c1": 0.007, "a": 0.1}.items()
} | {
    f"disturb.{name}": (value, {"disturb": ReadDisturb(reads=10**9, cycles=99), "read": READ_HARD})
    for name, value in {"k": 0.004, "m": 0.5}.items()
}  # fmt: skip
#: Alternatives, not swept: each one has its own entries above.
KINDS = {"programming.kind", "time.relaxation.kind", "disturb.refresh.kind"}
#: keys of a measured map, which tests/exact/test_array_map.py shows to act
OF_A_MAP = {f"programming.{key}" for key in ("file", "sha256", "use", "repeat")}


def leaves(kind: type[Spec], prefix: str = "") -> set[str]:
    """Dotted paths of all parameters, through every alternative of every union.

    Parameters of switching models and of pulse schemes are shown to act in tests/exact/test_switching.py.
    """
    found: set[str] = set()
    for name, info in kind.model_fields.items():
        specs = [s for s in specs_in(info.annotation) if not issubclass(s, (StatePiece, PulseScheme, Switching))]
        found |= {f for s in specs for f in leaves(s, f"{prefix}{name}.")} if specs else {prefix + name}
    return found


def specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [s for part in getattr(annotation, "__args__", ()) for s in specs_in(part)]


def everything(d: Device) -> list[Any]:
    """Return all that a device does to some cells."""
    steps = d.levels - 1
    g = programmed(d, steps)
    old, young = aged(d, g, steps), aged(d.at_start, g, steps)
    G = siemens(d, old, steps)
    noise = d.read_variance(G, d.traps((N,), 1, "l", 2))
    pulses = d.pulses((torch.arange(N) % (steps + 1)).to(torch.int32), steps, 1, "l", 2)
    drives = d.read.drive(torch.linspace(-1, 1, 9, dtype=torch.float64))
    numbers = [t.tolist() for t in (G, noise, pulses, drives)]
    return [*numbers, *d.wear, d.compensation(young, old, steps)]


def test_every_parameter_is_listed() -> None:
    assert leaves(Device) - KINDS - OF_A_MAP == set(PARAMETERS)


@pytest.mark.parametrize("path", PARAMETERS)
def test_every_parameter_changes_the_result(path: str) -> None:
    value, on = PARAMETERS[path]
    if path == "table_S":
        plain, changed = device(**on), device(**on, table_S=value)
    else:
        plain = device(**on)
        changed = plain.replace(path, value)
    assert everything(plain) == everything(device(**on)), "results of one device differ between calls"
    assert everything(plain) != everything(changed)


# -- every effect with every other -------------------------------------------------------------------------

VARIATIONS = st.one_of(
    st.builds(
        RelativeVariation,
        sigma=st.floats(0, 2),
        sigma_hrs=st.floats(0, 2),
        law=st.sampled_from(["gaussian", "log_normal"]),
    ),
    st.builds(
        PolynomialVariation, coefficients_S=st.just((1e-6, 5e-6, -3e-6)), g_max_S=st.just(1e-4), scale=st.floats(0, 9)
    ),
    st.builds(QUANTILES.replace, st.just("scale"), st.floats(0, 9)),
)
FAULTS = st.builds(
    Faults, stuck_lrs=st.floats(0, 0.3), stuck_hrs=st.floats(0, 0.3), cell_yield=st.floats(0.7, 1),
    failure=st.floats(0, 1), failure_state=st.sampled_from(["hrs", "undefined"]),
)  # fmt: skip
RELAXATIONS = st.one_of(
    st.builds(LogRelaxation, sigma_S=st.floats(0, 1e-4), growth_S=st.floats(0, 1e-5), shift_S=st.floats(-1e-5, 1e-5)),
    st.just(MEASURED),
    st.builds(
        StateRelaxation,
        states_S=st.just((1e-5, 9e-5)),
        sigma_S=st.floats(0, 1e-4),
        tail=st.floats(0, 2),
        growth_S=st.tuples(st.floats(0, 1e-5), st.floats(0, 1e-5)),
        shift_S=st.floats(-1e-5, 1e-5),
    ),
)
REFRESHES = st.one_of(
    st.builds(ArrayRefresh, f=st.floats(1, 9)), st.builds(CellRefresh, tolerance=st.floats(0.01, 0.5))
)
VERIFIES = st.builds(
    WriteVerify, tolerance=st.floats(0, 0.5), tolerance_S=st.floats(0, 1e-5), max_pulses=st.integers(1, 99)
)
DEVICES = st.builds(
    Device,
    g_lrs_S=st.just(1e-4),
    g_hrs_S=st.floats(1e-9, 9e-5),
    levels=st.integers(2, 9),
    spacing=st.sampled_from(["conductance", "resistance"]),
    programming=VARIATIONS,
    verify=VERIFIES,
    faults=FAULTS,
    cycle_to_cycle=st.builds(CycleToCycle, share=st.floats(0, 1), correlation=st.floats(0, 0.9)),
    endurance=st.builds(
        Endurance, cycles=st.floats(0, 1e6), lrs_exponent=st.floats(-0.1, 0.1), hrs_exponent=st.floats(-0.1, 0.1),
        life_cycles=st.one_of(st.none(), st.floats(1e3, 1e12)), life_shape=st.floats(0.5, 4),
        failed_at=st.sampled_from(["hrs", "lrs"]),
    ),
    correlated=st.builds(Correlated, chip=st.floats(0, 0.5), gradient=st.floats(0, 2)),
    time=st.builds(
        Time, t_s=st.floats(0, 1e9), relaxation=RELAXATIONS, compensation=st.booleans(),
        drift=st.builds(Drift, nu=st.floats(0, 0.5), nu_std=st.just((POLY,)), g_max_S=st.just(1e-4)),
        retention=st.builds(Retention, rate_Hz=st.floats(0, 1), activation_eV=st.floats(0, 2), beta=st.floats(0.1, 1)),
    ),
    disturb=st.builds(ReadDisturb, reads=st.integers(0, 10**6), t_read_s=st.floats(1e-9, 1e-3), refresh=REFRESHES),
    read=st.builds(
        Read, v_read_V=st.floats(0.05, 0.4), sigma=st.floats(0, 1), bandwidth_Hz=st.floats(0, 1e9),
        flicker=st.builds(Flicker, q=st.floats(0, 1)), nonlinearity_per_V=st.floats(0, 1e3),
        telegraph=st.builds(Telegraph, probability=st.floats(0, 1), amplitude=st.floats(0, 1), spread=st.floats(0, 3)),
    ),
    temperature_K=st.floats(4, 500),
)  # fmt: skip


@given(DEVICES)
@settings(max_examples=150, deadline=None)
def test_all_effects_together_leave_cells_that_conduct_and_reads_that_vary(d: Device) -> None:
    steps = d.levels - 1
    g = programmed(d, steps)
    G = siemens(d, aged(d, g, steps), steps)
    assert bool(torch.isfinite(G).all())
    assert float(G.min()) >= -1e-18
    start = d.clipped(g, steps)
    assert float(siemens(d, start, steps).min()) >= -1e-18
    noise = d.read_variance(G, d.traps((N,), 0, "l", 0), siemens(d, start, steps))
    assert bool((torch.isfinite(noise) & (noise >= -1e-30)).all())
    assert d.wear.factor <= 1.0
    assert 0.0 < d.compensation(aged(d.at_start, start, steps), aged(d, g, steps), steps) < float("inf")


@given(DEVICES, st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_tables_hold_an_increasing_quantile_function_for_every_level(d: Device, steps: int) -> None:
    table = d.table(steps)
    assert table.shape == (steps + 1 + 2 * d.faults.extra, WIDTH)
    low, high, body = table[:, PARTS : PARTS + TAIL], table[:, PARTS + TAIL :], table[:, 1 : PARTS - 1]
    rising = torch.cat([low, body, high], 1)[: steps + 1]
    assert bool((rising.diff(dim=1) >= -1e-12).all())
    assert bool((d.positions(steps).diff() >= 0).all())


@given(DEVICES)
@settings(max_examples=40, deadline=None)
def test_a_device_equals_what_its_yaml_says(d: Device) -> None:
    again = d.replace("levels", d.levels)
    assert again == d
    assert hash(again) == hash(d)
    assert again.digest() == d.digest()
