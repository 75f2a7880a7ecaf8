"""Readout of several crossbars of one shape together, tile by tile, as of the groups of a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self, cast, final

import torch
from torch import Tensor

from imc_sim.array._converter import Quantiser
from imc_sim.array._readout import LARGE, Readout
from imc_sim.array._tiled_readout import NOISY, TiledReadout, TilePass
from imc_sim.array._vectors import CHUNK
from imc_sim.device import check_finite


@final
class _Converters(NamedTuple):
    """Hold the ADCs of one row of tiles in every crossbar: codes are factor * u + shift, rounded and clipped."""

    factor: Tensor
    shift: Tensor | None
    step: Tensor
    base: Tensor
    lowest: int
    highest: int

    @classmethod
    def of(
        cls, each: Sequence[Quantiser], gain: float, offsets: Sequence[Tensor | None], dtype: torch.dtype
    ) -> _Converters:
        """Return the ADCs of all crossbars, with the constants of their cells."""
        scaled = [q.scaled(dtype, gain, offset) for q, offset in zip(each, offsets, strict=True)]
        shifts = [torch.as_tensor(shift, dtype=None if isinstance(shift, Tensor) else dtype) for _, shift in scaled]
        columns = max(shift.numel() for shift in shifts)
        shift = torch.stack([s.expand(columns) for s in shifts])[:, None]
        return cls(
            _column([factor for factor, _ in scaled], dtype), shift if bool(shift.any()) else None,
            _column([q.step for q in each], dtype), _column([q.base for q in each], dtype),
            each[0].lowest, each[0].highest,
        )  # fmt: skip

    def equals(self, other: _Converters) -> bool:
        """Tell whether codes have the same values as those of another row of tiles."""
        return torch.equal(self.step, other.step) and torch.equal(self.base, other.base)

    def convert_(self, u: Tensor, groups: slice, as_codes: bool) -> None:
        """Replace sums [group, vectors, columns] of some crossbars by their codes or by the values of these."""
        u.mul_(self.factor[groups])
        if self.shift is not None:
            u.add_(self.shift[groups])
        u.round_().clamp_(self.lowest, self.highest)
        if not as_codes:
            u.mul_(self.step[groups]).add_(self.base[groups])


@final
class GroupedReadout:
    """Read crossbars of one shape together, each with its inputs, ranges and random numbers: [group, vector, …].

    The products are those of each crossbar alone, so that results are equal to the bit. What follows, ADCs and digital
    sums, is computed for all of them together.

    Args:
        readouts: one per crossbar.
    """

    def __init__(self, readouts: Sequence[Readout]) -> None:
        self._given = list(readouts)
        self._readouts = [cast("TiledReadout", each.reference) for each in readouts]
        self._first = self._readouts[0]
        self._limits: list[Any] = []
        self._held: dict[tuple[int, torch.dtype], list[_Converters]] = {}

    @classmethod
    def by_shape(cls, readouts: Sequence[Readout]) -> list[tuple[list[int], Self]]:
        """Return the readouts of crossbars of each shape together, with their places; none where one needs no tiles.

        Args:
            readouts: one per crossbar.
        """
        places: dict[Any, list[int]] = {}
        for place, each in enumerate(readouts):
            if not isinstance(each.reference, TiledReadout) or each.reference.integer:
                return []
            plan = each.plan
            key = [(rows.start, rows.stop) for rows in plan.placement.row_slices], plan.outputs, plan.factors
            places.setdefault(repr(key), []).append(place)
        return [(found, cls([readouts[place] for place in found])) for found in places.values()]

    def serves(self, vectors: int) -> bool:
        """Return whether crossbars read so many vectors each in one part, and by no faster kernel.

        Args:
            vectors: number of input vectors.
        """
        small = vectors * self._first.plan.outputs <= CHUNK
        return small and not any(each.is_compiled(vectors) for each in self._given)

    def read(self, index: int, groups: slice, x: Tensor, first_read: int, per_read: int) -> Tensor:
        """Return the products [group, vectors, out] on one chip.

        Args:
            index: position of the chip.
            groups: crossbars that are read.
            x: inputs [group, vectors, in].
            first_read: number of the first read.
            per_read: vectors of one read.
        """
        readouts, first = self._readouts[groups], self._first
        if not all(each.lines.is_ideal for each in readouts):
            x = torch.stack([each.lines.voltages(v) for each, v in zip(readouts, x, strict=True)])
        result: Tensor | None = None
        for number, factor in enumerate(first.factors):
            passes = [TilePass(each.addresses[index], number, first_read, per_read) for each in readouts]
            y = self._one_pass(index, groups, x, passes)
            y = y if factor == 1.0 else y * factor
            result = y if result is None else result + y
        return self._digital(cast("Tensor", result), readouts, x, index)

    def _one_pass(self, index: int, groups: slice, x: Tensor, passes: Sequence[TilePass]) -> Tensor:
        """Return the conversions of one pass of the inputs, summed over tiles [group, vectors, out]."""
        readouts, first = self._readouts[groups], self._first
        tiles = first.plan.placement.row_slices
        converters = self._converters(index, len(tiles), x.dtype)
        total: Any = None  # there is at least one tile
        same = converters is not None and all(c.equals(converters[0]) for c in converters)
        for t, rows in enumerate(tiles):
            plane = first.plane(x if len(tiles) == 1 else x[..., rows].contiguous(), passes[0].number)
            u = torch.stack([each.partial(index, t, v) for each, v in zip(readouts, plane, strict=True)])
            self._check(u, "currents", LARGE, groups, t)
            for each, here, v, at in zip(readouts, u, plane, passes, strict=True):
                each.add_noise(here, v, index, t, rows, at)
            self._check(u, "read noise", NOISY, groups, t)
            if converters is None:
                for each, here in zip(readouts, u, strict=True):
                    each.converted(here, index, t, None, same)
            else:
                converters[t].convert_(u, groups, as_codes=same)
            total = u if total is None else total.add_(u)
        if converters is not None and same:
            total = total.mul_(converters[0].step[groups]).add_((len(tiles) * converters[0].base)[groups])
        return first.combined(total, None)

    def _digital(self, y: Tensor, readouts: Sequence[TiledReadout], x: Tensor, index: int) -> Tensor:
        """Return results of sums [group, vectors, out]: drift compensated, corrected, scaled."""
        if self._first.correction() is None and not self._first.plan.encoding.correction.sum_x:
            return y * _column([each.scaling(each.weights[index].factor) for each in readouts], y.dtype)
        sums = [self._sum_of_inputs(v) for v in x]
        return torch.stack([each.digital(v, s, index) for each, v, s in zip(readouts, y, sums, strict=True)])

    def _sum_of_inputs(self, x: Tensor) -> Tensor | None:
        """Return the sums of the inputs of one crossbar [vectors, 1], tile by tile; None where none are subtracted."""
        if not self._first.plan.encoding.correction.sum_x:
            return None
        total: Any = 0.0
        for rows in self._first.plan.placement.row_slices:
            total = x[:, rows].contiguous().sum(-1, keepdim=True) + total
        return total

    def _converters(self, index: int, tiles: int, dtype: torch.dtype) -> list[_Converters] | None:
        """Return the ADCs of every row of tiles, which stay the same until ranges are calibrated; None without."""
        if self._first.plan.chip.converter.is_ideal:
            return None
        limits = [each.ranges.limits for each in self._readouts]
        if limits != self._limits:
            self._limits, self._held = limits, {}
        if (index, dtype) not in self._held:
            each = [readout.quantisers() for readout in self._readouts]
            gain = self._first.plan.encoding.gain_in
            self._held[index, dtype] = [
                _Converters.of([q[t] for q in each], gain, [r.offset(index, t) for r in self._readouts], dtype)
                for t in range(tiles)
            ]
        return self._held[index, dtype]

    def _check(self, u: Tensor, what: str, step: str, groups: slice, tile: int) -> None:
        """Raise the error of the first crossbar with sums that are not finite."""
        if not bool(torch.isfinite(u.sum())):
            for each, here in zip(self._readouts[groups], u, strict=True):
                check_finite(here, what, step, each.layer, tile)


def _column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Return a value of every crossbar in a shape that fits [group, vectors, out]."""
    return torch.tensor(values, dtype=dtype)[:, None, None]
