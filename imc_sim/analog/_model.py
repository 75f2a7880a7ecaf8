"""A network on chips: digital layers are shared, crossbar layers run on one chip after the other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog._conductances import write_conductances
from imc_sim.analog._layers import AnalogLayer, Context, Pass
from imc_sim.analog._outputs import ChipOutputs
from imc_sim.analog._sites import SiteNetwork
from imc_sim.nn import ProductLayer, checked_images
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of
from imc_sim.sites import Arguments, Samples, joined


@final
class SharedDigital(nn.Module):
    """Run a digital product layer once for all chips while its input is the same tensor.

    Args:
        digital: the product layer.
        context: what the layers of the model share.
    """

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
    """Run a network whose crossbar layers are on chips: x [batch, …] -> [chip, batch, …].

    A network of any modules takes its own arguments, and every tensor of its output gets a chip axis.

    Chips run one after the other, which keeps the data of one chip in cache; several run in one pass of a network of
    any modules where the batch is small and the network keeps samples apart. If their conductances do not fit into the
    memory limit of the mapping, chips are programmed in blocks when they are needed. Equal chip numbers get equal
    cells, so that the size of a block changes only the time.

    Args:
        network: the network; its product layers are analog layers, or shared digital ones.
        layers: the analog layers by name.
        chips: numbers of the chips.
        context: what the layers share.
        report: report of the mapping.
        block: chips that are programmed together.
        seed: seed of stochastic neurons.
    """

    #: images that go through the network together; None: all. With a few, activations fit the cache, which is up to
    #: twice as fast for a hundred images. Networks that use statistics of the batch need None.
    batch: int | None = None

    def __init__(
        self, network: nn.Module, layers: dict[str, AnalogLayer], chips: range, context: Context, report: Any,
        block: int, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.chips, self.context, self.report = network, chips, context, report
        self.sites = network if isinstance(network, SiteNetwork) else None
        self._seed, self._neurons = seed, neurons_of(network if self.sites is None else self.sites.network)
        self.analog_layers = layers
        self.block = block
        self._reads = 0

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = self._given(args, kwargs)
        first, parts = self._take_reads(given.batch), self._parts(given)
        outputs: Any = None
        try:
            for position, done, y in self._each(parts, first):
                if outputs is None:
                    outputs = joined(lambda leaf: ChipOutputs(leaf, len(self.chips), given.batch, len(parts)), y)
                joined(lambda held, leaf, place=(position, done): held.put(*place, leaf), outputs, y)
        finally:
            self.context.shared.clear()
        return joined(lambda held: held.result(), outputs)

    def on_chip(self, position: int, *args: Any, **kwargs: Any) -> Any:
        """Return the output on one chip, as a new read, with autograd if it is on.

        Args:
            position: position of the chip.
            *args: images [batch, …]; positional arguments of a network of any modules.
            **kwargs: keyword arguments of a network of any modules.
        """
        given = self._given(args, kwargs)
        first = self._take_reads(given.batch)
        start = position // self.block * self.block
        self.program(self.chips[start : start + self.block])
        try:
            return self._run(position - start, self.chips[position], given, first)
        finally:
            self.context.shared.clear()

    def _given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        """Return checked arguments of a forward pass."""
        if self.sites is not None:
            given = Arguments.of(args, kwargs).checked()
            self.sites.check(given if self._mixes_samples else given.split(self.batch or given.batch)[0])
            return given
        x = checked_images(self.network, *args, **kwargs)
        return Arguments((x,), {}, len(x))

    @property
    def _mixes_samples(self) -> bool:
        """Tell whether an output of a sample may depend on other samples, in a network of any modules."""
        return self.sites is not None and set(self.sites.outputs or [None]) != {Samples()}

    def _parts(self, given: Arguments) -> Sequence[Arguments]:
        """Return the arguments in parts of at most `batch` samples."""
        if self.batch is None or given.batch <= self.batch:
            return [given]
        if self._mixes_samples:
            step = "Set batch to None."
            raise InputError("batch", str(self.batch), "None for a network that mixes the samples of a batch", step)
        return given.split(self.batch)

    def train(self, mode: bool = True) -> AnalogModel:
        """Leave the model in eval mode and return it.

        Args:
            mode: ignored.

        Returns:
            The model.
        """
        return super().train(False)

    def _take_reads(self, count: int) -> int:
        """Return the number of the first of `count` reads, and count them, for a pass that compares weights again."""
        if self.sites is not None:
            self.sites.compared.clear()
        first, self._reads = self._reads, self._reads + count
        return first

    def _each(self, parts: Sequence[Arguments], first_read: int) -> Iterator[tuple[int, int, Any]]:
        """Yield (position of the chip, number of the first image, output) of every part on every chip."""
        for start in range(0, len(self.chips), self.block):
            chips, done = self.chips[start : start + self.block], 0
            self.program(chips)
            for part in parts:
                together = 1 if self.sites is None or self._neurons else self.sites.together(part.batch)
                for index in range(0, len(chips), together):
                    outputs = self._outputs(index, chips[index : index + together], part, first_read + done)
                    for position, y in enumerate(outputs, start + index):
                        yield position, done, y
                done += part.batch

    def _outputs(self, index: int, chips: range, given: Arguments, first_read: int) -> Iterator[Any]:
        """Yield the output on each of these chips, the first at position `index` of the programmed ones."""
        if self.sites is None or len(chips) == 1:
            yield self._run(index, chips[0], given, first_read)
            return
        copies = given.batched(lambda x: torch.cat([x] * len(chips)))
        with self.context.during(Pass(index, first_read, len(chips), given.batch)):
            y = self.sites.run(copies)
        for number in range(len(chips)):
            yield self.sites.part(y, number, len(chips), given.batch)

    def _run(self, index: int, chip: int, given: Arguments, first_read: int) -> Any:
        """Return the output on chip number `chip`, at position `index` of the programmed ones."""
        draw_neurons(self._neurons, Draws(self._seed, chip, first_read))
        batch = None if self.sites is None else given.batch
        with self.context.during(Pass(index, first_read, batch=batch)):
            return given.run(self.network) if self.sites is None else self.sites.run(given)

    def program(self, chips: range) -> None:
        """Program chips whose cells are not programmed yet.

        Args:
            chips: numbers of the chips.
        """
        for layer in self.analog_layers.values():
            if layer.crossbar.chips != chips:
                layer.program(chips)

    def to_npz(self, path: str | os.PathLike[str]) -> Path:
        """Write the target and programmed conductances of all chips to an .npz file, which `map_model` reads again.

        Arrays `LAYER/target_S` [tile, tile.rows, tile.cols] and `LAYER/conductance_S` [chip, tile, tile.rows,
        tile.cols] are in S, after programming and before ageing; cells not in use are 0. `metadata` is JSON with the
        chip, the numbers of the chips, and shape and encoding of the weights of each layer.

        Args:
            path: of the file.

        Returns:
            The path.

        Raises:
            InputError: pairs of cells are sampled as differences (`draws: pairs`), or another backend computes.
        """
        blocks = [self.chips[start : start + self.block] for start in range(0, len(self.chips), self.block)]
        return write_conductances(path, self.analog_layers, self.report.chip, blocks, self.program)

    @contextlib.contextmanager
    def observed(self, observer: Callable[[AnalogLayer, int, Tensor], None]) -> Iterator[None]:
        """Call an observer before every product on a crossbar; reads in the block do not count as reads of the model.

        Args:
            observer: called with the layer, the position of the chip among the programmed ones, and the inputs of the
                product.

        Yields:
            Nothing.
        """
        reads, self.context.observer = self._reads, observer
        try:
            yield
        finally:
            self._reads, self.context.observer = reads, None

    @property
    def rows_on(self) -> dict[str, list[list[float]]]:
        """Return the measured share of driven rows of every row of tiles and pass, by layer."""
        found = {name: layer.driven_rows for name, layer in self.analog_layers.items()}
        return {name: rows.shares.tolist() for name, rows in found.items() if rows is not None}

    @torch.no_grad()
    def calibrate(self, *args: Any, **kwargs: Any) -> dict[str, tuple[float, float]]:
        """Measure the ranges of DACs and ADCs, and the rows that inputs switch on, with ideal cells.

        The inputs of every layer are those of the digital network. Wires that depend on driven rows (`rows_on`) are
        computed again.

        Args:
            *args: images [batch, …]; positional arguments of a network of any modules.
            **kwargs: keyword arguments of a network of any modules.

        Returns:
            The limits of the ADCs by layer, in windows (G_LRS - G_HRS times the read voltage).

        Raises:
            InputError: if there are no images, or a layer's inputs are all zero.
        """
        given = self._given(args, kwargs)
        if not given.batch:
            raise InputError("calibrate, images", "no images", "1 or more", "Give images of the training data.")
        try:
            with self.context.during(Pass(None)):
                given.run(self.network)
        finally:
            self.context.shared.clear()
        for layer in self.analog_layers.values():
            layer.check_calibrated()
        return {name: layer.limits for name, layer in self.analog_layers.items() if layer.limits is not None}
