"""One node of an ONNX graph, with its attributes as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from imc_sim._errors import InputError

#: computes the outputs of a node from its inputs, where None is an input that was left out
Operator = Callable[..., Any]
#: ONNX element type -> type in which it is computed
TYPES = {
    1: torch.float32, 10: torch.float32, 11: torch.float32, 16: torch.float32,
    2: torch.uint8, 3: torch.int8, 4: torch.int32, 5: torch.int16, 6: torch.int32, 7: torch.int64, 12: torch.int64,
    13: torch.int64, 9: torch.bool, 21: torch.uint8, 22: torch.int8,
}  # fmt: skip
#: ONNX element types that are computed as integers of more bits -> lowest and highest value
RANGES = {
    2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 6: (-(2**31), 2**31 - 1), 21: (0, 15), 22: (-8, 7)
}  # fmt: skip


@final
@dataclass(frozen=True)
class Node:
    """One node of a graph.

    Attributes:
        name: in the file; made from the operator and a number where the file has none.
        kind: operator, with its domain unless that is ONNX's own.
        inputs: names of its inputs; empty where one was left out.
        outputs: names of its outputs.
        attributes: by name.
        version: of the operator set of its domain.
        types: ONNX element type of each input that the file states, 0 for others.
        follows: whether the number of samples that the file is for may be part of its inputs.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    types: tuple[int, ...] = ()
    follows: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute.

        Args:
            name: of the attribute.
            default: its value where the node has none.
        """
        return self.attributes.get(name, default)

    def refuse(self, got: str, allowed: str) -> InputError:
        """Return the error for a variant of an operator that is not computed.

        Args:
            got: the variant.
            allowed: variants that are computed.
        """
        return InputError(f"node {self.name!r}", f"{self.kind} with {got}", allowed, "Export the network without it.")

    def require(self, name: str, *allowed: Any) -> Any:
        """Return an attribute, the first of the allowed values where the node has none.

        Args:
            name: of the attribute.
            *allowed: values that are computed.

        Raises:
            InputError: another value.
        """
        value = self.get(name, allowed[0])
        if value not in allowed:
            raise self.refuse(f"{name} {value!r}", f"{name} of {', '.join(map(repr, allowed))}")
        return value


def ints(values: Tensor | Sequence[int]) -> list[int]:
    """Return whole numbers, such as a shape that a graph computes.

    Args:
        values: a tensor or a sequence.
    """
    return [int(v) for v in (values.reshape(-1).tolist() if isinstance(values, Tensor) else values)]


def axes_of(node: Node, axes: Tensor | None, since: int) -> list[int] | None:
    """Return the axes of a node, which are an attribute in older operator sets; None where it has none.

    Args:
        node: the node.
        axes: its input of axes.
        since: first operator set with this input.
    """
    found = axes if node.version >= since else node.get("axes")
    return None if found is None else ints(found)
