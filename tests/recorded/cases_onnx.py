"""Networks of ONNX files: outputs of operators, names of tensors and nodes, batches, and files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim.onnx import file_name, load_onnx
from imc_sim.onnx._network import module_names
from tests.recorded.made import folder, real, tried, without
from tests.recorded.short import short


def _saved(nodes: list[Any], stored: dict[str, Any], shape: Any = ("n", 4), version: int = 17, **more: Any) -> Path:
    """Write a network with the input x and the output y."""
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"dtype": TensorProto.FLOAT, "outputs": ["y"]} | more
    x = helper.make_tensor_value_info("x", kinds["dtype"], shape)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in kinds["outputs"]]
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in stored.items()]
    graph = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "g", [x], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    path = Path("it.onnx")
    path.write_bytes(model.SerializeToString())
    return path


def record_operators() -> dict[str, Any]:
    """Outputs of each operator."""
    pytest.importorskip("onnx")
    from tests.exact.onnx_cases import BY_TORCH, CASES
    from tests.exact.test_onnx_operators import computed

    found: dict[str, Any] = {}
    with folder() as at:
        for case in [*CASES, *(case for case, _ in BY_TORCH)]:
            outputs = [[f"{y.dtype} {list(y.shape)}", y] for y in computed(case, at)]
            found.setdefault(case.operator, []).append(outputs)
    return short(found)


def record_graphs() -> dict[str, Any]:
    """Networks of several nodes for the batch of the file and another one, with names of tensors and modules."""
    pytest.importorskip("onnx")
    weights = {"w": real(4, 3).numpy(), "b.bias": real(3).numpy(), "n": np.int64(3), "s": np.array([1, 6])}
    graphs: dict[str, tuple[list[Any], Any, dict[str, Any]]] = {
        "layer": ([("MatMul", ["x", "w"], ["h"], {"name": "/a.b/MatMul"}), ("Add", ["h", "b.bias"], ["y"], {})],
                  ("n", 4), {}),
        "two outputs": ([("Relu", ["x"], ["y"], {}), ("Neg", ["y"], ["z"], {})], (None, 4), {"outputs": ["y", "z"]}),
        "reshaped, for 1": ([("Reshape", ["x", "s"], ["h"], {}), ("Relu", ["h"], ["y"], {})], (1, 2, 3), {}),
        "joined, for 2": ([("Concat", ["x", "x"], ["y"], {"axis": 1})], (2, 3), {}),
        "joined samples, for 2": ([("Concat", ["x", "x"], ["y"], {"axis": 0})], (2, 3), {}),
        "summed samples, for 2": ([("ReduceSum", ["x"], ["y"], {"keepdims": 1})], (2, 3), {}),
        "half": ([("Relu", ["x"], ["y"], {})], ("n", 3), {"dtype": 10}),
    }  # fmt: skip
    found: dict[str, Any] = {}
    with folder():
        for name, (nodes, shape, more) in graphs.items():
            used = {key: value for key, value in weights.items() if any(key in node[1] for node in nodes)}
            network = load_onnx(_saved(nodes, used, shape, **more))
            sizes = [4 if each is None or isinstance(each, str) else each for each in shape or (2, 5)]
            keys = [[key, list(value.shape), file_name(key)] for key, value in network.state_dict().items()]
            modules = [path for path, _ in network.named_modules() if path]
            ran = [tried(network, real(count, *sizes[1:])) for count in (sizes[0], 6, 1)]
            found[name] = [keys, modules, network.batch, ran, tried(network), tried(network, real(2, 9), real(1))]
            found[name].append(tried(lambda n=network, s=sizes: n(x=torch.ones(s))))
    kinds = ["Conv", "Conv", "Relu", "Relu", "Add"]
    found["names"] = list(module_names(["/a/", "a", "", "", "b"], kinds)) + list(module_names([""] * 5, kinds))
    return short(found)


def record_refused_files() -> dict[str, Any]:
    """Errors of files that are none, damaged, or with what networks here do not compute."""
    pytest.importorskip("onnx")
    found: dict[str, Any] = {}
    eye = np.eye(4, dtype=np.float32)
    nodes = [("MatMul", ["x", "w"], ["y"], {"name": "fc"})]
    graphs: dict[str, Any] = {
        "unknown": ([("Det", ["x"], ["a"], {"name": "d"}), ("Odd", ["a"], ["y"], {"domain": "m"})], {}),
        "misspelt": ([("Gem", ["x"], ["y"], {})], {}), "complex": (nodes, {"w": eye.astype(np.complex64)}),
        "version": (nodes, {"w": eye}, ("n", 4), 99), "text": (nodes, {"w": np.array([["a"]])}),
        "loop": ([("Loop", ["x"], ["y"], {"name": "l"})], {}), "absent": ([("Relu", ["q"], ["y"], {})], {}),
        "input of text": ([("Relu", ["x"], ["y"], {})], {}, ("n", 4), 17),
    }  # fmt: skip
    with folder() as at:
        for name, graph in graphs.items():
            text = tried(lambda g=graph, n=name: load_onnx(_saved(*g, **({"dtype": 8} if "input" in n else {}))))
            found[name] = without(str(text), at).partition(" (")[0]
        for name, content in {"empty": b"", "html": b"<!doctype html>", "lfs": b"version https://git-lfs"}.items():
            (at / "it.onnx").write_bytes(content)
            found[name] = without(str(tried(load_onnx, at / "it.onnx")), at).partition(" (")[0]
        found["none"] = without(str(tried(load_onnx, at / "none.onnx")), at)
    return found
