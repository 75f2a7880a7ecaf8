"""Fits of levels and of the device variation of each, and the quality of the fit."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.device._device import Device
from imc_sim.device._programming import Law, PolynomialVariation, RelativeVariation
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._reader import Table

#: Conductances in S by state: `HRS` and `LRS`, or `0` … `n - 1`; from the lowest to the highest.
Samples = dict[str, NDArray[np.float64]]

#: Fewest values of a state for a fit.
LEAST = 5

#: Number of samples of the fitted law that judge its distance from the data, and their largest size.
_SAMPLES, _LARGEST = 999, 1000


@final
@dataclass(frozen=True)
class StateFit:
    """Fitted law of one state, and its distance from the measurements.

    Attributes:
        name: name of the state: HRS, LRS, or a level number.
        conductance_S: measured conductances in S, ascending.
        law: gaussian or log_normal.
        center_S: mean (gaussian) or median (log_normal) in S.
        sigma: standard deviation over the mean (gaussian), or of ln G (log_normal).
        distance: Kolmogorov-Smirnov distance between the law and the measured distribution.
        p_value: share of samples of the law, fitted in the same way, with a larger distance (Lilliefors, J. Am. Stat.
            Assoc. 62, 1967); below 0.05 the law does not describe the data.
        evidence: ln of the likelihood of the law over that of the other law.
    """

    name: str
    conductance_S: NDArray[np.float64]
    law: Law
    center_S: float
    sigma: float
    distance: float
    p_value: float
    evidence: float

    def cdf(self, G: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the law's probability of a conductance up to G."""
        return ndtr(_standard(G, self.law, self.center_S, self.sigma))

    @property
    def summary(self) -> str:
        """Describe the fit in words."""
        law = self.law.replace("_", "-")
        return (
            f"{self.name} {law} over {len(self.conductance_S)} cells, KS {self.distance:.3f} (p = {self.p_value:.2g})"
        )

    def row(self) -> dict[str, Any]:
        """Return the fit as a line of a table."""
        return {
            "state": self.name, "cells": len(self.conductance_S), "law": self.law, "center (uS)": self.center_S * 1e6,
            "sigma (%)": 100 * self.sigma, "KS distance": self.distance, "p": self.p_value,
        }  # fmt: skip


def fit_levels(table: Table, options: Options) -> PartFit:
    """Fit levels and device variation to conductances by state.

    Args:
        table: measurements with a state or a target, and G.
        options: the chip to which the fit is added.
    """
    samples = samples_of(table)
    part = _two_states(samples) if len(samples) == 2 else _levels(samples)
    device = options.finished(part)
    states = tuple(_judge(name, values, device, k) for k, (name, values) in enumerate(samples.items()))
    low, high = states[0].conductance_S[0] * 1e6, states[-1].conductance_S[-1] * 1e6
    summary = f"Measured conductances of {low:.4g} to {high:.4g} uS. {'; '.join(s.summary for s in states)}."
    return PartFit("levels", part, [state.row() for state in states], [], summary, details=states)


def samples_of(table: Table) -> Samples:
    """Return sorted conductances by state from low to high.

    Args:
        table: measurements with a state or a target, and G.

    Raises:
        InputError: states are missing, have fewer than 5 values, or their medians do not rise.
    """
    where = table.name
    if "G" not in table or not ("state" in table or "target" in table):
        got = f"columns {', '.join(table.columns)}"
        raise InputError(where, got, "a state or a target, and a conductance or resistance", "Use --columns.")
    key = table["state"] if "state" in table else table["target"]
    found, index = np.unique(key, return_inverse=True)
    order = np.argsort(index, kind="stable")
    parts = np.split(table["G"][order], np.cumsum(np.bincount(index))[:-1])
    values = dict(zip(map(str, found) if "state" in table else map(str, range(len(found))), parts, strict=True))
    names = sorted(values, key=lambda name: ("HRS", "LRS").index(name) if name in ("HRS", "LRS") else int(name))
    if names != ["HRS", "LRS"] and (len(names) < 2 or names != [str(k) for k in range(len(names))]):
        got = f"states {', '.join(names)}"
        raise InputError(where, got, "HRS and LRS, or levels 0, 1, … without a gap", "Add what is missing.")
    samples = {name: np.sort(values[name]) for name in names}
    for name, data in samples.items():
        if len(data) < LEAST:
            allowed = f"{LEAST} or more, for a standard deviation"
            raise InputError(f"{where}, state {name}", f"{len(data)} values", allowed, "Measure more cells.")
    medians = [float(np.median(data)) for data in samples.values()]
    if any(b <= a for a, b in itertools.pairwise(medians)):
        got = ", ".join(f"{name}: {m:g} S" for name, m in zip(names, medians, strict=True))
        step = "Check which column is which, and the unit."
        raise InputError(f"{where}, medians", got, "conductances that rise from HRS (level 0) to LRS", step)
    return samples


def _two_states(samples: Samples) -> dict[str, Any]:
    """Return both states with the likelier law of each."""
    (law_hrs, hrs, sigma_hrs), (law, lrs, sigma) = (_likelier(values) for values in samples.values())
    variation = {
        "kind": "relative",
        "sigma": _round(sigma),
        "sigma_hrs": _round(sigma_hrs),
        "law": law,
        "law_hrs": law_hrs,
    }
    return {"g_lrs_S": _text(lrs), "g_hrs_S": _text(hrs), "programming": variation}


def _levels(samples: Samples) -> dict[str, Any]:
    """Return means, and the standard deviations as a polynomial of G over the highest mean, weighted by their
    certainty.
    """
    means, stds = (np.array([f(v) for v in samples.values()]) for f in (np.mean, lambda v: np.std(v, ddof=1)))
    weights = np.sqrt([len(v) for v in samples.values()])
    fitted = np.polynomial.polynomial.polyfit(means / means[-1], stds, 2, w=weights)
    variation = {"kind": "polynomial", "coefficients_S": [_text(c) for c in fitted], "g_max_S": _text(means[-1])}
    return {"table_S": [_text(g) for g in means], "programming": variation}


def _likelier(values: NDArray[np.float64]) -> tuple[Law, float, float]:
    """Return (law, center, sigma) of the law with the larger likelihood."""
    law: Law = "gaussian" if _evidence(values) >= 0.0 else "log_normal"
    if law == "gaussian":
        mean = float(values.mean())
        return law, mean, float(values.std(ddof=1) / mean) if mean > 0.0 else 0.0
    logs = np.log(values)
    return law, math.exp(logs.mean()), float(logs.std(ddof=1))


def _evidence(values: NDArray[np.float64]) -> float:
    """Return ln of the likelihood of the normal over that of the log-normal law, both fitted."""
    if bool((values <= 0.0).any()):
        return math.inf
    logs, n = np.log(values), len(values)
    if values.std() == 0.0:
        return 0.0
    return float(n * (np.log(logs.std()) - np.log(values.std()) + logs.mean()))


def _judge(name: str, values: NDArray[np.float64], device: Device, level: int) -> StateFit:
    """Compare the law of one state, as the device has it, with its data."""
    center = (device.table_S or (device.g_hrs_S, device.g_lrs_S))[level]
    law, sigma = _law_of(device, level, center)
    distance = float(_distance(ndtr(_standard(values, law, center, sigma))))
    evidence = _evidence(values) if law == "gaussian" else -_evidence(values)
    return StateFit(name, values, law, center, sigma, distance, _p_value(distance, len(values)), evidence)


def _law_of(device: Device, level: int, center: float) -> tuple[Law, float]:
    """Return (law, sigma) that the device has for a level at that conductance."""
    law = device.programming
    if isinstance(law, RelativeVariation):
        if level == 0:
            return law.law_hrs or law.law, float(law.sigma_hrs or 0.0)
        return law.law, law.sigma
    if not isinstance(law, PolynomialVariation):  # pragma: no cover - a fit makes one of the two
        raise TypeError(type(law).__name__)
    x = center / law.g_max_S
    return "gaussian", max(sum(c * x**i for i, c in enumerate(law.coefficients_S)), 0.0) / center


def _standard(G: NDArray[np.float64], law: Law, center: float, sigma: float) -> NDArray[np.float64]:
    """Return conductances as standard normal numbers under the law."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a law without variation is a step
        relative = G / max(center, 1e-300)
        return (np.log(relative) if law == "log_normal" else relative - 1.0) / max(sigma, 1e-300)


def _distance(phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Kolmogorov-Smirnov distance [*] of sorted values with probabilities phi [*, n] under the law."""
    steps = np.arange(phi.shape[-1] + 1) / phi.shape[-1]
    return np.maximum((steps[1:] - phi).max(-1), (phi - steps[:-1]).max(-1))


def _p_value(distance: float, count: int) -> float:
    """Return the share of fitted normal samples with a larger distance; sqrt(n) D hardly depends on n."""
    size = min(count, _LARGEST)
    normals = np.sort(
        Stream(0, f"{size}", "lilliefors").normal(_SAMPLES * size, 0).reshape(_SAMPLES, size).astype(float), 1
    )
    scores = ndtr((normals - normals.mean(1, keepdims=True)) / normals.std(1, ddof=1, keepdims=True))
    further = int((_distance(scores) * math.sqrt(size) >= distance * math.sqrt(count)).sum())
    return (1 + further) / (1 + _SAMPLES)


def _text(g: float) -> str:
    return f"{g * 1e6:.5g} uS"


def _round(x: float) -> float:
    return float(f"{x:.5g}")
