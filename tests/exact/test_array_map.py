"""A measured map as a chip: cell for cell by position, or resampled; what it refuses."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import imc_sim as imc
from imc_sim import InputError
from imc_sim._quantiles import masses
from imc_sim.array import Chip, Crossbar, MapCells
from imc_sim.device import MapVariation, Programming, read_map
from imc_sim.nn.networks import BnnMlp
from imc_sim.testing import ProgrammingContract

HRS, LRS = 5.0, 60.0
#: one map of each state [maps, rows, columns], in uS
TARGET = np.stack([np.full((40, 30), HRS), np.full((40, 30), LRS)])
USES = ("cells", "resample")
#: settings with which any number of chips and tiles fit on a map
SHARED: tuple[dict[str, Any], ...] = ({"use": "resample"}, {"repeat": True})


def saved(path: Path, conductance: Any, target: Any = TARGET, **more: Any) -> Path:
    np.savez(path, conductance_uS=conductance, target_uS=target, **more)
    return path


def noisy(seed: int = 0) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(seed))
    return TARGET * np.exp(0.1 * rng.standard_normal(TARGET.shape))


def chip(path: Path, use: str = "cells", **more: Any) -> Chip:
    found = imc.load_chip(path).replace("device.programming.use", use)
    for name, value in more.items():
        found = found.replace(f"device.programming.{name}", value)
    return found


def signs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).sign()


class TestContract(ProgrammingContract):
    @pytest.fixture(autouse=True)
    def _map(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "map.npz", noisy())
        self.programming: Programming = MapVariation(file=str(path), sha256=read_map(path).sha256)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("double", [False, True])
def test_cells_at_their_targets_are_an_ideal_chip_to_the_bit(tmp_path: Path, use: str, double: bool) -> None:
    measured = chip(saved(tmp_path / "map.npz", TARGET), use)
    weights, x = signs(12, 40), signs(7, 40, seed=1)
    weights, x = (weights.double(), torch.randn_like(x).double()) if double else (weights, x)
    bars = [Crossbar.program(weights, c) for c in (measured, measured.without_effects())]
    assert torch.equal(bars[0].mvm(x), bars[1].mvm(x))
    assert torch.equal(bars[0].conductance, bars[1].conductance)


def test_one_cell_off_changes_its_product_alone(tmp_path: Path) -> None:
    """The cell in row 7 and column 9 of both maps: the negative one of output 4, at input 7."""
    off = TARGET.copy()
    off[:, 7, 9] += 5.5  # a tenth of the window
    measured = chip(saved(tmp_path / "map.npz", off))
    weights, x = signs(12, 40), signs(3, 40, seed=1)
    bar = Crossbar.program(weights, measured)
    difference = (bar.mvm(x) - Crossbar.program(weights, measured.without_effects()).mvm(x))[0]
    expected = torch.zeros(3, 12)
    expected[:, 4] = -0.1 * x[:, 7]
    assert torch.allclose(difference, expected, atol=2**-12)
    assert bool((difference[:, torch.arange(12) != 4] == 0).all())
    cells = bar.conductance[0, 0, :40, :24] - bar.targets[0, :40, :24]
    assert (cells != 0).nonzero().tolist() == [[7, 9]]
    assert float(cells[7, 9]) == pytest.approx(5.5e-6, rel=1e-3)


def test_a_cell_has_the_deviation_of_the_map_whose_target_is_nearest(tmp_path: Path) -> None:
    off = TARGET.copy()
    off[1, :, ::2] += 1.1  # LRS of the positive cells only
    bar = Crossbar.program(torch.tensor([[1.0, -1.0]]), chip(saved(tmp_path / "map.npz", off)))
    found = (bar.conductance[0, 0, :2, :2] * 1e6).tolist()
    assert found == [pytest.approx(row, rel=1e-4) for row in ([61.1, 5.0], [5.0, 60.0])]


def test_scale_multiplies_the_deviations(tmp_path: Path) -> None:
    path = saved(tmp_path / "map.npz", noisy())
    weights = signs(12, 40)
    for use in USES:
        one, two, none = (Crossbar.program(weights, chip(path, use, scale=s)) for s in (1.0, 2.0, 0.0))
        off = [(bar.conductance - bar.targets)[0, 0] for bar in (one, two, none)]
        assert torch.allclose(2 * off[0], off[1], atol=2e-8)
        assert float(off[0].abs().max()) > 1e-6
        assert not off[2].any()


def test_the_resampled_marginal_is_that_of_the_file(tmp_path: Path) -> None:
    """Each measured cell has an equal share of the table; sampled cells have its moments, fixed key."""
    measured = noisy()
    device = chip(saved(tmp_path / "map.npz", measured), "resample").device
    table = (device.table(1) + device.floor) * device.window_S * 1e6
    for row, state in zip(table.numpy(), measured, strict=True):
        cells = np.sort(state.ravel())
        nearest = np.abs(cells[:, None] - row[None, ::97]).argmin(0)
        assert np.allclose(row[::97], cells[nearest], rtol=1e-9)
        order = np.argsort(row)
        share = np.interp(cells[:-1] * (1 + 1e-9), row[order], np.cumsum(masses()[order]))
        assert share == pytest.approx(np.arange(1, len(cells)) / len(cells), abs=1e-4)
    bar = Crossbar.program(torch.ones(60, 500), chip(tmp_path / "map.npz", "resample"), seed=3)
    g = bar.conductance[0].flatten() * 1e6
    lrs = g[g > 20]
    assert len(lrs) == 30_000
    assert float(lrs.mean()) == pytest.approx(measured[1].mean(), abs=4 * measured[1].std() / 30_000**0.5)
    assert float(lrs.std()) == pytest.approx(measured[1].std(), rel=0.02)


def test_other_chips_and_seeds_pick_other_cells(tmp_path: Path) -> None:
    path = saved(tmp_path / "map.npz", noisy())
    weights = signs(12, 40)
    for more in SHARED:
        both = Crossbar.program(weights, chip(path, **more), chips=2)
        again = Crossbar.program(weights, chip(path, **more), chips=range(1, 2))
        assert torch.equal(both.conductance[1], again.conductance[0])
        assert not torch.equal(both.conductance[0], both.conductance[1])


def test_repeated_tiles_are_windows_of_the_map(tmp_path: Path) -> None:
    """Neighbours stay neighbours, across the edge of the map too."""
    rows, columns = np.indices((40, 30))
    off = np.stack([TARGET[0] + rows / 100, TARGET[1] + columns / 100])
    bar = Crossbar.program(torch.ones(20, 50), chip(saved(tmp_path / "map.npz", off), repeat=True))
    cells = (bar.conductance - bar.targets)[0, 0, :50, :40] * 1e8
    positive, negative = cells[:, ::2].round(), cells[:, 1::2].round()
    assert bool(((positive.diff(dim=1) - 2) % 30 == 0).all())
    assert bool(((negative.diff(dim=0) - 1) % 40 == 0).all())


def test_targets_that_differ_for_every_cell(tmp_path: Path) -> None:
    """The relative variation falls with the target, as in the file, by groups of similar targets."""
    rng = np.random.Generator(np.random.Philox(1))
    target = rng.uniform(5, 60, (100, 100))
    target[:2, :2] = [[60, 5], [5, 60]]  # the states of the cells of +1 and -1
    off = 4 * np.exp(-target / 20) * rng.standard_normal(target.shape)
    path = saved(tmp_path / "map.npz", np.maximum(target + off, 0.1), target)
    found = imc.load_chip(path)
    assert found.device.levels == imc.device.CONTINUOUS
    assert (found.device.g_hrs_S, found.device.g_lrs_S) == (target.min() / 1e6, target.max() / 1e6)
    for wanted in (10.0, 30.0, 50.0):
        share = (wanted / 1e6 - found.device.g_hrs_S) / found.device.window_S
        g = found.device.program(torch.full((20_000,), share, dtype=torch.float64), 0)
        assert float((g - share).std()) * found.device.window_S == pytest.approx(4e-6 * np.exp(-wanted / 20), rel=0.15)
    bar = Crossbar.program(torch.tensor([[1.0, -1.0]]), found.replace("device.programming.use", "cells"))
    deviation = (bar.conductance - bar.targets)[0, 0, :2, :2] * 1e6
    assert deviation[[0, 1], [0, 1]].tolist() == pytest.approx((np.maximum(target + off, 0.1) - target)[[0, 1], [0, 1]],
                                                               abs=0.02)  # fmt: skip


def test_layers_lie_side_by_side_on_the_map(tmp_path: Path) -> None:
    """Layers of 20 x 16 and 10 x 14 cells fill the first rows of 30 columns; the third begins below the higher one."""
    rows, columns = np.indices((40, 30))
    off = TARGET + (rows * 30 + columns) / 1000
    measured, cells = chip(saved(tmp_path / "map.npz", off)), MapCells()
    first = {}
    for name, out, inputs in (("a", 8, 20), ("b", 7, 10), ("c", 2, 20), ("a", 8, 20)):
        bar = Crossbar.program(torch.ones(out, inputs), measured, layer=name, cells=cells)
        found = round(float((bar.conductance - bar.targets)[0, 0, 0, 0]) * 1e9)
        assert first.setdefault(name, found) == found
    assert first == {"a": 0, "b": 16, "c": 600}
    with pytest.raises(InputError, match=r"layer 'd'.*40 x 30 measured cells, of which 3 layers.*next tile of 21 x 2"):
        Crossbar.program(torch.ones(1, 21), measured, layer="d", cells=cells)


def test_a_network_that_does_not_fit_is_refused_and_resamples_on_request(tmp_path: Path) -> None:
    network, x = BnnMlp(40, [12], 4), torch.rand(5, 40)
    path = saved(tmp_path / "map.npz", noisy())
    with pytest.raises(InputError, match=r"layer 'fc.1', device.programming.*40 x 30.*12 x 8.*use: resample"):
        imc.map_model(network, chip(path))
    for more in SHARED:
        imc.map_model(network, chip(path, **more), chips=2)(x)


def test_positions_that_were_measured_in_another_state_are_refused(tmp_path: Path) -> None:
    """One map of a chequerboard: half of the cells would have the deviation of the other state."""
    board = np.where(np.indices((40, 30)).sum(0) % 2 == 0, LRS, HRS)
    path = saved(tmp_path / "map.npz", board * 1.1, board)
    weights = torch.ones(4, 10)
    settings: list[dict[str, Any]] = [{}, {"repeat": True}]
    for more in settings:
        with pytest.raises(InputError, match=r"40 of 80 cells at positions .* another state only.*use: resample"):
            Crossbar.program(weights, chip(path, **more))
    weights[:, 1::2] = -1.0  # the board
    bar = Crossbar.program(weights, chip(path))
    assert torch.allclose(bar.conductance[0], bar.targets * 1.1, rtol=1e-5)


BAD: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "NaN": (lambda: {"conductance_uS": np.where(TARGET > HRS, np.nan, TARGET), "target_uS": TARGET},
            r"1200 conductances that are NaN or infinite, the first at \(1, 0, 0\)"),
    "negative": (lambda: {"conductance_uS": TARGET - 6, "target_uS": TARGET}, "1200 conductances that are negative"),
    "unit": (lambda: {"conductance_S": TARGET, "target_S": TARGET}, "conductances that are above 1 S"),
    "shapes": (lambda: {"conductance_uS": TARGET, "target_uS": TARGET[0]}, r"\(2, 40, 30\) and targets of shape"),
    "axes": (lambda: {"conductance_uS": TARGET[0, 0], "target_uS": TARGET[0, 0]}, "equal shapes \\[rows, columns\\]"),
    "no targets": (lambda: {"conductance_uS": TARGET}, "no targets, only 'conductance_uS'"),
    "no cells": (lambda: {"target_uS": TARGET}, "no conductances"),
    "one target": (lambda: {"conductance_uS": TARGET[1], "target_uS": TARGET[1]}, "one target, 6e-05 S"),
    "two units": (lambda: {"conductance_uS": TARGET, "conductance_S": TARGET}, "conductance_S and conductance_uS"),
    "unit of one": (lambda: {"conductance_uS": TARGET / 1e6, "target_uS": TARGET}, "rise by 1e-06 of .*units"),
    "unit of the other": (lambda: {"conductance_uS": TARGET, "target_nS": TARGET}, "rise by 1e\\+03 of their targets"),
    "other order": (lambda: {"conductance_uS": TARGET[::-1], "target_uS": TARGET}, "rise by -1 of their targets"),
    "not measured": (lambda: {"conductance_uS": TARGET * 0, "target_uS": TARGET}, "rise by 0 of their targets"),
    "text": (lambda: {"conductance_uS": TARGET.astype(str), "target_uS": TARGET}, "conductance_uS of type <U"),
    "layers": (lambda: {"fc/conductance_S": TARGET, "fc/target_S": TARGET}, "with the key conductances"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "match"), BAD.values(), ids=BAD)
def test_bad_maps_are_one_error(tmp_path: Path, arrays: Callable[[], dict[str, Any]], match: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays())
    with pytest.raises(InputError, match=match):
        imc.load_chip(tmp_path / "bad.npz")


def test_files_that_are_no_maps_or_change_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"text.npz'.*an \.npz file with arrays conductance_S and target_S"):
        imc.load_chip(tmp_path / "text.npz")
    for size in (b"9" * 20, b"-1", b"9" * 10):
        with zipfile.ZipFile(tmp_path / "long.npz", "w") as archive:
            text = b"'shape': (" + size + b",), }"
            header = b"{'descr': '<f8', 'fortran_order': False, " + text.ljust(76) + b"\n"
            for name in ("conductance_S", "target_S"):
                archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
        with pytest.raises(InputError, match="long.npz'"):
            imc.load_chip(tmp_path / "long.npz")
    with pytest.raises(InputError, match="none.npz'"):
        imc.load_chip(tmp_path / "none.npz")
    measured = chip(saved(tmp_path / "map.npz", noisy()))
    saved(tmp_path / "map.npz", noisy(1))
    with pytest.raises(InputError, match="map.npz' with content"):
        Crossbar.program(signs(2, 3), measured)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("device.faults.stuck_lrs", 0.1),
        ("device.verify", {"tolerance": 0.1, "max_pulses": 9}),
        ("device.cycle_to_cycle.share", 0.5),
        ("draws", "pairs"),
    ],
)
def test_what_simulates_programming_is_refused_by_position_only(tmp_path: Path, path: str, value: Any) -> None:
    measured = chip(saved(tmp_path / "map.npz", noisy()))
    with pytest.raises(InputError, match="by position|no faults, verify"):
        measured.replace(path, value)
    assert measured.resampled.replace(path, value)


def test_cells_by_position_are_those_of_chip_0(tmp_path: Path) -> None:
    path, weights = saved(tmp_path / "map.npz", noisy()), signs(12, 40)
    for chips in (range(3, 4), range(2)):
        with pytest.raises(InputError, match=rf"got chip {chips[-1]}; allowed: chip 0: the measured array is one chip"):
            Crossbar.program(weights, chip(path), chips=chips)
        for more in SHARED:
            Crossbar.program(weights, chip(path, **more), chips=chips)


def test_ageing_and_reads_act_on_measured_cells(tmp_path: Path) -> None:
    measured = chip(saved(tmp_path / "map.npz", noisy()))
    weights = signs(12, 40)
    aged = measured.replace("device.time", {"drift": {"nu": 0.05}, "t_s": 1e4})
    before, after = (Crossbar.program(weights, c).conductance for c in (measured, aged))
    used = before > 0
    assert torch.allclose(after[used] / before[used], torch.tensor(1e4**-0.05).double(), rtol=1e-3)
    with pytest.raises(InputError, match="chip 1; allowed: chip 0"):
        Crossbar.program(weights, measured, chips=2)


def test_a_key_memory_resamples(tmp_path: Path) -> None:
    path = saved(tmp_path / "map.npz", noisy())
    keys, queries = signs(6, 32), signs(4, 32, seed=1)
    found = []
    for use in USES:
        memory = imc.AssociativeMemory(chip(path, use), 32, chips=3)
        memory.write(keys, torch.arange(6))
        found.append(memory.similarity(queries))
    assert torch.equal(*found)
    assert not torch.equal(found[0][0], found[0][1])
