"""Readouts: from input vectors to digital results. The base class, and the readout without ADCs and noise."""

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

#: next step of an error where sums overflow
LARGE = "Scale the inputs down."


class Readout(abc.ABC):
    """Multiply input vectors with the programmed weights of chips. It is chosen once, when cells are programmed.

    Args:
        plan: the weights, encoded and placed.
        weights: programmed weights of each chip.
        addresses: address of the random numbers of each chip.
        ranges: calibrated ranges.
        lines: word lines, whose voltages the inputs are.
    """

    def __init__(
        self, plan: Plan, weights: Sequence[ProgrammedWeights], addresses: Sequence[Address], ranges: Ranges,
        lines: WordLines,
    ) -> None:  # fmt: skip
        self.plan, self.weights, self.addresses, self.ranges, self.lines = plan, weights, addresses, ranges, lines
        self.layer = addresses[0].layer

    @property
    def reference(self) -> Readout:
        """Return the readout that defines the results: self, except for a faster one."""
        return self

    @abc.abstractmethod
    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products [*inputs.shape, out] on one chip.

        Args:
            index: position of the chip.
            inputs: voltages of the word lines.
            first_read: number of the first of `inputs.reads` reads, which addresses the read noise.
        """

    def read_all(self, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products on all chips, [chip, *inputs.shape, out].

        Args:
            inputs: voltages of the word lines.
            first_read: as in `read`.
        """
        return stacked([self.read(c, inputs, first_read) for c in range(len(self.weights))])

    def scaled(self, y: Tensor, factor: float = 1.0) -> Tensor:
        """Return analog sums in units of weight x input.

        Args:
            y: sums in units of window / steps.
            factor: drift compensation.
        """
        return times(y, self.scaling(factor))

    def scaling(self, factor: float = 1.0) -> float:
        """Return the factor from analog sums to weight x input.

        Args:
            factor: drift compensation.
        """
        return self.plan.targets.scale * factor * self.lines.scale

    def is_compiled(self, vectors: int) -> bool:
        """Return whether a compiled kernel may read so many vectors.

        Args:
            vectors: number of input vectors.
        """
        return False

    def correction(self) -> Tensor | None:
        """Return the digital correction [out] that does not depend on the input; None for 0."""
        c, weights = self.plan.encoding.correction, self.plan.targets.weights
        if not (c.sum_w or c.count):
            return None
        return (c.sum_w * weights.sum(-1) + c.count * weights.shape[-1]).to(self.weights[0].device)


@final
class IdealReadout(Readout):
    """Read all tiles by one matrix product: ideal ADCs, no read noise."""

    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        return self.finish(inputs.product(self.matrix(index)), index)

    def read_all(self, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products on all chips, for rows of a matrix by a single product with the matrices of all.

        Args:
            inputs: voltages of the word lines.
            first_read: as in `read`.
        """
        chips = len(self.weights)
        if chips == 1 or inputs.values.ndim != 2:
            return super().read_all(inputs, first_read)
        y = product(inputs.values, torch.cat([self.matrix(c) for c in range(chips)])).unflatten(1, (chips, -1))
        return torch.stack([self.finish(y[:, c], c) for c in range(chips)])

    def matrix(self, index: int) -> Tensor:
        """Return the effective weights [out, in] of one chip; `finish` follows their product.

        Args:
            index: position of the chip.
        """
        return self.weights[index].linear[0]

    def finish(self, y: Tensor, index: int) -> Tensor:
        """Return the results of a product: constants of the cells, drift compensation and scales applied.

        Args:
            y: product [*, out].
            index: position of the chip.
        """
        check_finite(y, "currents", LARGE, self.layer)
        return self.finish_whole(y, index)

    def finish_whole(self, y: Tensor, index: int) -> Tensor:
        """Return `finish` of a product of whole numbers, which is finite.

        Args:
            y: product [*, out].
            index: position of the chip.
        """
        bias = self.bias(index)
        return times(y if bias is None else y + bias, self.gain(index))

    def gain(self, index: int) -> float:
        """Return the factor from analog sums of one chip to weight x input.

        Args:
            index: position of the chip.
        """
        return self.scaling(self.weights[index].factor)

    def bias(self, index: int) -> Tensor | None:
        """Return the constants of the cells and the digital correction, [out]; None where exactly zero.

        Args:
            index: position of the chip.
        """
        if self.plan.cells_are_ideal:
            return None
        constant, correction, factor = self.weights[index].constant, self.correction(), self.weights[index].factor
        if correction is not None:  # it is digital: undo the drift compensation that follows
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
