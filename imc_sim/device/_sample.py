"""Sampled cells of a device: some of each level, programmed, aged and read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import check_whole
from imc_sim._memory import check_memory
from imc_sim._rng import Stream
from imc_sim.device._read import Telegraph

if TYPE_CHECKING:
    from imc_sim.device._device import Device

#: bytes of a cell while it is sampled
_CELL_BYTES = 100


@checked
def sample_cells(device: Device, level: int, count: int, seed: int = 0, chip: int = 0) -> NDArray[np.float64]:
    """Return conductances [count] in S at v_read of one chip's cells on one level, from one read.

    Programming, faults, correlated variation, ageing, read disturb and read noise act as in the device.

    Args:
        device: specification of the cells.
        level: level of all cells, 0 (HRS) … device.levels - 1 (LRS).
        count: number of cells; a gradient runs along the diagonal of one tile that holds them.
        seed: seed of the random numbers.
        chip: number of the chip.
    """
    check_whole(level, "sample_cells, level", most=device.levels - 1)
    check_whole(count, "sample_cells, count", 1)
    check_memory(count * _CELL_BYTES, "sample_cells, count", "Sample fewer cells at a time.")
    steps, layer = device.levels - 1, f"level {level}"
    levels = torch.full((count,), level, dtype=torch.int32)
    programmed = device.sample(device.table(steps), levels, steps, seed, layer, chip) * steps
    state = device.states(programmed, device.held(levels, steps, seed, layer, chip), steps)
    place = torch.linspace(-0.5, 0.5, count, dtype=torch.float64)
    tile = torch.zeros(count, dtype=torch.int64)
    aged = device.age(programmed, steps, seed, layer, chip, rows=place, cols=place, tile=tile, state=state)
    G, before = ((g / steps + device.floor) * device.window_S for g in (aged, device.clipped(programmed, steps)))
    if device.read.noisy:
        read = device.read
        calm = read.model_copy(update={"telegraph": Telegraph()})
        normal = torch.from_numpy(Stream(seed, layer, "read").normal(count, chip)).double()
        noise = calm.variance(G, None, device.time.age_s, device.temperature_K, before).sqrt() * normal
        if not read.telegraph.is_ideal:
            o = read.telegraph.occupancy
            low = torch.from_numpy(Stream(seed, layer, "telegraph").uniform(count, chip)) < o
            noise = noise + device.traps((count,), seed, layer, chip) * G * (o - low.double())
        G = G + noise
    return G.numpy()


@checked
def read_currents(device: Device, G_S: NDArray[np.float64], v_V: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return currents [cells, voltages] in A through cells, without noise.

    Args:
        device: specification of the cells, whose I-V curve is used.
        G_S: conductances [cells] in S at v_read.
        v_V: voltages [voltages] in V.
    """
    G, v = torch.from_numpy(np.atleast_1d(G_S)), torch.from_numpy(v_V)
    return device.read.current(G[:, None], v[None]).numpy()
