"""Levels of a finished chip against the measurements: distance of the distributions, and data of figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from imc_sim._quantiles import PARTS, masses
from imc_sim.device._device import Device
from imc_sim.device._programming import Law
from imc_sim.device.fit import _quality as quality
from imc_sim.device.fit._level_quantiles import steps_of

if TYPE_CHECKING:
    from pandas import DataFrame

_Floats = NDArray[np.float64]
#: points of a curve in figures
_POINTS = 400


@final
@dataclass(frozen=True)
class StateFit:
    """Fitted law of one state, and its distance from the measurements.

    Attributes:
        name: name of the state: HRS, LRS, or a level number.
        conductance_S: measured conductances in S, ascending, with those of stuck and dead cells.
        law: gaussian or log_normal, the likelier one; or measured, where neither describes the working cells.
        center_S: mean (gaussian, measured) or median (log_normal) of working cells in S.
        sigma: standard deviation over the mean (gaussian, measured), or of ln G (log_normal).
        distance: Kolmogorov-Smirnov distance between the finished chip and the measured distribution.
        p_value: share of samples of the likelier law, fitted in the same way, with a larger distance (Lilliefors, J.
            Am. Stat. Assoc. 62, 1967); below 0.05 that law does not describe the data. NaN for more than two levels.
        evidence: ln of the likelihood of the likelier law over that of the other law.
        working: number of cells that are neither stuck nor dead.
    """

    name: str
    conductance_S: _Floats
    law: Law | Literal["measured"]
    center_S: float
    sigma: float
    distance: float
    p_value: float
    evidence: float
    working: int

    @property
    def summary(self) -> str:
        """Describe the fit in words."""
        law = "measured quantiles" if self.law == "measured" else self.law.replace("_", "-")
        p = "" if math.isnan(self.p_value) or self.law == "measured" else f" (p = {self.p_value:.2g})"
        return f"{self.name} {law} over {self.working} cells, KS {self.distance:.3f}{p}"


def _chip_cdf(device: Device, level: int) -> tuple[_Floats, _Floats]:
    """Return conductances in S in ascending order, and the probability up to each, of one level with its faults."""
    steps, faults = device.levels - 1, device.faults
    rows = ((device.table(steps) + device.floor) * device.window_S).clamp_min(0.0).numpy()
    low, high, dead = faults.stuck_hrs, faults.stuck_lrs, 1.0 - faults.cell_yield
    parts = {level: 1.0 - low - high - dead}
    for row, share in ((0, low), (steps, high), (steps + 1, dead)):
        if share > 0.0:
            parts[row] = parts.get(row, 0.0) + share
    G, mass = np.concatenate([rows[k] for k in parts]), np.concatenate([share * masses() for share in parts.values()])
    order = np.argsort(G, kind="stable")
    return G[order], np.cumsum(mass[order])


def largest_distance(device: Device, level: int, values: _Floats) -> float:
    """Return the Kolmogorov-Smirnov distance of sorted values from the law of a level of a device.

    Values in the steps of an ADC are compared between steps.

    Args:
        device: device of the finished chip.
        level: number of the level.
        values: sorted conductances in S.
    """
    G, below = _chip_cdf(device, level)
    below = np.concatenate([[0.0], below])
    steps = steps_of(values)
    if steps is not None:
        return float(np.abs(below[np.searchsorted(G, steps[0])] - steps[1]).max())
    slack = 1e-9 * float(values[-1])  # conductances of the table have passed through units of the window
    right = below[np.searchsorted(G, values + slack, "right")] - np.searchsorted(values, values, "right") / len(values)
    left = below[np.searchsorted(G, values - slack, "left")] - np.searchsorted(values, values, "left") / len(values)
    return float(max(np.abs(right).max(), np.abs(left).max()))


def cdf_data(states: list[StateFit], device: Device) -> DataFrame:
    """Return points of the measured distribution of each state, with the probability in the finished chip.

    measured is (rank - 1/2) / n within the state. attrs: one line per state on its fit.
    """
    import pandas as pd

    parts = []
    for level, state in enumerate(states):
        n = len(state.conductance_S)
        places = np.arange(n)
        if n > _POINTS:  # equally spaced on an axis of normal scores
            end = float(ndtri(1 - 0.5 / n))
            places = np.unique((ndtr(np.linspace(-end, end, _POINTS)) * n).astype(np.int64).clip(0, n - 1))
        G, below = _chip_cdf(device, level)
        values = state.conductance_S[places]
        fitted = np.interp(values, G, below)
        parts.append(pd.DataFrame(
            {"state": state.name, "conductance_S": values, "measured": (places + 0.5) / n, "fitted": fitted}
        ))  # fmt: skip
    data = pd.concat(parts, ignore_index=True)
    laws = {"gaussian": "normal", "log_normal": "log-normal", "measured": "measured quantiles"}
    data.attrs = {s.name: f"{s.name}: {laws[s.law]}, KS {s.distance:.3f}" for s in states}
    return data


def sigma_data(states: list[StateFit], working: list[_Floats], device: Device) -> DataFrame:
    """Return the standard deviation of each state with its interval, and that of the finished chip's working cells."""
    import pandas as pd

    rows = []
    for level, (state, own) in enumerate(zip(states, working, strict=True)):
        low, high = quality.std_interval(own, normal=False)
        table = (device.table(device.levels - 1)[level, :PARTS] + device.floor) * device.window_S
        rows.append({
            "state": state.name, "conductance_S": float(own.mean()), "sigma_S": float(own.std(ddof=1)), "low_S": low,
            "high_S": high, "chip_S": float(table.std(correction=0)),
        })  # fmt: skip
    return pd.DataFrame(rows)
