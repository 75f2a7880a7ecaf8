"""Classifiers with binary activations from the project that published them: their names become ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim.nn import BINACT_LAYOUTS

_PARTS = (("0", "conv"), ("1", "norm"))


def binact_state(state: Mapping[str, Tensor], where: str, notes: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state under the names of `BinaryActivationNet`, and its arguments as far as keys and shapes tell them.

    Names: `layer1.0.weight` (convolution), `layer1.1.running_mean` (batch norm), …, `fc.weight`. Which blocks are
    binary and how they fire stands nowhere in a state dict.
    """
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if all(key.startswith(("branches.", "fc.", "hidden.")) for key in kept):
        renamed = dict(kept)
    else:
        renamed = {_ours(key): value for key, value in kept.items()}
    weights = [value for key, value in renamed.items() if key.startswith("branches.0.") and value.ndim == 4]
    shape = tuple(w.shape[0] for w in weights)
    layout = next((n for n, form in BINACT_LAYOUTS.items() if form.maps == shape), None)
    if layout is None or "fc.weight" not in renamed:
        got = f"keys {', '.join(list(state)[:4])}, …, maps {shape}"
        allowed = f"layer1.0.weight, layer1.1.weight, …, fc.weight of a layout {', '.join(BINACT_LAYOUTS)}"
        raise CheckpointError(where, got, allowed, "Give the architecture that made it, `--arch ./my_net.py:Net`.")
    notes.append(
        f"by its shapes layout {layout}; which blocks are binary a state dict does not tell: --arg binary=[1], "
        "--arg estimator=… and --arg stochastic=true say it"
    )
    found = {"layout": layout, "classes": renamed["fc.weight"].shape[0], "channels_in": weights[0].shape[1]}
    return renamed, found | {"bias": "branches.0.0.conv.bias" in renamed}


def _ours(key: str) -> str:
    """`layer2.1.weight` -> `branches.0.1.norm.weight`; other keys as they are."""
    head, _, rest = key.partition(".")
    if not head.startswith("layer") or not head[5:].isdigit():
        return key
    for foreign, part in _PARTS:
        if rest.startswith(f"{foreign}."):
            return f"branches.0.{int(head[5:]) - 1}.{part}.{rest[2:]}"
    return key
