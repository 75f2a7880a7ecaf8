"""Normal and log-normal laws of one state's cells: the likelier one, its parameters, and whether it describes them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imc_sim._quantiles import normal_quantiles
from imc_sim._rng import Stream
from imc_sim.device._programming import Law
from imc_sim.device.fit import _quality as quality

_Floats = NDArray[np.float64]
#: Number of samples of the fitted law that judge its distance from the data, and their largest size.
_SAMPLES, _LARGEST = 999, 1000
#: Largest share of cells that a normal law may clip at 0 S where fewer were measured there.
_AT_ZERO = 2e-4


@dataclass(frozen=True)
class FittedLaw:
    """The likelier law of the working cells of a state, with its quality."""

    law: Law
    center_S: float
    sigma: float
    evidence: float
    p_value: float
    fits: bool


def likelier_law(values: _Floats, judged: bool = True) -> FittedLaw:
    """Return the law with the larger likelihood, and whether it describes the values."""
    evidence = _evidence(values)
    law: Law = "gaussian" if evidence >= 0.0 else "log_normal"
    logs = values if law == "gaussian" else np.log(values)
    mean, std = float(logs.mean()), float(logs.std(ddof=1))
    center, sigma = (mean, std / mean if mean > 0.0 else 0.0) if law == "gaussian" else (math.exp(mean), std)
    if not judged:
        return FittedLaw(law, center, sigma, abs(evidence), math.nan, False)
    distance = float(_distance(ndtr(_standard(values, law, center, sigma))))
    p = _p_value(distance, len(values))
    fits = _describes(values, law, center, sigma) and (p >= 0.05 or distance <= quality.DISTANCE)
    return FittedLaw(law, center, sigma, abs(evidence), p, fits)


def _describes(values: _Floats, law: Law, center: float, sigma: float) -> bool:
    """Tell whether a law has the standard deviation and the outer quantiles of the values, within their errors."""
    n, std = len(values), float(values.std(ddof=1))
    if law == "gaussian":
        at_zero = float(ndtr(-1.0 / sigma)) if sigma > 0.0 else 0.0
        return at_zero <= max(_AT_ZERO, 2.0 * float((values <= 0.0).mean()))
    of_law = center * math.exp(sigma**2 / 2) * math.sqrt(math.expm1(sigma**2))
    z = sigma * 2.326
    outer = np.quantile(values, [0.01, 0.99]) / (center * np.exp([-z, z])) - 1.0
    # errors of a log-normal standard deviation and of an outer quantile (delta method)
    std_error = sigma * math.exp(2 * sigma**2) / math.sqrt(n)
    quantile_error = 3.7 * sigma / math.sqrt(n)
    std_goal = quality.STD_FEW if n < 200 else quality.STD
    close = abs(std / of_law - 1.0) <= max(std_goal, 3 * std_error) if of_law else True
    return close and bool((np.abs(outer) <= max(quality.QUANTILE, 3 * quantile_error)).all())


def _evidence(values: _Floats) -> float:
    """Return ln of the likelihood of the normal over that of the log-normal law, both fitted."""
    if bool((values <= 0.0).any()):
        return math.inf
    logs, n = np.log(values), len(values)
    if values.std() == 0.0:
        return 0.0
    return float(n * (np.log(logs.std()) - np.log(values.std()) + logs.mean()))


def _standard(G: NDArray[np.float64], law: Law, center: float, sigma: float) -> NDArray[np.float64]:
    """Return conductances as standard normal numbers under the law."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a law without variation is a step
        relative = G / max(center, 1e-300)
        return (np.log(relative) if law == "log_normal" else relative - 1.0) / max(sigma, 1e-300)


def _distance(phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Kolmogorov-Smirnov distance [*] of sorted values with probabilities phi [*, n] under the law."""
    steps = np.arange(phi.shape[-1] + 1) / phi.shape[-1]
    return np.maximum((steps[1:] - phi).max(-1), (phi - steps[:-1]).max(-1))


@functools.lru_cache(maxsize=8)
def _reference_distances(size: int) -> _Floats:
    """Return the distances of normal samples of a size from the normal laws fitted to them."""
    columns = Stream(0, f"{size}", "lilliefors").columns(_SAMPLES * size, 0)  # once: no compiled code to load
    normals = normal_quantiles().take(columns).reshape(_SAMPLES, size).astype(float)
    normals.sort(axis=1)
    return _distance(ndtr((normals - normals.mean(1, keepdims=True)) / normals.std(1, ddof=1, keepdims=True)))


def _p_value(distance: float, count: int) -> float:
    """Return the share of fitted normal samples with a larger distance; sqrt(n) D hardly depends on n."""
    size = min(count, _LARGEST)
    further = int((_reference_distances(size) * math.sqrt(size) >= distance * math.sqrt(count)).sum())
    return (1 + further) / (1 + _SAMPLES)
