"""The analog layers of each backend, and a check of a chip for a backend before anything runs."""

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


@final
class MemTorchLayer(AnalogLayer):
    """Run a product layer on MemTorch's crossbars, whose ADCs take their range from their own inputs.

    Word lines of a convolution are in the order channel, kernel row, kernel column.
    """

    def program(self, chips: range) -> None:
        layer = self.digital
        shape = {"stride": layer.stride, "padding": layer.padding} if isinstance(layer, Conv2d) else {}
        programmed = MemTorchCrossbar.program(
            self.matrix(), self.chip, chips, self.seed, self.name, encoding=self.encoding, engine=self.context.backend,
            **shape,
        )  # fmt: skip
        self.crossbar = cast("Any", programmed)

    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        return self.crossbar.product(index, a, first_read)

    def calibrate(self, x: Tensor, first: bool = True) -> None:
        return

    def tile_inputs(self, a: Tensor) -> InputVectors:
        step = "Use engine: native."
        raise InputError(f"layer {self.name!r}, profile", "engine: memtorch", "ADCs that keep limits", step)


_MEMTORCH_LAYERS: dict[type[ProductLayer], type[AnalogLayer]] = {Conv2d: MemTorchLayer, Linear: MemTorchLayer}


def layer_kinds(backend: Engine) -> Mapping[type[ProductLayer], type[AnalogLayer]]:
    """Return the analog layer of every product layer.

    Args:
        backend: backend that computes the products.
    """
    return LAYERS if backend.native else _MEMTORCH_LAYERS


def check_backend(backend: Engine, chip: Chip, layers: Iterable[AnalogLayer]) -> None:
    """Raise the errors of a backend for a mapped network and a key memory, without programming a cell.

    Args:
        backend: backend that computes the products.
        chip: the chip.
        layers: analog layers of the native backend.

    Raises:
        InputError: for a setting that the backend does not have.
    """
    if backend.native:
        return
    part("mn")
    for layer in layers:
        prepare(layer.matrix(), chip, layer.encoding, backend, f"layer {layer.name!r}")
    if chip.policy.place("memory", "memory") == "crossbar":
        translate(chip, chip.encoding, backend, "layer 'memory'")
