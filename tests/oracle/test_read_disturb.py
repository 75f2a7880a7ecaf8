"""Read disturb and drift compared with vectors of independent models (IMC_SIM_REFERENCE); counters with counting."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imc_sim import InputError
from imc_sim.device import ArrayRefresh, CellRefresh, Device, Drift, NoRefresh, Read, ReadDisturb, Time

EVEN = torch.linspace(0, 1, 99, dtype=torch.float64)


def device(**changes: Any) -> Device:
    return Device(g_lrs_S=1e-4, g_hrs_S=2e-5, **changes)


def siemens(d: Device, g: torch.Tensor) -> torch.Tensor:
    return (g + d.floor) * d.window_S


@pytest.mark.parametrize("volt", ["0.2", "0.3", "0.4"])
def test_read_disturb_equals_the_reference_vectors(reference: Path, volt: str) -> None:
    with np.load(reference / "mappings" / "read_disturb.npz") as archive:
        vectors = {key.removeprefix(f"V-{volt}_t1e-05_"): archive[key] for key in archive.files if f"V-{volt}_" in key}
    spec = ReadDisturb(t_read_s=1e-5)
    law = spec.law(np.array([0]), float(volt), 300.0)
    np.testing.assert_allclose([law.t_star_s[0], law.p], vectors["tt_p"], rtol=1e-12)
    np.testing.assert_allclose(law.factor(vectors["reads"] * 1e-5), vectors["factor"], rtol=1e-12)
    np.testing.assert_allclose(law.factor(vectors["reads"] * 1e-5), vectors["peer_factor"], rtol=1e-5)
    for reads, factor in zip(vectors["reads"].tolist(), vectors["factor"], strict=True):
        d = device(disturb=ReadDisturb(reads=reads, t_read_s=1e-5), read=Read(v_read_V=float(volt)))
        lrs = siemens(d, d.age(torch.ones(1, dtype=torch.float64), 1, 0, "l", 0))
        assert float(lrs[0]) == pytest.approx(1e-4 * factor, rel=1e-12)


def test_transition_times_equal_the_specification() -> None:
    law = [ReadDisturb().law(np.array([0]), v, 300.0) for v in (0.2, 0.3, 0.4)]
    assert [float(f"{one.t_star_s[0]:.2g}") for one in law] == [1e2, 0.04, 2.4e-4]
    assert [round(one.p, 4) for one in law] == [0.0159, 0.0244, 0.0373]


@pytest.mark.parametrize("nu", ["0.01", "0.1"])
@pytest.mark.parametrize("t", ["1", "100", "10000", "1e+06"])
def test_drift_equals_that_of_memtorch(reference: Path, t: str, nu: str) -> None:
    with np.load(reference / "memtorch" / "mt_retention_endurance.npz") as archive:
        before, after = (archive[f"drift_t{t}_nu{nu}_{when}0"].astype(float) for when in ("before", "after"))
    d = Device(g_lrs_S=5e-5, g_hrs_S=1e-6, time=Time(t_s=float(t), drift=Drift(nu=float(nu), t0_s=1e-3)))
    g = torch.from_numpy(before / d.window_S - d.floor)
    np.testing.assert_allclose(siemens(d, d.age(g, 1, 0, "l", 0)).numpy(), after, rtol=2e-6)


def test_read_disturb_moves_cells_in_lrs_only() -> None:
    d = device(disturb=ReadDisturb(reads=10**6, t_read_s=1e-6), read=Read(v_read_V=0.4))
    factor = siemens(d, d.age(EVEN, 1, 0, "l", 0)) / siemens(d, EVEN)
    assert torch.allclose(factor[EVEN < 0.5], torch.ones(1, dtype=torch.float64), rtol=1e-12, atol=0)
    expected = torch.tensor(d.wear.factor, dtype=torch.float64)
    assert torch.allclose(factor[EVEN >= 0.5], expected, rtol=1e-12, atol=0)
    assert d.wear.factor < 0.8


def test_every_constant_of_read_disturb_is_in_its_formula() -> None:
    changed = {"t_read_s": 3e-6, "cycles": 500, "t0_s": 3e-8, "base": 1.3, "c1": 0.009, "a": 0.09, "k": 0.004, "m": 0.3}
    for name, value in changed.items():
        spec = ReadDisturb(reads=10**8, t_read_s=1e-6, cycles=100).model_copy(update={name: value})
        p = spec.c1 * math.exp(spec.a * 0.35 / (8.617330e-5 * 350.0))
        t_star = spec.t0_s * (spec.base * (1 - spec.k * spec.cycles**spec.m)) ** (1 / p)
        expected = (1e8 * spec.t_read_s / t_star) ** -p
        d = device(disturb=spec, read=Read(v_read_V=0.35), temperature_K=350.0)
        assert d.wear.factor == pytest.approx(expected, rel=1e-4), name
        assert expected < 0.99


def test_worn_cells_are_refused_where_the_model_ends() -> None:
    assert ReadDisturb(reads=1, cycles=1_410_000).wear(0.2, 300.0).cycles == 1_410_000
    with pytest.raises(InputError, match=r"1.42e\+06"):
        ReadDisturb(reads=1, cycles=1_430_000).wear(0.2, 300.0)
    often = ReadDisturb(reads=10**12, t_read_s=1.0, cycles=1_400_000, refresh=ArrayRefresh())
    with pytest.raises(InputError, match="refresh less often"):
        often.wear(0.4, 300.0)


def counted(spec: ReadDisturb, v: float, T: float) -> tuple[int, int, int]:
    """Count refreshes, cycles and reads since, one read after the other."""
    refreshes = since = 0
    for _ in range(spec.reads):
        since += 1
        law = spec.law(np.array([spec.cycles + refreshes]), v, T)
        t = since * spec.t_read_s
        if isinstance(spec.refresh, ArrayRefresh):
            due = t >= spec.refresh.f * law.t_star_s[0]
        else:
            assert isinstance(spec.refresh, CellRefresh)
            due = law.factor(t)[0] < 1 - spec.refresh.tolerance
        if due:
            refreshes, since = refreshes + 1, 0
    return refreshes, spec.cycles + refreshes, since


@given(
    st.integers(0, 400),
    st.integers(0, 2000),
    st.floats(1e-6, 1e-3),
    st.floats(0.35, 0.45),
    st.one_of(st.builds(ArrayRefresh, f=st.floats(1, 4)), st.builds(CellRefresh, tolerance=st.floats(0, 0.2))),
)
@settings(max_examples=120, deadline=None)
def test_counters_equal_those_of_counting(reads: int, cycles: int, t_read_s: float, v: float, refresh: Any) -> None:
    spec = ReadDisturb(reads=reads, cycles=cycles, t_read_s=t_read_s, refresh=refresh)
    wear = spec.wear(v, 300.0)
    assert wear[:3] == counted(spec, v, 300.0)
    last = spec.law(np.array([wear.cycles]), v, 300.0)
    assert wear.factor == pytest.approx(float(last.factor(wear.since * t_read_s)[0]), rel=1e-14)
    assert wear.rewritten(7) == 7 * wear.refreshes


def test_many_refreshes_are_counted_across_blocks() -> None:
    spec = ReadDisturb(reads=10_000, t_read_s=1.0, refresh=ArrayRefresh())
    assert spec.wear(0.4, 300.0)[:3] == (10_000, 10_000, 0)
    slow = ReadDisturb(reads=30_000, t_read_s=1e-4, cycles=50, refresh=CellRefresh(tolerance=0.02))
    assert slow.wear(0.4, 300.0)[:3] == counted(slow, 0.4, 300.0)
    assert slow.wear(0.4, 300.0).refreshes > 4096


def test_refreshes_hold_the_conductance() -> None:
    left = ReadDisturb(reads=10**6, t_read_s=1e-5)
    assert left.wear(0.4, 300.0).factor < 0.75
    held = left.model_copy(update={"refresh": CellRefresh(tolerance=0.05)})
    assert held.wear(0.4, 300.0).factor >= 0.95
    assert left.refresh == NoRefresh()


def test_no_transition_time_is_too_long() -> None:
    for refresh in (NoRefresh(), ArrayRefresh(), CellRefresh()):
        spec = ReadDisturb(reads=10**15, c1=1e-6, refresh=refresh)
        assert spec.wear(0.01, 300.0) == (0, 0, 10**15, 1.0)
