"""The metric of a study as figures, tables and sentences show it: accuracy in %, or a score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

#: share of a digital score within which a score counts as close, where the task states no tolerance
_CLOSE = 0.05


@final
@dataclass(frozen=True)
class Metric:
    """Metric of results.

    Args:
        name: of the quantity.
        unit: of the numbers that are shown; empty: none.
        factor: number shown for a result of 1.
        lower: whether lower numbers are better.
        tolerance: difference from the digital network that counts as close, as shown; None: 5 % of the digital number.
        low: smallest possible number.
        high: largest possible number.
    """

    name: str = "accuracy"
    unit: str = "%"
    factor: float = 100.0
    lower: bool = False
    tolerance: float | None = 1.0
    low: float = 0.0
    high: float = 100.0

    @classmethod
    def of(cls, study: Mapping[str, Any]) -> Metric:
        """Return the metric of a study.

        Args:
            study: content of study.resolved.yaml.
        """
        held = study.get("metric")
        if held is None:
            return ACCURACY
        lower = held["better"] == "lower"
        return cls(held["name"], held["unit"], 1.0, lower, held["tolerance"], -math.inf, math.inf)

    @classmethod
    def shown_in(cls, data: DataFrame) -> Metric:
        """Return the metric of the table of a figure.

        Args:
            data: table whose attrs may have `metric`.
        """
        return data.attrs.get("metric", ACCURACY)

    @property
    def is_share(self) -> bool:
        """Tell whether numbers are percentages of right answers."""
        return self.factor == ACCURACY.factor

    @property
    def label(self) -> str:
        """Return the name with the unit in brackets."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def in_brackets(self) -> str:
        """Return the unit in brackets after a space; empty without a unit."""
        return f" ({self.unit})" if self.unit else ""

    def number(self, value: float, decimals: int = 2) -> str:
        """Return a number as text: of a share with these decimals, else with five significant digits.

        Args:
            value: as shown.
            decimals: of a share.
        """
        return f"{value:.{decimals}f}" if self.is_share else f"{value:.5g}"

    def quantity(self, value: float) -> str:
        """Return a number with its unit, for sentences.

        Args:
            value: as shown.
        """
        return f"{self.number(value, 1)} {self.unit}".strip()

    def gap(self, digital: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much values are worse than digital ones.

        Args:
            digital: numbers of the digital network.
            value: numbers of chips, broadcastable to it.
        """
        return value - digital if self.lower else digital - value

    def allowed(self, digital: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gap up to which values count as close to digital ones.

        Args:
            digital: numbers of the digital network.
        """
        return _CLOSE * np.abs(digital) if self.tolerance is None else np.full_like(digital, self.tolerance)

    @property
    def near(self) -> str:
        """Return the tolerance as a phrase, to be followed by `of digital`."""
        if self.tolerance is None:
            return f"{100 * _CLOSE:g} %"
        if not self.is_share:
            return f"{self.tolerance:g} {self.unit}".strip()
        return f"{self.tolerance:g} {'point' if self.tolerance == 1 else 'points'}"

    @property
    def difference(self) -> str:
        """Return the unit of a difference."""
        return "points" if self.is_share else self.unit


ACCURACY = Metric()
