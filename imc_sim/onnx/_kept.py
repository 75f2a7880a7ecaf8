"""The graph of a network in a model folder: an ONNX file whose tensors are in the weights file next to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from imc_sim.onnx._file import onnx_package, read_file

#: file of the graph in a model folder
GRAPH = "network.onnx"
#: names of types in a safetensors file -> their ONNX element type
_STORED = {"F32": 1, "U8": 2, "I8": 3, "I16": 5, "I32": 6, "I64": 7, "BOOL": 9}
#: ONNX element types of floats, all of which are stored as float32
_FLOATS = (1, 10, 11, 16)


def graph_beside(path: Path, keys: Mapping[str, str], weights: bytes, file: str) -> bytes:
    """Return the graph of an ONNX file with its tensors in a safetensors file, as ONNX external data.

    Tensors whose type that file does not have, such as 4-bit integers, stay in the graph.

    Args:
        path: The ONNX file.
        keys: Key in the safetensors file of each tensor of the graph.
        weights: Content of the safetensors file.
        file: Its name, next to the graph.

    Returns:
        The content of the new ONNX file.
    """
    onnx, model = onnx_package(), read_file(path)
    length = int.from_bytes(weights[:8], "little")
    entries = json.loads(weights[8 : 8 + length])
    for stored in model.graph.initializer:
        entry = entries[keys[stored.name]]
        kind, (start, end) = _STORED[entry["dtype"]], entry["data_offsets"]
        if end == start or (kind != stored.data_type and stored.data_type not in _FLOATS):
            continue
        place = onnx.TensorProto(name=stored.name, data_type=kind, dims=stored.dims)
        place.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", file), ("offset", str(8 + length + start)), ("length", str(end - start))):
            place.external_data.add(key=key, value=value)
        stored.CopyFrom(place)
    graph = model.graph
    del graph.value_info[:]
    # some exporters write paths of their machine into these
    for each in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        each.ClearField("doc_string")
        each.ClearField("metadata_props")
    return model.SerializeToString(deterministic=True)
