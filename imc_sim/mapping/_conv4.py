"""State dicts of few-shot encoders of other projects under the names of `Conv4`."""

from __future__ import annotations

from typing import Any

from imc_sim._errors import CheckpointError
from imc_sim.mapping._foreign import NORM, OWN_ARCH, Args, Found, State

#: names of a block's convolution and batch norm by their numbers, the distance of two blocks and the first number
_SCHEMES = (
    ("block{0}.conv", "block{0}.norm", 1, 1),
    ("encoder.{0}", "encoder.{1}", 4, 0),
    ("encoder.{0}.0", "encoder.{0}.1", 1, 0),
    ("{0}", "{1}", 4, 0),
    ("layer{0}.0", "layer{0}.1", 1, 1),
)
_BLOCKS = 4
_FLOAT = {"policy": "float", "binary": []}
_MATCHING = {"layout": "padded", "statistics": "running", **_FLOAT}


def conv4_state(state: State, where: str, notes: list[str], given: Args) -> Found:
    """Return the state under the names of `Conv4`, and the arguments that its keys and shapes determine.

    Names: `encoder.0`, `encoder.1`, `encoder.4`, … or `0`, `1`, `4`, … or `encoder.0.0`, `encoder.0.1`, …
    (matching and prototypical networks: layout `padded`, running statistics, no binary block). Relation networks
    (`relation`, statistics of the batch) and encoders with binary blocks (`padded`, running) both have the names
    `layer1.0`, `layer1.1`, `layer2.0`, …, which determine none of these.
    """
    for scheme in _SCHEMES:
        names = _names(*scheme)
        if set(names) == set(state):
            renamed = {names[key]: value for key, value in state.items()}
            return renamed, _told(scheme[0], given) | _sizes(renamed, given, where, notes)
    _refuse_unsupported(state, where)
    got = f"keys {', '.join(list(state)[:4])}, …"
    allowed = "four blocks named encoder.0, encoder.1, encoder.4, …, or 0, 1, 4, …, or layer1.0, layer1.1, …"
    raise CheckpointError(where, got, allowed, OWN_ARCH)


def _names(conv: str, norm: str, distance: int, first: int) -> dict[str, str]:
    """Return the name of each tensor under a scheme -> its name in `Conv4`."""
    numbers = [(block * distance + first, f"block{block + 1}") for block in range(_BLOCKS)]
    parts = ((conv, "conv", NORM[:2]), (norm, "norm", NORM))
    return {
        f"{theirs.format(at, at + 1)}.{leaf}": f"{block}.{ours}.{leaf}"
        for at, block in numbers
        for theirs, ours, leaves in parts
        for leaf in leaves
    }


def _told(conv: str, given: Args) -> dict[str, Any]:
    """Return the arguments that a naming scheme determines, by its name of a convolution."""
    if conv.startswith("block"):
        return {}
    if conv.startswith("layer"):  # a relation network has no binary blocks
        return _FLOAT if given.get("layout") == "relation" else {"policy": "float"}
    return _MATCHING


def _sizes(state: State, given: Args, where: str, notes: list[str]) -> dict[str, Any]:
    """Return the arguments that shapes determine; colour images have no usual size."""
    width, channels = state["block1.conv.weight"].shape[:2]
    if channels != 1 and "size" not in given:
        step = "Add the side of the images it was trained on, for example --arg size=84."
        raise CheckpointError(where, f"{channels} image channels and no size", "images of a known size", step)
    notes.append(f"images of {given.get('size', 28)} pixels a side")
    return {"width": width, "channels_in": channels, "size": 28}


def _refuse_unsupported(state: State, where: str) -> None:
    """Name parts of few-shot networks that are not supported."""
    for fragment, what in (("lstm", "full context embeddings (FCE) of a matching network"), ("fc", "a relation head")):
        keys = [key for key in state if fragment in key]
        if keys:
            step = "Save the state dict of the encoder alone, without these keys, and import that."
            raise CheckpointError(where, f"{what} ({keys[0]}, …), which is not supported", "an encoder alone", step)
