"""Replace each `If` of an ONNX graph, whose condition the file determines, by the nodes of its branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

#: sizes that stand for one which the file leaves open; a condition that depends on it differs between them
_SIZES = (1, 2, 3)


def without_branches(onnx: ModuleType, model: ModelProto) -> None:
    """Replace each `If` by one of its branches, where stored tensors and stated shapes determine the condition.

    Args:
        onnx: The package.
        model: The model, which is changed.
    """
    while True:
        found = next(_determined(onnx, model), None)
        if found is None:
            return
        place, condition = found
        node = model.graph.node[place]
        branch = next(a.g for a in node.attribute if a.name == ("then_branch" if condition else "else_branch"))
        stored, inner = _of_branch(onnx, node, branch, f"{node.name or 'If'}_{place}")
        model.graph.initializer.extend(stored)
        nodes = [*model.graph.node[:place], *inner, *model.graph.node[place + 1 :]]
        kept = [type(each).FromString(each.SerializeToString()) for each in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)


def _determined(onnx: ModuleType, model: ModelProto) -> Iterator[tuple[int, bool]]:
    """Yield place and condition of each `If` of the graph whose condition is the same for all inputs."""
    places = [k for k, node in enumerate(model.graph.node) if node.op_type == "If"]
    shapes = _shapes(onnx, model) if places else {}
    for place in places:
        found = {_value(onnx, model, model.graph.node[place].input[0], shapes, size) for size in _SIZES}
        if len(found) == 1 and (condition := found.pop()) is not None:
            yield place, condition


def _shapes(onnx: ModuleType, model: ModelProto) -> dict[str, list[int | None]]:
    """Return the shapes that the file states or that follow from it; None for a size that is open."""
    import onnx.shape_inference

    graph = onnx.shape_inference.infer_shapes(model).graph
    found: dict[str, list[int | None]] = {each.name: list(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    return found


def _value(
    onnx: ModuleType, model: ModelProto, name: str, shapes: Mapping[str, Sequence[int | None]], size: int
) -> bool | None:
    """Return the condition of that name, with `size` for sizes that are open; None where inputs determine it."""
    import onnx.reference

    makers = {output: node for node in model.graph.node for output in node.output}
    held: dict[str, TensorProto] = {each.name: each for each in model.graph.initializer}
    used, stored, wanted = set(), {}, [name]
    while wanted:
        each = wanted.pop()
        node = makers.get(each)
        if not each or each in stored:
            continue
        if each in held:
            stored[each] = held[each]
        elif node is not None and node.op_type == "Shape" and node.input[0] in shapes:
            stored[each] = onnx.numpy_helper.from_array(_shape(onnx, node, shapes[node.input[0]], size), each)
        elif node is None or any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
            return None
        elif id(node) not in used:
            used.add(id(node))
            wanted += node.input
    nodes = [node for node in model.graph.node if id(node) in used]
    output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, None)
    graph = onnx.helper.make_graph(nodes, "condition", [], [output], list(stored.values()))
    own = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    (value,) = onnx.reference.ReferenceEvaluator(own).run(None, {})
    return bool(np.asarray(value).all())


def _shape(onnx: ModuleType, node: NodeProto, sizes: Sequence[int | None], size: int) -> Any:
    """Return the result of a node `Shape`."""
    part = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    whole = np.array([size if n is None else n for n in sizes], np.int64)
    return whole[slice(part.get("start", 0), part.get("end"))]


def _of_branch(
    onnx: ModuleType, node: NodeProto, branch: GraphProto, prefix: str
) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return the stored tensors and nodes of a branch, with names that no other part of the graph has."""
    inner = [each.name for each in branch.initializer] + [name for each in branch.node for name in each.output]
    names = {name: f"{prefix}/{name}" for name in inner if name}
    results = [names.get(each.name, each.name) for each in branch.output]
    stored = [type(each).FromString(each.SerializeToString()) for each in branch.initializer]
    for each in stored:
        each.name = names[each.name]
    nodes = [type(each).FromString(each.SerializeToString()) for each in branch.node]
    for each in nodes:
        _rename(onnx, each, names)
        each.name = f"{prefix}/{each.name or each.op_type}"
    pairs = zip(results, node.output, strict=True)
    return stored, nodes + [onnx.helper.make_node("Identity", [a], [b], f"{prefix}/{b}") for a, b in pairs if b]


def _rename(onnx: ModuleType, node: NodeProto, names: Mapping[str, str]) -> None:
    """Rename values in a node and in the graphs that it holds."""
    for listed in (node.input, node.output):
        listed[:] = [names.get(name, name) for name in listed]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                _rename(onnx, inner, names)
            for value in attribute.g.output:
                value.name = names.get(value.name, value.name)
