"""Quantile tables of programming: a row per level, a column per sample, kept for the laws used last.

Conductances are in windows, see `imc_sim.device._programming`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._quantiles import WIDTH, normal_quantiles
from imc_sim.device._faults import Faults
from imc_sim.device._finite import check_finite
from imc_sim.device._pair_law import differences
from imc_sim.device._programming import Programming
from imc_sim.device._pulsed import PulsedProgramming
from imc_sim.device._write_verify import Verification, WriteVerify


def look_up(table: Tensor, indices: Tensor) -> Tensor:
    """Return entries of the flattened table, shaped as `indices`.

    Args:
        table: tensor of any shape.
        indices: positions in the flattened table (int32), any shape.
    """
    return torch.index_select(table.reshape(-1), 0, indices.reshape(-1)).reshape(indices.shape)


def between_rows(table: Tensor, held: Tensor, columns: NDArray[np.int32] | None, steps: int, last: int) -> Tensor:
    """Return samples of levels between two rows of a table: at equal quantiles, linear in the level.

    Args:
        table: rows of `last` + 1 equally spaced levels, then of dead and undefined cells.
        held: levels [n] (int64), above `steps` for dead and undefined cells.
        columns: column of each cell [n]; None: the first.
        steps: number of the highest level.
        last: number of its row.
    """
    place = held.clamp_max(steps).double() * (last / steps)
    row = place.long().clamp_max(last - 1)
    column = 0 if columns is None else torch.from_numpy(columns).long()
    flat = table.reshape(-1)
    low, high = flat[row * WIDTH + column], flat[(row + 1) * WIDTH + column]
    found = torch.addcmul(low, high - low, (place - row).to(table.dtype))
    if bool((extra := held > steps).any()):  # of dead and undefined cells, with separate rows
        found = torch.where(extra, flat[(held - steps + last).clamp_min(0) * WIDTH + column], found)
    return found


@functools.lru_cache(maxsize=8)
def programmed(
    programming: Programming, levels: tuple[float, ...], floor: float, window_S: float,
    verify: WriteVerify, faults: Faults | None, clip: bool,
) -> Tensor:  # fmt: skip
    """Return programmed g [levels + 2 rows of faults, WIDTH] for all quantiles, see `Device.table`."""
    target = torch.tensor(levels, dtype=torch.float64)[:, None]
    law = programming.apply if clip else programming.unclipped
    if programming.is_ideal:
        table = target.expand(-1, WIDTH).contiguous()
    elif verify.is_ideal:
        table = law(target, _normals(len(levels)), floor, window_S)
    else:
        pulse = functools.partial(programming.apply, floor=floor, window_S=window_S)
        table = law(target, verify.normals(pulse, target[:, 0], floor, window_S), floor, window_S)
    check_finite(table, "device.programming", "Reduce the variation.")
    return table if faults is None else torch.cat([table, faults.rows(floor, window_S)])


@functools.lru_cache(maxsize=8)
def pair_differences(
    programming: Programming, levels: tuple[float, ...], floor: float, window_S: float
) -> Tensor:  # fmt: skip
    """Return the law of the difference of a cell at each level and one at HRS: [levels, WIDTH]."""
    return differences(programmed(programming, levels, floor, window_S, WriteVerify(), None, True))  # type: ignore[arg-type]  # hashable


@functools.lru_cache(maxsize=8)
def verification(
    programming: Programming, levels: tuple[float, ...], floor: float, window_S: float, verify: WriteVerify
) -> Verification:  # fmt: skip
    """Return acceptance, convergence and mean pulses of write-verify for each level."""
    pulse = functools.partial(programming.apply, floor=floor, window_S=window_S)
    return verify.statistics(pulse, torch.tensor(levels, dtype=torch.float64), floor, window_S)


@functools.lru_cache(maxsize=8)
def pulse_counts(programming: PulsedProgramming, levels: tuple[float, ...], floor: float, window_S: float) -> Tensor:
    """Return [levels, WIDTH]: pulses of the cells in the table of programmed conductances."""
    target = torch.tensor(levels, dtype=torch.float64)
    return programming.outcome(target[:, None], _normals(len(levels)), floor, window_S).pulses


def _normals(levels: int) -> Tensor:
    """Return the quantiles of the standard normal law for every level: [levels, WIDTH]."""
    return torch.from_numpy(normal_quantiles().astype(np.float64))[None].expand(levels, -1)
