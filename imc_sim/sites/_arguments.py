"""Nested arguments and results of networks: tensors in tuples, lists, dicts and dataclasses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._quantities import type_of
from imc_sim._tensors import check_usual

#: what holds no tensors but itself; a tuple, which is checked faster than a union
_LEAVES = (Tensor, str, int, float, type)
_ALLOWED = "one tensor, a tuple of positional arguments or a dict of keyword arguments"


def leaves(value: Any) -> Iterator[Any]:
    """Yield everything in a nested value that is no container.

    Args:
        value: tensors and other objects in tuples, lists, dicts and dataclasses.

    Yields:
        The leaves, in order.
    """
    parts = _parts(value)
    if parts is None:
        yield value
        return
    for part in parts.values():
        yield from leaves(part)


def joined(join: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Return a nested value whose leaves are made of those of values of the same structure.

    Args:
        join: leaves at one place -> the new leaf.
        first: a nested value.
        *others: values of the same structure.

    Raises:
        InputError: the structures differ.
    """
    parts, rest = _parts(first), [_parts(other) for other in others]
    if parts is None:
        return join(first, *others)
    if any(each is None or each.keys() != parts.keys() for each in rest):
        step = "Return the same structure for all inputs, chips and calls."
        raise InputError("results of a network", "different structures", f"each as {type(first).__name__}", step)
    made = {key: joined(join, part, *(each[key] for each in rest if each is not None)) for key, part in parts.items()}
    if dataclasses.is_dataclass(first) or isinstance(first, tuple | list):
        kind: Any = type(first)
        named = dataclasses.is_dataclass(first) or hasattr(first, "_fields")
        return kind(**made) if named else kind(made.values())
    return made if type(first) is dict else type(first)(made)


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Return the members of a container by key, or None for a leaf."""
    if value is None or isinstance(value, _LEAVES):
        return None
    if type(value) in (tuple, list):
        return dict(enumerate(value))
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple | list):
        return dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    return None


@final
@dataclass(frozen=True)
class Arguments:
    """Arguments of a forward pass.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        batch: number of samples: the length of the first tensor that has dimensions.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    batch: int

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Self:
        """Return arguments, unchecked.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            InputError: no tensor has samples.
        """
        sizes = [len(leaf) for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
        if not sizes or not sizes[0]:
            got = "no samples" if sizes else "no tensor with dimensions"
            raise InputError("inputs", got, f"{_ALLOWED}, batch first", "Give some real inputs of the network.")
        return cls(args, kwargs, sizes[0])

    @classmethod
    def given(cls, inputs: Any) -> Self:
        """Return the arguments that one value stands for.

        Args:
            inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments.

        Raises:
            InputError: another type, or no tensor with samples.
        """
        if isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs):
            return cls.of((), dict(inputs))
        if isinstance(inputs, Tensor | tuple):
            return cls.of((inputs,) if isinstance(inputs, Tensor) else inputs, {})
        raise InputError("inputs", type_of(inputs), _ALLOWED, "Give some real inputs of the network.")

    @property
    def form(self) -> str:
        """Return names and shapes of the tensors of the arguments, as text."""
        named = {**{str(place): value for place, value in enumerate(self.args)}, **self.kwargs}
        shapes = {name: [leaf.shape[1:] for leaf in leaves(v) if isinstance(leaf, Tensor)] for name, v in named.items()}
        texts = {name: " and ".join(f"[{', '.join(map(str, ('batch', *s)))}]" for s in v) for name, v in shapes.items()}
        return texts["0"] if list(texts) == ["0"] else ", ".join(f"{name}: {text}" for name, text in texts.items())

    def checked(self) -> Self:
        """Return the arguments if their tensors hold real numbers.

        Raises:
            InputError: complex, sparse, quantised or meta tensors, or NaN.
        """
        for leaf in leaves((self.args, self.kwargs)):
            if isinstance(leaf, Tensor):
                check_usual(leaf, "inputs")
                if not math.isfinite(float(leaf.detach().sum())) and bool(leaf.isnan().any()):  # a sum is fast
                    raise InputError("inputs", "NaN", "numbers", "Check what these values were computed from.")
        return self

    def copied(self) -> Arguments:
        """Return the arguments with copies of all tensors."""
        return self._joined(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)

    def split(self, size: int) -> list[Arguments]:
        """Return arguments of at most `size` samples each.

        Args:
            size: number of samples.
        """
        starts = range(0, self.batch, size)
        return [self.batched(lambda x, start=start: x[start : start + size]) for start in starts]

    def run(self, network: nn.Module) -> Any:
        """Return the output of a network for these arguments.

        Args:
            network: the network.
        """
        return network(*self.args, **self.kwargs)

    def batched(self, change: Callable[..., Tensor], *others: Arguments) -> Arguments:
        """Return arguments whose tensors of samples are made of those at the same places; others stay.

        Args:
            change: tensors at one place -> the new tensor.
            *others: arguments of the same structure.
        """

        def join(leaf: Any, *rest: Any) -> Any:
            samples = isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == self.batch
            return change(leaf, *rest) if samples else leaf

        return self._joined(join, *others)

    def reversed(self) -> Arguments:
        """Return other arguments of the same shapes and values: tensors reversed along the first and last dimension."""

        def join(leaf: Any) -> Any:
            return leaf.flip(tuple({0, leaf.ndim - 1})) if isinstance(leaf, Tensor) and leaf.ndim else leaf

        return self._joined(join)

    def equals(self, other: Arguments) -> bool:
        """Return whether all tensors are equal to those of other arguments of the same structure.

        Args:
            other: the other arguments.
        """
        pairs = zip(leaves((self.args, self.kwargs)), leaves((other.args, other.kwargs)), strict=True)
        return all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor))

    def _joined(self, join: Callable[..., Any], *others: Arguments) -> Arguments:
        return Arguments.of(*joined(join, (self.args, self.kwargs), *((each.args, each.kwargs) for each in others)))
