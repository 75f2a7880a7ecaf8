"""Outputs of all chips, one leaf of a nested output at a time."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from imc_sim._errors import InputError


@final
class ChipOutputs:
    """Hold one leaf of the output on every chip.

    Tensors get one allocation: kept small ones would pin the heap between large ones.

    Args:
        leaf: the leaf on the first chip, of the first part of the batch.
        chips: number of chips.
        batch: number of samples.
        parts: number of parts of the batch; samples are in the first dimension if there are several.
    """

    def __init__(self, leaf: Any, chips: int, batch: int, parts: int) -> None:
        self._split, self._objects = parts > 1, []
        self._tensor: Tensor | None = None
        if isinstance(leaf, Tensor):
            self._tensor = leaf.new_empty(chips, *((batch, *leaf.shape[1:]) if self._split else leaf.shape))

    def put(self, position: int, done: int, leaf: Any) -> None:
        """Store the leaf of a chip.

        Args:
            position: position of the chip.
            done: number of the first sample.
            leaf: the leaf.

        Raises:
            InputError: a tensor of another shape than on the first chip.
        """
        if self._tensor is None:
            self._objects.append(leaf)
            return
        place = self._tensor[position, done : done + len(leaf)] if self._split else self._tensor[position]
        if place.shape != leaf.shape:
            step = "Return tensors of one shape; score lists of another length on every chip with `on_chip`."
            raise InputError("output", f"shape {tuple(leaf.shape)}", f"{tuple(place.shape)} as on the first chip", step)
        place.copy_(leaf)

    def result(self) -> Any:
        """Return the tensor [chip, …]; of other objects the one of all chips, or a tuple where they differ."""
        if self._tensor is not None:
            return self._tensor
        first = self._objects[0]
        plain = first is None or isinstance(first, bool | int | float | str)
        return first if plain and all(each == first for each in self._objects) else tuple(self._objects)
