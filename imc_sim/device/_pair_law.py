"""The law of the difference of two cells, as a table of quantiles like that of one cell."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._quantiles import PARTS, TAIL, masses, probabilities

_Floats = NDArray[np.float64]
#: points over the range of a difference. Its distribution function is linear between them.
_POINTS = 2**17


def differences(table: Tensor) -> Tensor:
    """Return quantiles of row k less row 0, independent cells, of a table of single cells: [rows, WIDTH], float64.

    The 65,536 parts are those of the differences of as many parts, the tails those of the differences of all columns.
    The distributions are folded on a grid; the distance to the law of all differences is under 1e-5 in the sense of
    Kolmogorov and Smirnov, where that law has no steps.
    """
    rows = table.numpy()
    return torch.from_numpy(np.stack([_row(row, rows[0]) for row in rows]))


def _row(a: _Floats, b: _Floats) -> _Floats:
    p = probabilities()
    body = _difference(np.sort(a[:PARTS]), np.sort(b[:PARTS]), None, None, p[:PARTS])
    (a, mass_a), (b, mass_b) = (_ascending(x) for x in (a, b))
    tails = _difference(a, b, mass_a, mass_b, p[PARTS:])
    low, high = tails[:TAIL].clip(max=body[1]), tails[TAIL:].clip(min=body[-2])
    return np.concatenate([body, low, high])


def _ascending(row: _Floats) -> tuple[_Floats, _Floats]:
    """Values of the columns in use in ascending order, and their probabilities."""
    used = np.flatnonzero(masses())
    order = used[np.argsort(row[used], kind="stable")]
    return row[order], masses()[order]


def _difference(a: _Floats, b: _Floats, mass_a: _Floats | None, mass_b: _Floats | None, p: _Floats) -> _Floats:
    """Quantiles of a - b at probabilities p; a, b: [n], ascending. Masses None: all values are equally likely."""
    if a[0] == a[-1] or b[0] == b[-1]:  # one of them is a number
        one = a - b[0] if b[0] == b[-1] else (a[0] - b)[::-1]
        mass = mass_a if b[0] == b[-1] else None if mass_b is None else mass_b[::-1]
        return one if mass is None else np.interp(p, np.cumsum(mass) - mass / 2, one)
    start = a[0] - b[-1]
    step = (a[-1] - b[0] - start) / (_POINTS - 2)
    first, second = _spread((a - a[0]) / step, mass_a), _spread((b[-1] - b) / step, mass_b)
    folded = np.fft.irfft(np.fft.rfft(first, 2 * _POINTS) * np.fft.rfft(second, 2 * _POINTS), 2 * _POINTS)
    masses = folded[:_POINTS].clip(min=0.0) / (1 if mass_a is not None else len(a) ** 2)
    below = np.cumsum(masses) - masses / 2  # half of what lies at a point is below it
    return start + step * np.interp(p, below, np.arange(_POINTS))


def _spread(places: _Floats, mass: _Floats | None) -> _Floats:
    """Points of a grid with the mass of every place, shared between its neighbours: means are kept."""
    whole = np.floor(places).astype(np.int64)
    part = places - whole
    kept, moved = (1.0 - part, part) if mass is None else ((1.0 - part) * mass, part * mass)
    shared = np.bincount(whole, kept, _POINTS) + np.bincount(whole + 1, moved, _POINTS)
    return shared.astype(np.float64)
