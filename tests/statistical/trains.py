"""Trains of pulses of cells of VTEAM."""

from __future__ import annotations

import numpy as np
import torch

from imc_sim.device import VTEAM
from imc_sim.device.fit import Table


def vteam_trains(cell: VTEAM, draw: np.random.Generator, volts: tuple[float, ...], devices: int, pulses: int) -> Table:
    """Return trains of cells whose speeds differ from device to device, read with noise of 0.2 uS."""
    speed = torch.from_numpy(np.exp(0.2 * draw.standard_normal((2, devices))))
    P, found, signs = np.arange(pulses + 1), [], []
    for v in volts:
        state = torch.full((devices,), 2.6e-9, dtype=torch.float64)
        for sign, faster in ((-1.0, speed[0]), (1.0, speed[1])):
            each = [cell.conductance(state)]
            for _ in range(pulses):
                state = cell.step(state, sign * v, 1e-6 * faster)
                each.append(cell.conductance(state))
            found.append(torch.stack(each, 1).numpy())
            signs.append(-sign * v)
    clean = np.stack(found, 1)
    order = np.broadcast_to(np.array(signs)[None, :, None], clean.shape)
    return Table({
        "device": np.repeat(np.arange(devices), len(signs) * len(P)), "pulse": np.tile(P, devices * len(signs)),
        "voltage": order.ravel().copy(), "width": np.full(clean.size, 1e-6),
        "G": (clean + 2e-7 * draw.standard_normal(clean.shape)).ravel(),
    })  # fmt: skip
