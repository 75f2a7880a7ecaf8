"""Levels of a cell: equally spaced in conductance, equally spaced in resistance, or measured."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Spacing = Literal["conductance", "resistance"]

#: A measured table this close to equal spacing (in windows) counts as equally spaced.
_EQUAL = 1e-9


def even(steps: int) -> Tensor:
    """Return g of steps + 1 levels equally spaced in conductance: k / steps, float64."""
    return torch.arange(steps + 1, dtype=torch.float64) / steps


def positions(levels: int, spacing: Spacing, table_S: tuple[float, ...] | None, floor: float) -> Tensor:
    """Return g [levels] of a device's levels from HRS (exactly 0) to LRS (exactly 1), in windows, float64.

    resistance: level k has R = R_HRS + (R_LRS - R_HRS) k / (levels - 1). floor: G_HRS in windows, above 0 then. A table
    gives G itself, ascending.
    """
    k = even(levels - 1)
    if table_S is not None:
        table = torch.tensor(table_S, dtype=torch.float64)
        g = (table - table[0]) / (table[-1] - table[0])
        return k if bool(((g - k).abs() < _EQUAL).all()) else g
    if spacing == "conductance" or levels == 2:
        return k
    resistance = 1.0 / floor + (1.0 / (1.0 + floor) - 1.0 / floor) * k
    g = 1.0 / resistance - floor
    g[0], g[-1] = 0.0, 1.0
    return g


def subset(g: Tensor, steps: int) -> Tensor:
    """Return g [steps + 1] of the levels nearest to steps + 1 equally spaced ones, out of those at g [levels],
    ascending.
    """
    if steps == len(g) - 1:
        return g
    return g[nearest(g, even(steps))]


def nearest(g: Tensor, target: Tensor) -> Tensor:
    """Return the index (int64) of the level nearest to each target; halfway counts as the lower one."""
    return torch.bucketize(target.to(g.dtype), (g[1:] + g[:-1]) / 2)
