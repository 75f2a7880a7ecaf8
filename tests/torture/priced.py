"""The stand-in evaluator with a cost of every chip, whose trials are priced since it counts as that of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from imc_sim.evaluate import ChipCost, ChipResult
from imc_sim.testing import stand_in_evaluator


def priced_evaluator(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """Return the results of the stand-in with a cost of every chip that depends on its number."""
    results = stand_in_evaluator(model, chip, task, chips, seed)
    if chip is None:
        return results
    return [replace(r, cost=ChipCost(1e-9 * (1 + r.chip), 1e-6, 1e-8, 1e-7)) for r in results]


def price_chips(*arguments: Any) -> list[ChipCost | None]:
    """Return the costs that `priced_evaluator` gives."""
    return [result.cost for result in priced_evaluator(*arguments)]
