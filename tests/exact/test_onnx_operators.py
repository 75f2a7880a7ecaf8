"""Operators of ONNX against the reference evaluator of the package `onnx`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from imc_sim.onnx import load_onnx, operators  # noqa: E402
from tests.exact.onnx_cases import BY_TORCH, CASES, Case  # noqa: E402

#: operator set of the first release (1.23) whose reference evaluator computes every case as the standard says
RIGHT = 28
#: the oldest operator set that is compared
OLDEST = 7
#: name of an operator with a case, whose nodes mean the same in all operator sets -> its definitions in them
HISTORY: dict[str, list[Any]] = {}
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "" and schema.name in {case.operator for case in CASES} - {"Softmax", "LogSoftmax", "Hardmax"}:
        HISTORY.setdefault(schema.name, []).append(schema)


def model_of(case: Case) -> Any:
    """Return the model of one node, with some of its inputs stored in the file."""
    names = [f"x{k}" if value is not None else "" for k, value in enumerate(case.inputs)]
    outputs = [f"y{k}" for k in range(case.outputs)]
    node = helper.make_node(case.operator, names, outputs, name="it", **case.attributes)
    given, stored = [], []
    for number, (name, value) in enumerate(zip(names, case.inputs, strict=True)):
        if value is not None and number < len(names) - case.stored:
            kind = helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype)
            given.append(helper.make_tensor_value_info(name, kind, [None] * np.ndim(value)))
        elif value is not None:
            stored.append(numpy_helper.from_array(np.asarray(value), name))
    wanted = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "g", given, wanted, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.version)], ir_version=8)


def given_to(case: Case) -> dict[str, np.ndarray]:
    pairs = list(enumerate(case.inputs))[: len(case.inputs) - case.stored]
    return {f"x{k}": np.asarray(value) for k, value in pairs if value is not None}


def computed(case: Case, folder: Path) -> list[torch.Tensor]:
    """Return what the network of one node computes."""
    (folder / "it.onnx").write_bytes(model_of(case).SerializeToString())
    network = load_onnx(folder / "it.onnx")
    with torch.no_grad():
        found = network(*(torch.from_numpy(np.array(value)) for value in given_to(case).values()))
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < RIGHT, reason="compares with the reference evaluator of onnx 1.23")
@pytest.mark.parametrize("case", CASES, ids=[f"{k}-{case.operator}-{case.version}" for k, case in enumerate(CASES)])
def test_an_operator_computes_what_the_reference_does(case: Case, tmp_path: Path) -> None:
    """To rounding for floats; exactly for whole numbers."""
    wanted = ReferenceEvaluator(model_of(case)).run(None, given_to(case))
    for y, z in zip(computed(case, tmp_path), wanted, strict=True):
        z = np.asarray(z)
        assert y.shape == z.shape
        assert y.dtype.is_floating_point == (z.dtype.kind == "f")
        if z.dtype.kind == "f":
            np.testing.assert_allclose(y.numpy(), z, rtol=1e-5, atol=2e-6)
        else:
            np.testing.assert_array_equal(y.numpy(), z)


@pytest.mark.parametrize(("case", "function"), BY_TORCH, ids=[case.operator for case, _ in BY_TORCH])
def test_an_operator_computes_what_torch_does(case: Case, function: Callable, tmp_path: Path) -> None:
    wanted = function(*(torch.from_numpy(np.array(value)) for value in case.inputs))
    torch.testing.assert_close(computed(case, tmp_path)[0], wanted, rtol=1e-5, atol=2e-6)


def sets_of_changes(operator: str) -> list[int]:
    """Return the operator sets in which inputs or attributes of an operator change, and the sets before them."""
    found, last = set(), None
    for each in sorted(HISTORY[operator], key=lambda each: each.since_version):
        form = [i.name for i in each.inputs], {name: str(a.default_value) for name, a in each.attributes.items()}
        if last not in (None, form):
            found |= {each.since_version - 1, each.since_version}
        last = form
    return sorted(each for each in found if each >= OLDEST)


@pytest.mark.parametrize("operator", [name for name in HISTORY if len(sets_of_changes(name)) > 0])
def test_a_node_computes_the_same_in_every_operator_set_that_allows_it(operator: str, tmp_path: Path) -> None:
    compared = 0
    for case in (case for case in CASES if case.operator == operator):
        for version in sets_of_changes(operator):
            model = model_of(case._replace(version=version))
            for each in model.graph.output:
                each.type.tensor_type.shape.SetInParent()
            try:
                onnx.checker.check_model(model)
            except onnx.checker.ValidationError:
                continue
            for y, z in zip(computed(case._replace(version=version), tmp_path), computed(case, tmp_path), strict=True):
                assert torch.equal(y, z)
            compared += 1
    assert compared


def test_every_operator_has_a_case() -> None:
    own = {name for name in operators() if ":" not in name}
    assert own == {case.operator for case in [*CASES, *(case for case, _ in BY_TORCH)]}
