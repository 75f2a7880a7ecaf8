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
    """Return results [count] of the first output for equal drives."""
    chip = Chip(device=Device(g_lrs_S=LRS, g_hrs_S=HRS, read=read)).replace("encoding", {"kind": kind})
    return Crossbar.program(w.double(), chip, seed=4).mvm(x.double().expand(count, -1))[0, :, 0].numpy()


@pytest.mark.parametrize("drive", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["differential", "offset", "tnn_i"])
def test_thermal_noise_is_present_at_any_drive(drive: float, kind: str) -> None:
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


def trapped(occupancy: float, sigma: float = 0.0) -> Read:
    return Read(telegraph=Telegraph(probability=1.0, amplitude=0.2, spread=sigma, occupancy=occupancy))


def test_one_trap_has_two_states() -> None:
    """A cell at HRS = 0 S has no trap: the column pair has one, whose low state is the rarer."""
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
    """Traps are sampled or approximated as normal; a trap of 20 % has a standard deviation of a tenth of G."""
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


def shared_noise(read: Read, kind: str = "offset", count: int = 20_000) -> np.ndarray:
    """Return results [chip, count, out] of 2 chips: outputs 0 to 2 on one column of tiles, 3 to 5 on the next.

    Two rows of tiles of 8 inputs each; every output has 4 cells at LRS and 4 at HRS = LRS / 2 on both.
    """
    rows, columns = encodings()[kind].rows, encodings()[kind].columns
    device = Device(g_lrs_S=1e-4, g_hrs_S=5e-5, read=read)
    tile = {"rows": 8 * rows, "cols": 3 * columns + (kind == "offset")}
    chip = Chip(device=device).replace("encoding", {"kind": kind}).replace("tile", tile)
    low = 0.0 if kind == "unipolar" else -1.0
    order = torch.rand(6, 2, 8, generator=torch.Generator().manual_seed(5)).argsort(-1)
    w = torch.tensor([1.0, low]).repeat(4)[order].flatten(1)
    x = torch.tensor([1.0, -1.0]).repeat(count, 8)
    return Crossbar.program(w, chip, 2, seed=4).mvm(x).double().numpy()


def fisher(a: np.ndarray, b: np.ndarray, expected: float = 0.0) -> float:
    """Return how many standard deviations the correlation of a and b is away from the expected one."""
    found = float(np.corrcoef(a, b)[0, 1])
    return abs(math.atanh(found) - math.atanh(expected)) * math.sqrt(len(a) - 3)


NOISE = {
    "relative": (Read(sigma=0.1), 0.625, 0.5625),  # sigma G: means of G^2 over cells, in LRS^2
    "thermal": (Read(bandwidth_Hz=1e11), 0.75, 0.75),  # in proportion to G
    "telegraph": (trapped(0.5), 0.625, 0.5625),
}


@pytest.mark.parametrize("name", NOISE)
def test_outputs_share_the_read_noise_of_their_reference_column(name: str) -> None:
    """The correlation is var_ref / (var_col + var_ref) within a tile, and 0 between columns of tiles, chips, reads."""
    read, column, reference = NOISE[name]
    y, share = shared_noise(read), reference / (column + reference)
    assert share == (pytest.approx(0.5) if name == "thermal" else pytest.approx(9 / 19))
    for tile in (y[0, :, :3], y[0, :, 3:], y[1, :, 3:]):
        assert max(fisher(tile[:, i], tile[:, j], share) for i, j in ((0, 1), (0, 2), (1, 2))) < 4.5
    apart = [(y[0, :, 0], y[0, :, 3]), (y[0, :, 0], y[1, :, 0]), (y[0, :-1, 0], y[0, 1:, 1])]
    assert max(fisher(a, b) for a, b in apart) < 4.5


@pytest.mark.parametrize("name", ["relative", "thermal"])
def test_variances_of_a_column_and_its_reference_add_up(name: str) -> None:
    """Over two rows of tiles, whose references are read independently."""
    read, column, reference = NOISE[name]
    relative = 0.01 if name == "relative" else 4 * BOLTZMANN_J * 300.0 * 1e11 / (0.2**2 * 1e-4)
    expected = 16 * relative * (column + reference) / 0.25**2  # in units of weight: half the window is 0.25 LRS
    found = shared_noise(read).var(axis=1) / expected - 1
    assert np.abs(found).max() < 4.5 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize("kind", [kind for kind in encodings() if kind != "offset"])
def test_outputs_without_a_common_column_share_no_noise(kind: str) -> None:
    y = shared_noise(Read(sigma=0.1), kind, 4000)[0]
    assert y.std(0).min() > 0.0
    assert max(fisher(y[:, 0], y[:, k]) for k in range(1, 6)) < 4.5


def test_reads_of_reference_columns_do_not_depend_on_batch_or_other_outputs() -> None:
    chip = Chip(device=Device(g_lrs_S=LRS, g_hrs_S=HRS, read=Read(sigma=0.1, bandwidth_Hz=1e9)))
    chip = chip.replace("encoding", {"kind": "offset"}).replace("tile", {"rows": 16, "cols": 3})
    w, x = torch.linspace(-1, 1, 200).reshape(5, 40), torch.linspace(-1, 1, 40).expand(7, 40)
    whole, parts = Crossbar.program(w, chip, 2, seed=1).mvm(x), Crossbar.program(w, chip, 2, seed=1)
    assert torch.equal(whole, torch.cat([parts.mvm(x[:3]), parts.mvm(x[3:])], 1))
    assert torch.equal(whole[1:], Crossbar.program(w, chip, range(1, 2), seed=1).mvm(x))
