"""Places of the cells of a matrix on tiles of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pydantic import Field
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array.encoding.base import Encoding
from imc_sim.config import Spec


@final
class Tile(Spec):
    """Describe one physical array of word lines (rows) and bit lines (columns)."""

    rows: int = Field(default=128, ge=1, le=2**20, description="word lines")
    cols: int = Field(default=128, ge=1, le=2**20, description="bit lines")


@final
@dataclass(frozen=True)
class Placement:
    """Map a matrix to tiles. The cells of one weight are always on one tile.

    Attributes:
        tile: size of a tile.
        inputs: inputs of the matrix.
        outputs: outputs of the matrix, slices counted.
        row_group: word lines per input.
        column_group: bit lines per output.
    """

    tile: Tile
    inputs: int
    outputs: int
    row_group: int
    column_group: int

    @classmethod
    def of(cls, tile: Tile, encoding: Encoding, inputs: int, outputs: int, where: str) -> Placement:
        """Place a matrix.

        Args:
            tile: size of a tile.
            encoding: encoding of the weights.
            inputs: inputs of the matrix.
            outputs: outputs of the matrix, slices counted.
            where: place that an error names.

        Returns:
            The placement.

        Raises:
            InputError: for tiles smaller than the cells of one weight.
        """
        if tile.rows < encoding.rows or tile.cols < encoding.columns:
            allowed = f"{encoding.rows} x {encoding.columns} cells or more for one weight in {type(encoding).__name__}"
            raise InputError(f"{where}, tile", f"{tile.rows} x {tile.cols}", allowed, "Enlarge the tile.")
        return cls(tile, inputs, outputs, encoding.rows, encoding.columns)

    @property
    def inputs_per_tile(self) -> int:
        """Return the inputs that fit one tile."""
        return self.tile.rows // self.row_group

    @property
    def outputs_per_tile(self) -> int:
        """Return the outputs that fit one tile."""
        return self.tile.cols // self.column_group

    @property
    def row_slices(self) -> list[slice]:
        """Return the inputs of each row of tiles, top to bottom."""
        n = self.inputs_per_tile
        return [slice(i, min(i + n, self.inputs)) for i in range(0, self.inputs, n)]

    @property
    def column_slices(self) -> list[slice]:
        """Return the outputs of each column of tiles, left to right."""
        n = self.outputs_per_tile
        return [slice(i, min(i + n, self.outputs)) for i in range(0, self.outputs, n)]

    @property
    def tiles(self) -> int:
        """Return the number of tiles."""
        return len(self.row_slices) * len(self.column_slices)

    @property
    def cells(self) -> int:
        """Return the number of cells in use."""
        return self.inputs * self.row_group * self.outputs * self.column_group

    @property
    def utilisation(self) -> float:
        """Return the cells in use over the cells of all tiles."""
        return self.cells / (self.tiles * self.tile.rows * self.tile.cols)

    def split(self, matrix: Tensor) -> Tensor:
        """Return the cells of each tile, [*, tile, tile.rows, tile.cols]; cells not in use are 0.

        Args:
            matrix: cells [*, word lines, bit lines].
        """
        out = matrix.new_zeros(*matrix.shape[:-2], self.tiles, self.tile.rows, self.tile.cols)
        for t, (lines, columns) in enumerate(self.parts):
            part = matrix[..., lines, columns]
            out[..., t, : part.shape[-2], : part.shape[-1]] = part
        return out

    def join(self, tiles: Tensor) -> Tensor:
        """Return the cells [*, word lines, bit lines] of tiles: the inverse of `split`.

        Args:
            tiles: [*, tile, tile.rows, tile.cols].
        """
        out = tiles.new_empty(*tiles.shape[:-3], self.inputs * self.row_group, self.outputs * self.column_group)
        for t, (lines, columns) in enumerate(self.parts):
            part = out[..., lines, columns]
            part.copy_(tiles[..., t, : part.shape[-2], : part.shape[-1]])
        return out

    @property
    def parts(self) -> list[tuple[slice, slice]]:
        """Return the word lines and the bit lines of each tile."""
        r, c = self.row_group, self.column_group
        rows = [slice(i.start * r, i.stop * r) for i in self.row_slices]
        return [(i, slice(j.start * c, j.stop * c)) for i in rows for j in self.column_slices]
