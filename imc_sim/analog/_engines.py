"""Choose which layers compute for which backend, and check a chip for it before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast, final

from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.analog._layers import LAYERS, AnalogLayer
from imc_sim.array import Chip, InputVectors
from imc_sim.backends.memtorch import MemTorchCrossbar, part, prepare, translate
from imc_sim.config import Engine
from imc_sim.nn import Conv2d, Linear, ProductLayer


class _MemTorchLayer(AnalogLayer):
    """A product layer whose crossbar is MemTorch's. Its ADCs take their range from their own inputs."""

    def program(self, chips: range) -> None:
        layer = self.digital
        shape = {"stride": layer.stride, "padding": layer.padding} if isinstance(layer, Conv2d) else {}
        programmed = MemTorchCrossbar.program(
            self.matrix(), self.chip, chips, self.seed, self.name, encoding=self.encoding, engine=self.context.engine,
            **shape,
        )  # fmt: skip
        self.crossbar = cast("Any", programmed)

    def matrix(self) -> Tensor:
        return self.digital.weight_operand()

    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        return self.crossbar.product(index, a, first_read)

    def calibrate(self, x: Tensor, first: bool = True) -> None:
        return

    def tile_inputs(self, a: Tensor) -> InputVectors:
        step = "Use the native engine."
        raise InputError(f"layer {self.name!r}, profile", "engine memtorch", "converters that keep limits", step)


@final
class MemTorchLinear(_MemTorchLayer):
    """A fully connected layer through MemTorch's."""

    def _input_dims(self) -> int:
        return 2


@final
class MemTorchConv2d(_MemTorchLayer):
    """A convolution through MemTorch's, with word lines in the order channel, kernel row, kernel column."""

    def _input_dims(self) -> int:
        return 4


_MEMTORCH_LAYERS: dict[type[ProductLayer], type[AnalogLayer]] = {Conv2d: MemTorchConv2d, Linear: MemTorchLinear}


def layer_kinds(engine: Engine) -> Mapping[type[ProductLayer], type[AnalogLayer]]:
    """Return, for every product layer, the analog layer that stands for it."""
    return LAYERS if engine.native else _MEMTORCH_LAYERS


def check_engine(engine: Engine, chip: Chip, layers: Iterable[AnalogLayer]) -> None:
    """Raise what `engine` would raise for these natively mapped layers and a memory, without programming a cell."""
    if engine.native:
        return
    part("mn")
    for layer in layers:
        prepare(layer.matrix(), chip, layer.encoding, engine, f"layer {layer.name!r}")
    if chip.policy.place("memory", "memory") == "crossbar":
        translate(chip, chip.encoding, engine, "layer 'memory'")
