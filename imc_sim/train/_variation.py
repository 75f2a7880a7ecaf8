"""Variation-aware training: every episode uses the effective weights of another sampled chip.

The weights are programmed into the cells of a chip; products use the effective weights, and gradients the undisturbed
ones. Reference: Joshi et al., Nat. Commun. 11:2473 (2020).
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
    """The chip whose cells and wires disturb the weights in training."""

    chip: str = Field(description="name or path of a chip")
    set: dict[str, Any] = Field(
        default_factory=dict, description="path -> value of changed settings, such as device.programming.sigma: 0.5"
    )

    def resolved(self) -> Chip:
        """Return the chip without ADCs and DACs, so that only cells and wires disturb the weights."""
        chip = load_chip(self.chip)
        for path, value in self.set.items():
            chip = chip.replace(path, value)
        return chip.model_copy(update={"converter": Converter(), "inputs": Inputs()})


class ChipNoise:
    """Disturbs the weights of all crossbar layers of a network in training; episode n uses chip number n.

    Args:
        network: network in training.
        variation: chip that disturbs the weights.
        seed: seed of the sampled chips.

    Raises:
        InputError: the chip has read noise, no density of driven rows although its wires need one, or an encoding whose
            product is no single weight matrix.
    """

    def __init__(self, network: nn.Module, variation: Variation, seed: int) -> None:
        self._chip, self._seed = variation.resolved(), seed
        if self._chip.device.read.noisy:
            got, step = "a chip with read noise", "Set device.read without noise, which training does not include."
            raise InputError("recipe.variation", got, "a chip without read noise", step)
        analog = map_model(network, self._chip).analog_layers
        for name, layer in analog.items():
            if needs_density(layer.encoding, self._chip.wires):
                got, step = "null, which training does not measure", "Set the fraction of driven rows."
                raise InputError(f"recipe.variation, wires.density, layer {name!r}", got, "above 0, at most 1", step)
            if not isinstance(layer.crossbar.readout.reference, IdealReadout):
                got = f"encoding {layer.encoding.name}, whose product on these cells is not one weight matrix"
                step = "Use another encoding, or set device.time.compensation: false."
                raise InputError(f"recipe.variation, layer {name!r}", got, "one matrix per layer", step)
        self._encodings = {name: x.encoding for name, x in analog.items()}
        self._layers = {name: network.get_submodule(name) for name in self._encodings}

    def draw(self, episode: int) -> None:
        """Use the cells of another chip from now on.

        Args:
            episode: number of the episode, from 0, and of the chip.
        """
        for name, layer in self._layers.items():
            if isinstance(layer, ProductLayer):
                layer.disturb = functools.partial(self._disturbed, layer, name, self._encodings[name], episode)

    def remove(self) -> None:
        """Stop disturbing the weights."""
        for layer in self._layers.values():
            if isinstance(layer, ProductLayer):
                layer.disturb = None

    def _disturbed(
        self, layer: ProductLayer, name: str, encoding: Encoding, episode: int, w: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the effective weights in the shape of w, and the offset of every output [out]."""
        unit = layer.exact_operands and not layer.zero_operands
        lines = w.permute(0, 2, 3, 1) if w.ndim == 4 else w  # as an analog layer: kernel row, kernel column, channel
        matrix = lines.detach().flatten(1).cpu()
        crossbar = Crossbar.program(
            matrix, self._chip, range(episode, episode + 1), self._seed, name, encoding=encoding, unit_inputs=unit
        )
        readout = crossbar.ideal
        offset = readout.finish(torch.zeros(1, len(matrix)), 0)[0]
        linear = (readout.finish(readout.matrix(0).mT.to(matrix), 0) - offset).mT.to(w)
        seen = linear if w.ndim == 2 else linear.unflatten(1, (*w.shape[2:], -1)).permute(0, 3, 1, 2)
        return w + (seen - w).detach(), offset.to(w)
