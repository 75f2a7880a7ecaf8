"""Cells compared with their formulas: every effect alone, all together, and no parameter without effect."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from imc_sim import InputError
from imc_sim._quantiles import PARTS, WIDTH, normal_quantiles
from imc_sim._rng import Stream
from imc_sim.array import Crossbar, load_chip
from imc_sim.config import build, content_names
from imc_sim.device import (
    VTEAM,
    Correlated,
    Device,
    Drift,
    Faults,
    Flicker,
    LogRelaxation,
    MeasuredRelaxation,
    PulsedProgramming,
    PulseScheme,
    Read,
    ReadDisturb,
    RelativeVariation,
    Retention,
    StatePiece,
    Telegraph,
    Time,
    WriteVerify,
    program_and_verify,
)

N = 400
G_HRS, G_LRS = 2e-5, 1e-4
EVEN = torch.linspace(0, 1, N, dtype=torch.float64)


def device(**changes: Any) -> Device:
    return Device(g_lrs_S=G_LRS, g_hrs_S=G_HRS, **changes)


def siemens(d: Device, g: torch.Tensor, steps: int = 1) -> torch.Tensor:
    return (g / steps + d.floor) * d.window_S


def aged(d: Device, g: torch.Tensor = EVEN, **place: Any) -> torch.Tensor:
    """Return conductances in S after ageing cells programmed to g (in windows)."""
    return siemens(d, d.age(g, 1, 5, "layer", 3, **place))


# -- levels ------------------------------------------------------------------------------------------------


def test_levels_equally_spaced_in_resistance() -> None:
    d = device(levels=5, spacing="resistance")
    R = 1 / siemens(d, d.positions(4))
    assert torch.allclose(R, torch.linspace(1 / G_HRS, 1 / G_LRS, 5, dtype=torch.float64), rtol=1e-13, atol=0)
    assert d.positions(4)[[0, -1]].tolist() == [0.0, 1.0]
    assert torch.equal(d.table(4)[:, 7], d.positions(4))
    assert not d.linear
    assert device(spacing="resistance").linear


def test_a_measured_table_gives_levels_and_window() -> None:
    d = build(Device, {"table_S": ["1 uS", "2 uS", "4 uS", "9 uS"]}, "device")
    assert (d.g_hrs_S, d.g_lrs_S, d.levels) == (1e-6, 9e-6, 4)
    assert torch.allclose(
        siemens(d, d.positions(3)), torch.tensor([1e-6, 2e-6, 4e-6, 9e-6]).double(), rtol=1e-6, atol=0
    )
    assert d.positions(1).tolist() == [0.0, 1.0]
    assert build(Device, d.to_dict(), "again") == d
    assert build(Device, {"table_S": ["1 uS", "2 uS", "3 uS"]}, "device").linear


def test_fewer_steps_use_the_nearest_levels_and_targets_move_to_them() -> None:
    d = Device(g_lrs_S=11e-6, g_hrs_S=1e-6, levels=6, table_S=(1e-6, 2e-6, 4e-6, 7e-6, 9e-6, 11e-6))
    assert torch.allclose(d.positions(2), torch.tensor([0.0, 0.6, 1.0], dtype=torch.float64))
    moved = d.program(torch.tensor([0.04, 0.06, 0.69, 0.71, 0.96], dtype=torch.float64), seed=0)
    assert torch.allclose(moved, torch.tensor([0.0, 0.1, 0.6, 0.8, 1.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"table_S": [1e-6, 3e-6, 2e-6, 4e-6]}, "rises"),
        ({"table_S": [1e-6, 3e-6], "levels": 3}, "may be left out"),
        ({"table_S": [1e-6, 3e-6], "g_lrs_S": 4e-6}, "may be left out"),
        ({"g_lrs_S": 1e-4, "g_hrs_S": 0.0, "spacing": "resistance"}, "above 0 S"),
        ({"g_lrs_S": 1e-4, "g_hrs_S": 0.0, "faults": {"stuck_lrs": 0.5, "cell_yield": 0.4}}, "of at most cell_yield"),
        ({"g_lrs_S": 1e-4, "g_hrs_S": 0.0, "time": {"drift": {"nu": [{"coefficients": [1.0]}]}}}, "g_max_S together"),
        ({"g_lrs_S": 1e-4, "g_hrs_S": 0.0, "temperature_K": "hot"}, "300 K"),
        ({"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "programming": {"kind": "pulses", "cell": {"kind": "vteam"}}}, "can be"),
        (
            {
                "g_lrs_S": 1e-2,
                "g_hrs_S": 1e-3,
                "programming": {"kind": "pulses", "cell": {"kind": "vteam"}},
                "verify": {"tolerance": 0.1, "max_pulses": 9},
            },
            "verify left out",
        ),
    ],
)
def test_invalid_combinations_are_refused(data: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        build(Device, data, "device")


def test_units_in_yaml_are_converted() -> None:
    data = {"g_lrs_S": "0.1 mS", "g_hrs_S": "20 uS", "temperature_K": "358 K", "read": {"bandwidth_Hz": "3 MHz"},
            "time": {"retention": {"activation_eV": "900 meV", "rate_Hz": "2 nHz"}}}  # fmt: skip
    d = build(Device, data, "device")
    assert (d.temperature_K, d.read.bandwidth_Hz) == (358.0, 3e6)
    assert (d.time.retention.activation_eV, d.time.retention.rate_Hz) == (0.9, 2e-9)


# -- programming -------------------------------------------------------------------------------------------


def test_dead_and_failed_cells_keep_their_conductance() -> None:
    levels = torch.arange(4000, dtype=torch.int32) % 2
    for faults, expected in (
        (Faults(cell_yield=0.7, dead_S=5e-6), 5e-6),
        (Faults(cell_yield=0.7), 0.0),
        (Faults(failure=0.3), G_HRS),
    ):
        d = device(faults=faults)
        G = siemens(d, d.table(1).reshape(-1)[d.draw(levels, 1, 1, "l", 0).long()])
        target = G_HRS + (G_LRS - G_HRS) * levels.double()
        assert torch.allclose(G[(G - target).abs() > 1e-12], torch.tensor(expected, dtype=torch.float64), atol=1e-18)


def test_defects_stay_and_failures_are_sampled_again() -> None:
    levels = torch.ones(4000, dtype=torch.int32)
    for faults, stays in ((Faults(cell_yield=0.8), True), (Faults(failure=0.2), False)):
        d = device(faults=faults)
        first, second = (d.draw(levels, 1, 1, "l", 0, page) for page in (0, 1))
        assert torch.equal(first, second) == stays


def test_verify_accepts_the_part_of_the_normal_law_within_tolerance() -> None:
    verify = WriteVerify(tolerance=0.02, tolerance_S=1e-6, max_pulses=7)
    d = device(levels=3, programming=RelativeVariation(sigma=0.1, sigma_hrs=0.3), verify=verify)
    p, converged, pulses = d.verification(2)
    for k, (G, sigma) in enumerate(((2e-5, 0.3), (6e-5, 0.2), (1e-4, 0.1))):
        width = 0.02 * G + 1e-6
        expected = 2 * ndtr(width / (sigma * G)) - 1
        assert float(p[k]) == pytest.approx(expected, rel=1e-9)
        assert float(converged[k]) == pytest.approx(1 - (1 - expected) ** 7, rel=1e-9)
        assert float(pulses[k]) == pytest.approx((1 - (1 - expected) ** 7) / expected, rel=1e-9)
        inside = ((siemens(d, d.table(2)[k, :PARTS]) - G).abs() <= width).double().mean()
        assert float(inside) == pytest.approx(1 - (1 - expected) ** 7, abs=1.1 / 65536)


def test_verify_is_off_with_one_pulse_or_no_tolerance() -> None:
    variation = RelativeVariation(sigma=0.2)
    plain = device(programming=variation).table(1)
    assert torch.equal(device(programming=variation, verify=WriteVerify(tolerance=0.1)).table(1), plain)
    assert torch.equal(device(programming=variation, verify=WriteVerify(max_pulses=9)).table(1), plain)
    narrow = device(programming=variation, verify=WriteVerify(tolerance=1e-9, max_pulses=2)).table(1)
    assert torch.allclose(narrow, plain, rtol=0, atol=4e-4)
    assert torch.equal(
        device(programming=variation).pulses(torch.ones(5, dtype=torch.int32), 1, 0, "l", 0), torch.ones(5)
    )


def test_the_acceptance_of_a_law_is_solved_once() -> None:
    """Every crossbar of a chip counts pulses by it; solving it again took most of the time of counting."""
    laws = [RelativeVariation(sigma=sigma) for sigma in (0.3, 0.3, 0.2)]
    one, equal, other = (device(programming=law, verify=WriteVerify(tolerance=0.1, max_pulses=9)) for law in laws)
    assert equal.verification(1) is one.verification(1)
    assert bool((other.verification(1).accepted > one.verification(1).accepted).all())


def test_pulses_are_counted_for_the_cells_that_needed_them() -> None:
    faults, verify = Faults(stuck_hrs=0.2), WriteVerify(tolerance=0.05, max_pulses=6)
    d = device(programming=RelativeVariation(sigma=0.1), verify=verify, faults=faults)
    levels = torch.ones(5000, dtype=torch.int32)
    pulses = d.pulses(levels, 1, 3, "l", 0)
    G = siemens(d, d.table(1).reshape(-1)[d.draw(levels, 1, 3, "l", 0).long()])
    outside = (G / G_LRS - 1).abs() > 0.05
    assert torch.equal(pulses[outside], torch.full_like(pulses[outside], 6))
    assert set(pulses[~outside].tolist()) == {1, 2, 3, 4, 5, 6}


# -- correlated variation ------------------------------------------------------------------------------------


PULSED = PulsedProgramming(cell=VTEAM(r_on_ohm=1e4, r_off_ohm=1e5), tolerance=0.03, speed_spread=0.4)


def test_pulses_of_a_switching_model_end_within_their_tolerance() -> None:
    """The table holds results of cells programmed one by one: a sampled state, then pulses up to the target."""
    d = Device(g_lrs_S=80e-6, g_hrs_S=20e-6, levels=4, programming=PULSED)
    table, targets = (d.table(3) + d.floor) * d.window_S, torch.tensor([20e-6, 40e-6, 60e-6, 80e-6])
    outside = (table - targets[:, None]).abs() > 0.03 * targets[:, None] * (1 + 1e-6)
    assert float(outside[:, :PARTS].double().mean()) < 1e-3  # the slowest, which take all pulses
    levels = (torch.arange(300) % 4).to(torch.int32)
    draw, pulses = d.draw(levels, 3, 0, "l", 0), d.pulses(levels, 3, 0, "l", 0)
    for cell in (1, 2, 3, 150, 299):
        level, number = int(levels[cell]), int(draw[cell]) % WIDTH
        speed = math.exp(0.4 * float(normal_quantiles()[number]))
        share = (number + 0.5) * (math.sqrt(5) - 1) / 2 % 1
        start = PULSED.cell.from_conductance(torch.tensor([20e-6 * 4.0**share], dtype=torch.float64))
        alone = program_and_verify(PULSED.cell, targets[level : level + 1].double(), 0.03, None, start, speed)
        assert torch.allclose(alone.conductance_S, table[level, number], rtol=1e-12, atol=0)
        assert int(alone.pulses) == int(pulses[cell])


@pytest.mark.parametrize(("level", "least"), [(0, 0.01), (1, 0.03)])
def test_both_states_of_cells_programmed_by_pulses_vary(level: int, least: float) -> None:
    """HRS of rram_stanford_pku was the same number in every cell, since all cells started in it."""
    d = load_chip("rram_stanford_pku").device
    G = siemens(d, d.table(1)[level, :PARTS])
    target = (d.g_hrs_S, d.g_lrs_S)[level]
    inside = (G / target - 1).abs() <= 0.1
    assert float(inside.double().mean()) > 0.99
    assert least < float(G[inside].std()) / target < 0.08
    speeds = normal_quantiles()[:PARTS]
    starts = (np.arange(PARTS) + 0.5) * (math.sqrt(5) - 1) / 2 % 1
    assert abs(np.corrcoef(speeds, starts)[0, 1]) < 1e-3


@pytest.mark.parametrize(("law", "law_hrs"), [("gaussian", "log_normal"), ("log_normal", "gaussian")])
def test_levels_have_the_law_of_the_nearer_state_and_the_middle_that_of_lrs(law: str, law_hrs: str) -> None:
    target = torch.tensor([0.0, 0.25, 0.5 - 1e-9, 0.5, 0.5 + 1e-9, 0.75, 1.0], dtype=torch.float64)
    mixed, pure, pure_hrs = (
        RelativeVariation(sigma=0.2, law=a, law_hrs=b).apply(target, torch.ones_like(target), 0.25, 8e-5)  # type: ignore[arg-type]
        for a, b in ((law, law_hrs), (law, law), (law_hrs, law_hrs))
    )
    assert torch.equal(mixed[3:], pure[3:])
    assert torch.equal(mixed[:3], pure_hrs[:3])
    assert bool(((pure - pure_hrs).abs() > 1e-3).all())


def test_a_faster_cell_is_one_with_longer_pulses() -> None:
    start, goal = torch.full((1,), 20e-6, dtype=torch.float64), torch.full((1,), 61e-6, dtype=torch.float64)
    state = PULSED.cell.from_conductance(start)
    typical = PulseScheme.of(PULSED.cell.typical)
    longer = typical.model_copy(update={"width_s": 1.7 * typical.width_s})
    fast = program_and_verify(PULSED.cell, goal, 0.01, typical, state, speed=1.7).state
    slow, wide = (program_and_verify(PULSED.cell, goal, 0.01, scheme, state).state for scheme in (typical, longer))
    assert float((fast / wide - 1).abs()) < 1e-12
    assert float((fast / slow - 1).abs()) > 1e-4


def test_faulty_cells_use_all_pulses() -> None:
    d = Device(g_lrs_S=80e-6, g_hrs_S=20e-6, programming=PULSED, faults=Faults(stuck_hrs=0.3, cell_yield=0.8))
    levels = torch.ones(400, dtype=torch.int32)
    landed = d.draw(levels, 1, 0, "l", 0) // WIDTH
    pulses = d.pulses(levels, 1, 0, "l", 0)
    assert set(landed.tolist()) == {0, 1, 2}
    assert bool(((pulses == PULSED.most) == (landed != 1)).all())


def test_the_chip_term_is_one_factor_for_all_layers() -> None:
    d = device(correlated=Correlated(chip=0.2))
    before = siemens(d, EVEN)
    factors = [siemens(d, d.age(EVEN, 1, 5, layer, 3, page)) / before for layer, page in (("a", 0), ("b", 4))]
    z = float(Stream(5, "", "chip to chip").normal(1, 3)[0])
    for factor in factors:
        assert torch.allclose(factor, torch.full_like(factor, 1 + 0.2 * z), rtol=1e-12, atol=0)
    assert not torch.allclose(siemens(d, d.age(EVEN, 1, 5, "a", 4)) / before, factors[0])


def test_the_gradient_is_a_plane_of_its_slope_in_every_tile() -> None:
    d = device(correlated=Correlated(gradient=0.3))
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, 9).double(), torch.linspace(-0.5, 0.5, 7).double(), indexing="ij")
    directions = []
    for tile in (0, 1):
        g = torch.rand(9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        factor = aged(d, g, rows=y, cols=x, tile=torch.tensor(tile)) / siemens(d, g)
        basis = torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3)
        plane = torch.linalg.lstsq(basis, factor.reshape(-1, 1)).solution[:, 0]
        assert torch.allclose(basis @ plane, factor.reshape(-1), rtol=1e-12, atol=0)
        assert float(plane[0]) == pytest.approx(1.0, rel=1e-12)
        assert float(plane[1:].norm()) == pytest.approx(0.3, rel=1e-10)
        directions.append(plane[1:])
    assert not torch.allclose(directions[0], directions[1])
    with pytest.raises(InputError, match="coordinates"):
        d.age(g, 1, 0, "l", 0)


# -- time --------------------------------------------------------------------------------------------------

AGEING = Time(
    relaxation=LogRelaxation(sigma_S=1e-6, growth_S=2e-7, shift_S=-3e-7),
    drift=Drift(nu=0.05, nu_std=0.02),
    retention=Retention(rate_Hz=1e-6),
)


def test_immediately_after_programming_nothing_has_changed() -> None:
    d = device(time=AGEING)
    assert not d.ages
    assert d.age(EVEN, 1, 0, "l", 0) is EVEN
    assert device(time=AGEING.model_copy(update={"t_s": 1e-9})).ages


def test_drift_is_its_power_law() -> None:
    d = device(time=Time(t_s=3e4, drift=Drift(nu=0.07, t0_s=30.0)))
    assert torch.allclose(aged(d), siemens(d, EVEN) * 1000**-0.07, rtol=1e-12, atol=0)
    early = d.replace("time.t_s", 30.0)
    assert early.age(EVEN, 1, 0, "l", 0) is EVEN


def test_drift_depends_on_the_state_by_its_pieces() -> None:
    """The exponents of Nandakumar et al. and of HERMES, piece by piece."""
    low = StatePiece(law="logarithm", coefficients=(-0.0182, -0.0387), low=0.072, high=0.13, below=0.0945)
    high = StatePiece(coefficients=(0.0736, -0.0126, -0.0436))
    drift = Drift(nu=(low, high), nu_std=(StatePiece(law="power", coefficients=(0.01, 0.5)),), g_max_S=G_LRS)
    x = torch.tensor([0.0, 0.01, 0.05, 0.0944, 0.0945, 0.5, 1.0, 1.1], dtype=torch.float64)
    mean = [0.13, 0.13, -0.0182 - 0.0387 * math.log(0.05), -0.0182 - 0.0387 * math.log(0.0944)]
    mean = [max(m, 0.072) for m in mean] + [0.0736 - 0.0126 * v - 0.0436 * v * v for v in x[4:].tolist()]
    z = torch.full_like(x, 0.5)
    expected = torch.tensor(mean, dtype=torch.float64) + 0.01 * x.clamp_min(1e-7).sqrt() * z
    assert torch.allclose(drift.exponents(x * G_LRS, z), expected, rtol=1e-10, atol=0)
    assert drift.exponents(x * G_LRS, -100 * z).min() == 0.0


def test_ageing_follows_the_same_cells() -> None:
    """The samples do not depend on the time: relaxation at two times has one normal number per cell."""
    law = LogRelaxation(sigma_S=1e-6, growth_S=5e-7, shift_S=-4e-7, t0_s=2.0)
    z = []
    for t, elapsed in ((0.5, 0.0), (2.0, 0.0), (2 * math.e, 1.0), (2 * math.e**3, 3.0)):
        moved = aged(device(time=Time(t_s=t, relaxation=law))) - siemens(device(), EVEN)
        z.append((moved + 4e-7 * elapsed) / (1e-6 + 5e-7 * elapsed))
    for other in z[1:]:
        assert torch.allclose(other, z[0], rtol=1e-6, atol=1e-8)
    assert float(z[0].std()) == pytest.approx(1.0, abs=0.15)


def test_measured_relaxation_adds_the_increase_of_the_variance() -> None:
    law = MeasuredRelaxation(
        times_s=(1.0, 100.0), coefficients_S=((1e-6, 1e-6), (2e-6, 3e-6, 1e-6)), g_max_S=G_LRS, scale=0.5
    )
    x = siemens(device(), EVEN) / G_LRS
    z = None
    for t, share in ((10.0, 0.5), (100.0, 1.0), (1e6, 1.0)):
        first, last = 1e-6 * (1 + x), 1e-6 * (2 + 3 * x + x * x)
        gained = ((first + share * (last - first)) ** 2 - first**2).sqrt()
        samples = (aged(device(time=Time(t_s=t, relaxation=law))) - siemens(device(), EVEN)) / (0.5 * gained)
        z = samples if z is None else z
        assert torch.allclose(samples, z, rtol=1e-6, atol=0)
    assert not device(time=Time(t_s=1.0, relaxation=law)).ages


def test_retention_is_an_arrhenius_law() -> None:
    k = 8.617333262e-5
    for T, beta, end in ((300.0, 1.0, None), (358.0, 0.6, None), (358.0, 1.0, 1e-6)):
        law = Retention(rate_Hz=1e-7, activation_eV=0.5, reference_K=320.0, beta=beta, end_S=end)
        d = device(time=Time(t_s=2e6, retention=law), temperature_K=T)
        rate = 1e-7 * math.exp(-0.5 / k * (1 / T - 1 / 320))
        rest = G_HRS if end is None else end
        expected = rest + (siemens(d, EVEN) - rest) * math.exp(-((rate * 2e6) ** beta))
        assert torch.allclose(aged(d), expected, rtol=1e-8, atol=0)


def test_compensation_undoes_what_all_cells_lost_together() -> None:
    d = device(levels=3, time=Time(t_s=100.0, drift=Drift(nu=0.1), compensation=True), correlated=Correlated(chip=0.1))
    g = EVEN * 2
    before, after = (each.age(g, 2, 0, "l", 1) for each in (d.at_start, d))
    assert d.compensation(before, after, 2) == pytest.approx(100**0.1, rel=1e-12)
    assert d.replace("time.compensation", False).compensation(before, after, 2) == 1.0
    assert d.compensation(before, torch.full_like(after, -2 * d.floor), 2) == 1.0


def test_effects_after_programming_act_in_their_order() -> None:
    """Correlated variation, relaxation, drift, retention, read disturb: each acts on the result of the one before."""
    t = 1e4
    disturb = ReadDisturb(reads=10**7, t_read_s=1e-6)
    ageing = AGEING.model_copy(update={"t_s": t})
    d = device(correlated=Correlated(chip=0.1), time=ageing, disturb=disturb, read=Read(v_read_V=0.4))
    G = siemens(d, EVEN) * (1 + 0.1 * float(Stream(5, "", "chip to chip").normal(1, 3)[0]))
    z = [torch.from_numpy(Stream(5, "layer", stage).normal(N, 3)).double() for stage in ("relaxation", "drift")]
    G = G - 3e-7 * math.log(t) + (1e-6 + 2e-7 * math.log(t)) * z[0]
    G = G * t ** -(0.05 + 0.02 * z[1]).clamp_min(0)
    G = G_HRS + (G - G_HRS) * math.exp(-1e-6 * t)
    G = torch.where(EVEN >= 0.5, G * d.wear.factor, G)
    assert 0.5 < d.wear.factor < 0.9
    assert torch.allclose(aged(d), G, rtol=1e-10, atol=0)


# -- reading -----------------------------------------------------------------------------------------------


def test_read_noise_is_the_sum_of_its_mechanisms() -> None:
    G, trap = siemens(device(), EVEN), torch.rand(N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    parts = {
        "sigma": (0.03, (0.03 * G) ** 2),
        "bandwidth_Hz": (2e9, 4 * 1.380649e-23 * 350.0 * G * 2e9 / 0.3**2),
        "flicker": (
            Flicker(
                q=(StatePiece(law="power", coefficients=(0.0088, -0.65), high=0.02),), t_read_s=1e-6, g_max_S=G_LRS
            ),
            (G * (0.0088 * (G / G_LRS) ** -0.65).clamp_max(0.02)) ** 2 * math.log((50 + 1e-6) / 2e-6),
        ),
        "telegraph": (Telegraph(probability=0.1, amplitude=0.2, occupancy=0.3), 0.21 * (trap * G) ** 2),
    }
    for name, (value, expected) in parts.items():
        read = Read(v_read_V=0.3, **{name: value})
        assert read.noisy
        seen = read.variance(G, trap if name == "telegraph" else None, t_s=50.0, temperature_K=350.0)
        assert torch.allclose(seen, expected, rtol=1e-12, atol=0), name
    everything: dict[str, Any] = {name: value for name, (value, _) in parts.items()}
    d = device(read=Read(v_read_V=0.3, **everything), time=Time(t_s=50.0), temperature_K=350.0)
    expected = torch.stack([variance for _, variance in parts.values()]).sum(0)
    assert torch.allclose(d.read_variance(G, trap), expected, rtol=1e-12, atol=0)
    assert not Read().noisy
    with pytest.raises(InputError, match="traps"):
        d.read_variance(G)


def test_flicker_depends_on_the_programmed_state_and_is_zero_immediately_after_programming() -> None:
    flicker = Flicker(q=(StatePiece(coefficients=(0.0, 0.1)),), g_max_S=G_LRS, t_read_s=1e-6)
    read, G = Read(flicker=flicker), torch.tensor([5e-5], dtype=torch.float64)
    seen = float(read.variance(G, t_s=1.0, programmed_S=2 * G)[0])
    assert seen == pytest.approx((5e-5 * 0.1) ** 2 * math.log(1.000001 / 2e-6), rel=1e-12)
    assert float(read.variance(G, t_s=0.0)[0]) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_drive_is_a_sinh_and_exact_at_the_read_voltage(dtype: torch.dtype) -> None:
    x = torch.linspace(-1, 1, 41, dtype=dtype)
    assert Read().drive(x) is x
    read = Read(v_read_V=0.4, nonlinearity_per_V=5.0)
    seen = read.drive(x)
    assert torch.allclose(
        seen, torch.sinh(2.0 * x) / math.sinh(2.0), rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0
    )
    fixed = torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)
    for a in (1e-12, 0.1, 0.75, 3.0, 5.0, 1e3):  # at 0.75 and 3, a quotient of equal numbers is rounded below 1
        assert torch.equal(Read(nonlinearity_per_V=a).drive(fixed), fixed)
        assert bool(torch.isfinite(Read(nonlinearity_per_V=a).drive(x)).all())


def test_conductance_is_that_at_the_read_voltage() -> None:
    read, G = Read(v_read_V=0.4, nonlinearity_per_V=3.0), torch.tensor([1e-5, 1e-4], dtype=torch.float64)
    v = torch.tensor([0.4, 0.4], dtype=torch.float64)
    assert torch.equal(read.current(G, v), G * 0.4)
    expected = G * 0.4 * math.sinh(1.8) / math.sinh(1.2)
    assert torch.allclose(read.current(G, 1.5 * v), expected, rtol=1e-12, atol=0)


# -- presets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", content_names("chip"))
def test_presets_state_their_source_and_can_be_programmed(name: str) -> None:
    chip = load_chip(name)
    assert len(chip.source) > 20
    assert len(chip.validity) > 20
    weights = torch.randint(0, 2, (9, 70), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    G = Crossbar.program(weights, chip, chips=2, seed=1).conductance
    assert bool((torch.isfinite(G) & (G >= -1e-18)).all())
    assert float(G.max()) < 3 * chip.device.g_lrs_S
    same = load_chip(chip.to_dict())
    assert same == chip
    assert same.device.table(1) is chip.device.table(1)


def test_unverified_numbers_are_marked() -> None:
    assert load_chip("stt_mram").validity.startswith("Unverified")
    assert "not confirmed" in load_chip("pcm_joshi").validity
    assert "Not confirmed" in load_chip("rram_neurram").validity


def test_digital_references_are_exact() -> None:
    for name in ("ideal", "sram"):
        d = load_chip(name).device
        assert d.cells_are_ideal
        assert not d.ages
        assert not d.read.noisy


# -- addresses ---------------------------------------------------------------------------------------------


def test_another_effect_changes_no_other_sample() -> None:
    """Each stage has its own numbers, addressed by seed, layer, chip and programming epoch."""
    full = {
        "programming": RelativeVariation(sigma=0.1),
        "faults": Faults(failure=0.1, cell_yield=0.9),
        "correlated": Correlated(chip=0.1, gradient=0.1),
        "read": Read(telegraph=Telegraph(probability=0.5, amplitude=0.1, spread=0.3)),
    }
    levels = torch.ones(N, dtype=torch.int32)
    words = device(programming=full["programming"]).draw(levels, 1, 1, "l", 0) % WIDTH
    assert torch.equal(device(**full).draw(levels, 1, 1, "l", 0) % WIDTH, words)
    traps = device(read=full["read"]).traps((N,), 1, "l", 0)
    assert torch.equal(device(**full).traps((N,), 1, "l", 0), traps)
    drifting = Time(t_s=100.0, drift=Drift(nu=0.1, nu_std=0.05))
    alone = aged(device(time=drifting)) / siemens(device(), EVEN)
    common = 1 + 0.1 * float(Stream(5, "", "chip to chip").normal(1, 3)[0])
    both = aged(device(time=drifting, correlated=Correlated(chip=0.1))) / siemens(device(), EVEN)
    assert torch.allclose(both, alone * common, rtol=1e-12, atol=0)


def test_reads_epochs_and_chips_have_their_own_numbers() -> None:
    d = device(time=AGEING.model_copy(update={"t_s": 10.0}))
    runs = [
        d.age(EVEN, 1, s, la, c, p)
        for s, la, c, p in ((1, "l", 0, 0), (2, "l", 0, 0), (1, "m", 0, 0), (1, "l", 1, 0), (1, "l", 0, 1))
    ]
    assert torch.equal(runs[0], d.age(EVEN, 1, 1, "l", 0))
    assert all(not torch.equal(a, b) for i, a in enumerate(runs) for b in runs[:i])


def test_without_effects_keeps_levels_and_curve() -> None:
    d = Device(
        g_lrs_S=1e-4, g_hrs_S=1e-5, levels=4, spacing="resistance", programming=RelativeVariation(sigma=0.1),
        time=AGEING, read=Read(v_read_V=0.3, sigma=0.1, nonlinearity_per_V=2.0),
    ).without_effects()  # fmt: skip
    assert d == Device(
        g_lrs_S=1e-4, g_hrs_S=1e-5, levels=4, spacing="resistance", read=Read(v_read_V=0.3, nonlinearity_per_V=2.0)
    )
    assert d.cells_are_ideal
    assert not d.ages
    assert not d.read.noisy


def test_conductance_in_steps_is_conductance_in_windows() -> None:
    d = device(time=AGEING.model_copy(update={"t_s": 10.0}))
    assert torch.allclose(d.age(EVEN * 7, 7, 0, "l", 0) / 7, d.age(EVEN, 1, 0, "l", 0), rtol=1e-12, atol=0)
    assert np.isfinite(d.age(EVEN * 7, 7, 0, "l", 0).numpy()).all()
