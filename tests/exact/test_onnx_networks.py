"""Networks exported to ONNX: equal to the torch network, also mapped, and what is refused."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim.array import Chip, load_chip
from imc_sim.mapping import map_model
from imc_sim.onnx import file_name, load_onnx, operators
from imc_sim.onnx._kept import graph_beside

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


class SignConv(nn.Conv2d):
    """A binary convolution as many repositories write it."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight = self.weight.sign() * self.weight.abs().mean((1, 2, 3), keepdim=True)
        return F.conv2d(x.sign(), weight, padding=self.padding, stride=self.stride, groups=self.groups)


class Residual(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.a, self.b = SignConv(channels, out, 3, out // channels, 1), nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norms, self.act = nn.ModuleList([nn.BatchNorm2d(out), nn.BatchNorm2d(out)]), nn.PReLU(out)
        self.grows = out > channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[1](self.b(self.act(self.norms[0](self.a(x)))))
        return y + (torch.cat([F.avg_pool2d(x, 2)] * 2, 1) if self.grows else x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True), nn.GRU(12, 4, batch_first=True)
        self.rnn, self.head = nn.RNN(4, 3, batch_first=True, nonlinearity="relu"), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.gru(self.lstm(x)[0])[0])[0][:, -1])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.token = nn.Embedding(11, 16), nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(tokens.shape[0], -1, -1), self.embedding(tokens)], 1)
        return self.head(self.encoder(x)[:, 0])


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Dropout(), nn.Linear(120, 10), nn.LogSoftmax(1),
    )  # fmt: skip


def resnet() -> nn.Module:
    body = [Residual(*pair) for pair in ((4, 4), (4, 8), (8, 8), (8, 16), (16, 16))]
    stem = [nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "lenet": (lenet, lambda n: torch.randn(n, 1, 28, 28)),
    "resnet": (resnet, lambda n: torch.randn(n, 1, 16, 16)),
    "recurrent": (Recurrent, lambda n: torch.randn(n, 7, 5)),
    "tokens": (Tokens, lambda n: torch.randint(0, 11, (n, 6))),
}


def exported(network: nn.Module, x: Tensor, path: Path, open_batch: bool = True, **more: Any) -> Path:
    """Export a network as its author would."""
    axes = {"x": {0: "batch"}, "y": {0: "batch"}} if open_batch else None
    torch.onnx.export(
        network, (x,), str(path), input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False, **more
    )
    return path


def on_cells(kind: str) -> Chip:
    """Return an ideal chip with this encoding of real weights."""
    chip = load_chip("ideal").replace("encoding_multibit", {"kind": kind}).replace("device.levels", "continuous")
    return chip.replace("policy.float", "crossbar")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize("open_batch", [True, False])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_is_the_one_that_was_exported(name: str, open_batch: bool, tmp_path: Path) -> None:
    """Also for another number of samples than the file states."""
    make, inputs = NETWORKS[name]
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    path = exported(network, inputs(1), tmp_path / "it.onnx", open_batch)
    found, x = load_onnx(path), inputs(5)
    assert not found.training
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(pickle.loads(pickle.dumps(copy.deepcopy(found)))(x=x), found(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_is_mapped_as_the_exported_one(name: str, tmp_path: Path) -> None:
    """With the same products on crossbars, and the same results on ideal cells."""
    make, inputs = NETWORKS[name]
    network = make().eval()
    found, x = load_onnx(exported(network, inputs(2), tmp_path / "it.onnx")), inputs(4)
    chip = on_cells("differential")
    analog, own = map_model(found, chip, inputs=x), map_model(network, chip, inputs=x)
    shapes = [
        sorted(tuple(s.shape) for s in each.report.products.sites if s.weight is not None) for each in (analog, own)
    ]
    sizes = [sum(np.prod(shape) for shape in each) for each in shapes]
    assert sizes[0] == sizes[1]
    assert analog.report.products.seen == own.report.products.seen
    kinds = [sorted(s.weights.kind for s in each.report.products.sites if s.weights) for each in (analog, own)]
    assert kinds[0] == kinds[1]
    with torch.no_grad():
        torch.testing.assert_close(analog(x)[0], network(x), rtol=2e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_tensors_and_nodes_have_the_names_of_the_file(tmp_path: Path) -> None:
    network = lenet().eval()
    found = load_onnx(exported(network, torch.randn(1, 1, 28, 28), tmp_path / "it.onnx"))
    assert {"0.weight", "0.bias", "3.weight", "7.weight", "10.bias"} <= set(found.state_dict())
    assert torch.equal(found.state_dict()["3.weight"], network.state_dict()["3.weight"])
    assert all(p.requires_grad for p in found.parameters())
    report = map_model(found, on_cells("differential"), inputs=torch.randn(4, 1, 28, 28)).report
    assert [row.layer for row in report.layers] == ["0/Conv", "3/Conv", "7/Gemm", "10/Gemm"]


def graph_of(nodes: list[Any], stored: dict[str, np.ndarray], shape: Any = ("n", 4), version: int = 17) -> Any:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", shape), ("y", None)))
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    opsets = [helper.make_opsetid("", version)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    "names",
    [
        ("a.b/c", "onnx::MatMul_3"), ("a.b", "a"), ("a", "a.b"), ("a..b", ".a"), ("training", "forward"),
        ("50%.x", "a.training"), ("keys", "nodes"), ("_steps", "_freed"), ("x y", "ä.ö"), ("ä", "ä.weight"),
    ],
)  # fmt: skip
def test_any_name_is_kept_reversibly(names: tuple[str, str], tmp_path: Path) -> None:
    stored = {names[0]: np.eye(4, dtype=np.float32), names[1]: np.arange(4, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", names[0]], ["h"], names[1]),
             helper.make_node("Add", ["h", names[1]], ["y"], names[0])]  # fmt: skip
    (tmp_path / "it.onnx").write_bytes(graph_of(nodes, stored).SerializeToString())
    found = load_onnx(tmp_path / "it.onnx")
    assert {file_name(key) for key in found.state_dict()} == set(names)
    x = torch.randn(3, 4)
    assert torch.equal(found(x), x + torch.arange(4.0))


def saved(model: Any, folder: Path) -> Path:
    (folder / "it.onnx").write_bytes(model.SerializeToString())
    return folder / "it.onnx"


def test_all_unknown_operators_are_named_before_anything_runs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], "first"),
        helper.make_node("NonMaxSuppression", ["x", "a"], ["b"], "nms"),
        helper.make_node("Det", ["b"], ["c"]),
        helper.make_node("Odd", ["c"], ["y"], "odd", domain="mine"),
    ]
    model = graph_of(nodes, {})
    with pytest.raises(InputError) as caught:
        load_onnx(saved(model, tmp_path))
    assert "Det in 'first', 'number 2'; NonMaxSuppression in 'nms'; mine:Odd in 'odd'" in str(caught.value)
    assert f"allowed: {len(operators())} operators" in str(caught.value)


def matmul(weight: np.ndarray, **more: Any) -> Any:
    return graph_of([helper.make_node("MatMul", ["x", "w"], ["y"], "fc")], {"w": weight}, **more)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "an empty file"),
        (b"\x08\x07\x12\x07pytorch\x1a\xff\xff", "bytes that do not decode"),
        (b"version https://git-lfs.github.com/spec/v1", "a git-LFS pointer"),
        (b"<!doctype html>", "an HTML document"),
        (matmul(np.eye(4, dtype=np.float32)).SerializeToString()[:-40], "do not decode|breaks the rules"),
        (
            graph_of([helper.make_node("Relu", ["none"], ["y"])], {}).SerializeToString(),
            "breaks the rules of ONNX .*none",
        ),
        (matmul(np.eye(4, dtype=np.float32), version=99).SerializeToString(), "operator set 99|breaks the rules"),
        (matmul(np.eye(4, dtype=np.complex64)).SerializeToString(), "breaks the rules|COMPLEX64"),
    ],
)
def test_a_file_that_is_no_network_is_named(content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(content)
    with pytest.raises(InputError, match=match):
        load_onnx(tmp_path / "it.onnx")
    with pytest.raises(CheckpointError, match="no such file"):
        load_onnx(tmp_path / "none.onnx")


def test_weights_in_further_files(tmp_path: Path) -> None:
    """They are found next to the network; a missing, short or distant one is named."""
    weight = np.random.default_rng(0).standard_normal((4, 500)).astype(np.float32)
    onnx.save(matmul(weight), tmp_path / "it.onnx", save_as_external_data=True, location="it.bin", size_threshold=0)
    found, x = load_onnx(tmp_path / "it.onnx"), torch.randn(3, 4)
    assert torch.equal(found.state_dict()["w"], torch.from_numpy(weight))
    assert torch.equal(found(x), x @ torch.from_numpy(weight))
    whole = (tmp_path / "it.bin").read_bytes()
    (tmp_path / "it.bin").write_bytes(whole[:100])
    with pytest.raises(CheckpointError, match="tensor 'w': got no value"):
        load_onnx(tmp_path / "it.onnx")
    (tmp_path / "it.bin").unlink()
    with pytest.raises(CheckpointError, match=r"it\.bin"):
        load_onnx(tmp_path / "it.onnx")
    (tmp_path / "inner").mkdir()
    (tmp_path / "it.bin").write_bytes(whole)
    content = (tmp_path / "it.onnx").read_bytes().replace(b"\x06it.bin", b"\x09../it.bin")
    (tmp_path / "inner" / "it.onnx").write_bytes(content)
    with pytest.raises(InputError):
        load_onnx(tmp_path / "inner" / "it.onnx")


def test_weights_of_an_unknown_type_are_one_error(tmp_path: Path) -> None:
    model = matmul(np.ones((4, 3), np.float32))
    model.graph.initializer[0].data_type = 99
    (tmp_path / "it.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="unknown type 99"):
        load_onnx(tmp_path / "it.onnx")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_other_precision_are_computed_in_float32(dtype: Any, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    model = matmul(weight)
    model.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    found, x = load_onnx(saved(model, tmp_path)), torch.randn(5, 4)
    assert found(x).dtype == torch.float32
    assert torch.equal(found(x), x @ torch.from_numpy(weight.astype(np.float32)))


def test_inputs_that_a_network_does_not_take_are_named(tmp_path: Path) -> None:
    found = load_onnx(saved(matmul(np.eye(4, dtype=np.float32), shape=("n", 4)), tmp_path))
    for given, match in (
        ((torch.randn(2, 5),), r"input 'x': got shape \(2, 5\); allowed: \(batch, 4\)"),
        ((torch.randn(4),), r"got shape \(4,\)"),
        ((), "got 0 inputs; allowed: the inputs 'x'"),
    ):
        with pytest.raises(InputError, match=match):
            found(*given)
    x = torch.randn(2, 4)
    for args, named in (((), {"y": x}), ((), {"x": x, "y": x}), ((x,), {"x": x}), ((x,), {"y": x}), ((x, x), {})):
        with pytest.raises(InputError, match=r"allowed: the inputs 'x'"):
            found(*args, **named)


def test_weights_that_are_listed_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    """As all are in files of older exporters; networks of one batch size keep it."""
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    for shape, batch in ((("n", 4), None), ((2, 4), 2)):
        model = matmul(weight, shape=shape, version=8)
        model.graph.input.insert(0, helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.shape))
        model.ir_version = 3
        found, x = load_onnx(saved(model, tmp_path)), torch.randn(2, 4)
        assert ([each.name for each in found.inputs], found.batch) == (["x"], batch)
        assert torch.equal(found(x), x @ torch.from_numpy(weight))
        assert torch.equal(found(x=x), found(x))


def test_a_kept_graph_holds_no_notes_of_the_exporter(tmp_path: Path) -> None:
    """They may name the machine and its user."""
    note = "/home/somebody/network"
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    model = graph_of(nodes, {"w": np.eye(4, dtype=np.float32)})
    graph = model.graph
    graph.value_info.add().CopyFrom(helper.make_tensor_value_info("h", TensorProto.FLOAT, ("n", 4)))
    held = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for each in held:
        each.doc_string = note
        each.metadata_props.add(key="source", value=note)
    path = saved(model, tmp_path)
    weights = save({"w": torch.eye(4)})
    (tmp_path / "kept.safetensors").write_bytes(weights)
    (tmp_path / "kept.onnx").write_bytes(graph_beside(path, {"w": "w"}, weights, "kept.safetensors"))
    assert note.encode() in path.read_bytes()
    assert note.encode() not in (tmp_path / "kept.onnx").read_bytes()
    x = torch.randn(3, 4)
    assert torch.equal(load_onnx(tmp_path / "kept.onnx")(x), x.relu())


@pytest.mark.parametrize("shape", [[-1, 2], [2, 2]])
def test_a_network_for_one_sample_that_mixes_samples_is_refused(shape: list[int], tmp_path: Path) -> None:
    """A node that fails, and one that silently joins the samples."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["h"]), helper.make_node("ReduceSum", ["h"], ["y"], keepdims=1)]
    found = load_onnx(saved(graph_of(nodes, {"s": np.array(shape)}, shape=(1, 4)), tmp_path))
    assert found(torch.ones(1, 4)).item() == 4
    with pytest.raises(
        InputError, match="3 samples in a network for 1 .*; allowed: 1, as it was exported. Export it for any"
    ):
        found(torch.ones(3, 4))


def test_a_network_for_one_sample_that_adds_up_samples_is_refused(tmp_path: Path) -> None:
    """The first sample is right."""
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    found = load_onnx(saved(graph_of(nodes, {"axis": np.array(0)}, shape=(1, 4)), tmp_path))
    assert torch.equal(found(torch.ones(1, 4)), torch.ones(1, 4))
    with pytest.raises(InputError, match="samples that are mixed"):
        found(torch.ones(3, 4))


def test_peepholes_of_an_lstm_are_refused(tmp_path: Path) -> None:
    weights = {name: np.zeros(size, np.float32) for name, size in (("w", (1, 8, 4)), ("r", (1, 8, 2)), ("p", (1, 6)))}
    for peepholes in ("", "p"):
        node = helper.make_node("LSTM", ["x", "w", "r", *[""] * 4, peepholes], ["y"], hidden_size=2)
        model = graph_of([node], weights, shape=(3, "n", 4))
        if peepholes:
            with pytest.raises(InputError, match="LSTM with peepholes; allowed: no peepholes"):
                load_onnx(saved(model, tmp_path))(torch.zeros(3, 1, 4))
        else:
            assert load_onnx(saved(model, tmp_path))(torch.zeros(3, 1, 4)).shape == (3, 1, 1, 2)


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(matmul(np.eye(4, dtype=np.float32)), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"no package 'onnx'.*pip install 'imc_sim\[onnx\]'"):
        load_onnx(path)


def test_functions_of_a_file_are_inlined(tmp_path: Path) -> None:
    """As in files that the newer exporters of torch write."""
    body = [helper.make_node("MatMul", ["a", "b"], ["c"], "inner"), helper.make_node("Relu", ["c"], ["d"])]
    function = helper.make_function("mine", "Dense", ["a", "b"], ["d"], body, [helper.make_opsetid("", 17)])
    model = graph_of([helper.make_node("Dense", ["x", "w"], ["y"], domain="mine")], {"w": np.eye(4, dtype=np.float32)})
    model.functions.append(function)
    model.opset_import.add(domain="mine", version=1)
    x = torch.randn(3, 4)
    assert torch.equal(load_onnx(saved(model, tmp_path))(x), x.relu())


def test_older_operator_sets_are_converted(tmp_path: Path) -> None:
    """In set 6, as older versions of torch export, Gemm says that it broadcasts."""
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], broadcast=1)]
    stored = {"w": np.eye(4, dtype=np.float32)[:, :3], "b": np.arange(3, dtype=np.float32)}
    found, x = load_onnx(saved(graph_of(nodes, stored, shape=(2, 4), version=6), tmp_path)), torch.randn(2, 4)
    assert torch.equal(found(x), x[:, :3] + torch.arange(3.0))


def branch(node: str, value: str, stored: dict[str, Any] | None = None) -> Any:
    """Return the graph of a branch with one node of x and a stored value."""
    held = [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in (stored or {}).items()]
    made = helper.make_node(node, ["x", value], ["h"])
    return helper.make_graph([made], "branch", [], [helper.make_tensor_value_info("h", 1, None)], held)


def test_a_branch_that_the_file_determines_is_taken(tmp_path: Path) -> None:
    """One condition is stored, one follows from a stated size; names inside of branches repeat."""
    inner = {"then_branch": branch("Add", "s", {"s": 2.0}), "else_branch": branch("Mul", "s", {"s": 3.0})}
    nodes = [
        helper.make_node("If", ["no"], ["a"], **inner),
        helper.make_node("Shape", ["x"], ["sizes"]), helper.make_node("Gather", ["sizes", "one"], ["size"]),
        helper.make_node("Equal", ["size", "four"], ["yes"]), helper.make_node("If", ["yes"], ["b"], **inner),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]  # fmt: skip
    stored = {"no": np.array(False), "one": np.array(1), "four": np.array(4)}
    x = torch.randn(3, 4)
    assert torch.equal(load_onnx(saved(graph_of(nodes, stored, shape=("n", 4)), tmp_path))(x), 3 * x + (x + 2))


def test_a_branch_may_hold_constants_and_other_branches(tmp_path: Path) -> None:
    out = [helper.make_tensor_value_info("h", 1, None)]
    nodes = [helper.make_node("Constant", [], ["s"], value_float=2.0), helper.make_node("Mul", ["x", "s"], ["h"])]
    within = {"then_branch": branch("Add", "w"), "else_branch": helper.make_graph(nodes, "inner", [], out)}
    outer = helper.make_graph([helper.make_node("If", ["no"], ["h"], **within)], "outer", [], out)
    node = helper.make_node("If", ["yes"], ["y"], then_branch=outer, else_branch=branch("Add", "w"))
    stored = {"w": np.ones(4, np.float32), "no": np.array(False), "yes": np.array(True)}
    x = torch.randn(3, 4)
    assert torch.equal(load_onnx(saved(graph_of([node], stored, shape=("n", 4)), tmp_path))(x), 2 * x)


def test_a_branch_that_inputs_determine_is_refused_by_name(tmp_path: Path) -> None:
    inner = {"then_branch": branch("Add", "w", {}), "else_branch": branch("Mul", "w", {})}
    stored = {"w": np.ones(4, np.float32), "zero": np.array(0), "one": np.array(1)}
    for nodes in (
        [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Cast", ["s"], ["c"], to=9)],
        [  # of the open number of samples
            helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
            helper.make_node("Equal", ["n", "one"], ["c"]),
        ],
    ):  # fmt: skip
        model = graph_of([*nodes, helper.make_node("If", ["c"], ["y"], "gate", **inner)], stored, shape=("n", 4))
        with pytest.raises(InputError, match=r"If in 'gate', whose course .* Export the traced network"):
            load_onnx(saved(model, tmp_path))


def test_a_gru_of_two_directions_that_resets_first_is_one_in_each(tmp_path: Path) -> None:
    w, r, b = (torch.randn(2, 12, 5), torch.randn(2, 12, 4), torch.randn(2, 24))

    def run(x: Tensor, part: slice, direction: str) -> Tensor:
        stored = {"w": w[part].numpy(), "r": r[part].numpy(), "b": b[part].numpy()}
        node = helper.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=4, direction=direction)
        return load_onnx(saved(graph_of([node], stored, shape=(7, 3, 5)), tmp_path)).eval()(x)

    x = torch.randn(7, 3, 5)
    both, backward = run(x, slice(0, 2), "bidirectional"), run(x.flip(0), slice(1, 2), "forward").flip(0)
    assert torch.equal(both, torch.cat([run(x, slice(0, 1), "forward"), backward], 1))
    assert torch.equal(run(x, slice(1, 2), "reverse"), backward)


@pytest.mark.parametrize(("value", "known"), [(2**63 - 1, True), (2**63, False), (2**64 - 1, False)])
def test_integers_that_torch_cannot_hold_are_refused(value: int, known: bool, tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "c"], ["y"])]
    path = saved(graph_of(nodes, {"w": np.array([value], np.uint64)}), tmp_path)
    if known:
        assert torch.equal(load_onnx(path)(torch.zeros(1, 4)), torch.full((1, 4), float(value)))
    else:
        with pytest.raises(CheckpointError, match=r"tensor 'w': got integers above 2\^63"):
            load_onnx(path)


def test_sizes_of_zero_are_unknown_ones(tmp_path: Path) -> None:
    """Exporters write 0 where they do not know a size."""
    found, x = load_onnx(saved(matmul(np.eye(4, dtype=np.float32), shape=("n", 0)), tmp_path)), torch.randn(3, 4)
    assert torch.equal(found(x), x)


def test_the_operator_set_may_state_its_domain_in_full(tmp_path: Path) -> None:
    """Softmax of set 1 would be over all axes but the first."""
    model = graph_of([helper.make_node("Softmax", ["x"], ["y"], axis=1)], {}, shape=("n", 3, 4))
    model.opset_import[0].domain = "ai.onnx"
    x = torch.randn(2, 3, 4)
    assert torch.equal(load_onnx(saved(model, tmp_path))(x), x.softmax(1))
