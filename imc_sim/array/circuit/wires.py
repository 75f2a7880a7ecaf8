"""Wires of a crossbar: resistance of word and bit lines, drivers and sense nodes, and how rows are selected."""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Spec


@final
class Wires(Spec):
    """What stands between the drivers, the cells and the converters of one tile.

    kind: `ideal` wires have no resistance; `nodal` is the exact circuit of rows and columns; `columns` is the
    field's approximation of it, with resistance in the bit lines alone. A word line is driven at column 0 through
    its source resistance and one segment; a bit line is sensed after the last row through one segment and its
    sense resistance, at virtual ground. cells: with `1t1r` a row whose gate is off is open, its cells conduct
    nothing; in a `passive` array every row is driven, an unselected one at 0 V. gating, density: how one circuit stands
    for those of all inputs (see `approximate_gating`), and the share of rows that it takes as on: by default what
    calibration measures in every row of tiles and every pass, and 0.5 where nothing was measured.

    Source of `columns`: CIM-Explorer, arXiv 2505.14303.
    """

    kind: Literal["ideal", "columns", "nodal"] = Field(default="ideal", description="how wires are computed")
    r_row_ohm: float = Field(default=0.0, ge=0.0, le=1e12, description="word line, per cell pitch")
    r_col_ohm: float = Field(default=0.0, ge=0.0, le=1e12, description="bit line, per cell pitch")
    r_source_ohm: float = Field(
        default=0.0, ge=0.0, le=1e12, description="driver of a word line, in series at each driven end"
    )
    r_sense_ohm: float = Field(
        default=0.0, ge=0.0, le=1e12, description="sense node of a bit line, in series at its lower end"
    )
    drive: Literal["single", "double"] = Field(default="single", description="word lines driven at one or both ends")
    cells: Literal["1t1r", "passive"] = Field(default="1t1r", description="whether an unselected row is open or at 0 V")

    gating: Literal["all_on", "mean", "tangent"] = Field(
        default="tangent", description="stand-in for the exact circuit where the input switches rows of a 1t1r array"
    )
    density: float | None = Field(
        default=None, gt=0.0, le=1.0, description="share of rows that are on, for mean and tangent; null: measured"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        """A resistance that the kind leaves out would be ignored without a word: refused."""
        unused = {"ideal": ("row", "col", "source", "sense"), "columns": ("row", "source"), "nodal": ()}[self.kind]
        for name in (f"r_{part}_ohm" for part in unused):
            if getattr(self, name) > 0.0:
                raise ValueError(f"{name} of 0 with kind {self.kind!r}, which leaves it out (kind 'nodal' has it)")
        if self.drive == "double" and self.kind != "nodal":
            raise ValueError(f"drive 'single' with kind {self.kind!r}, whose word lines have no resistance")
        return self

    @property
    def is_ideal(self) -> bool:
        """No resistance anywhere: the effective conductance is the cells' own, to the bit."""
        return self.r_row_ohm == self.r_col_ohm == self.r_source_ohm == self.r_sense_ohm == 0.0

    def idle(self) -> frozenset[str]:
        if self.is_ideal:
            return self.all_but()
        if self.cells == "passive":
            return frozenset({"gating", "density"})
        return frozenset({"density"}) if self.gating == "all_on" else frozenset()

    def loaded(self, density: float) -> Self:
        """The wires when a share `density` of the rows is on, in the mean-field sense (see `approximate_gating`)."""
        return self.model_copy(
            update={"r_col_ohm": self.r_col_ohm * density, "r_sense_ohm": self.r_sense_ohm * density}
        )
