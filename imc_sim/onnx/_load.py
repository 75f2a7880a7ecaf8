"""Load an ONNX file as a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._typing import PathLike
from imc_sim.onnx._file import attribute_value, key_of, onnx_package, read_file, stored_tensors, versions_of
from imc_sim.onnx._network import Input, OnnxNetwork, module_names
from imc_sim.onnx._node import TYPES, Node
from imc_sim.onnx._table import OPERATORS

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto


@checked
def load_onnx(path: PathLike, weights: bool = True) -> OnnxNetwork:
    """Load a network from an ONNX or QONNX file, as a torch module in eval mode.

    No code of the file is run: each node becomes calls of torch functions, in float32. The network takes any number of
    samples, also where it was exported for one.

    Args:
        path: The file. Weights in further files next to it are read too.
        weights: False: leave those in further files zero, to be loaded as a state dict.

    Returns:
        The network, for `map_model(network, chip, inputs=…)`.

    Raises:
        InputError: The package `onnx` is not installed, or the file has operators that are not known, all of which the
            error names.
        CheckpointError: The file is none of ONNX, is damaged, or breaks the rules of ONNX.
    """
    file = Path(path).expanduser()
    model = read_file(file)
    stored = list(stored_tensors(model, file, weights))
    tensors = {name: value for name, _, value in stored}
    inputs = [_input(each, str(file)) for each in model.graph.input if each.name not in tensors]
    batch = _fixed_batch(inputs)
    kinds = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    nodes = _nodes(model, kinds | {name: kind for name, kind, _ in stored}, str(file))
    nodes = nodes if batch is None else _following_the_batch(nodes, [each.name for each in inputs])
    outputs = [each.name for each in model.graph.output]
    return OnnxNetwork(nodes, tensors, inputs, outputs, batch, file.name).eval()


def operators() -> tuple[str, ...]:
    """Return the names of all operators that can be read, with their domain unless it is ONNX's own."""
    return tuple(sorted(OPERATORS))


def _input(value: ValueInfoProto, where: str) -> Input:
    """Return an input with the sizes that the file states."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in TYPES:
        step = "Export the network with tensors as inputs."
        raise InputError(f"{where}, input {value.name!r}", "no tensor of numbers", "floats, integers, bools", step)
    sizes = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
    return Input(value.name, sizes if kind.HasField("shape") else None, TYPES[kind.elem_type])


def _fixed_batch(inputs: Sequence[Input]) -> int | None:
    """Return the number of samples that all inputs state, None where one leaves it open."""
    sizes = {each.shape[0] if each.shape else None for each in inputs}
    return next(iter(sizes)) if len(sizes) == 1 else None


def _nodes(model: ModelProto, kinds: dict[str, int], where: str) -> list[Node]:
    """Return the nodes of a graph, in the order of the file, in which each follows those that it needs."""
    onnx, versions, found = onnx_package(), versions_of(model), []
    names = module_names([n.name for n in model.graph.node], [n.op_type for n in model.graph.node])
    for node, name in zip(model.graph.node, names, strict=True):
        attributes = {a.name: attribute_value(onnx, a, f"{where}, node {name!r}") for a in node.attribute}
        version = versions.get("" if node.domain == "ai.onnx" else node.domain, 1)
        types = tuple(kinds.get(each, 0) for each in node.input)
        key = key_of(node.domain, node.op_type)
        found.append(Node(name, key, tuple(node.input), tuple(node.output), attributes, version, types))
    return found


def _following_the_batch(nodes: Sequence[Node], inputs: Sequence[str]) -> list[Node]:
    """Mark each Reshape and Concat of values that the inputs determine: the number of samples may be part of them."""
    driven, found = set(inputs), []
    for node in nodes:
        values = node.inputs[:1] if node.kind == "Reshape" else node.inputs
        follows = node.kind in ("Reshape", "Concat") and not driven.isdisjoint(values)
        found.append(replace(node, follows=True) if follows else node)
        driven |= set(node.outputs) if not driven.isdisjoint(node.inputs) else set()
    return found
