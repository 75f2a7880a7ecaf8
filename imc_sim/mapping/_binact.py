"""Classifiers with binary activations from the project that published them: their names become ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim.nn.networks import BINACT_LAYOUTS

#: layer2.0.weight, layer2.1.running_mean, layer2.weight, batchnorm2.weight, batchNorm2.weight, layer2_no_binary.weight
_THEIRS = re.compile(r"(layer|batch[nN]orm)(\d+)(_binary|_no_binary)?\.(0\.|1\.)?(\w+)")
_HEADS = {"fc1": "hidden", "fc2": "fc"}
_OWN = "Give the architecture that made it, `--arch ./my_net.py:Net`."
#: what keys and shapes leave open -> what may be said
_OPEN = {
    "binary": "binary: the numbers of the blocks that end in a binary activation, [] for none",
    "stochastic": "stochastic: true or false, whether these are drawn",
    "otherwise": "otherwise: hard_sigmoid (April 2020) or relu (from May 2020), of the other blocks",
    "down": "down: pool or stride, how maps are halved",
}


def binact_state(
    state: Mapping[str, Tensor], where: str, notes: list[str], given: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state under the names of `BinaryActivationNet`, and its arguments as far as keys and shapes tell them.

    Names: `layer1.0.weight` (convolution), `layer1.1.running_mean` (batch norm), …, `fc.weight`; or `layer1.weight`,
    `batchnorm1.running_mean` (or `batchNorm1`), …, and `fc1`, `fc2` for a hidden layer; `layer1_binary.weight`,
    `layer1_no_binary.weight`, … of two branches. Which blocks of one branch are binary, whether they are drawn, and in
    layout 1b what the others are and how maps are halved, `given` must say: networks that differ in it have the same
    keys and shapes.
    """
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    renamed = {_ours(key, value): value for key, value in kept.items()}
    mixt = any(key.startswith("branches.1.") for key in renamed)
    weights = [value for key, value in renamed.items() if key.startswith("branches.0.") and value.ndim == 4]
    shape = tuple(w.shape[0] * (1 + mixt) for w in weights)
    layout = next((n for n, form in BINACT_LAYOUTS.items() if form.maps == shape), None)
    if layout is None or "fc.weight" not in renamed or len(renamed) < len(kept):
        got = f"keys {', '.join(list(state)[:4])}, …, maps {shape}"
        allowed = f"layer1.0.weight, layer1.1.weight, …, fc.weight of a layout {', '.join(BINACT_LAYOUTS)}"
        raise CheckpointError(where, got, allowed, _OWN)
    found: dict[str, Any] = {"binary": list(range(1, len(shape) + 1)), "mixt": True} if mixt else {}
    found |= _down(layout, renamed, shape[-1], where, given)
    _refuse_a_guess(layout, {**found, **given}, where)
    notes.append(f"by its shapes layout {layout}{', two branches, one of them binary' if mixt else ''}")
    found |= {"layout": layout, "classes": renamed["fc.weight"].shape[0], "channels_in": weights[0].shape[1]}
    return renamed, found | {"bias": "branches.0.0.conv.bias" in renamed}


def _ours(key: str, value: Tensor) -> str:
    """Rename `layer2.1.weight`, or `batchnorm2.weight`, to `branches.0.1.norm.weight`; leave other keys."""
    head, _, leaf = key.partition(".")
    match = _THEIRS.fullmatch(key)
    if match is None:
        return f"{_HEADS.get(head, head)}.{leaf}"
    what, number, branch, place, leaf = match.groups()
    part = "norm" if what != "layer" or place == "1." else "conv"
    return f"branches.{1 if branch == '_no_binary' else 0}.{int(number) - 1}.{part}.{leaf}"


def _down(layout: str, state: Mapping[str, Tensor], maps: int, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how maps are halved where the width of the first fully connected layer tells it."""
    form = BINACT_LAYOUTS[layout]
    if layout.startswith("1") or "down" in given:
        return {}
    width, size = state["hidden.weight" if form.hidden else "fc.weight"].shape[1], given.get("size", form.size)
    sides = {"pool": size, "stride": size}
    for _ in form.maps:
        sides = {"pool": sides["pool"] // 2, "stride": (sides["stride"] + 1) // 2}
    fits = [down for down, side in sides.items() if width == maps * side**2]
    if not fits:
        got = f"{width} inputs of the first fully connected layer"
        allowed = " or ".join(f"{maps * side**2} ({down})" for down, side in sides.items())
        raise CheckpointError(where, got, f"{allowed}, for images of {size} pixels a side", "Give --arg size=….")
    return {"down": fits[0]} if len(fits) == 1 else {}


def _refuse_a_guess(layout: str, said: Mapping[str, Any], where: str) -> None:
    """Raise unless all is said that keys and shapes leave open."""
    blocks = len(BINACT_LAYOUTS[layout].maps)
    missing = [key for key in ("binary",) if key not in said]
    if said.get("binary") != [] and "stochastic" not in said:
        missing.append("stochastic")
    if layout == "1b":
        others = not said.get("mixt") and sorted(said.get("binary", ())) != list(range(1, blocks + 1))
        missing += [key for key in (("otherwise",) if others else ()) + ("down",) if key not in said]
    elif not layout.startswith("1") and "down" not in said:
        missing.append("down")
    if missing:
        got = f"layout {layout}, whose keys and shapes do not tell {', '.join(missing)}"
        step = f"Give {' and '.join(f'--arg {key}=…' for key in missing)}, as it was trained."
        raise CheckpointError(where, got, "; ".join(_OPEN[key] for key in missing), step)
