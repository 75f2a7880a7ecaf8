"""The work that every simulator does, and its errors: compared with float64 products of the same cells."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _controller import BINARY, Controller
from _worker import Given

import imc_sim as imc

sys.path.insert(0, str(Path(__file__).parents[1]))
from wires import cells as two_states
from wires import direct

SPEC: dict[str, Any] = {"sigma": 0.1, "rows": 128, "bits": 8, "r_ohm": 1.0}
#: name -> label in the table
WORKS = {
    "program": "programming 512 x 512 weights",
    "linear": "linear layer 512 x 512, batch 64, 4 x 128 rows with 8-bit ADCs",
    "memory": "500 keys x 512 programmed, 500 queries",
    "controller": "controller: cells sampled again, 32 images, 8-bit ADCs on every 128 rows",
    "wires": "exact wires, 512 x 512 cells, 8 vectors",
}


def make(folder: Path, smoke: bool = False) -> None:
    """Write every work as NAME.npz: arrays, and the specification as JSON."""
    n, batch, width, images = (64, 4, 8, 2) if smoke else (512, 64, 128, 32)
    spec = SPEC | ({"rows": 32} if smoke else {})
    random = np.random.default_rng(8)

    def signs(*shape: int) -> np.ndarray:
        return np.where(random.random(shape) < 0.5, -1.0, 1.0).astype(np.float32)

    weights = {"w": signs(n, n), "x": signs(batch, n)}
    keys = n if smoke else 500
    works: dict[str, dict[str, np.ndarray]] = {
        "program": weights,
        "linear": weights,
        "memory": {"w": signs(keys, n), "x": signs(keys, n)},
        "controller": _controller(width, images),
        "wires": {"G": two_states(n), "V": random.random((8, n))},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in works.items():
        np.savez(folder / f"{name}.npz", spec=json.dumps(spec), **arrays)  # type: ignore[arg-type]


def _controller(width: int, count: int) -> dict[str, np.ndarray]:
    """Return a random controller: its state, and the weights and scales of its layers as a peer needs them."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = imc.nn.networks.BatmannController("xnor", width=width).eval()
        images = torch.randn(count, 1, 32, 32)
        arrays: dict[str, Any] = {f"state.{k}": v for k, v in model.state_dict().items()}
        for name in BINARY:
            layer: Any = model.features.get_submodule(name)
            arrays |= {name: layer.weight_operand(), f"{name}_alpha": layer.alpha}
        for name, layer in (("conv1", model.features.conv1), ("fc1", model.fc1)):
            integers, step = layer.integers()
            arrays[name] = integers * step
        arrays["fc1_bias"] = model.fc1.bias
    return {k: v.detach().numpy() for k, v in arrays.items()} | {"images": images.numpy(), "width": np.array(width)}


def errors(work: str, folder: Path, path: Path) -> dict[str, float]:
    """Return the error of one result, and the measured variation of its cells.

    error: root mean square of the difference to the float64 product of the same cells without ADCs, over that of the
    product; for wires, to a direct solve. spread: the same for the cells against the weights.
    """
    with np.load(folder / f"{work}.npz") as file, np.load(path) as result:
        arrays = {name: file[name] for name in file.files}
        given = Given(arrays, json.loads(str(arrays.pop("spec"))))
        cells = [result[name] for name in result.files if name.startswith("cells")]
        if work == "wires":
            return {"error": relative(result["out"], direct(given["G"], given["V"]))}
        if not cells or work == "program":
            return {}
        names = BINARY if work == "controller" else ("w",)
        wanted = [given[name].reshape(len(given[name]), -1) for name in names]
        seen = relative(np.concatenate([c.ravel() for c in cells]), np.concatenate([w.ravel() for w in wanted]))
        return {"error": relative(result["out"], _truth(work, given, cells)), "spread": seen}


def _truth(work: str, given: Given, cells: list[np.ndarray]) -> np.ndarray:
    if work != "controller":
        return given["x"].astype(float) @ cells[0].T
    doubles = {k: v.astype(float) for k, v in given.arrays.items() if "." not in k}
    net = Controller(Given(doubles, given.spec), [torch.from_numpy(c) for c in cells])
    with torch.no_grad():
        return net(torch.from_numpy(doubles["images"])).numpy()


def relative(y: np.ndarray, truth: np.ndarray) -> float:
    """Return the root mean square of the difference over that of the true values."""
    return float(np.sqrt(np.square(y.astype(float) - truth).mean() / np.square(truth.astype(float)).mean()))
