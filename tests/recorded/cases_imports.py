"""Names of other projects: tensors and arguments that adapters read from them, renamed tensors, and imports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim.mapping._ambiguous import AMBIGUOUS, refuse_a_guess
from imc_sim.mapping._batmann import batmann_state
from imc_sim.mapping._benn import _names as benn_names
from imc_sim.mapping._benn import benn_state
from imc_sim.mapping._binact import binact_state
from imc_sim.mapping._conv4 import conv4_state
from imc_sim.mapping._foreign import refuse_zeros
from imc_sim.mapping._import import _reshape_scales, _use_signed_maximum, import_checkpoint
from imc_sim.mapping._key_names import fitted, renamed
from imc_sim.mapping._metaplastic import conv_state, mlp_state, vgg_state
from imc_sim.nn import Conv2d, Linear
from tests.recorded.cases_sites import made
from tests.recorded.made import folder, real, signs, tried, whole, without

NET = """import torch


def make(n=2):
    return torch.nn.Sequential(torch.nn.Linear(3, n), torch.nn.ReLU())
"""
COMPLETE = """import torch


def make():
    net = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(net.weight, 0.5)
    torch.nn.init.zeros_(net.bias)
    return net
"""
NORM = {"weight": 1, "bias": 2, "running_mean": 3, "running_var": 4}


def normed(name: str, size: int, *leaves: str) -> dict[str, Tensor]:
    return {f"{name}.{leaf}": real(size, seed=NORM[leaf]) for leaf in leaves or NORM}


def states() -> dict[str, tuple[Callable[..., Any], dict[str, Tensor], dict[str, Any]]]:
    """Return tensors under the names of other projects."""
    batmann = {
        "features.conv1.weight": real(6, 3, 5, 5),
        "features.conv2.alpha": real(6),
        "fc1.weight": real(12, 6 * 9),
    }
    conv4 = {key: value for n in range(4) for key, value in
             {f"encoder.{4 * n}.weight": real(5, 5 if n else 1, 3, 3), f"encoder.{4 * n}.bias": real(5),
              **normed(f"encoder.{4 * n + 1}", 5)}.items()}  # fmt: skip
    layered4 = {
        key: value
        for n in range(1, 5)
        for key, value in {
            f"layer{n}.0.weight": real(5, 5 if n > 1 else 3, 3, 3),
            f"layer{n}.0.bias": real(5),
            **normed(f"layer{n}.1", 5),
        }.items()
    }
    mlp = {"layers.fc1.weight": signs(7, 784), "layers.fc2.weight": signs(5, 7), "layers.fc3.weight": signs(3, 5)}
    norms = {key: value for n, size in enumerate((7, 5, 3)) for key, value in normed(f"layers.bn{n + 1}", size).items()}
    conv = {
        "layers.cv1.weight": real(4, 1, 5, 5),
        "layers.cv2.weight": real(6, 4, 3, 3),
        "layers.fc3.weight": real(10, 6 * 6 * 6),
    }
    means = {
        key: value
        for n, size in enumerate((4, 6, 10))
        for key, value in normed(f"layers.bn{n + 1}", size, "weight", "bias").items()
    }
    vgg = {f"features.{n}.weight": real(8, 8 if n else 3, 3, 3) for n in (0, 3, 7, 10, 14, 17)} | {
        f"classifier.{n}.weight": real(9, 9) for n in (0, 4, 8)
    }
    vgg |= {k: v for n in (1, 5, 8, 12, 15, 19) for k, v in normed(f"features.{n}", 8).items()}
    vgg |= {k: v for n in (1, 5, 9) for k, v in normed(f"classifier.{n}", 9).items()}
    benn = {
        key: real(*((4, 3, 3, 3) if key.endswith("weight") and ".conv" in ours else (4,)))
        for key, ours in benn_names("ab").items()
    }
    half = {
        key: real(*((4, 3, 3, 3) if ours.endswith("conv.weight") else (4,))) for key, ours in benn_names("sb").items()
    }
    binact = {"layer1.0.weight": real(16, 1, 5, 5), "layer1.0.bias": real(16), **normed("layer1.1", 16),
              "layer2.0.weight": real(32, 16, 5, 5), "layer2.0.bias": real(32), **normed("layer2.1", 32),
              "fc.weight": real(10, 1568), "fc.bias": real(10)}  # fmt: skip
    found: dict[str, tuple[Callable[..., Any], dict[str, Tensor], dict[str, Any]]] = {
        "batmann": (batmann_state, batmann, {}),
        "batmann, rotated": (batmann_state, batmann | {"features.conv2.rotate": real(1), "fc1.alpha": real(1)}, {}),
        "batmann, float": (batmann_state, {k: v for k, v in batmann.items() if "alpha" not in k}, {}),
        "batmann, other": (batmann_state, {"a": real(1), "b": real(1)}, {}),
        "conv4": (conv4_state, conv4, {}), "conv4, layers": (conv4_state, layered4, {"size": 84}),
        "conv4, relation": (conv4_state, layered4, {"size": 84, "layout": "relation"}),
        "conv4, no size": (conv4_state, layered4, {}),
        "conv4, head": (conv4_state, conv4 | {"fc1.weight": real(1)}, {}),
        "conv4, lstm": (conv4_state, conv4 | {"f.lstm.w": real(1)}, {}),
        "conv4, other": (conv4_state, {"encoder.9.weight": real(1)}, {}), "mlp": (mlp_state, mlp | norms, {}),
        "mlp, batch": (mlp_state, mlp, {}),
        "mlp, statistics": (mlp_state, mlp | {k: v for k, v in norms.items() if "running" not in k},
        {"statistics": "running"}),
        "mlp, real": (mlp_state, {k: real(*v.shape) for k, v in mlp.items()} | norms, {}),
        "mlp, float": (mlp_state, {k: real(*v.shape) for k, v in mlp.items()} | norms, {"kind": "float"}),
        "mlp, 100 inputs": (mlp_state, {**mlp, "layers.fc1.weight": signs(7, 100)}
        | {k: v for k, v in norms.items() if "running" not in k}, {}),
        "mlp, zeros": (mlp_state, {**mlp, "layers.fc2.weight": whole(5, 7)} | norms, {"kind": "binary"}),
        "mlp, other": (mlp_state, mlp | {"layers.x": real(1)}, {}),
        "conv": (conv_state, conv | means, {}), "conv, no norms": (conv_state, conv, {}),
        "conv, batch": (conv_state, conv, {"statistics": "batch"}),
        "conv, inputs": (conv_state, {**conv, "layers.fc3.weight": real(10, 7)} | means, {}),
        "vgg": (vgg_state, vgg, {}), "vgg, grey": (vgg_state, {**vgg, "features.0.weight": real(8, 1, 3, 3)}, {}),
        "vgg, no norms": (vgg_state, {k: v for k, v in vgg.items() if v.ndim > 1}, {}), "benn": (benn_state, benn, {}),
        "benn, half": (benn_state, half, {"kind": "sb"}),
        "benn, float": (benn_state, half, {}), "benn, other": (benn_state, {"xnor.0": real(1)}, {}),
        "benn, zeros": (benn_state, {k: v * 0 for k, v in benn.items()}, {}),
        "binact": (binact_state, binact, {}), "binact, binary": (binact_state, binact, {"binary": [1, 2]}),
        "binact, other": (binact_state, {"layer1.0.weight": real(3, 1, 5, 5)}, {}),
    }  # fmt: skip
    return found


def record_names_of_other_projects() -> dict[str, Any]:
    """Tensors under the names of this package, arguments and remarks."""
    found: dict[str, Any] = {}
    for name, (adapter, state, given) in states().items():
        notes: list[str] = []
        result = tried(adapter, state, "FILE", notes, dict(given))
        if isinstance(result, list):
            tensors, args = result
            sums = sum(
                (number + 1) * float((value.double() ** 2).sum())
                for number, (_, value) in enumerate(sorted(tensors.items()))
            )
            result = {
                "names": hashlib.sha256(" ".join(tensors).encode()).hexdigest()[:12],
                "squares": sums,
                "args": args,
                "notes": notes,
            }
        found[name] = result
    for arch in AMBIGUOUS:
        for args in (
            {},
            {"binary": [], "statistics": "running", "norm": "instance", "kind": "float"},
            {"layout": "padded", "binary": [1]},
        ):
            found[f"{arch} {args}"] = tried(refuse_a_guess, arch, args, "FILE", ["a", "b", "c"])
    found["nested"] = tried(refuse_a_guess, "ensemble", {"arch": "bnn_vgg", "args": {}}, "FILE", ["a"])
    found["nested, told"] = tried(
        refuse_a_guess,
        "continual",
        {"arch": "bnn_vgg", "args": {"statistics": "batch"}, "statistics": 1},
        "FILE",
        ["a"],
    )
    found["zeros"] = tried(refuse_zeros, {"a": torch.ones(2), "b": torch.tensor([0.0, 1.0, 0.0])}, ["a", "b"], "FILE")
    return found


def record_renamed_tensors() -> dict[str, Any]:
    """Names after --prefix and --rename, prefixes that are stripped, and scales that are reshaped."""
    state = {key: real(2) for key in ("net.a.w", "net.a.b", "net.ab.w", "x.w", "y", "z")}
    calls: dict[str, tuple[list[tuple[str, str]], str | None]] = {
        "prefix": ([], "net."), "no prefix": ([], "nett."), "rename": ([("net.a", "c"), ("y", "z2")], None),
        "a dot": ([("net.a.", "c.")], None),
        "to nothing": ([("x", ""), ("net.a", "")], "net."), "dropped": ([("x.w", ""), ("y", "")], None),
        "unknown": ([("nat.a", "c")], None), "twice": ([("y", "z")], None),
        "in turn": ([("net", "q"), ("q.a", "r")], None),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, (renames, prefix) in calls.items():
        notes: list[str] = []
        result = tried(renamed, state, renames, prefix, "FILE", notes)
        found[name] = [result if isinstance(result, str) else " ".join(result), notes]
    module = made(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    own = dict(module.state_dict())
    both = {f"{p}.{k}": v for p in "ab" for k, v in own.items()}
    given = {"own": own, "wrapped": {f"m.{k}": v for k, v in own.items()} | {f"o{n}": real(1) for n in range(6)},
        "two": both,
             "uncounted": {k: v for k, v in own.items() if "batches" not in k}, "more": own
             | {"q.num_batches_tracked": real(1), "r": real(1)}}  # fmt: skip
    for name, each in given.items():
        notes = []
        found[f"fitted, {name}"] = [" ".join(sorted(fitted(each, module, notes))), notes]
    notes = []
    scales = Linear(3, 2, "xnor")
    shape = scales.state_dict()["alpha"].shape
    scaled = _reshape_scales({"alpha": real(1), "weight": real(2, 3), "beta": real(2)}, scales, notes)
    found["scales"] = [list(shape), list(scaled["alpha"].shape), notes]
    notes = []
    layer = Conv2d(1, 2, 3, "int8")
    signed = nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.copy_(real(2, 1, 3, 3) - 1.5)
    found["signed maximum"] = [tried(_use_signed_maximum, signed, notes), notes, layer.int8_scale]
    with torch.no_grad():
        layer.weight.copy_(-real(2, 1, 3, 3).abs())
    found["no maximum"] = tried(_use_signed_maximum, signed, notes)
    return found


def record_imports() -> dict[str, Any]:
    """Cards and remarks of imports of checkpoints."""
    found: dict[str, Any] = {}
    with folder() as at:
        (at / "net.py").write_text(NET)
        (at / "full.py").write_text(COMPLETE)
        state = {"0.weight": real(2, 3), "0.bias": real(2)}
        wrapped = {"model": {"net": {f"module._orig_mod.{k}": v.double() for k, v in state.items()}}, "epoch": 3}
        contents: dict[str, Any] = {
            "state": state, "wrapped": wrapped, "deep": {"model": {"net": {"state_dict": state}}},
            "no state": {"a": 1, "b": [2]}, "a list": [1],
            "half": {k: v.half() for k, v in state.items()}, "missing": {"0.weight": real(2, 3)},
            "shape": {"0.weight": real(3, 2), "0.bias": real(2)},
            "not finite": state | {"0.bias": torch.tensor([1.0, float("inf")])}, "complex": state
            | {"0.bias": torch.zeros(2, dtype=torch.complex64)},
        }  # fmt: skip
        for number, (name, content) in enumerate(contents.items()):
            torch.save(content, at / f"{number}.pth")
            out = f"out{number}"
            report = tried(
                lambda n=number, o=out: import_checkpoint(f"{n}.pth", "./net.py:make", o).to_text().splitlines()
            )
            found[name] = [without(line, at) for line in report] if isinstance(report, list) else without(report, at)
        found["card"] = [line for line in (at / "out1" / "model.yaml").read_text().splitlines() if "sha256" not in line]
        found["no checkpoint"] = [
            without(line, at) for line in import_checkpoint(None, "./full.py:make", "own").to_text().splitlines()
        ]
        found["random"] = tried(import_checkpoint, None, "./net.py:make", "r", {"n": 3})
        found["taken"] = without(tried(import_checkpoint, None, "./full.py:make", "own"), at)
        found["onnx and weights"] = [
            tried(import_checkpoint, "0.pth", "a.onnx", "q"),
            tried(import_checkpoint, None, "a.onnx", "q", {"n": 3}),
        ]
    return found
