"""Stuck and dead cells in measured levels, told apart from the device variation of working cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Distances in robust standard deviations of ln G: of dead cells from HRS, between a level and cells stuck at another,
#: and from either end of the region between them, of which the half next to the stuck cells is sparse.
_DEAD, _APART, _EDGE = 8.0, 6.0, 4.0
#: Fewest cells that count as stuck, and the largest density between two groups of cells, relative to the stuck group.
_FEWEST, _VALLEY = 3, 0.3
#: Fewest levels that have to show cells stuck at another one, where there are as many.
_LEVELS = 2

_Masks = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Defects:
    """Cells that do not follow their level.

    Attributes:
        stuck_lrs, stuck_hrs, dead: (cells, cells among which they could be told apart).
        dead_S: median conductance of dead cells in S.
        working: for each level, a mask of the other cells.
    """

    stuck_lrs: tuple[int, int]
    stuck_hrs: tuple[int, int]
    dead: tuple[int, int]
    dead_S: float
    working: _Masks

    @property
    def found(self) -> dict[str, tuple[int, int]]:
        """Return what was found: defect in words -> (cells, cells among which they could be told apart)."""
        named = {"stuck at LRS": self.stuck_lrs, "stuck at HRS": self.stuck_hrs, "dead": self.dead}
        return {name: counts for name, counts in named.items() if counts[0]}

    def settings(self) -> dict[str, Any]:
        """Return the settings under `faults:`; empty without stuck or dead cells."""
        shares = {name: _rounded(count / n) for name, (count, n) in self.found.items()}
        states = [s for s in ("LRS", "HRS") if f"stuck at {s}" in shares]
        found: dict[str, Any] = {f"stuck_{s.lower()}": shares[f"stuck at {s}"] for s in states}
        if "dead" in shares:
            found |= {"cell_yield": _rounded(1.0 - shares["dead"]), "dead_S": f"{self.dead_S * 1e6:.5g} uS"}
        return found


def find_defects(levels: list[NDArray[np.float64]]) -> Defects:
    """Return the stuck and dead cells of levels.

    A cell of one level is stuck at LRS or HRS where it is in that group, far from its level, with fewer cells between
    the two groups than in it. Cells far below HRS are dead. Either counts only where all levels have about the same
    share of them; else these cells belong to the device variation of their level. In levels that overlap with LRS or
    HRS, stuck cells cannot be told apart.

    Args:
        levels: conductances in S of each level, from HRS to LRS.
    """
    positive = [float(G[G > 0.0].min()) for G in levels if bool((G > 0.0).any())]
    logs = [np.log(np.maximum(G, min(positive) * 1e-3)) for G in levels]
    centers = [float(np.median(x)) for x in logs]
    scales = [max(float(np.subtract(*np.quantile(x, [0.84, 0.16]))) / 2, 0.01) for x in logs]
    dead = [x < centers[0] - _DEAD * scales[0] for x in logs]
    count, cells = sum(int(d.sum()) for d in dead), sum(map(len, logs))
    if not _common(dead):
        dead, count = [np.zeros(len(x), bool) for x in logs], 0
    found, shares = [], []
    for sign, far in ((1.0, len(levels) - 1), (-1.0, 0)):
        masks, told = [], []
        for k, x in enumerate(logs):
            groups = (sign * x, sign * centers[k], scales[k], sign * centers[far], scales[far])
            stuck = None if k == far else _stuck(*groups)
            if stuck is not None:
                told.append(stuck & ~dead[k])
            masks.append(np.zeros(len(x), bool) if stuck is None else told[-1])
        if not _common(told) or len(told) < min(_LEVELS, len(levels) - 1):
            masks, told = [np.zeros(len(x), bool) for x in logs], []
        found.append(masks)
        shares.append((sum(int(m.sum()) for m in told), sum(map(len, told))))
    working = [~(a | b | d) for a, b, d in zip(*found, dead, strict=True)]
    dead_S = float(np.median(np.concatenate([G[d] for G, d in zip(levels, dead, strict=True)]))) if count else 0.0
    return Defects(shares[0], shares[1], (count, cells), dead_S, working)


def _stuck(x: NDArray[np.float64], own: float, scale: float, far: float, far_scale: float) -> NDArray[np.bool_] | None:
    """Return the cells above `own` that are in the group at `far`; None where the groups overlap."""
    edge = far - max(_EDGE * far_scale, (far - own) / 4)
    if own + _APART * scale > edge:
        return None
    middle = (own + _EDGE * scale + edge) / 2
    group, before = x >= edge, (x > middle) & (x < edge)
    sparse = before.sum() / (edge - middle) <= _VALLEY * group.sum() / (2 * (far - edge))
    return group if group.sum() >= _FEWEST and sparse else np.zeros(len(x), bool)


def _common(masks: _Masks) -> bool:
    """Tell whether all levels have such cells, in shares that agree within 4 standard deviations and 2 cells."""
    counts, sizes = [int(m.sum()) for m in masks], [len(m) for m in masks]
    share = sum(counts) / max(sum(sizes), 1)
    agree = all(abs(c - n * share) <= 4.0 * (n * share) ** 0.5 + 2.0 for c, n in zip(counts, sizes, strict=True))
    return agree and all(counts)


def _rounded(x: float) -> float:
    return float(f"{x:.6g}")
