"""What MemTorch can simulate of a crossbar, in our terms. Importing this needs no MemTorch."""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Seconds, Siemens, Spec, Volt


@final
class CellLaw(Spec):
    """How the conductance of one state varies from cell to cell.

    gaussian: G normal with standard deviation sigma times its mean; log_normal: ln G normal with that deviation.
    """

    law: Literal["gaussian", "log_normal"] = "gaussian"
    sigma: float = Field(default=0.0, ge=0.0, description="relative spread")


@final
class MemTorchSettings(Spec):
    """A crossbar of two-terminal cells that MemTorch can simulate. Every effect is off by default.

    single_column: one cell a weight, less the middle of the window; else a pair of columns. tile_*: as MemTorch
    counts them, in columns of one crossbar of the pair. adc_bits: a converter per tile and input vector, which
    ranges over the outputs of the tile itself: the step is a power of two that lets all but the fraction
    adc_overflow_rate of them through. stuck_*: fraction of cells, rounded down to a whole number of cells.
    nonlinearity_per_V: a of I = G v_read sinh(a V) / sinh(a v_read). drift: G (t / t0)^-nu.
    """

    g_lrs_S: Siemens = Field(gt=0.0)
    g_hrs_S: Siemens = Field(gt=0.0)
    lrs: CellLaw = CellLaw()
    hrs: CellLaw = CellLaw()
    single_column: bool = False
    tile_rows: int | None = Field(default=None, ge=1)
    tile_cols: int | None = Field(default=None, ge=1)
    adc_bits: int | None = Field(default=None, ge=2)
    adc_overflow_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    stuck_lrs: float = Field(default=0.0, ge=0.0, le=1.0)
    stuck_hrs: float = Field(default=0.0, ge=0.0, le=1.0)
    v_read_V: Volt = Field(default=0.2, gt=0.0)
    nonlinearity_per_V: float = Field(default=0.0, ge=0.0)
    drift_t_s: Seconds = Field(default=0.0, ge=0.0)
    drift_t0_s: Seconds = Field(default=1.0, gt=0.0)
    drift_nu: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.g_lrs_S <= self.g_hrs_S:
            raise ValueError("g_lrs_S above g_hrs_S")
        if (self.tile_rows is None) != (self.tile_cols is None):
            raise ValueError("tile_rows and tile_cols, or neither")
        if self.adc_bits is None and self.adc_overflow_rate > 0.0:
            raise ValueError("adc_overflow_rate of 0 without a converter")
        if self.nonlinearity_per_V and (self.drifts or self.faulty or self.adc_bits is not None):
            raise ValueError("nonlinearity_per_V without faults, drift and converters")
        if self.single_column and (self.cells_change or self.nonlinearity_per_V):
            raise ValueError("encoding offset with linear cells that stay at their targets")
        return self

    @property
    def faulty(self) -> bool:
        """Some cells are stuck."""
        return self.stuck_lrs > 0.0 or self.stuck_hrs > 0.0

    @property
    def drifts(self) -> bool:
        """Conductances are not those programmed."""
        return self.drift_nu > 0.0 and self.drift_t_s > self.drift_t0_s

    @property
    def spread(self) -> bool:
        """Cells differ."""
        return self.lrs.sigma > 0.0 or self.hrs.sigma > 0.0

    @property
    def cells_change(self) -> bool:
        """Conductances are not the targets. MemTorch's reference of a single column would stay at its target."""
        return self.spread or self.drifts or self.faulty
