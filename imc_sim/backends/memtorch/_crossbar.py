"""Crossbars whose products run through MemTorch's own patched layers.

Numbers are float32 throughout, and every cell is a Python object while it is programmed: for checks, not for
speed. What MemTorch cannot simulate, or not faithfully, is refused by its path in the chip.
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
    """Weights in MemTorch's cells, on `chips` chips: the part of `Crossbar` that layers and memories use."""

    def __init__(self, patched: list[Patched], placement: Placement, chips: range) -> None:
        self.patched, self.placement, self.chips = patched, placement, chips

    @classmethod
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", epoch: int = 0, encoding: Encoding | None = None,
        engine: Engine | None = None, stride: int = 1, padding: int = 0,
    ) -> MemTorchCrossbar:  # fmt: skip
        """As `Crossbar.program`: equal arguments give equal cells, whatever else is programmed.

        weights: [out, in], or [out, in, k, k] of a convolution with that stride and padding.
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
        """G in S of the + and the - crossbars, or of the only one: [chip, in, out].

        With converters, which stand at tiles: [chip, tile, rows, cols], padding included.
        """
        each = [patched.conductance for patched in self.patched]
        return tuple(torch.stack(crossbars) for crossbars in zip(*each, strict=True))

    def mvm(self, x: Tensor) -> Tensor:
        """Products of x [batch, in], or [chip, batch, in], with the stored weights: [chip, batch, out]."""
        return torch.stack([self.product(c, x if x.ndim == 2 else x[c]) for c in range(len(self.chips))])

    def product(self, index: int, x: Tensor, first_read: int = 0) -> Tensor:
        """Product of x [batch, …] on the chip at position `index`: [batch, …], in the type of x."""
        return self.patched[index](x.float()).to(x.dtype)

    def take_reads(self, count: int) -> int:
        """Reads are quiet and need no number."""
        return 0


def prepare(
    weights: Tensor, chip: Chip, encoding: Encoding, engine: Engine, where: str
) -> tuple[MemTorchSettings, Tensor]:
    """Settings, and the weights on the levels of the cells; refuses what MemTorch cannot hold or simulate."""
    settings = translate(chip, encoding, engine, where)
    if not bool(torch.isfinite(weights).all()):
        raise InputError(where, "weights with NaN or infinity", "finite weights", "Check the checkpoint.")
    rounded = on_levels(weights.detach().float(), chip.device.levels, settings.single_column)
    check_spread(rounded, settings, where)
    return settings, rounded
