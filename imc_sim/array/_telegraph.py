"""Two-state noise of traps at the column: the largest traps of every column are sampled, one state per read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from imc_sim._rng import Stream, blocks
from imc_sim.array._plan import Plan
from imc_sim.array.encoding.base import Encoding

#: traps of one column of a tile that are sampled state by state; the rest of them are close to a normal law
LARGEST = 32
#: states that are sampled in one pass
_AT_ONCE = 2**22


@final
@dataclass(frozen=True)
class Traps:
    """Traps of one tile, at most `LARGEST` per output and slice; references follow after the outputs.

    inputs: [out, slices, K] place of the input within the tile. steps: [3, out, slices, terms, K] what a trap in its
    high state adds to u / gain_in more than in its low state, per x^0, x^1 and x^2. reference: [out] reference column
    of each output, or None.
    """

    inputs: Tensor
    steps: Tensor
    occupancy: float
    reference: Tensor | None

    @classmethod
    def of(cls, plan: Plan, step: Tensor, occupancy: float) -> tuple[tuple[Traps, ...], Tensor]:
        """Split the traps of all cells into sampled ones, by tile, and the steps of the others.

        step: [out, slices, columns, in, rows], in units of window / steps, 0 without a trap.
        """
        rest, each = step.clone(), []
        factors = torch.tensor(plan.encoding.factors(), dtype=step.dtype)
        for rows in plan.placement.row_slices:
            here = rest[:, :, :, rows]
            flat = here.flatten(2)
            count = min(LARGEST, int((flat != 0.0).sum(-1).max()))
            size, cell = flat.abs().topk(count, -1)
            columns, inputs, r = here.shape[2:]
            factor = factors[:, :, cell // (inputs * r), cell % r]  # [3, terms, out, slices, K]
            steps = (factor * size.mul(flat.gather(-1, cell).sign())).permute(0, 2, 3, 1, 4)
            each.append(cls(cell // r % inputs, steps.to(plan.dtype).contiguous(), occupancy, plan.reference))
            rest[:, :, :, rows] = flat.scatter(-1, cell, 0.0).unflatten(-1, (columns, inputs, r))
        return tuple(each), rest

    def add_to(self, u: Tensor, x: Tensor, stream: Stream, address: tuple[int, int, int], per_read: int) -> None:
        """Add one state of every trap and read to u [vectors, out x slices x terms] for drives x [vectors, inputs].

        address: chip, page and number of the first read. per_read: vectors of one read.
        """
        chip, page, first = address
        count = per_read * self.steps[0].numel()
        stride, reads = blocks(2 * count), x.shape[0] // per_read
        steps, limit = self.steps.to(x), np.uint32(min(round(self.occupancy * 2.0**32), 2**32 - 1))
        at_once = max(1, _AT_ONCE // max(count, 1))
        for begin in range(0, reads, at_once):
            end = min(begin + at_once, reads)
            words = stream.words((end - begin) * stride * 16, chip, page, (first + begin) * stride)
            low = words.view(np.uint32).reshape(end - begin, -1)[:, :count] < limit
            part = slice(begin * per_read, end * per_read)
            state = self.occupancy - torch.from_numpy(low).reshape(-1, *steps[0].shape).to(x)
            seen = x[part][:, self.inputs.to(x.device)][:, :, :, None]
            change = (state * (steps[0] + seen * (steps[1] + seen * steps[2]))).sum(-1)
            u[part] += self._against_reference(change).flatten(1)

    def _against_reference(self, change: Tensor) -> Tensor:
        if self.reference is None:
            return change
        return change[:, : len(self.reference)] - change[:, self.reference.to(change.device)]


def undriven(encoding: Encoding, variance: Tensor) -> Tensor:
    """Return the variance of u / gain_in that every cell of a column adds at any drive: [out, slices x terms, in].

    variance: [out, slices, columns, in, rows]; columns are those of one output and slice.
    """
    each = variance.sum(-1)
    signs = torch.tensor([term.columns for term in encoding.terms], dtype=variance.dtype)
    return torch.einsum("osci,tc->osti", each, signs.square() / encoding.gain_in**2).flatten(1, 2)
