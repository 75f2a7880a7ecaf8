"""Where the cells of a matrix lie: tiles of given size, their use, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array.encoding.base import Encoding
from imc_sim.config import Spec


@final
class Tile(Spec):
    """One physical array: word lines (rows) and bit lines (columns)."""

    rows: int = Field(default=128, ge=1, le=2**20, description="word lines")
    cols: int = Field(default=128, ge=1, le=2**20, description="bit lines")


@final
@dataclass(frozen=True)
class Placement:
    """A matrix of `inputs` x `columns` on tiles. A cell group (pair, block) never straddles two tiles.

    inputs, outputs: logical size; row_group, column_group: physical rows per input, columns per output.
    """

    tile: Tile
    inputs: int
    outputs: int
    row_group: int
    column_group: int

    @classmethod
    def of(cls, tile: Tile, encoding: Encoding, inputs: int, outputs: int, where: str) -> Placement:
        """Placement for `outputs` result columns (slices counted); refuses tiles smaller than one cell group."""
        if tile.rows < encoding.rows or tile.cols < encoding.columns:
            allowed = f"{encoding.rows} x {encoding.columns} cells or more for one weight in {type(encoding).__name__}"
            raise InputError(f"{where}, tile", f"{tile.rows} x {tile.cols}", allowed, "Enlarge the tile.")
        return cls(tile, inputs, outputs, encoding.rows, encoding.columns)

    @property
    def inputs_per_tile(self) -> int:
        return self.tile.rows // self.row_group

    @property
    def outputs_per_tile(self) -> int:
        return self.tile.cols // self.column_group

    @property
    def row_slices(self) -> list[slice]:
        """Inputs of each row of tiles, top to bottom."""
        n = self.inputs_per_tile
        return [slice(i, min(i + n, self.inputs)) for i in range(0, self.inputs, n)]

    @property
    def column_slices(self) -> list[slice]:
        """Outputs of each column of tiles, left to right."""
        n = self.outputs_per_tile
        return [slice(i, min(i + n, self.outputs)) for i in range(0, self.outputs, n)]

    @property
    def tiles(self) -> int:
        return len(self.row_slices) * len(self.column_slices)

    @property
    def cells(self) -> int:
        """Cells in use."""
        return self.inputs * self.row_group * self.outputs * self.column_group

    @property
    def utilisation(self) -> float:
        """Cells in use over cells of all tiles."""
        return self.cells / (self.tiles * self.tile.rows * self.tile.cols)

    def split(self, matrix: Tensor) -> Tensor:
        """[*, rows, columns] physical cells -> [*, tile, tile.rows, tile.cols]; cells not in use are 0."""
        r, c = self.row_group, self.column_group
        out = matrix.new_zeros(*matrix.shape[:-2], self.tiles, self.tile.rows, self.tile.cols)
        pairs = [(i, j) for i in self.row_slices for j in self.column_slices]
        for t, (i, j) in enumerate(pairs):
            part = matrix[..., i.start * r : i.stop * r, j.start * c : j.stop * c]
            out[..., t, : part.shape[-2], : part.shape[-1]] = part
        return out

    def join(self, tiles: Tensor) -> Tensor:
        """The inverse of `split`."""
        r, c = self.row_group, self.column_group
        shape = (*tiles.shape[:-3], self.inputs * r, self.outputs * c)
        out = torch.empty(shape, dtype=tiles.dtype, device=tiles.device)
        pairs = [(i, j) for i in self.row_slices for j in self.column_slices]
        for t, (i, j) in enumerate(pairs):
            rows, cols = (i.stop - i.start) * r, (j.stop - j.start) * c
            out[..., i.start * r : i.stop * r, j.start * c : j.stop * c] = tiles[..., t, :rows, :cols]
        return out
