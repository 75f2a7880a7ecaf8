"""An import asks for every argument that changes what a network computes and that no key or shape shows."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imc_sim import CheckpointError, InputError
from imc_sim.config import ARCHS
from imc_sim.mapping import import_checkpoint
from imc_sim.mapping._ambiguous import AMBIGUOUS
from imc_sim.nn.networks import Conv4, arch_class, build_arch
from imc_sim.nn.store import load_model

#: architecture -> small arguments, shape of its inputs
SMALL: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "batmann": ({"width": 4, "dim": 8}, (1, 32, 32)),
    "benn": ({"width": 0.05}, (3, 32, 32)),
    "binact": ({"binary": [1]}, (1, 28, 28)),
    "binary_resnet": ({"depth": 8, "width": 0.25, "size": 8}, (3, 8, 8)),
    "binary_resnet18": ({"width": 0.05, "classes": 3, "size": 32}, (3, 32, 32)),
    "bitnet": ({"scale": 0.05, "size": 8, "steps": 8}, (3, 8, 8)),
    "bnn_conv": ({"channels": [1, 4, 4], "kernels": [4, 4], "affine": True}, (1, 28, 28)),
    "bnn_mlp": ({"inputs": 20, "hidden": [8]}, (20,)),
    "bnn_vgg": ({"width": 0.03}, (3, 32, 32)),
    "continual": ({"args": {"inputs": 20, "hidden": [8]}}, (20,)),
    "conv4": ({"width": 4, "binary": [1]}, (1, 28, 28)),
    "convnet": ({"stages": [[4], [4, 4]], "features": 8}, (3, 32, 32)),
    "ensemble": ({"arch": "bnn_mlp", "args": {"inputs": 20, "hidden": [8]}}, (20,)),
}
#: arguments used in training only, read-outs of one trained network, or arguments of another architecture
EXEMPT = {
    "estimator", "init_width", "bias_init", "rotation", "dropout", "gradient", "leak", "memory", "training_steps",
    "steps", "select_first", "tie_break", "events", "reread", "vote", "arch", "args",
}  # fmt: skip
#: argument -> other values, for an architecture or for all
OTHERS: dict[str, list[Any]] = {
    "activation": ["clamp", "relu"], "affine": [False, True], "bias": [False], "binary": [[]],
    "binary_inputs": [False, True], "channels": [[1, 5, 4]], "channels_in": [2], "classes": [4], "depth": [14],
    "dim": [9], "down": ["stride"], "features": [9], "hidden": [[9]], "inputs": [21], "kernels": [[3, 4]],
    "conv4.layout": ["relation"], "binact.layout": ["1b", "2a", "2b"], "batmann.kind": ["float", "rbnn"],
    "benn.kind": ["ab"], "bnn_mlp.kind": ["float"], "members": [2], "mixt": [True], "norm": ["instance"],
    "otherwise": ["relu"], "policy": ["int8", "latent", "xnor"], "size": [29, 33, 40], "stages": [[[4, 4], [4]]],
    "statistics": ["batch"], "stem": ["cifar"], "stochastic": [True], "tasks": [3], "version": ["6_v101"],
    "width": [0.06], "batmann.width": [6], "conv4.width": [6], "scale": [0.1],
}  # fmt: skip


def outputs(network: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    """Return what a network computes, or None where it refuses the images."""
    try:
        with torch.no_grad():
            return network.eval()(x)
    except InputError:
        return None


def variant(arch: str, args: dict[str, Any]) -> nn.Module | None:
    try:
        return build_arch(arch, args, Path())
    except InputError:
        return None


@pytest.mark.parametrize("arch", sorted(ARCHS))
def test_every_argument_that_only_changes_results_is_asked_for(arch: str) -> None:
    """Load the same tensors into networks that differ in one argument, and compare what they compute."""
    args, shape = SMALL[arch]
    torch.manual_seed(3)
    base = build_arch(arch, args, Path())
    state = {key: torch.randn_like(value) if "running" not in key and value.is_floating_point() else value + 0.1
             for key, value in base.state_dict().items()}  # fmt: skip
    shapes = {key: value.shape for key, value in state.items()}
    base.load_state_dict(state)
    x = torch.randn(6, *shape)
    wanted = outputs(base, x)
    assert wanted is not None
    found = set()
    for name in inspect.signature(arch_class(arch, Path())).parameters.keys() - EXEMPT:
        for value in OTHERS[f"{arch}.{name}"] if f"{arch}.{name}" in OTHERS else OTHERS[name]:
            other = variant(arch, args | {name: value})
            if other is None or {key: v.shape for key, v in other.state_dict().items()} != shapes:
                continue
            other.load_state_dict(state)
            got = outputs(other, x)
            if got is not None and not torch.equal(got, wanted):
                found.add(name)
    assert found == set(AMBIGUOUS.get(arch, {}))


@pytest.mark.parametrize("arch", ["continual", "ensemble"])
def test_arguments_of_nested_networks_are_asked_for_as_well(arch: str, tmp_path: Path) -> None:
    inner = {"inputs": 20, "hidden": [8], "kind": "float"}
    torch.save(build_arch(arch, {"arch": "bnn_mlp", "args": inner}, Path()).state_dict(), tmp_path / "c.pt")
    given = {"arch": "bnn_mlp"} | ({"statistics": "running"} if arch == "continual" else {})
    with pytest.raises(CheckpointError, match=r"do not tell args; .*statistics \(running.*Add --arg args=…"):
        import_checkpoint(tmp_path / "c.pt", arch, tmp_path / "mine", {**given, "args": inner})
    import_checkpoint(tmp_path / "c.pt", arch, tmp_path / "mine", {**given, "args": inner | {"statistics": "running"}})


@pytest.mark.parametrize(
    ("scheme", "given", "missing"),
    [
        ("layer{}.0 layer{}.1", {"layout": "padded", "statistics": "running", "binary": [4]}, "stochastic"),
        ("layer{}.0 layer{}.1", {"layout": "padded", "binary": [4], "stochastic": False}, "statistics"),
        ("encoder.{}.0 encoder.{}.1", {"binary": [4]}, "stochastic"),
        ("block{}.conv block{}.norm", {}, "layout, statistics, policy, binary, stochastic"),
    ],
)
def test_binary_blocks_of_an_encoder_are_stated_in_full(
    tmp_path: Path, scheme: str, given: dict[str, Any], missing: str
) -> None:
    torch.manual_seed(1)
    network = Conv4(width=3, binary=[4], stochastic=True)
    conv, norm = scheme.split()
    state = {}
    for key, value in network.state_dict().items():
        block, part, leaf = key.split(".")
        number = int(block[5:]) - conv.startswith("encoder")
        state[f"{(conv if part == 'conv' else norm).format(number)}.{leaf}"] = value
    torch.save(state, tmp_path / "c.pt")
    options = " and ".join(f"--{key}=…" if key in ("layout", "statistics") else f"--arg {key}=…"
                           for key in missing.split(", "))  # fmt: skip
    with pytest.raises(CheckpointError, match=rf"got keys {next(iter(state))}, .* do not tell {missing}; .*{options}"):
        import_checkpoint(tmp_path / "c.pt", "conv4", tmp_path / "mine", given)
    full = {"layout": "padded", "statistics": "running", "policy": "float", "binary": [4], "stochastic": True}
    import_checkpoint(tmp_path / "c.pt", "conv4", tmp_path / "mine", full)
    x = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "mine")(x), network.eval()(x))
