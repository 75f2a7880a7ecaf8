"""Networks of every architecture: outputs, names of their tensors, and arguments that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from imc_sim.nn.networks import build_arch
from imc_sim.nn.networks._batmann import KINDS
from tests.recorded.cases_sites import made
from tests.recorded.contents import short as digest
from tests.recorded.made import real, tried
from tests.recorded.short import short

MLP: dict[str, Any] = {"arch": "bnn_mlp", "args": {"inputs": 9, "hidden": [4], "classes": 3}}
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    *(("batmann", {"kind": kind, "width": 3, "dim": 5, "size": 20}) for kind in KINDS),
    ("batmann", {"kind": "rbnn", "rotation": "frozen", "width": 3, "dim": 4, "size": 20, "channels_in": 2}),
    ("benn", {"kind": "sb", "width": 0.05, "size": 16}),
    ("benn", {"kind": "ab", "width": 0.04, "size": 16, "classes": 3}),
    ("binact", {"layout": "1a", "size": 8, "binary": [1, 2]}),
    ("binact", {"layout": "1b", "size": 8, "binary": [2], "estimator": "reinforce"}),
    ("binact", {"layout": "2a", "binary": [1, 3], "mixt": True, "bias": False}),
    ("binary_resnet18", {"width": 0.04, "classes": 4, "size": 32}),
    ("binary_resnet18", {"width": 0.05, "classes": 4, "size": 16, "stem": "cifar"}),
    ("binary_resnet", {"width": 0.04, "classes": 4, "size": 16}),
    ("binary_resnet", {"depth": 14, "width": 0.2, "classes": 3, "size": 8}),
    ("bnn_conv", {"channels": [1, 3, 4], "kernels": [3, 2], "classes": 4, "size": 12}),
    ("bnn_conv", {"channels": [2, 3], "kernels": [5], "size": 9, "binary_inputs": False, "affine": True}),
    ("bnn_mlp", {"inputs": 20, "hidden": [7, 5], "classes": 3}),
    ("bnn_mlp", {"inputs": 20, "hidden": [6], "kind": "float", "statistics": "batch"}),
    ("bnn_mlp", {"inputs": 20, "hidden": [6], "binary_inputs": True, "norm": "instance"}),
    ("bnn_vgg", {"width": 0.03, "classes": 4, "size": 16}),
    ("bnn_vgg", {"width": 0.02, "size": 20, "channels_in": 1, "affine": False}),
    ("conv4", {"width": 5, "size": 16}),
    ("conv4", {"layout": "relation", "width": 4, "size": 28, "policy": "xnor", "binary": [1, 2]}),
    ("convnet", {"stages": [[3], [4, 5]], "features": 6, "classes": 3, "size": 8}),
    ("ensemble", MLP | {"members": 2, "vote": "softmax"}),
    ("continual", MLP | {"tasks": 3}),
]  # fmt: skip
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("batmann", {"kind": "x"}), ("batmann", {"rotation": "x"}), ("batmann", {"size": 3}), ("batmann", {"widht": 3}),
    ("benn", {"dropout": 1.0}), ("benn", {"dropout": -0.1}), ("benn", {"size": 0}), ("benn", {"kind": "x"}),
    ("binact", {"layout": "9"}), ("binact", {"binary": [0]}), ("binact", {"binary": [9]}), ("binact", {"size": 1}),
    ("binact", {"estimator": "x"}), ("binact", {"binary": [1], "stochastic": True, "estimator": "annealed"}),
    ("binary_resnet18", {"stem": "x"}), ("binary_resnet18", {"classes": 0}), ("binary_resnet18", {"size": 0}),
    ("binary_resnet", {"depth": 10}), ("binary_resnet", {"depth": 2}), ("binary_resnet", {"size": 6}),
    ("bnn_conv", {"channels": [1]}), ("bnn_conv", {"kernels": [4, 4]}), ("bnn_conv", {"size": 5}),
    ("bnn_mlp", {"hidden": [0]}), ("bnn_mlp", {"kind": "float", "binary_inputs": True}), ("bnn_mlp", {"norm": "x"}),
    ("bnn_vgg", {"size": 15}), ("bnn_vgg", {"dropout": 1.0}), ("conv4", {"layout": "x"}), ("conv4", {"binary": [5]}),
    ("convnet", {"stages": []}), ("convnet", {"stages": [[3], [], [4]]}), ("convnet", {"features": 0}),
    ("bitnet", {"steps": 0}), ("bitnet", {"size": 4}), ("bitnet", {"version": "7"}), ("bitnet", {"scale": 0.001}),
    ("bitnet", {"steps": 1, "select_first": False}), ("bitnet", {"training_steps": 0}), ("bitnet", {"memory": "x"}),
    ("ensemble", {"arch": "x"}), ("ensemble", MLP | {"members": 0}), ("ensemble", MLP | {"vote": "x"}),
    ("continual", {"arch": "ensemble"}), ("continual", {"tasks": 0}), ("continual", {"statistics": "x"}), ("none", {}),
]  # fmt: skip


def record_networks() -> dict[str, Any]:
    """Outputs at inference, and tensors, with made-up weights."""
    found: dict[str, Any] = {}
    for name, args in NETWORKS:
        network = build_arch(name, args, Path())
        made(network)
        side = getattr(network, "side", None) or getattr(network, "size", None) or 3
        shape = [args["inputs"]] if "inputs" in args else [getattr(network, "channels_in", 1), side, side]
        with torch.no_grad():
            y = network(real(5, *shape))
        tensors = [(key, *value.shape) for key, value in network.state_dict().items()]
        found[f"{name} {args}"] = [y, len(tensors), digest(tensors)]
    return short(found)


def record_refused_networks() -> dict[str, Any]:
    """Arguments that no architecture takes."""
    return {
        f"{name} {args}": tried(lambda n=name, a=args: str(type(build_arch(n, a, Path())))) for name, args in REFUSED
    }
