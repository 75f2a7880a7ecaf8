"""Crossbars whose products run through MemTorch's own patched layers.

All numbers are float32, and every cell is a Python object while it is programmed: for checks, not for speed.
Settings that MemTorch cannot simulate, or not exactly, are rejected by their path in the chip.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import chip_numbers
from imc_sim.array import Chip, Encoding, Placement, load_chip
from imc_sim.backends.memtorch._adapter import Patched, entropy, on_levels
from imc_sim.backends.memtorch._chip import check_spread, translate
from imc_sim.backends.memtorch._settings import MemTorchSettings
from imc_sim.config import Engine


@final
class MemTorchCrossbar:
    """Hold weights in MemTorch's cells on several chips, with the methods of `Crossbar` that layers and memories use.

    Args:
        patched: The patched layer of each chip.
        placement: Placement of the weights on tiles.
        chips: Numbers of the chips.
    """

    def __init__(self, patched: list[Patched], placement: Placement, chips: range) -> None:
        self.patched, self.placement, self.chips = patched, placement, chips

    @classmethod
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", epoch: int = 0, encoding: Encoding | None = None,
        engine: Engine | None = None, stride: int = 1, padding: int = 0,
    ) -> MemTorchCrossbar:  # fmt: skip
        """Program weights as `Crossbar.program`: equal arguments give equal cells, whatever else is programmed.

        Args:
            weights: Weights [out, in], or [out, in, k, k] of a convolution.
            chip: The chip, or its name, path or data.
            chips: Number of chips, or a range of chip numbers.
            seed: The seed.
            layer: Name of the layer.
            epoch: Programming epoch.
            encoding: Encoding of the weights; None for the chip's.
            engine: The backend's settings.
            stride: Stride of a convolution.
            padding: Padding of a convolution.

        Returns:
            The programmed crossbar.
        """
        chip = load_chip(chip)
        encoding = encoding or chip.encoding
        settings, rounded = prepare(weights, chip, encoding, engine or Engine(kind="memtorch"), f"layer {layer!r}")
        numbers = chip_numbers(chips, f"layer {layer!r}")
        patched = [Patched(rounded, settings, entropy(seed, layer, n, epoch), stride, padding) for n in numbers]
        placement = Placement.of(chip.tile, encoding, weights[0].numel(), weights.shape[0], f"layer {layer!r}")
        return cls(patched, placement, numbers)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(chips, out, in)."""
        return len(self.chips), self.placement.outputs, self.placement.inputs

    @property
    def conductance(self) -> tuple[Tensor, ...]:
        """Conductance of the + and the - crossbars, or of the only one, in S: [chip, in, out].

        With ADCs, which are at the tiles, [chip, tile, rows, cols] with padding.
        """
        each = [patched.conductance for patched in self.patched]
        return tuple(torch.stack(crossbars) for crossbars in zip(*each, strict=True))

    def mvm(self, x: Tensor) -> Tensor:
        """Return the products with the stored weights, [chip, batch, out].

        Args:
            x: Inputs [batch, in], or [chip, batch, in].
        """
        return torch.stack([self.product(c, x if x.ndim == 2 else x[c]) for c in range(len(self.chips))])

    def product(self, index: int, x: Tensor, first_read: int = 0) -> Tensor:
        """Return the product on one chip, [batch, …], in the type of x.

        Args:
            index: Position of the chip.
            x: Inputs [batch, …].
            first_read: Not used, since reads have no noise.
        """
        return self.patched[index](x.float()).to(x.dtype)

    def take_reads(self, count: int) -> int:
        """Return 0, since reads have no noise and need no number.

        Args:
            count: Number of reads.
        """
        return 0


def prepare(
    weights: Tensor, chip: Chip, encoding: Encoding, engine: Engine, where: str
) -> tuple[MemTorchSettings, Tensor]:
    """Return the settings of a crossbar, and the weights on the levels of its cells.

    Args:
        weights: The weights.
        chip: The chip.
        encoding: Encoding of the weights.
        engine: The backend's settings.
        where: Name of the layer in errors.

    Raises:
        InputError: MemTorch cannot hold these weights or simulate the chip.
    """
    settings = translate(chip, encoding, engine, where)
    if not bool(torch.isfinite(weights).all()):
        raise InputError(where, "weights with NaN or infinity", "finite weights", "Check the checkpoint.")
    rounded = on_levels(weights.detach().float(), chip.device.levels, settings.single_column)
    check_spread(rounded, settings, where)
    return settings, rounded
