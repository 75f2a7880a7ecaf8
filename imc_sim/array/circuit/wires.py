"""Wire resistance of a crossbar: word and bit lines, drivers, sense nodes, and the selection of rows."""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Spec


@final
class Wires(Spec):
    """Describe the resistances between the drivers, the cells and the ADCs of one tile.

    A word line is driven at column 0 through its source resistance and one segment. A bit line is read after the last
    row through one segment and its sense resistance, at virtual ground.

    Attributes:
        kind: `ideal` wires have no resistance; `nodal` is the exact circuit of rows and columns; `columns` is the usual
            approximation of it, with resistance in the bit lines alone.
        cells: in a `1t1r` array a row whose gate is off is open and its cells conduct nothing; in a `passive` array
            every row is driven, an unselected one at 0 V.
        gating: how one circuit approximates those of all inputs (see `approximate_gating`).
        density: share of rows that this circuit takes as on; None: the share that calibration measures in every row of
            tiles and every pass, and 0.5 without a calibration.

    Reference:
        CIM-Explorer, arXiv 2505.14303, for `columns`.
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
        default="tangent", description="approximation where the input switches rows of a 1t1r array"
    )
    density: float | None = Field(
        default=None, gt=0.0, le=1.0, description="share of rows that are on, for mean and tangent; null: measured"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        """Refuse a resistance that the kind would ignore."""
        unused = {"ideal": ("row", "col", "source", "sense"), "columns": ("row", "source"), "nodal": ()}[self.kind]
        for name in (f"r_{part}_ohm" for part in unused):
            if getattr(self, name) > 0.0:
                raise ValueError(f"{name} of 0 with kind {self.kind!r}, which leaves it out (kind 'nodal' has it)")
        if self.drive == "double" and self.kind != "nodal":
            raise ValueError(f"drive 'single' with kind {self.kind!r}, whose word lines have no resistance")
        return self

    @property
    def is_ideal(self) -> bool:
        """Tell whether there is no resistance: effective conductances are those of the cells, to the bit."""
        return self.r_row_ohm == self.r_col_ohm == self.r_source_ohm == self.r_sense_ohm == 0.0

    def idle(self) -> frozenset[str]:
        if self.is_ideal:
            return self.all_but()
        same = frozenset() if self.joins_columns else frozenset({"kind", "drive"})
        if self.cells == "passive":
            return same | {"gating", "density"}
        return same | {"density"} if self.gating == "all_on" else same

    @property
    def joins_columns(self) -> bool:
        """Tell whether word lines have resistance, so that the current of a column depends on the others."""
        return self.r_row_ohm > 0.0 or self.r_source_ohm > 0.0

    def loaded(self, density: float) -> Self:
        """Return the wires for a mean share of rows that are on (see `approximate_gating`).

        Args:
            density: share of the rows that are on.
        """
        return self.model_copy(
            update={"r_col_ohm": self.r_col_ohm * density, "r_sense_ohm": self.r_sense_ohm * density}
        )
