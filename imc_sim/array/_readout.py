"""Readouts: from input vectors to digital results. The base of all of them, and the one without ADCs and noise."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from imc_sim._rng import Address
from imc_sim.array._plan import Plan
from imc_sim.array._product import product
from imc_sim.array._programmed_weights import ProgrammedWeights
from imc_sim.array._ranges import Ranges, WordLines
from imc_sim.array._vectors import InputVectors
from imc_sim.device import check_finite

#: what to do where sums overflow
LARGE = "Scale the inputs down."


class Readout(abc.ABC):
    """Multiply input vectors with the programmed weights of a chip; chosen once, when the cells are programmed.

    weights, addresses: one for each chip. lines: word lines, which have turned the inputs into voltages.
    """

    def __init__(
        self, plan: Plan, weights: Sequence[ProgrammedWeights], addresses: Sequence[Address], ranges: Ranges,
        lines: WordLines,
    ) -> None:  # fmt: skip
        self.plan, self.weights, self.addresses, self.ranges, self.lines = plan, weights, addresses, ranges, lines
        self.layer = addresses[0].layer

    @property
    @abc.abstractmethod
    def reference(self) -> Readout:
        """Return the readout that defines the results: self, or the one whose results a faster one reproduces."""

    @abc.abstractmethod
    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products [*inputs.shape, out] of voltages on the chip at position `index`.

        first_read: number of the first of `inputs.reads` reads, which addresses the read noise.
        """

    def read_all(self, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products of the same voltages on every chip: [chip, *inputs.shape, out]."""
        return stacked([self.read(c, inputs, first_read) for c in range(len(self.weights))])

    # -- digital end -----------------------------------------------------------------------------------

    def scaled(self, y: Tensor, factor: float = 1.0) -> Tensor:
        """Return analog sums in units of weight x input; factor: of drift compensation."""
        return times(y, self.plan.targets.scale * factor * self.lines.scale)

    def correction(self) -> Tensor | None:
        """Return what the encoding subtracts of every output whatever the input: [out]; None for nothing."""
        c, weights = self.plan.encoding.correction, self.plan.targets.weights
        if not (c.sum_w or c.count):
            return None
        return (c.sum_w * weights.sum(-1) + c.count * weights.shape[-1]).to(self.weights[0].linear[0].device)


@final
class IdealReadout(Readout):
    """Read by one matrix product: ideal ADCs, no read noise."""

    @property
    def reference(self) -> IdealReadout:
        return self

    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        return self.finish(inputs.product(self.matrix(index)), index)

    def read_all(self, inputs: InputVectors, first_read: int) -> Tensor:
        """As `Readout.read_all`; rows of a matrix meet all chips in one product."""
        chips = len(self.weights)
        if chips == 1 or inputs.values.ndim != 2:
            return super().read_all(inputs, first_read)
        y = product(inputs.values, torch.cat([self.matrix(c) for c in range(chips)])).unflatten(1, (chips, -1))
        return torch.stack([self.finish(y[:, c], c) for c in range(chips)])

    def matrix(self, index: int) -> Tensor:
        """Return the effective weights [out, in] of the chip at position `index`: the product before `finish`."""
        return self.weights[index].linear[0]

    def finish(self, y: Tensor, index: int) -> Tensor:
        """Return the results of a product y [*, out]: imbalance of the cells, drift compensation, scales."""
        check_finite(y, "currents", LARGE, self.layer)
        bias = self._bias(index)
        return self.scaled(y if bias is None else y + bias, self.weights[index].factor)

    def _bias(self, index: int) -> Tensor | None:
        """[out]: imbalance of the cells and digital correction; None where exactly zero."""
        if self.plan.chip.cells_are_ideal:
            return None
        constant, correction, factor = self.weights[index].constant, self.correction(), self.weights[index].factor
        if correction is not None:  # digital: drift compensation, which follows, must leave it as it is
            correction = correction / factor
        if constant is None:
            return None if correction is None else -correction
        return constant.sum(0) if correction is None else constant.sum(0) - correction


def times(y: Tensor, factor: float) -> Tensor:
    """Return y * factor; y itself for a factor of 1."""
    return y if factor == 1.0 else y * factor


def stacked(each: Sequence[Tensor]) -> Tensor:
    """Return tensors stacked on a leading chip axis; a view of a single one."""
    return each[0][None] if len(each) == 1 else torch.stack(list(each))
