"""Check the digital baseline: is it above chance, and close to the accuracy on its card?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pandas import DataFrame

from imc_sim.plotting import Metric, numbers

if TYPE_CHECKING:
    from imc_sim.study import Results

#: fraction of the range from chance to 100 % below which a network counts as guessing
_NEAR = 0.1
#: points below the accuracy on the card that are reported
_BELOW = 10.0


def baseline_warnings(data: DataFrame, results: Results) -> str:
    """Return warnings that the digital baseline of a robustness table is poor; empty if it is not."""
    if not Metric.shown_in(data).is_share:
        return ""
    return " ".join(filter(None, [_at_chance(data), _below_card(data, results)]))


def _at_chance(data: DataFrame) -> str:
    """Warn of digital networks that are at or near chance."""
    digital = numbers(data, "digital")
    chance = np.broadcast_to(np.asarray(data.attrs.get("chance", np.nan), dtype=float), len(data))
    near = digital <= chance + _NEAR * (100 - chance)
    if not near.any():
        return ""
    worst = int(np.flatnonzero(near)[np.argmin((digital - chance)[near])])
    where = "" if near.all() else f" in {int(near.sum())} of {len(data)} rows"
    figures = f"{digital[worst]:.1f} %; guessing gives {chance[worst]:.1f} %"
    return f"The digital network itself is at or near chance{where} ({figures}): being close to it shows nothing."


def _below_card(data: DataFrame, results: Results) -> str:
    """Warn of digital networks far below the accuracy on the cards of their models."""
    paths = [axis["path"] for axis in results.study["axes"]]
    stated = {(p["case"], *p["values"]): 100 * p["stated"] for p in results.study["points"] if "stated" in p}
    places = ((row["case"], *(row[path] for path in paths)) for row in results.table.to_dict("records"))
    found = np.array([stated.get(place, np.nan) for place in places])
    gap = found - numbers(data, "digital")
    if not (gap > _BELOW).any():
        return ""
    worst = int(np.nanargmax(gap))
    figures = f"{numbers(data, 'digital')[worst]:.1f} %, against {found[worst]:.1f} % on this data set"
    return f"The digital network is far below the accuracy on its model's card ({figures}): check the task."
