"""Energy, latency and area of an inference of networks and key memories on sampled chips.

The package is callable, `imc_sim.cost(analog, inputs)`, and is then its function `cost`.
"""

from __future__ import annotations

import sys
import types
from typing import Any, final

from imc_sim._quantities import with_unit
from imc_sim.cost._actions import Actions, Layout, Programming, Scheme
from imc_sim.cost._components import ACTION, Component, Components
from imc_sim.cost._cost import cost, macro_cost, memory_cost
from imc_sim.cost._observe import Counted, count_actions, count_search
from imc_sim.cost._price import price
from imc_sim.cost._report import CostReport, LayerCost
from imc_sim.cost._survey import survey_area_m2, survey_energy_J

__all__ = [
    "ACTION",
    "Actions",
    "Component",
    "Components",
    "CostReport",
    "Counted",
    "LayerCost",
    "Layout",
    "Programming",
    "Scheme",
    "cost",
    "count_actions",
    "count_search",
    "macro_cost",
    "memory_cost",
    "price",
    "survey_area_m2",
    "survey_energy_J",
    "with_unit",
]


@final
class _Callable(types.ModuleType):
    """A module that is called as its function `cost`: a package and a public function have the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> CostReport:
        return cost(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
