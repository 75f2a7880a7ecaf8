"""When a point has enough chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imc_sim._stats import mean_interval
from imc_sim.study._spec import Chips


def settled(chips: Chips, row: Callable[[int], Mapping[str, Any] | None]) -> int | None:
    """The number of chips at which the rule stops a point, or None as long as it goes on.

    row: what is stored of a chip. Chips that failed count as drawn, without a say in the mean.
    """
    checkpoints = chips.checkpoints()
    for count in checkpoints:
        rows = [row(c) for c in range(count)]
        if any(r is None for r in rows):
            return None
        values = [r["correct"] / r["total"] for r in rows if r is not None and r["state"] == "done"]
        if chips.half_width is not None and len(values) > 1:
            mean, low, _ = mean_interval(values)
            if mean - low <= chips.half_width:
                return count
    return checkpoints[-1]
