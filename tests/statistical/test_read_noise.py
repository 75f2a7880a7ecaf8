"""Noise that does not scale with the drive, and noise that is not normal. Fixed keys, false alarms below 1e-4."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from imc_sim.array import Chip, Crossbar, encodings
from imc_sim.device import Device, Read, Telegraph
from imc_sim.device._read import BOLTZMANN_J

N = 200_000
LRS, HRS = 1e-4, 2e-5


def results(read: Read, w: torch.Tensor, x: torch.Tensor, count: int = N, kind: str = "differential") -> np.ndarray:
    """Results [count] of the first output for equal drives."""
    chip = Chip(device=Device(g_lrs_S=LRS, g_hrs_S=HRS, read=read)).replace("encoding", {"kind": kind})
    return Crossbar.program(w.double(), chip, seed=4).mvm(x.double().expand(count, -1))[0, :, 0].numpy()


@pytest.mark.parametrize("drive", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["differential", "offset", "tnn_i"])
def test_thermal_noise_is_there_at_any_drive(drive: float, kind: str) -> None:
    """4 k T G B of every cell of a column, whatever its word line does; TNN I converts both columns twice."""
    drive = float(round(drive)) if kind == "tnn_i" else drive
    read, n = Read(bandwidth_Hz=1e11, v_read_V=0.2), 24
    y = results(read, torch.ones(1, n), torch.full((n,), drive), 20_000, kind)
    columns = {"differential": LRS + HRS, "offset": LRS + (LRS + HRS) / 2, "tnn_i": 2 * (LRS + HRS)}[kind]
    unit = (LRS - HRS) * 0.2 / (2.0 if kind == "offset" else 1.0)
    std = math.sqrt(4 * BOLTZMANN_J * 300.0 * 1e11 * n * columns) / unit
    assert abs(y.std() / std - 1) < 4 / math.sqrt(2 * len(y))


def moments(y: np.ndarray) -> tuple[float, float]:
    return float(stats.skew(y)), float(stats.kurtosis(y))


def trapped(occupancy: float, spread: float = 0.0) -> Read:
    return Read(telegraph=Telegraph(probability=1.0, amplitude=0.2, spread=spread, occupancy=occupancy))


def test_one_trap_has_two_states() -> None:
    """A cell at HRS = 0 S has no trap to speak of: the column pair has one, whose low state is the rarer."""
    device = Device(g_lrs_S=LRS, g_hrs_S=0.0, read=trapped(0.1))
    y = Crossbar.program(torch.ones(1, 1).double(), Chip(device=device)).mvm(torch.ones(N, 1).double())[0, :, 0]
    assert torch.allclose(y.unique(), torch.tensor([0.82, 1.02], dtype=torch.float64), atol=1e-6)
    skew, kurtosis = moments(y.numpy())
    assert abs(skew + 8 / 3) < 0.06  # (2 o - 1) / sqrt(o (1 - o))
    assert abs(kurtosis - 46 / 9) < 0.4
    assert abs(float((y < 1).double().mean()) - 0.1) < 4 * 0.3 / math.sqrt(N)


@pytest.mark.parametrize(("occupancy", "n"), [(0.5, 5), (0.1, 2), (0.3, 16)])
def test_sums_of_traps_have_the_moments_of_two_state_processes(occupancy: float, n: int) -> None:
    """Cumulants add up over the cells of a column pair, with the sign of the column and of the input."""
    x = torch.tensor([1.0, -1.0, 0.5, 1.0]).repeat(4)[:n]
    w = torch.tensor([1.0, 1.0, -1.0, 1.0]).repeat(4)[:n]
    y = results(trapped(occupancy), w[None], x)
    o, unit = occupancy, LRS - HRS
    second = third = fourth = 0.0
    for a, b in zip(x.tolist(), w.tolist(), strict=True):
        for sign, G in ((1, LRS if b > 0 else HRS), (-1, HRS if b > 0 else LRS)):
            step, v = sign * a * 0.2 * G / unit, o * (1 - o)
            second += step**2 * v
            third += step**3 * v * (2 * o - 1)
            fourth += step**4 * v * (1 - 6 * v)
    skew, kurtosis = moments(y)
    assert abs(y.var() / second - 1) < 0.02
    assert abs(skew - third / second**1.5) < 0.04
    assert abs(kurtosis - fourth / second**2) < 0.1


@pytest.mark.parametrize("kind", [kind for kind in encodings() if kind != "sliced"])
def test_many_traps_keep_their_variance_in_every_encoding(kind: str) -> None:
    """Sampled traps and those taken as normal together; a trap of 20 % has a tenth of G as standard deviation."""
    n, count = 60, 6000
    real = (0.0, 1.0) if kind == "unipolar" else (-1.0, 1.0)
    values = torch.tensor(encodings()[kind]().values or real, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    w, x = (values[torch.randint(0, len(values), (1, n), generator=generator)] for _ in range(2))
    found: Any = [results(read, w, x[0], count, kind).std() for read in (trapped(0.5), Read(sigma=0.1))]
    assert abs(found[0] / found[1] - 1) < 6 / math.sqrt(2 * count)


def test_reads_do_not_depend_on_the_batch() -> None:
    chip = Chip(device=Device(g_lrs_S=LRS, g_hrs_S=HRS, read=trapped(0.3, 0.5)))
    w, x = torch.ones(3, 40), torch.linspace(-1, 1, 40).expand(7, 40)
    whole = Crossbar.program(w, chip, 2, seed=1).mvm(x)
    parts = Crossbar.program(w, chip, 2, seed=1)
    assert torch.equal(whole, torch.cat([parts.mvm(x[:3]), parts.mvm(x[3:])], 1))
    assert torch.equal(whole[1:], Crossbar.program(w, chip, range(1, 2), seed=1).mvm(x))
    assert not torch.equal(whole[0], whole[1])
