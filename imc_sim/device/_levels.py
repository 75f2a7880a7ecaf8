"""Levels of a cell: equally spaced in conductance, equally spaced in resistance, or measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from torch import Tensor

from imc_sim.config import Siemens, Spec

Spacing = Literal["conductance", "resistance"]

#: A measured table this close to equal spacing (in windows) counts as equally spaced.
_EQUAL = 1e-9


#: number that stands for `levels: continuous`: targets are finer than float32 rounds
CONTINUOUS = 2**23 + 1
#: most steps of which every level has a row in tables; targets of more lie between `_KNOTS` + 1 rows
_TABLED, _KNOTS = 2**12, 2**6


def _count(value: Any, handler: ValidatorFunctionWrapHandler) -> int:
    return CONTINUOUS if value in ("continuous", CONTINUOUS) else handler(value)


LevelCount = Annotated[
    int,
    Field(ge=2, le=1024),
    WrapValidator(_count),
    PlainSerializer(lambda count: "continuous" if count == CONTINUOUS else count),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 2, "maximum": 1024}, {"const": "continuous"}]}),
]


class Levels(Spec):
    """States of a cell from HRS to LRS. Where table_S is given, the other fields follow from it and may be left out.

    `levels: continuous` is for cells that are programmed to any conductance in their window.
    """

    g_lrs_S: Siemens = Field(ge=1e-15, le=1.0, description="conductance of the low-resistance state")
    g_hrs_S: Siemens = Field(ge=0.0, le=1.0, description="conductance of the high-resistance state")
    levels: LevelCount = Field(default=2, description="states, each with a table of 73,728 quantiles; or continuous")
    spacing: Spacing = Field(default="conductance", description="in what the states are equally spaced")
    table_S: tuple[Annotated[Siemens, Field(ge=0.0, le=1.0)], ...] | None = Field(
        default=None, description="measured states, ascending"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_table(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("table_S"), tuple | list) or not data["table_S"]:
            return data
        table = data["table_S"]
        return {"g_hrs_S": table[0], "g_lrs_S": table[-1], "levels": len(table)} | data

    @model_validator(mode="after")
    def _window(self) -> Self:
        """Check that LRS is above HRS, and that a table of levels agrees with both."""
        if self.g_lrs_S <= self.g_hrs_S:
            raise ValueError(f"g_lrs_S above g_hrs_S (here {self.g_lrs_S:g} S is not above {self.g_hrs_S:g} S)")
        table = self.table_S
        if self.levels == CONTINUOUS and (table is not None or self.spacing != "conductance"):
            raise ValueError("spacing: conductance and no table_S where levels are continuous")
        if table is not None:
            if (table[0], table[-1], len(table)) != (self.g_hrs_S, self.g_lrs_S, self.levels):
                raise ValueError("a table_S from g_hrs_S to g_lrs_S with `levels` entries; these may be left out")
            if any(b <= a for a, b in itertools.pairwise(table)):
                raise ValueError("a table_S that rises")
        elif self.spacing == "resistance" and self.g_hrs_S == 0.0:
            raise ValueError("g_hrs_S above 0 S where levels are equally spaced in resistance")
        return self

    @property
    def window_S(self) -> float:
        """Return G_LRS - G_HRS."""
        return self.g_lrs_S - self.g_hrs_S

    @property
    def floor(self) -> float:
        """Return G_HRS in units of the window."""
        return self.g_hrs_S / self.window_S

    @property
    def linear(self) -> bool:
        """Tell whether levels are equally spaced in conductance, as encodings that add them up assume."""
        even = self.table_S is None and self.spacing == "conductance"
        return even or bool(torch.equal(self._all(), _even(self.levels - 1)))

    def positions(self, steps: int) -> Tensor:
        """Return g [steps + 1] of the levels of steps + 1 codes in windows: 0 for HRS … 1 for LRS, float64.

        Equally spaced cells: k / steps. Others: their own levels if there are as many, else the nearest of them.

        Args:
            steps: number of the highest code.
        """
        if steps == 1 or self.linear:
            return _even(steps)
        g = self._all()
        return g if steps == self.levels - 1 else g[_nearest(g, _even(steps))]

    def highest_row(self, steps: int) -> int:
        """Return the number of the highest level that has a row in tables; rows are equally spaced where not all have.

        Args:
            steps: number of the highest code.
        """
        return steps if steps <= _TABLED else _KNOTS

    def places(self, codes: Tensor, steps: int) -> Tensor:
        """Return g [*] of levels in windows, float64.

        Args:
            codes: numbers 0 … steps [*].
            steps: number of the highest code.
        """
        return codes.double() / steps if steps > _TABLED else self.positions(steps)[codes.long()]

    def targets_S(self, levels: Sequence[int]) -> list[float]:
        """Return the target conductances in S of some levels.

        Args:
            levels: their numbers.
        """
        g = self.places(torch.tensor(levels), self.levels - 1)
        return ((g + self.floor) * self.window_S).tolist()

    def codes(self, target: Tensor) -> Tensor:
        """Return the number [*] of the level nearest to each target.

        Args:
            target: target g in [0, 1], any shape; halfway between unequally spaced levels counts as the lower one.
        """
        return torch.round(target * (self.levels - 1)) if self.linear else _nearest(self._all(), target)

    def _all(self) -> Tensor:
        """Return g [levels] of all levels from HRS (exactly 0) to LRS (exactly 1), in windows, float64.

        resistance: level k has R = R_HRS + (R_LRS - R_HRS) k / (levels - 1). A table gives G itself.
        """
        k = _even(self.levels - 1)
        if self.table_S is not None:
            table = torch.tensor(self.table_S, dtype=torch.float64)
            g = (table - table[0]) / (table[-1] - table[0])
            return k if bool(((g - k).abs() < _EQUAL).all()) else g
        if self.spacing == "conductance" or self.levels == 2:
            return k
        floor = self.floor
        resistance = 1.0 / floor + (1.0 / (1.0 + floor) - 1.0 / floor) * k
        g = 1.0 / resistance - floor
        g[0], g[-1] = 0.0, 1.0
        return g


def _even(steps: int) -> Tensor:
    """Return g of steps + 1 levels equally spaced in conductance: k / steps, float64."""
    return torch.arange(steps + 1, dtype=torch.float64) / steps


def _nearest(g: Tensor, target: Tensor) -> Tensor:
    """Return the index (int64) of the level nearest to each target; halfway counts as the lower one."""
    return torch.bucketize(target.to(g.dtype), (g[1:] + g[:-1]) / 2)
