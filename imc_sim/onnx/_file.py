"""Read an ONNX file: the checked protocol buffer, with its constants among the stored tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import CheckpointError, InputError, nearest, reason_of
from imc_sim._file_kinds import kind_of_file
from imc_sim._files import regular
from imc_sim.onnx._branches import without_branches
from imc_sim.onnx._node import TYPES
from imc_sim.onnx._quantized import DOMAINS
from imc_sim.onnx._table import OPERATORS

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto, TensorProto

#: operator sets of ONNX whose meaning the operators have
_VERSIONS = range(7, 29)
#: operators that run other parts of a graph
_CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
_AGAIN = "Use an undamaged copy, or export the network again."


def onnx_package() -> ModuleType:
    """Return the package `onnx`, which reads and checks the files.

    Raises:
        InputError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        step = "Install it: pip install 'imc_sim[onnx]'"
        raise InputError("ONNX files", "no package 'onnx'", "an installation with the extra [onnx]", step) from error
    return onnx


def read_file(path: Path) -> ModelProto:
    """Return the model in a file, checked, with functions inlined and constants among its stored tensors.

    Nothing of the file is run. Weights in further files are not read yet, see `stored_tensors`.

    Args:
        path: The file.

    Raises:
        InputError: The package `onnx` is not installed, or operators are not known.
        CheckpointError: The file is none of ONNX, is damaged, or breaks the rules of ONNX.
    """
    onnx = onnx_package()
    if not path.is_file():
        raise CheckpointError(str(path), "no such file", "an ONNX file", "Check the path.")
    model = _decoded(onnx, path)
    known = {each.domain for each in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} - known):
        if domain in DOMAINS:  # tools of QONNX do not always state them
            model.opset_import.add(domain=domain, version=1)
    _refuse_unknown(model, str(path))
    _check(onnx, model, str(path))
    model = _recent(onnx, model, str(path))
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    _hoist_constants(onnx, model, str(path))
    without_branches(onnx, model)
    _hoist_constants(onnx, model, str(path))
    _refuse_unknown(model, str(path), known=())
    return model


def stored_tensors(model: ModelProto, path: Path, external: bool = True) -> Iterator[tuple[str, int, Tensor]]:
    """Yield name, ONNX element type and value of each tensor that a model stores; floats are float32.

    Args:
        model: The model.
        path: Its file, next to which further files of weights are.
        external: False: tensors in further files are zero.

    Yields:
        One tensor after the other.

    Raises:
        CheckpointError: A tensor cannot be read or is of a type that networks do not compute with.
    """
    onnx = onnx_package()
    for stored in model.graph.initializer:
        where = f"{path}, tensor {stored.name!r}"
        if stored.data_type not in TYPES:
            kinds = {number: name for name, number in onnx.TensorProto.DataType.items()}
            kind = kinds.get(stored.data_type, f"the unknown type {stored.data_type}")
            raise CheckpointError(where, kind, "floats, integers and bools", "Export the network in float32.")
        if not external and stored.data_location == onnx.TensorProto.EXTERNAL:
            yield stored.name, stored.data_type, torch.zeros(tuple(stored.dims), dtype=TYPES[stored.data_type])
            continue
        try:
            array = onnx.numpy_helper.to_array(stored, base_dir=str(path.parent))
        except Exception as error:
            raise CheckpointError(where, f"no value ({reason_of(error)})", "a whole file of weights", _AGAIN) from error
        yield stored.name, stored.data_type, tensor_of(array, stored.data_type, where)


def tensor_of(array: Any, kind: int, where: str) -> Tensor:
    """Return a stored array as a tensor of the type it is computed in.

    Args:
        array: The array.
        kind: Its ONNX element type.
        where: Name of the tensor in errors.
    """
    if kind == 13 and array.size and array.max() > np.iinfo(np.int64).max:
        raise CheckpointError(where, "integers above 2^63", "smaller ones", "Export the network with int64.")
    wanted = torch.empty(0, dtype=TYPES[kind]).numpy().dtype
    return torch.from_numpy(np.array(array.astype(wanted))).clone(memory_format=torch.contiguous_format)


def attribute_value(onnx: ModuleType, attribute: AttributeProto, where: str) -> Any:
    """Return an attribute of a node as plain data or a tensor; None for a kind that no known operator has.

    Args:
        onnx: The package.
        attribute: The attribute.
        where: Name of the node in errors.
    """
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _tensor(onnx, value, where)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | float):
        return value
    items = [each.decode() if isinstance(each, bytes) else each for each in value]
    return items if all(isinstance(each, str | int | float) for each in items) else None


def _tensor(onnx: ModuleType, value: TensorProto, where: str) -> Tensor:
    return tensor_of(onnx.numpy_helper.to_array(value), value.data_type, where)


def _decoded(onnx: ModuleType, path: Path) -> ModelProto:
    """Return what the file holds, unchecked."""
    found = kind_of_file(path)
    if found.kind not in ("onnx", "unknown"):
        raise CheckpointError(str(path), found.text or found.kind, "an ONNX file", found.step or _AGAIN)
    try:
        return onnx.load(str(regular(path)), format="protobuf", load_external_data=False)
    except Exception as error:
        got = f"{path.stat().st_size} bytes that do not decode ({reason_of(error)})"
        raise CheckpointError(str(path), got, "a whole ONNX file", _AGAIN) from error


def _check(onnx: ModuleType, model: ModelProto, where: str) -> None:
    """Raise where a model breaks the rules of ONNX."""
    for each in model.graph.output:  # their types are not used, and some programs leave them out
        each.type.tensor_type.elem_type = each.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
        each.type.tensor_type.shape.SetInParent()
    external = [each for each in model.graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
    kept = [onnx.TensorProto.FromString(each.SerializeToString()) for each in external]
    for each in external:  # the check would look for these files in the working directory
        each.CopyFrom(onnx.TensorProto(name=each.name, data_type=each.data_type, dims=[0]))
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # its own errors, and those of protobuf
        got = f"a graph that breaks the rules of ONNX ({reason_of(error)})"
        raise CheckpointError(where, got, "a valid ONNX model", "Export the network again.") from error
    for each, whole in zip(external, kept, strict=True):
        each.CopyFrom(whole)


def _hoist_constants(onnx: ModuleType, model: ModelProto, where: str) -> None:
    """Turn nodes `Constant` into stored tensors, so that all tensors are in one place."""
    if model.graph.sparse_initializer:
        raise CheckpointError(where, "sparse tensors", "dense ones", "Export the network with dense weights.")
    others = []
    for node in model.graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            others.append(node)
            continue
        attribute = node.attribute[0]
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            stored = value
        elif attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
            kind = np.float32 if "float" in attribute.name else np.int64
            stored = onnx.numpy_helper.from_array(np.array(value, kind))
        else:
            raise CheckpointError(f"{where}, node {node.name!r}", attribute.name, "a dense tensor", _AGAIN)
        model.graph.initializer.add().CopyFrom(stored)
        model.graph.initializer[-1].name = node.output[0]
    if len(others) < len(model.graph.node):
        kept = [type(node).FromString(node.SerializeToString()) for node in others]
        del model.graph.node[:]
        model.graph.node.extend(kept)


def key_of(domain: str, operator: str) -> str:
    """Return the name of an operator, with its domain unless that is ONNX's own.

    Args:
        domain: The domain.
        operator: Its name there.
    """
    return operator if domain in ("", "ai.onnx") else f"{domain}:{operator}"


def versions_of(model: ModelProto) -> dict[str, int]:
    """Return the version of the operator set of each domain.

    Args:
        model: The model.
    """
    return {"" if each.domain == "ai.onnx" else each.domain: each.version for each in model.opset_import}


def _refuse_unknown(model: ModelProto, where: str, known: Sequence[str] = ("Constant", "If")) -> None:
    """Raise one error that names all operators that are not known, before anything runs."""
    unknown: dict[str, list[str]] = {}
    own = {key_of(each.domain, each.name) for each in model.functions}.union(known)
    for number, node in enumerate(model.graph.node):
        if (key := key_of(node.domain, node.op_type)) not in OPERATORS and key not in own:
            unknown.setdefault(key, []).append(node.name or f"number {number}")
    if unknown:
        got = "; ".join(f"{key} in {', '.join(map(repr, names))}" for key, names in unknown.items())
        step = "Export the network without them; imc_sim.onnx.operators() lists those that are known."
        if unknown.keys() <= _CONTROL:
            got += ", whose course the values of the inputs determine"
            step = "Export the traced network, not a scripted one, so that loops are unrolled and branches are taken."
        else:
            step = nearest(next(iter(unknown)).rpartition(":")[2], OPERATORS) + step
        raise InputError(where, f"unknown operators: {got}", f"{len(OPERATORS)} operators of ONNX and QONNX", step)


def _recent(onnx: ModuleType, model: ModelProto, where: str) -> ModelProto:
    """Return a model in an operator set that is known, converted by the package `onnx` from an older one."""
    version = versions_of(model).get("", _VERSIONS[-1])
    if version in _VERSIONS:
        return model
    try:
        if version < _VERSIONS[0]:
            import onnx.version_converter

            return onnx.version_converter.convert_version(model, _VERSIONS[0])
    except Exception as error:
        reason = f", which cannot be converted ({reason_of(error)})"
    else:
        reason = ""
    step, allowed = "Export the network again with opset_version=17.", f"{_VERSIONS[0]} to {_VERSIONS[-1]}"
    raise InputError(where, f"operator set {version} of ONNX{reason}", allowed, step)
