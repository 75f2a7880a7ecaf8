"""State dicts of classifiers with binary activations, by their authors, under the names of `BinaryActivationNet`."""

from __future__ import annotations

import re
from typing import Any

from imc_sim._errors import CheckpointError
from imc_sim.mapping._foreign import OWN_ARCH, Args, Found, State
from imc_sim.nn.networks import BINACT_LAYOUTS

#: layer2.0.weight, layer2.1.running_mean, layer2.weight, batchnorm2.weight, batchNorm2.weight, layer2_no_binary.weight
_THEIRS = re.compile(r"(layer|batch[nN]orm)(\d+)(_binary|_no_binary)?\.(0\.|1\.)?(\w+)")
_HEADS = {"fc1": "hidden", "fc2": "fc"}


def binact_state(state: State, where: str, notes: list[str], given: Args) -> Found:
    """Return the state under the names of `BinaryActivationNet`, and the arguments that its keys and shapes determine.

    Names: `layer1.0.weight` (convolution), `layer1.1.running_mean` (batch norm), …, `fc.weight`; or `layer1.weight`,
    `batchnorm1.running_mean` (or `batchNorm1`), …, and `fc1`, `fc2` for a hidden layer; `layer1_binary.weight`,
    `layer1_no_binary.weight`, … of two branches. Networks of one branch that differ in their binary blocks, and in
    layout 1b in the other activations and in how maps are halved, have the same keys and shapes.
    """
    renamed = {_ours(key): value for key, value in state.items()}
    mixt = any(key.startswith("branches.1.") for key in renamed)
    weights = [value for key, value in renamed.items() if key.startswith("branches.0.") and value.ndim == 4]
    maps = tuple(w.shape[0] * (1 + mixt) for w in weights)
    layout = next((name for name, form in BINACT_LAYOUTS.items() if form.maps == maps), None)
    if layout is None or "fc.weight" not in renamed or len(renamed) < len(state):
        got = f"keys {', '.join(list(state)[:4])}, …, maps {maps}"
        allowed = f"layer1.0.weight, layer1.1.weight, …, fc.weight of a layout {', '.join(BINACT_LAYOUTS)}"
        raise CheckpointError(where, got, allowed, OWN_ARCH)
    blocks = list(range(1, len(maps) + 1))
    found: dict[str, Any] = {"layout": layout} | ({"binary": blocks, "mixt": True} if mixt else {})
    published = renamed.keys() != state.keys()
    if published and (layout != "1b" or mixt or sorted(given.get("binary", ())) == blocks):
        found["otherwise"] = "hard_sigmoid" if layout == "1a" else "relu"
    if published and layout == "1a":
        found["down"] = "pool"
    elif not layout.startswith("1"):
        found |= _down(layout, renamed, maps[-1], where, given)
    notes.append(f"by its shapes layout {layout}{', two branches, one of them binary' if mixt else ''}")
    found |= {"classes": renamed["fc.weight"].shape[0], "channels_in": weights[0].shape[1]}
    return renamed, found | {"bias": "branches.0.0.conv.bias" in renamed}


def _ours(key: str) -> str:
    """Rename `layer2.1.weight`, or `batchnorm2.weight`, to `branches.0.1.norm.weight`; leave other keys."""
    match = _THEIRS.fullmatch(key)
    if match is None:
        head, _, leaf = key.partition(".")
        return f"{_HEADS.get(head, head)}.{leaf}"
    what, number, branch, place, leaf = match.groups()
    part = "norm" if what != "layer" or place == "1." else "conv"
    return f"branches.{1 if branch == '_no_binary' else 0}.{int(number) - 1}.{part}.{leaf}"


def _down(layout: str, state: State, maps: int, where: str, given: Args) -> dict[str, Any]:
    """Return how maps are halved where the width of the first fully connected layer determines it."""
    form = BINACT_LAYOUTS[layout]
    if "down" in given:
        return {}
    width, size = state["hidden.weight" if form.hidden else "fc.weight"].shape[1], given.get("size", form.size)
    sides = {"pool": size, "stride": size}
    for _ in form.maps:
        sides = {"pool": sides["pool"] // 2, "stride": (sides["stride"] + 1) // 2}
    fits = [down for down, side in sides.items() if width == maps * side**2]
    if not fits:
        got = f"{width} inputs of the first fully connected layer"
        allowed = " or ".join(f"{maps * side**2} ({down})" for down, side in sides.items())
        raise CheckpointError(where, got, f"{allowed}, for images of {size} pixels a side", "Add --arg size=….")
    return {"down": fits[0]} if len(fits) == 1 else {}
