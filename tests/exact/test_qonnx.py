"""Operators of QONNX: the values that its specification states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array import load_chip
from imc_sim.mapping import map_model
from imc_sim.onnx import load_onnx

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
VALUES = [5.5, 2.5, 1.6, 1.1, 1.0, -1.0, -1.1, -1.6, -2.5, -5.5]
#: rounding mode -> the rounded VALUES in the table of the specification
ROUNDED = {
    "ROUND": [6, 2, 2, 1, 1, -1, -1, -2, -2, -6], "CEIL": [6, 3, 2, 2, 1, -1, -1, -1, -2, -5],
    "FLOOR": [5, 2, 1, 1, 1, -1, -2, -2, -3, -6], "UP": [6, 3, 2, 2, 1, -1, -2, -2, -3, -6],
    "DOWN": [5, 2, 1, 1, 1, -1, -1, -1, -2, -5], "HALF_UP": [6, 3, 2, 1, 1, -1, -1, -2, -3, -6],
    "HALF_DOWN": [5, 2, 2, 1, 1, -1, -1, -2, -2, -5], "half_even": [6, 2, 2, 1, 1, -1, -1, -2, -2, -6],
}  # fmt: skip


def computed(operator: str, x: Any, *stored: Any, folder: Path, domain: str = DOMAINS[0], **attributes: Any) -> Tensor:
    """Return the output of one node."""
    given = torch.tensor(np.array(x, np.float32))
    names = [f"s{k}" for k in range(len(stored))]
    node = helper.make_node(operator, ["x", *names], ["y"], "it", domain=domain, **attributes)
    tensors = [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in zip(names, stored, strict=True)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * given.ndim) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "it.onnx").write_bytes(model.SerializeToString())
    return load_onnx(folder / "it.onnx")(given)


@pytest.mark.parametrize("mode", list(ROUNDED))
def test_rounding_is_that_of_the_specification(mode: str, tmp_path: Path) -> None:
    found = computed("Quant", VALUES, 1.0, 0.0, 8, folder=tmp_path, rounding_mode=mode)
    assert found.tolist() == ROUNDED[mode]
    coarse = computed("Trunc", [16 * v for v in VALUES], 1.0, 0.0, 12, 8, folder=tmp_path, rounding_mode=mode)
    wanted = computed("Quant", [round(16 * v) / 16 for v in VALUES], 1.0, 0.0, 8, folder=tmp_path, rounding_mode=mode)
    assert coarse.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "lowest", "highest"),
    [
        (8, 1, 0, -128, 127),
        (8, 1, 1, -127, 127),
        (8, 0, 0, 0, 255),
        (8, 0, 1, 0, 254),
        (2, 1, 1, -1, 1),
        (1, 0, 0, 0, 1),
    ],
)
def test_limits_of_bits(bits: int, signed: int, narrow: int, lowest: int, highest: int, tmp_path: Path) -> None:
    more: Any = {"signed": signed, "narrow": narrow}
    for name in ("Quant", "IntQuant"):
        assert computed(name, [-999.0, 999.0], 0.5, 0.0, bits, folder=tmp_path, **more).tolist() == [
            lowest / 2,
            highest / 2,
        ]
    cut = computed("Trunc", [-9999.0, 9999.0], 0.5, 0.0, 16, 2.0, bits, folder=tmp_path, **more)
    assert cut.tolist() == [lowest * 2, highest * 2]


def test_scale_and_zero_point(tmp_path: Path) -> None:
    scale = [[0.5], [2.0]]
    found = computed("Quant", [[0.3, 9.0], [0.9, 8.0]], scale, 1.0, 3, folder=tmp_path, signed=0)
    assert found.tolist() == [[0.5, 3.0], [0.0, 8.0]]  # 0 to 7, less the zero point, times the scale
    assert computed("Quant", [-0.1, 0.0, 4.0], 0.5, 0.0, 1, folder=tmp_path).tolist() == [-0.5, 0.5, 0.5]
    cut = computed("Trunc", [21.0, -5.0], 1.0, 4.0, 8, 4.0, 4, folder=tmp_path)
    assert cut.tolist() == [20.0, -8.0]  # 25 and -1 in steps of 4: 6 and -1, less 1, times 4


@pytest.mark.parametrize("domain", DOMAINS)
def test_signs(domain: str, tmp_path: Path) -> None:
    """Zero is positive, other than for a sign."""
    found = computed("BipolarQuant", [-2.0, -0.0, 0.0, 3.0], 0.5, folder=tmp_path, domain=domain)
    assert found.tolist() == [-0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NC"])
def test_thresholds_count_the_values_that_are_reached(layout: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape = {"NCHW": (2, 3, 4, 5), "NHWC": (2, 4, 5, 3), "NC": (6, 3)}[layout]
    x, thresholds = rng.integers(-4, 5, shape), np.sort(rng.integers(-4, 5, (3, 7)))
    channels = thresholds.reshape([3, *[1] * (x.ndim - 2), 7] if layout == "NCHW" else [3, 7])
    more = {"out_scale": 2.0, "out_bias": -7.0, "data_layout": layout, "out_dtype": "INT4"}
    found = computed("MultiThreshold", x, thresholds, folder=tmp_path, **more)
    assert np.array_equal(found.numpy(), 2.0 * (x[..., None] >= channels).sum(-1) - 7.0)
    same = computed("MultiThreshold", x, thresholds[:1, ::-1], folder=tmp_path, **more)
    assert np.array_equal(same.numpy(), 2.0 * (x[..., None] >= thresholds[0]).sum(-1) - 7.0)


def test_an_unknown_rounding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="node 'it': got .*Quant with rounding_mode 'ODD'; allowed: rounding_mode of ROUND"
    ):
        computed("Quant", VALUES, 1.0, 0.0, 8, folder=tmp_path, rounding_mode="odd")


def test_binary_weights_and_activations_are_mapped_as_such(tmp_path: Path) -> None:
    """A network as Brevitas exports it for FINN: signs with a scale, whose product is exact on ideal cells."""
    rng = np.random.default_rng(0)
    general = DOMAINS[0]
    stored = {
        "w": rng.standard_normal((40, 12)), "q": rng.standard_normal((12, 5)), "t": rng.standard_normal((12, 1)),
        "one": 1.0, "half": 0.25, "zero": 0.0, "bits": 4.0,
    }  # fmt: skip
    nodes = [
        helper.make_node("BipolarQuant", ["x", "one"], ["a"], domain=general),
        helper.make_node("BipolarQuant", ["w", "half"], ["b"], domain=general),
        helper.make_node("MatMul", ["a", "b"], ["c"], "binary"),
        helper.make_node("MultiThreshold", ["c", "t"], ["d"], domain=general, out_scale=2.0, out_bias=-1.0),
        helper.make_node("Quant", ["q", "half", "zero", "bits"], ["e"], domain=general),
        helper.make_node("MatMul", ["d", "e"], ["y"], "levels"),
    ]
    tensors = [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in stored.items()]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 40), ("y", 5)))
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors), ir_version=8)
    (tmp_path / "it.onnx").write_bytes(model.SerializeToString())
    network, inputs = load_onnx(tmp_path / "it.onnx"), torch.randn(8, 40)
    analog = map_model(network, load_chip("ideal").replace("policy.int8", "crossbar"), inputs=inputs)
    sites = {
        site.name: (site.weights.kind if site.weights else "", site.inputs.kind)
        for site in analog.report.products.sites
    }
    assert sites == {"binary": ("binary", "binary"), "levels": ("levels", "binary")}
    assert torch.equal(analog(inputs)[0], network(inputs))
