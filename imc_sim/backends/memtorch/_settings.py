"""Settings of the crossbars that MemTorch can simulate; MemTorch is not imported."""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Seconds, Siemens, Spec, Volt


@final
class CellLaw(Spec):
    """Define how the conductance of one state varies from cell to cell.

    Attributes:
        law: `gaussian`: G is normal with standard deviation sigma times its mean; `log_normal`: ln G is normal with
            standard deviation sigma.
        sigma: Device variation.
    """

    law: Literal["gaussian", "log_normal"] = "gaussian"
    sigma: float = Field(default=0.0, ge=0.0, description="device variation")


@final
class MemTorchSettings(Spec):
    """Define a crossbar of two-terminal cells that MemTorch can simulate; every effect is off by default.

    Attributes:
        g_lrs_S: Conductance of LRS.
        g_hrs_S: Conductance of HRS.
        lrs: Device variation of LRS.
        hrs: Device variation of HRS.
        single_column: One cell per weight, minus the middle of the window, instead of a pair of columns.
        tile_rows: Rows of a tile.
        tile_cols: Columns of a tile, in one crossbar of a pair.
        adc_bits: Bits of the ADC of each tile, whose step is a power of two for each input vector.
        adc_overflow_rate: Fraction of a tile's outputs that its ADC may clip.
        stuck_lrs: Fraction of cells stuck at LRS, rounded down to a whole number of cells.
        stuck_hrs: Fraction of cells stuck at HRS, rounded down as well.
        v_read_V: Read voltage.
        nonlinearity_per_V: a in I = G v_read sinh(a V) / sinh(a v_read).
        drift_t_s: Time t of the drift G (t / t0)^-nu.
        drift_t0_s: Its time t0.
        drift_nu: Its exponent nu.
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
        """Reject combinations that MemTorch cannot simulate."""
        if self.g_lrs_S <= self.g_hrs_S:
            raise ValueError("g_lrs_S above g_hrs_S")
        if (self.tile_rows is None) != (self.tile_cols is None):
            raise ValueError("tile_rows and tile_cols, or neither")
        if self.adc_bits is None and self.adc_overflow_rate > 0.0:
            raise ValueError("adc_overflow_rate of 0 without an ADC")
        if self.nonlinearity_per_V and (self.drifts or self.faulty or self.adc_bits is not None):
            raise ValueError("nonlinearity_per_V without faults, drift and ADCs")
        if self.single_column and (self.cells_change or self.nonlinearity_per_V):
            raise ValueError("encoding offset with linear cells that stay at their targets")
        return self

    @property
    def faulty(self) -> bool:
        """Some cells are stuck."""
        return self.stuck_lrs > 0.0 or self.stuck_hrs > 0.0

    @property
    def drifts(self) -> bool:
        """Conductances drift."""
        return self.drift_nu > 0.0 and self.drift_t_s > self.drift_t0_s

    @property
    def varies(self) -> bool:
        """Cells have device variation."""
        return self.lrs.sigma > 0.0 or self.hrs.sigma > 0.0

    @property
    def cells_change(self) -> bool:
        """Conductances differ from their targets, which MemTorch's reference of a single column would not follow."""
        return self.varies or self.drifts or self.faulty
