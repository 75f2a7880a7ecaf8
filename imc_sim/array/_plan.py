"""A weight matrix before its cells are programmed: targets, places on tiles, units."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array._chip import Chip
from imc_sim.array._placement import Placement
from imc_sim.array.encoding.base import Encoding, Targets


@final
@dataclass(frozen=True)
class Plan:
    """Hold a matrix that is encoded and placed on tiles, for any number of chips.

    Attributes:
        chip: the chip.
        encoding: encoding of the weights.
        targets: levels of the cells.
        placement: places of the cells on tiles.
        order: the output at each position along the columns of tiles.
        reference: for every output the one that holds its reference; None without reference columns.
        measured: measured conductances of programmed cells in S, by chip number, shaped as `cells`; None: simulated.
        deviations: measured deviations of cells from their targets in window / steps, by chip number, shaped as
            `cells`; None: sampled.
    """

    chip: Chip
    encoding: Encoding
    targets: Targets
    placement: Placement
    order: Tensor
    reference: Tensor | None
    measured: Mapping[int, Tensor] | None = None
    deviations: Mapping[int, Tensor] | None = None

    @classmethod
    def of(cls, weights: Tensor, encoding: Encoding, chip: Chip, where: str, signs: bool = False) -> Plan:
        """Encode weights [out, in] and place them; refuse what cannot be encoded, converted or placed.

        signs: every weight is -1 or +1.
        """
        if weights.ndim != 2 or weights.numel() == 0:
            raise InputError(where, f"weights of shape {tuple(weights.shape)}", "[out, in]", "Reshape the weights.")
        chip.converter.check(encoding.signed, encoding.name, where)
        dtype = weights.dtype if weights.dtype == torch.float64 else torch.float32
        encode = encoding.encode_signs if signs else encoding.encode
        targets = encode(weights.detach().to(dtype), chip.device.levels, where)
        out, slices = len(targets.weights), len(targets.places)
        if not encoding.referenced:
            placement = Placement.of(chip.tile, encoding, weights.shape[1], out * slices, where)
            return cls(chip, encoding, targets, placement, torch.arange(out), None)
        return cls._with_references(encoding, chip, targets, weights.shape, where)

    @classmethod
    def _with_references(
        cls, encoding: Encoding, chip: Chip, targets: Targets, shape: tuple[int, ...], where: str
    ) -> Plan:
        """Place weights with the reference of a tile in its last column."""
        out, per_tile = shape[0], chip.tile.cols - 1
        if per_tile < 1:
            step = "Enlarge the tile."
            raise InputError(f"{where}, tile", "1 column", f"2 columns or more for encoding {encoding.name}", step)
        count = -(-out // per_tile)
        order: list[int] = []
        for tile in range(count):
            order += [*range(tile * per_tile, min(out, (tile + 1) * per_tile)), out + tile]
        placement = Placement.of(chip.tile, encoding, shape[1], out + count, where)
        reference = out + torch.arange(out) // per_tile
        return cls(chip, encoding, targets, placement, torch.tensor(order), reference)

    @functools.cached_property
    def cells(self) -> Tensor:
        """Return the levels [outputs, slices, columns, in, rows], reference columns after all outputs."""
        levels = self.targets.levels
        if self.reference is None:
            return levels
        return torch.cat([levels, levels.new_full((self.references, *levels.shape[1:]), self.targets.reference)])

    @property
    def outputs(self) -> int:
        """Return the number of outputs, without reference columns."""
        return len(self.targets.weights)

    @property
    def references(self) -> int:
        """Return the number of reference columns, one per column of tiles; 0 for most encodings."""
        return len(self.order) - self.outputs

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of products."""
        return self.targets.weights.dtype

    @property
    def by_pairs(self) -> bool:
        """Tell whether column pairs are sampled as differences of their cells, without single cells."""
        simulated = self.measured is None and not self.chip.device.cells_are_ideal
        return self.chip.draws == "pairs" and self.targets.held is None and simulated

    @property
    def cells_are_ideal(self) -> bool:
        """Tell whether cells conduct their targets until they are read, the same on all chips."""
        return self.measured is None and self.chip.cells_are_ideal

    @property
    def readout_is_ideal(self) -> bool:
        """Tell whether ADCs are ideal and reads are free of noise."""
        return self.chip.converter.is_ideal and not self.chip.device.read.noisy

    @functools.cached_property
    def factors(self) -> tuple[float, ...]:
        """Return the factor of every conversion in the result: [slices x terms]."""
        return tuple(place * term.gain for place in self.targets.places for term in self.encoding.terms)

    @property
    def gains(self) -> Tensor:
        """Return `factors` as a tensor."""
        return torch.tensor(self.factors, dtype=self.dtype)

    @property
    def floor(self) -> float:
        """Return the conductance of HRS in units of window / steps."""
        return self.chip.device.floor * self.targets.steps

    def physical(self, g: Tensor) -> Tensor:
        """Return cells [outputs, slices, columns, in, rows] as word lines by bit lines, [in x rows, outputs x …]."""
        return g[self.order].permute(3, 4, 0, 1, 2).reshape(g.shape[3] * g.shape[4], -1)

    def logical(self, matrix: Tensor) -> Tensor:
        """Invert `physical`."""
        shape = self.cells.shape
        g = matrix.reshape(shape[3], shape[4], *shape[:3]).permute(2, 3, 4, 0, 1)
        return torch.empty_like(g).index_copy_(0, self.order, g.contiguous())

    def siemens(self, g: Tensor) -> Tensor:
        """Return the conductances in S of cells in units of window / steps."""
        return g * (self.chip.device.window_S / self.targets.steps) + self.chip.device.g_hrs_S

    def units(self, conductance_S: Tensor) -> Tensor:
        """Invert `siemens`."""
        return (conductance_S - self.chip.device.g_hrs_S) * (self.targets.steps / self.chip.device.window_S)

    def against_reference(self, g: Tensor) -> Tensor:
        """Return the cells of the outputs; with reference columns, the difference to them."""
        return g if self.reference is None else g[: self.outputs] - g[self.reference]

    def coordinates(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (row, column, tile) of every cell, broadcastable to `cells`.

        row and column are from -1/2 to 1/2 over the physical tile; tile is the number of the tile.
        """
        p = self.placement
        inputs = torch.arange(p.inputs)
        row = (inputs % p.inputs_per_tile)[:, None] * p.row_group + torch.arange(p.row_group)
        _, slices, columns = self.cells.shape[:3]
        position = torch.empty_like(self.order).index_copy_(0, self.order, torch.arange(len(self.order)))
        place = position[:, None] * slices + torch.arange(slices)
        col = (place % p.outputs_per_tile)[..., None] * p.column_group + torch.arange(columns)
        tile = (inputs // p.inputs_per_tile)[:, None] * len(p.column_slices) + (place // p.outputs_per_tile)[
            ..., None, None, None
        ]
        rows = (row.double() + 0.5) / p.tile.rows - 0.5
        cols = ((col.double() + 0.5) / p.tile.cols - 0.5)[..., None, None]
        return rows.expand(self.cells.shape), cols.expand(self.cells.shape), tile.expand(self.cells.shape)
