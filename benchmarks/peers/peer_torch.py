"""Plain float32 torch without a chip: the reference of the times."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from _controller import Controller
from _worker import Given, Task, serve


class Plain(Controller):
    """The digital network of the same shape as in benchmarks/_common.py: no signs, no scales."""

    def _binary(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.get_submodule(name)(x))


def linear(given: Given) -> Task:
    """Compute x @ w.T."""
    w, x = torch.from_numpy(given["w"]), torch.from_numpy(given["x"])
    return Task(lambda: x @ w.T)


def wires(given: Given) -> Task:
    """Compute the currents without wires."""
    G, V = torch.from_numpy(given["G"]).float(), torch.from_numpy(given["V"]).float()
    return Task(lambda: V @ G)


def controller(given: Given) -> Task:
    """Run all images once, in the memory format that is faster for it."""
    net = Plain(given).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.from_numpy(given["images"]).to(memory_format=torch.channels_last)
    return Task(lambda: net(images))


if __name__ == "__main__":
    with torch.no_grad():
        products = dict.fromkeys(("linear", "program", "memory"), linear)
        serve({**products, "controller": controller, "wires": wires}, ["torch"])
