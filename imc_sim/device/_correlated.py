"""Correlated device variation: from chip to chip, and as a gradient across a tile."""

from __future__ import annotations

import math
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.config import Spec


@final
class Correlated(Spec):
    """Device variation that averaging over a column does not reduce: all conductances are multiplied by

        1 + chip z + gradient (x cos a + y sin a),  never below 0,

    z: one standard normal number per chip, common to all its layers; x, y: column and row of the cell within its
    tile, from -1/2 to 1/2; a: one direction per tile, uniform. Over a tile the gradient's part has the standard
    deviation gradient / sqrt(12), whatever its direction. Place and die stay the same when cells are rewritten.
    """

    chip: float = Field(default=0.0, ge=0.0, le=2.0, description="relative variation from chip to chip")
    gradient: float = Field(default=0.0, ge=0.0, le=2.0, description="relative change of conductance across a tile")

    @property
    def is_ideal(self) -> bool:
        """Tell whether all chips and places are equal."""
        return self.chip == self.gradient == 0.0

    def factor(
        self, seed: int, layer: str, chip: int, rows: Tensor | None, cols: Tensor | None, tile: Tensor | int
    ) -> Tensor | float:
        """Return the factor on every conductance: a number, or a float64 tensor that broadcasts to the cells.

        Args:
            seed, layer, chip: address of the random numbers; the chip-to-chip part is the same in all layers.
            rows: position y of each cell in its tile, in [-1/2, 1/2]; may be None where the gradient is off.
            cols: position x of each cell in its tile, in [-1/2, 1/2]; may be None where the gradient is off.
            tile: index of the tile of each cell (int64), or one index for all cells. Broadcasts to the cells, as rows
                and cols do.

        Raises:
            InputError: the gradient is on and rows or cols is None.
        """
        common = 1.0
        if self.chip > 0.0:
            common += self.chip * float(Stream(seed, "", "chip to chip").normal(1, chip)[0])
        if self.gradient == 0.0:
            return max(common, 0.0)
        if rows is None or cols is None:
            step = "Pass the normalised coordinates of the cells."
            raise InputError(f"layer {layer!r}, gradient", "no coordinates", "rows and cols in [-1/2, 1/2]", step)
        tiles = torch.as_tensor(tile)
        drawn = Stream(seed, layer, "gradient").uniform(int(tiles.max()) + 1, chip)
        angle = torch.from_numpy(drawn).double()[tiles] * (2.0 * math.pi)
        return (common + self.gradient * (cols * angle.cos() + rows * angle.sin())).clamp_min(0.0)
