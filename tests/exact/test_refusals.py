"""Errors that nothing else meets: each names the place, what was found and what to do; and the edges next to them."""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim._errors import CheckpointError, InputError, MissingDataError, reason_of
from imc_sim._file_kinds import kind_of_file
from imc_sim.array import Chip, Crossbar, Offset, Tile, load_chip
from imc_sim.config import build, is_code, parse_setting, parse_yaml
from imc_sim.device import Device, Drift, LogRelaxation
from imc_sim.nn import Linear
from imc_sim.nn.networks import BatmannController, BnnMlp, ConvNet, build_arch
from imc_sim.nn.rotation import adjusted
from imc_sim.nn.spiking import IfUnit, integrate_and_fire
from imc_sim.nn.store import pack, read_inputs, unpack
from imc_sim.nn.store._weights import _unpack_layer, refuse_not_finite
from imc_sim.sites import Samples, find_products
from imc_sim.sites._samples import place_of, projected
from tests.exact.networks import Products
from tests.exact.samples import sampled

CELL: dict[str, Any] = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
CHIP = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = CHIP.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


def device(**effects: Any) -> Device:
    return build(Device, CELL | effects, "device")


def bar(**more: Any) -> Crossbar:
    return Crossbar.program(torch.ones(2, 3), Chip(device=Device(**CELL)).model_copy(update=more))


PIECES = [{"coefficients": [0.1], "below": 0.5}, {"coefficients": [0.2], "below": 0.3}, {"coefficients": [0.3]}]
BY_STATE = {"kind": "by_state", "states_S": [1e-5, 1e-4]}
TIMES = {"kind": "measured", "g_max_S": 1e-4}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        # arrays
        (lambda: Crossbar.program(torch.ones(3), CHIP), r"weights of shape \(3,\); allowed: \[out, in\]"),
        (lambda: Crossbar.program(torch.ones(0, 3), CHIP), r"weights of shape \(0, 3\)"),
        (lambda: Crossbar.program(torch.ones(2, 3), CHIP.model_copy(update={"tile": Tile(rows=4, cols=1)}),
                                  encoding=Offset()), "1 column; allowed: 2 columns or more for encoding offset"),
        (lambda: bar(converter=Chip(device=Device(**CELL)).replace("converter.kind", "auto").converter).ideal,
         "sums tile by tile; allowed: one matrix product"),
        (lambda: bar().tiled, "one matrix product; allowed: sums tile by tile"),
        # laws of devices
        (lambda: device(time={"drift": {"nu": -0.1}}), "nu of at least 0"),
        (lambda: device(time={"drift": {"nu": 3.0}}), "nu from -2 to 2"),
        (lambda: device(time={"drift": {"nu": 0.1, "nu_std": 3.0}}), "nu_std from -2 to 2"),
        (lambda: device(time={"drift": {"nu": [], "g_max_S": 1e-4}}), "nu: a number, or one piece or more"),
        (lambda: device(time={"drift": {"nu": [{"coefficients": [0.1]}]}}), "g_max_S together with a nu"),
        (lambda: device(time={"drift": {"nu": PIECES, "g_max_S": 1e-4}}), "nu: pieces in rising order of `below`"),
        (lambda: device(time={"drift": {"nu": [{"coefficients": [0.1]}] * 2, "g_max_S": 1e-4}}), "pieces in rising"),
        (lambda: device(time={"drift": {"nu": [{"coefficients": [0.0, 3.0]}], "g_max_S": 1e-4}}), "got 3 within its"),
        (lambda: device(time={"drift": {"nu": [{"law": "power", "coefficients": [1.0]}], "g_max_S": 1e-4}}),
         r"nu\.0: got values that do not go together; allowed: two coefficients"),
        (lambda: device(time={"drift": {"nu": [{"law": "power", "coefficients": [1.0, 11.0]}], "g_max_S": 1e-4}}),
         "an exponent of a power law from -10 to 10"),
        (lambda: device(time={"drift": {"nu": [{"coefficients": [1.0], "low": 0.5, "high": 0.4}], "g_max_S": 1e-4}}),
         "low of at most high"),
        (lambda: device(time={"drift": {"nu": [{"coeficients": [1.0]}], "g_max_S": 1e-4}}),
         r"time\.drift\.nu\.0\.coeficients: got unknown key.*Did you mean 'coefficients'"),
        (lambda: device(time={"drift": {"nu": "fast"}}), r"time\.drift\.nu: got 'fast'; allowed: a number or a list\."),
        (lambda: device(time={"relaxation": BY_STATE | {"states_S": [1e-4, 1e-5]}}), "states_S that rise"),
        (lambda: device(time={"relaxation": BY_STATE | {"states_S": [1e-5, 1e-5]}}), "states_S that rise"),
        (lambda: device(time={"relaxation": BY_STATE | {"sigma_S": [1e-6]}}), "one for each of the 2 states_S"),
        (lambda: device(time={"relaxation": TIMES | {"times_s": [1, 2], "coefficients_S": [[0.0]] * 3}}),
         "one list of coefficients for each of the times_s"),
        (lambda: device(time={"relaxation": TIMES | {"times_s": [1, 2], "coefficients_S": [[0.0], []]}}),
         "one list of coefficients"),
        (lambda: device(time={"relaxation": TIMES | {"times_s": [2, 2], "coefficients_S": [[0.0]] * 2}}),
         "times_s that rise from above 0"),
        (lambda: device(time={"retention": {"states_S": [1e-5, 1e-4], "end_S": 1e-6}}), "states_S together with"),
        # specifications and YAML
        (lambda: build(Device, [1], "here"), "here: got list; allowed: a mapping"),
        (lambda: parse_yaml("- 1", "f.yaml"), "f.yaml, line 1: got a list; allowed: a mapping"),
        (lambda: parse_yaml("", "f.yaml"), "f.yaml, line 1: got nothing; allowed: a mapping"),
        (lambda: parse_yaml("[" * 5000, "f.yaml"), "nested too deeply"),
        (lambda: parse_setting("=3"), "--set: got '=3'"), (lambda: parse_setting("a"), "task.episodes=50"),
        (lambda: parse_setting("a", "--arg"), "--arg size=28"),
        # networks
        (lambda: BatmannController("float", size=19), "20 pixels or more"),
        (lambda: BnnMlp(4, (3,), 2)(torch.ones(2, 5)), "5 numbers each; allowed: 4"),
        (lambda: BnnMlp(4, (0,), 2), "sizes of 1 or more"),
        (lambda: imc.map_model(Linear(3, 2, "sign"), CHIP), "a single layer; allowed: a network that holds layers"),
        (lambda: imc.map_model(nn.Sequential(nn.Flatten()), CHIP), "Sequential without product layers"),
        (lambda: imc.map_model(nn.Linear(3, 2), CHIP, inputs=torch.randn(2, 3), engine="memtorch"),
         "memtorch; allowed: native for networks of any modules"),
        (lambda: refuse_not_finite({"a": torch.tensor([1.0, math.nan])}, "f"), "1 of 2 values of 'a' NaN or infinite"),
        (lambda: load_chip({"name": "c", "device": CELL | {"g_hrs_S": 1e-4}}), "g_lrs_S above g_hrs_S"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(call: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        call()


def test_errors_pass_between_processes() -> None:
    for kind in (InputError, CheckpointError, MissingDataError):
        found = pickle.loads(pickle.dumps(kind("here", 3, "4", "Use 4.")))
        assert type(found) is kind
        assert (found.where, found.got, found.allowed, found.next_step) == ("here", 3, "4", "Use 4.")
        assert str(found) == "here: got 3; allowed: 4. Use 4."
    assert [reason_of(error) for error in (ValueError("a\nb"), ValueError(), KeyError(" "))] == [
        "a", "ValueError", "' '",
    ]  # fmt: skip


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"), (b"version https://git-lfs", "git-lfs"), (b"\x93NUMPY", "npy"), (b"\x89HDF", "hdf5"),
        (b"GGUF", "gguf"), (b"\x1f\x8b", "gzip"), (b"\xfd7zXZ", "xz"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar"),
        (b"%PDF", "pdf"), (b"\n <!DOCTYPE HTML>", "html"), (b"<HTML>", "html"), (b"<?xml", "html"),
        (b"<head>", "html"), (b"\x1c\0\0\0TFL3", "tflite"), (b"\x08\x03 pytorch", "onnx"),
        (b"\x08\x03 other", "unknown"),
        (b'\x10\0\0\0\0\0\0\0{"a": 1}', "safetensors"), (b'\0\0\0\0\0\0\0\x10{"a": 1}', "unknown"),
        (b'\0\0\0\0\0\0\0\0{"a": 1}', "unknown"), (b"PK and no archive", "unknown"), (b"anything", "unknown"),
    ],
)  # fmt: skip
def test_files_are_known_by_their_beginning(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    assert kind_of_file(tmp_path / "x").kind == kind
    (tmp_path / "x.onnx").write_bytes(b"anything")
    assert kind_of_file(tmp_path / "x.onnx").kind == "onnx"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["net/data.pkl", "net/version"], "unknown"), (["net/data.pkl", "net/constants.pkl"], "torchscript"),
        (["net/data.pkl", "net/code/a.py"], "torchscript"), (["archive_format"], "pt2"), (["a/archive_format"], "pt2"),
        (["models/model.json"], "pt2"), (["a.npy", "b.npy"], "npz"), (["a.npy", "b.txt"], "zip"), ([], "zip"),
    ],
)  # fmt: skip
def test_archives_are_known_by_what_is_in_them(names: list[str], kind: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    if names:
        assert kind_of_file(tmp_path / "x").kind == kind


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("absent.npy", None, "no file"), ("x.txt", b"1", "allowed: a .npy or .npz file"),
        ("x.npy", b"broken", "which does not decode"), ("x.pt", b"broken", "x.pt"),
    ],
)  # fmt: skip
def test_files_that_hold_no_inputs_are_refused(name: str, content: bytes | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=match):
        read_inputs(tmp_path / name)


def test_packing_leaves_the_network_and_refuses_other_forms(tmp_path: Path) -> None:
    network = nn.Sequential(Linear(4, 3, "sign"), nn.Linear(3, 2)).double()
    before = [p.clone() for p in network.parameters()]
    (tmp_path / "w").write_bytes(pack(network))
    assert all(p.dtype == torch.float64 for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
    assert unpack(tmp_path / "w")[0]["1.weight"].dtype == torch.float32
    with pytest.raises(ValueError, match="form 'int4'"):
        _unpack_layer("w", {"form": "int4", "shape": [2]}, {})


@pytest.mark.parametrize(
    ("arch", "code"),
    [("net.py:Net", True), ("batmann", False), ("net.py", False), ("net.txt:Net", False), ("a:b", False)],
)  # fmt: skip
def test_code_is_named_by_file_and_name(arch: str, code: bool) -> None:
    assert is_code(arch) == code


# -- laws and layers -------------------------------------------------------------------------------------------------


def test_drift_and_relaxation_begin_at_their_times() -> None:
    G, z = torch.tensor([5e-5], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    law = Drift(nu=0.1, t0_s=10.0)
    for t, wanted in ((0.1, 5e-5), (10.0, 5e-5), (100.0, 5e-5 * 10**-0.1)):
        assert float(law.apply(G, t, z)) == pytest.approx(wanted, rel=1e-12, abs=0)
        assert law.acts(t) == (t > 10.0)
    assert not Drift(nu=0.0, t0_s=1.0).acts(5.0)
    assert Drift(nu=0.0, nu_std=0.1).acts(5.0)
    assert LogRelaxation(sigma_S=1e-6).acts(1e-9)
    assert not LogRelaxation(sigma_S=1e-6).acts(0.0)


def test_any_angle_turns_weights_between_none_and_fully() -> None:
    w = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]])
    r1, r2 = torch.eye(1), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    theta = torch.tensor([[math.pi / 2], [-math.pi / 2], [-math.pi / 6]])
    turned = w @ r2
    wanted = torch.stack([turned[0], turned[1], 0.5 * (w[2] + turned[2])])
    for mode in ("updated", "frozen"):
        assert torch.allclose(adjusted(w, theta, r1, r2, mode), wanted, atol=1e-6)


def test_units_fire_at_1_and_their_window_ends_at_0_and_2() -> None:
    p, u = torch.tensor([0.0, 0.4, 0.5, 1.0, 1.0]), torch.tensor([0.0, 0.5, 0.5, 0.5, 0.0])
    p.requires_grad_()
    spikes, state = integrate_and_fire(p, u, "window")
    assert spikes.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert state.tolist() == pytest.approx([0.0, 0.9, 0.0, 0.5, 0.0])
    spikes.sum().backward()
    assert p.grad is not None
    assert p.grad.tolist() == pytest.approx([0.0, 0.9, 1.0, 0.5, 1.0])
    far = torch.tensor([3.5, -1.0], requires_grad=True)
    integrate_and_fire(far, torch.zeros(2), "window")[0].sum().backward()
    assert far.grad is not None
    assert far.grad.tolist() == [0.0, 0.0]
    half = IfUnit()(torch.tensor([0.3], dtype=torch.float16))[1]
    assert half.dtype == torch.float32


@pytest.mark.parametrize(("stages", "size"), [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_images_have_a_pixel_for_every_halving(stages: int, size: int) -> None:
    args = {"stages": [[2]] * stages, "features": 3, "channels_in": 1}
    network = ConvNet(**args, size=size).eval()
    assert network(torch.zeros(1, 1, size, size)).shape == (1, 10)
    if size > 1:
        with pytest.raises(InputError, match=f"pixels enough for {stages - 1} halvings"):
            build_arch("convnet", args | {"size": size - 1}, Path())


# -- sites -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_same_padding_of_any_kernel_is_that_of_torch(kernel: int) -> None:
    """Of an even kernel, one more zero is at the end than at the beginning."""
    weight = (8 * sampled(3, 2, kernel, kernel, seed=1)).round() / 8
    network, x = Products(weight, lambda x, w: F.conv2d(x, w, padding="same")).eval(), sampled(2, 2, 7, 6)
    found = imc.map_model(network, FLOAT, inputs=x)(x)[0]
    assert torch.allclose(found, network(x), rtol=5e-6, atol=3e-6)


def test_a_weight_used_along_two_dimensions_of_samples_keeps_none_apart() -> None:
    network = Products(sampled(3, 5, seed=1), lambda x, w: (F.linear(x, w), F.linear(x.transpose(0, 1), w)))
    (site,) = find_products(network, sampled(4, 6, 5)).sites
    assert (site.uses, site.samples) == (2, None)
    analog = imc.map_model(network, FLOAT, chips=2, inputs=sampled(4, 6, 5))
    assert analog.sites is not None
    assert analog.sites.together(1) == 1
    once = Products(sampled(3, 5, seed=1), lambda x, w: (F.linear(x, w), F.linear(2 * x, w)))
    (site,) = find_products(once, sampled(4, 6, 5)).sites
    assert (site.uses, site.samples) == (2, Samples(0))


@pytest.mark.parametrize(("error", "kept"), [(0.0, True), (0.02, True), (0.2, False)])
def test_samples_are_apart_up_to_rounding_and_rare_signs(error: float, kept: bool) -> None:
    first, second, noise = sampled(3, 40), sampled(3, 40, seed=1), sampled(6, 40, seed=2)
    both = torch.cat([first, second]) + error * noise
    found = place_of(projected(first, 3, 1), projected(second, 3, 1), projected(both, 6, 1))
    assert (found == Samples()) == kept


def test_a_network_that_takes_another_way_is_refused() -> None:
    class Ways(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.calls = nn.Parameter(sampled(3, 5)), 1

        def forward(self, x: Tensor) -> Any:
            return [F.linear(x, self.weight) for _ in range(self.calls)] + [x.mean()]

    network, x = Ways().eval(), sampled(4, 5)
    analog = imc.map_model(network, FLOAT, inputs=x)
    inner: Any = analog.sites.network  # type: ignore[union-attr]
    for calls, match in ((2, "linear as product 1"), (0, "a pass without site")):
        inner.calls = calls
        with pytest.raises(InputError, match=match):
            analog(x)
    with pytest.raises(InputError, match="other products for other inputs"):
        find_products(Products(sampled(3, 5), lambda x, w: F.linear(x, w) if x[0, 0] > x[-1, -1] else x @ w.T), x)


def test_a_network_that_mixes_samples_takes_a_batch_of_its_size() -> None:
    network, x = Products(sampled(5, 3), lambda x, w: (x @ w).cumsum(0)).eval(), sampled(4, 5)
    analog = imc.map_model(network, FLOAT, inputs=x)
    analog.batch = 4
    assert analog(x).shape == (1, 4, 3)
    analog.batch = 3
    with pytest.raises(InputError, match="None for a network that mixes"):
        analog(x)


def test_arrays_of_bytes_and_of_numbers_differ_as_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 4), np.uint8))
    assert read_inputs(tmp_path / "x.npy").dtype == torch.uint8
    np.save(tmp_path / "y.npy", np.ones((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match="images of bytes"):
        read_inputs(tmp_path / "y.npy")
