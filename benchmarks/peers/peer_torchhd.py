"""torchhd: hypervectors and their dot product; the benchmark adds device variation, and there are no ADCs."""

# pyright: reportMissingImports=false
from __future__ import annotations

import torch
import torchhd
from _worker import Given, Task, serve
from torch import Tensor


def memory(given: Given) -> Task:
    """Give keys their variation, then compare them with every query."""
    keys, queries = (torchhd.MAPTensor(torch.from_numpy(given[name])) for name in ("w", "x"))
    held = [keys]

    def call() -> Tensor:
        held[0] = keys * (1.0 + given.spec["sigma"] * torch.randn_like(keys))
        return torchhd.dot_similarity(queries, held[0])

    return Task(call, lambda: [held[0].as_subclass(Tensor).double().numpy()])


if __name__ == "__main__":
    with torch.no_grad():
        serve({"memory": memory}, ["torch-hd", "torch"])
