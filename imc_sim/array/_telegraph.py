"""Random telegraph noise: the largest traps of every column are sampled, one state per read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from imc_sim._rng import Stream, blocks, compiled
from imc_sim._threads import parallel_for
from imc_sim.array._plan import Plan
from imc_sim.array.encoding.base import Encoding

#: traps of one column of a tile that are sampled state by state; the rest of them are close to a normal law
LARGEST = 32
#: states that are sampled in one pass
_AT_ONCE = 2**22
#: seconds that the compiled pass takes for one trap
_SECONDS = 1e-9


@final
@dataclass(frozen=True)
class Traps:
    """Hold the traps of one row of tiles, at most `LARGEST` per output and slice; references follow after the outputs.

    Attributes:
        inputs: [out, slices, K], the input of each trap within the tile.
        steps: [3, out, slices, terms, K], difference of u / gain_in between the high and the low state of a trap, per
            x^0, x^1 and x^2.
        occupancy: share of the time in the low state.
        reference: [out], reference column of each output, or None.
    """

    inputs: Tensor
    steps: Tensor
    occupancy: float
    reference: Tensor | None

    @classmethod
    def of(cls, plan: Plan, step: Tensor, occupancy: float) -> tuple[tuple[Traps, ...], Tensor]:
        """Split the traps of all cells into sampled ones, by tile, and the steps of the others.

        step: [out, slices, columns, in, rows], in units of window / steps, 0 without a trap, never below 0.
        """
        rest, each = step.clone(), []
        factors = torch.tensor(plan.encoding.factors(), dtype=step.dtype)
        for rows in plan.placement.row_slices:
            here = rest[:, :, :, rows]
            flat = here.flatten(2)
            count = min(LARGEST, int((flat > 0.0).sum(-1).max()))
            size, cell = flat.topk(count, -1)
            columns, inputs, r = here.shape[2:]
            factor = factors[:, :, cell // (inputs * r), cell % r]  # [3, terms, out, slices, K]
            steps = (factor * size).permute(0, 2, 3, 1, 4)
            each.append(cls(cell // r % inputs, steps.to(plan.dtype).contiguous(), occupancy, plan.reference))
            rest[:, :, :, rows] = flat.scatter(-1, cell, 0.0).unflatten(-1, (columns, inputs, r))
        return tuple(each), rest

    def add_to(self, u: Tensor, x: Tensor, stream: Stream, address: tuple[int, int, int], per_read: int) -> None:
        """Add one state of every trap and read to u [vectors, out x slices x terms] for voltages x [vectors, inputs].

        address: chip, epoch and number of the first read. per_read: vectors of one read.
        """
        if not x.shape[0] or not self.steps.numel():
            return
        compiled_pass = x.dtype == torch.float32 and x.device.type == "cpu" and compiled()
        change = (self._compiled_changes if compiled_pass else self._changes)(x, stream, address, per_read)
        u += self._against_reference(change).flatten(1)

    def _changes(self, x: Tensor, stream: Stream, address: tuple[int, int, int], per_read: int) -> Tensor:
        """Return the change of every sum by its traps: [vectors, out, slices, terms]."""
        chip, epoch, first = address
        count = per_read * self.steps[0].numel()
        stride, reads = blocks(2 * count), x.shape[0] // per_read
        steps, limit = self.steps.to(x), self._limit
        at_once = max(1, _AT_ONCE // count)
        found: list[Tensor] = []
        for begin in range(0, reads, at_once):
            end = min(begin + at_once, reads)
            words = stream.words((end - begin) * stride * 16, chip, epoch, (first + begin) * stride)
            low = words.view(np.uint32).reshape(end - begin, -1)[:, :count] < limit
            state = self.occupancy - torch.from_numpy(low).reshape(-1, *steps[0].shape).to(x)
            seen = x[begin * per_read : end * per_read][:, self.inputs.to(x.device)][:, :, :, None]
            found.append(_halved(state * (steps[0] + seen * (steps[1] + seen * steps[2]))))
        return torch.cat(found)

    def _compiled_changes(self, x: Tensor, stream: Stream, address: tuple[int, int, int], per_read: int) -> Tensor:
        """Return the same bits as `_changes` from one compiled pass."""
        from imc_sim.array._compiled._traps import changes, changes_in_pool

        chip, epoch, first = address
        outputs, slices, terms, traps = self.steps.shape[1:]
        stride = blocks(2 * per_read * self.steps[0].numel())
        steps = self.steps.reshape(3, -1, traps).numpy()
        inputs = self.inputs[:, :, None].expand(-1, -1, terms, -1).reshape(-1, traps).to(torch.int32).numpy()
        out = np.empty((len(x), len(inputs)), np.float32)
        counter, key = stream.start(chip, epoch, first * stride)
        arguments = (
            x.contiguous().numpy(), inputs, steps, np.float32(self.occupancy), self._limit, per_read, stride, counter,
            key, out,
        )  # fmt: skip
        parallel_for(changes, changes_in_pool, arguments, len(x), len(x) * inputs.size * _SECONDS)
        return torch.from_numpy(out).unflatten(1, (outputs, slices, terms))

    @property
    def _limit(self) -> np.uint32:
        """Return the 32-bit word below which a trap is in its low state."""
        return np.uint32(min(round(self.occupancy * 2.0**32), 2**32 - 1))

    def _against_reference(self, change: Tensor) -> Tensor:
        """Return the change of the outputs, without that of their reference columns."""
        if self.reference is None:
            return change
        return change[:, : len(self.reference)] - change[:, self.reference.to(change.device)]


def _halved(values: Tensor) -> Tensor:
    """Return the sum over the last dimension, half added to half, so that every path rounds equally."""
    while values.shape[-1] > 1:
        half = (values.shape[-1] + 1) // 2
        rest = values[..., half:]
        values = torch.cat((values[..., : rest.shape[-1]] + rest, values[..., rest.shape[-1] : half]), -1)
    return values[..., 0]


def undriven(encoding: Encoding, variance: Tensor) -> Tensor:
    """Return the variance of u / gain_in that every cell of a column adds at any voltage: [out, slices x terms, in].

    variance: [out, slices, columns, in, rows]; columns are those of one output and slice.
    """
    each = variance.sum(-1)
    signs = torch.tensor([term.columns for term in encoding.terms], dtype=variance.dtype)
    return torch.einsum("osci,tc->osti", each, signs.square() / encoding.gain_in**2).flatten(1, 2)
