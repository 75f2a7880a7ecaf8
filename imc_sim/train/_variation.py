"""Variation-aware training: every episode uses the weights of another chip.

The weights are programmed into cells of the chip's description and read back as the product sees them; the gradient is
that of the undisturbed weights. Reference: Joshi et al., Nat. Commun. 11:2473 (2020).
"""

from __future__ import annotations

import functools
from typing import Any, final

import torch
from pydantic import Field
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.array import Chip, Converter, Crossbar, Encoding, IdealReadout, Inputs, load_chip, needs_density
from imc_sim.config import Spec
from imc_sim.mapping import map_model
from imc_sim.nn import ProductLayer


@final
class Variation(Spec):
    """The chip whose cells disturb the weights in training, and settings on top of it (path -> value)."""

    chip: str = Field(description="name or path of a chip")
    set: dict[str, Any] = Field(
        default_factory=dict, description="path -> value, such as device.programming.sigma: 0.5"
    )

    def resolved(self) -> Chip:
        """Return the chip without converters and DACs: only cells and wires disturb."""
        chip = load_chip(self.chip)
        for path, value in self.set.items():
            chip = chip.replace(path, value)
        return chip.model_copy(update={"converter": Converter(), "inputs": Inputs()})


class ChipNoise:
    """Programs the crossbar layers of a network again for every episode: chip number = episode."""

    def __init__(self, network: nn.Module, variation: Variation, seed: int) -> None:
        self._chip, self._seed = variation.resolved(), seed
        if self._chip.device.read.noisy:
            got, step = "read noise in the chip", "Set device.read without noise: it is not injected in training."
            raise InputError("recipe.variation", got, "cells that read quietly", step)
        analog = map_model(network, self._chip).analog_layers
        for name, layer in analog.items():
            if needs_density(layer.encoding, self._chip.wires):
                got, step = "null, which training does not measure", "Set the share of rows that are on."
                raise InputError(f"recipe.variation, wires.density, layer {name!r}", got, "above 0, at most 1", step)
            if not isinstance(layer.crossbar.readout.reference, IdealReadout):
                got = f"encoding {layer.encoding.name}, whose product on these cells is no single weight matrix"
                step = "Use another encoding, or set device.time.compensation: false."
                raise InputError(f"recipe.variation, layer {name!r}", got, "one matrix per layer", step)
        self._encodings = {name: x.encoding for name, x in analog.items()}
        self._layers = {name: network.get_submodule(name) for name in self._encodings}

    def draw(self, episode: int) -> None:
        """Let every crossbar layer compute with the cells of chip `episode` while it trains, from now on."""
        for name, layer in self._layers.items():
            if isinstance(layer, ProductLayer):
                layer.disturb = functools.partial(self._disturbed, layer, name, self._encodings[name], episode)

    def remove(self) -> None:
        """Restore the layers."""
        for layer in self._layers.values():
            if isinstance(layer, ProductLayer):
                layer.disturb = None

    def _disturbed(
        self, layer: ProductLayer, name: str, encoding: Encoding, episode: int, w: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the operand as given by the cells, shaped as w, and what they add to every output [out]."""
        unit = layer.exact_operands and not layer.zero_operands
        matrix = _word_lines(w.detach()).flatten(1).cpu()
        crossbar = Crossbar.program(
            matrix, self._chip, range(episode, episode + 1), self._seed, name, encoding=encoding, unit_inputs=unit
        )
        readout = crossbar.ideal
        offset = readout.finish(torch.zeros(1, len(matrix)), 0)[0]
        linear = (readout.finish(readout.matrix(0).mT.to(matrix), 0) - offset).mT.to(w)
        seen = linear if w.ndim == 2 else linear.unflatten(1, (*w.shape[2:], -1)).permute(0, 3, 1, 2)
        return w + (seen - w).detach(), offset.to(w)


def _word_lines(w: Tensor) -> Tensor:
    """Return weights in the order of an analog layer's word lines: kernel row, kernel column, channel."""
    return w.permute(0, 2, 3, 1) if w.ndim == 4 else w
