"""Classifiers with binary activations from the project that published them: their names become ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim.nn import BINACT_LAYOUTS

_PARTS = (("0", "conv"), ("1", "norm"))


def binact_state(
    state: Mapping[str, Tensor], where: str, notes: list[str], given: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state under the names of `BinaryActivationNet`, and its arguments as far as keys and shapes tell them.

    Names: `layer1.0.weight` (convolution), `layer1.1.running_mean` (batch norm), …, `fc.weight`; or `layer1.weight`,
    `batchnorm1.running_mean`, …. Which blocks are
    binary and how they fire stands nowhere in a state dict.
    """
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if all(key.startswith(("branches.", "fc.", "hidden.")) for key in kept):
        renamed = dict(kept)
    else:
        renamed = {_ours(key, value): value for key, value in kept.items()}
    weights = [value for key, value in renamed.items() if key.startswith("branches.0.") and value.ndim == 4]
    shape = tuple(w.shape[0] for w in weights)
    layout = next((n for n, form in BINACT_LAYOUTS.items() if form.maps == shape), None)
    if layout is None or "fc.weight" not in renamed:
        got = f"keys {', '.join(list(state)[:4])}, …, maps {shape}"
        allowed = f"layer1.0.weight, layer1.1.weight, …, fc.weight of a layout {', '.join(BINACT_LAYOUTS)}"
        raise CheckpointError(where, got, allowed, "Give the architecture that made it, `--arch ./my_net.py:Net`.")
    if layout == "1b" and "down" not in given:
        step = "Give --arg down=pool or --arg down=stride, as it was trained."
        raise CheckpointError(where, "layout 1b, whose shapes do not tell how maps are halved", "pool or stride", step)
    notes.append(
        f"by its shapes layout {layout}; which blocks are binary a state dict does not tell: --arg binary=[1], "
        "--arg estimator=… and --arg stochastic=true say it"
    )
    found = {"layout": layout, "classes": renamed["fc.weight"].shape[0], "channels_in": weights[0].shape[1]}
    return renamed, found | {"bias": "branches.0.0.conv.bias" in renamed}


def _ours(key: str, value: Tensor) -> str:
    """Rename `layer2.1.weight`, or `batchnorm2.weight`, to `branches.0.1.norm.weight`; leave other keys."""
    head, _, rest = key.partition(".")
    if head.startswith("batchnorm") and head[9:].isdigit():
        return f"branches.0.{int(head[9:]) - 1}.norm.{rest}"
    if head.startswith("layer") and head[5:].isdigit() and rest in ("weight", "bias") and value.ndim in (1, 4):
        return f"branches.0.{int(head[5:]) - 1}.conv.{rest}"
    if not head.startswith("layer") or not head[5:].isdigit():
        return key
    for foreign, part in _PARTS:
        if rest.startswith(f"{foreign}."):
            return f"branches.0.{int(head[5:]) - 1}.{part}.{rest[2:]}"
    return key
