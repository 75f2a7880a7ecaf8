"""The compiled readout: the results of another readout in one pass, equal to the bit."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from imc_sim._rng import blocks
from imc_sim.array._compiled import _product
from imc_sim.array._compiled._product import InputBytes, Noise, Packed
from imc_sim.array._read_noise import deviation
from imc_sim.array._readout import IdealReadout, Readout
from imc_sim.array._tiled_readout import NOISY, TiledReadout, read_stream
from imc_sim.array._vectors import InputVectors
from imc_sim.device import check_finite

#: multiply-adds of a product below which packing its inputs costs more than the compiled kernel gains
_SMALL = 2**20
#: multiply-adds and columns below which a single float32 product is faster in torch: there are no ADCs to merge with it
_SMALL_MERGED, _NARROW = 2**23, 48


@final
class CompiledReadout(Readout):
    """Read by the compiled kernel; small products, and inputs that are not whole numbers, by the reference.

    Args:
        reference: readout that defines the results.
    """

    def __init__(self, reference: IdealReadout | TiledReadout) -> None:
        super().__init__(reference.plan, reference.weights, reference.addresses, reference.ranges, reference.lines)
        self._reference = reference
        self._packed: dict[tuple[int, int], Packed | None] = {}

    @staticmethod
    def serves(reference: IdealReadout | TiledReadout) -> bool:
        """Return whether the kernel can compute all from voltages to digital sums.

        Args:
            reference: readout that defines the results.
        """
        plan, first = reference.plan, reference.weights[0]
        if plan.dtype != torch.float32 or not reference.lines.is_ideal or first.device.type != "cpu":
            return False
        if isinstance(reference, IdealReadout):
            return True
        # Read noise whose variance depends on the inputs would need another sum, that of references another sample.
        steady = first.power.steady and first.reference is None and first.traps is None
        simple = not reference.integer and reference.factors == [1.0]
        return steady and simple and not plan.encoding.correction.sum_x

    @property
    def reference(self) -> IdealReadout | TiledReadout:
        return self._reference

    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        found = self._bytes(inputs)
        y = None if found is None else self._compiled(index, found, first_read, inputs.per_read)
        return self._reference.read(index, inputs, first_read) if y is None else y.unflatten(0, inputs.shape)

    def read_all(self, inputs: InputVectors, first_read: int) -> Tensor:
        return (self._reference if self._bytes(inputs) is None else super()).read_all(inputs, first_read)

    def _bytes(self, inputs: InputVectors) -> InputBytes | None:
        """Return the inputs for the kernel; None where the reference reads them."""
        return inputs.as_bytes(self.weights[0].square is not None) if self.is_compiled(inputs.count) else None

    def is_compiled(self, vectors: int) -> bool:
        return not self._small(vectors) and _product.why_not() is None

    def _small(self, vectors: int) -> bool:
        """Tell whether the reference is faster."""
        first = self.weights[0]
        columns = first.columns
        work = vectors * self.plan.placement.inputs * columns
        if not first.merged or self.plan.chip.compute != "float32":
            return work < _SMALL
        return work < _SMALL_MERGED or columns < _NARROW

    def _compiled(self, index: int, inputs: InputBytes, first_read: int, per_read: int) -> Tensor | None:
        """Return the results [vectors, out] of the reference, to the bit; None where the kernel cannot."""
        weights, reference = self.weights[index], self._reference
        if weights.constant is not None and weights.constant.dtype != torch.float32:
            return None  # constants of wires are added in float64
        key = (id(weights), inputs.run)
        if key not in self._packed:
            self._packed[key] = Packed.of(weights, inputs.run)
        packed = self._packed[key]
        if packed is None:
            return None
        if isinstance(reference, IdealReadout):
            y = _product.multiply(packed, inputs, None, 1.0, None)
            return None if y is None else reference.finish_whole(y, index)
        quantisers = None if self.plan.chip.converter.is_ideal else reference.quantisers()
        noise = self._noise(index, first_read, per_read)
        y = _product.multiply(packed, inputs, quantisers, self.plan.encoding.gain_in, weights.constant, noise)
        if y is None:
            return None
        check_finite(y, "currents or read noise", NOISY, self.layer)
        return reference.digital(reference.combined(y, None), None, index)

    def _noise(self, index: int, first_read: int, per_read: int) -> Noise | None:
        """Return the read noise, whose variance does not depend on the inputs; None for reads without noise."""
        variance, address = self.weights[index].power.constant, self.addresses[index]
        if variance is None:
            return None
        stride = blocks(per_read * variance.shape[1])
        starts = [
            read_stream(address, tile).start(address.chip, address.epoch, first_read * stride)
            for tile in range(len(variance))
        ]
        keys = np.stack([key for _, key in starts])
        return Noise(deviation(variance, torch.float32), starts[0][0], keys, (per_read, 16 * stride))
