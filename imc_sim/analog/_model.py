"""A whole network on chips: digital layers shared, crossbar layers one chip after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog._layers import AnalogLayer, Context, Pass
from imc_sim.nn import ProductLayer, checked_images
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of


@final
class SharedDigital(nn.Module):
    """A digital product layer that works once for all chips as long as its input is the same tensor."""

    def __init__(self, digital: ProductLayer, context: Context) -> None:
        super().__init__()
        self.digital, self.context = digital, context

    def forward(self, x: Tensor) -> Tensor:
        held = self.context.shared.get(id(self))
        if held is not None and held[0] is x:
            return held[1]
        y = self.digital(x)
        self.context.shared[id(self)] = (x, y)
        return y


@final
class AnalogModel(nn.Module):
    """`network` with crossbar layers on `chips` chips: x [batch, …] -> [chip, batch, …].

    Chips run one after the other, which keeps the working set of one chip in cache. When their conductances
    do not fit into memory_limit_bytes, chips are programmed in blocks as they are needed; equal chip numbers
    get equal cells, so the block size changes nothing but the time. `report` is what the mapping says of itself.

    batch: images that go through the network at once (an attribute; None: all that it is given). What lies between two
    layers then fits the cache, which is up to twice as fast for a hundred images. Results are the same unless the
    network itself looks at the images beside each, as one with statistics of the batch does: that one needs None.
    """

    batch: int | None = None

    def __init__(
        self, network: nn.Module, layers: dict[str, AnalogLayer], chips: range, context: Context, report: Any,
        block: int, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self._seed, self._neurons = seed, neurons_of(network)
        self.network, self.chips, self.context, self.report = network, chips, context, report
        self.analog_layers = layers
        self.block = block
        self._reads = 0

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = checked_images(self.network, x)
        first, parts = self._take_reads(len(x)), [x] if self.batch is None else x.split(self.batch)
        outputs = x.new_empty(0)
        try:
            for position, done, y in self._each(parts, first):
                if position == done == 0:  # one allocation: kept small tensors would pin the heap between large ones
                    outputs = y.new_empty(len(self.chips), x.shape[0], *y.shape[1:])
                outputs[position, done : done + len(y)] = y
        finally:
            self.context.shared.clear()
        return outputs

    def on_chip(self, position: int, x: Tensor) -> Tensor:
        """Return the output [batch, …] on the chip at `position` alone; a read of its own, with autograd if on."""
        x = checked_images(self.network, x)
        first = self._take_reads(len(x))
        start = position // self.block * self.block
        self.program(self.chips[start : start + self.block])
        try:
            return self._run(position - start, self.chips[position], x, first)
        finally:
            self.context.shared.clear()

    def train(self, mode: bool = True) -> AnalogModel:
        """Stay in eval mode: chips infer."""
        return super().train(False)

    def _take_reads(self, count: int) -> int:
        """Return the number of the first of `count` successive reads, and advance the counter."""
        first, self._reads = self._reads, self._reads + count
        return first

    def _each(self, parts: Sequence[Tensor], first_read: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (position of a chip, images before, the network's output) of every part on one chip after the other."""
        for start in range(0, len(self.chips), self.block):
            chips, done = self.chips[start : start + self.block], 0
            self.program(chips)
            for part in parts:
                for index, chip in enumerate(chips):
                    yield start + index, done, self._run(index, chip, part, first_read + done)
                done += len(part)

    def _run(self, index: int, chip: int, x: Tensor, first_read: int) -> Tensor:
        """Return the output on chip number `chip`, the one at `index` of those that are programmed."""
        draw_neurons(self._neurons, Draws(self._seed, chip, first_read))
        with self.context.during(Pass(index, first_read)):
            return self.network(x)

    def program(self, chips: range) -> None:
        """Program these chips, unless their cells are there already."""
        for layer in self.analog_layers.values():
            if layer.crossbar.chips != chips:
                layer.program(chips)

    @property
    def rows_on(self) -> dict[str, list[list[float]]]:
        """Measured share of the rows that inputs switch on, of every row of tiles and pass, by layer."""
        found = {name: layer.driven_rows for name, layer in self.analog_layers.items()}
        return {name: rows.shares.tolist() for name, rows in found.items() if rows is not None}

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> dict[str, tuple[float, float]]:
        """Measure every converter's limits, and the rows that inputs switch on, with images x [batch, …].

        Every layer sees what the digital network gives it; cells are ideal. Returns the limits per layer in windows
        (G_LRS - G_HRS times the read voltage); shares of rows are in `rows_on`, and their wires are computed again.
        """
        x = checked_images(self.network, x)
        if not len(x):
            raise InputError("calibrate, images", "no images", "1 or more", "Give images of the training data.")
        try:
            with self.context.during(Pass(None)):
                self.network(x)
        finally:
            self.context.shared.clear()
        for layer in self.analog_layers.values():
            layer.check_calibrated()
        return {name: layer.limits for name, layer in self.analog_layers.items() if layer.limits is not None}
