"""Few-shot encoders of other projects: their names of four conv-norm blocks become ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from imc_sim._errors import CheckpointError

#: names of a block's convolution and batch norm, by number from 0: those of a Sequential with ReLU and pooling between
_SCHEMES = (
    ("block{0}.conv", "block{0}.norm", 1, 1),
    ("encoder.{0}", "encoder.{1}", 4, 0),
    ("encoder.{0}.0", "encoder.{0}.1", 1, 0),
    ("{0}", "{1}", 4, 0),
    ("layer{0}.0", "layer{0}.1", 1, 1),
)
_PARTS = {"conv": ("weight", "bias"), "norm": ("weight", "bias", "running_mean", "running_var")}
_BLOCKS = 4


def conv4_state(
    state: Mapping[str, Tensor], where: str, notes: list[str], given: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state under the names of `Conv4`, and its arguments as far as keys and shapes tell them.

    Names: `encoder.0`, `encoder.1`, `encoder.4`, … or `0`, `1`, `4`, … or `encoder.0.0`, `encoder.0.1`, …
    (matching and prototypical networks: layout `padded`, running statistics). `layer1.0`, `layer1.1`, `layer2.0`, … is
    what relation networks (`relation`, statistics of the batch) and encoders with binary blocks (`padded`, running) are
    both called: layout and statistics must be in `given`, and the binary blocks of a padded one.
    """
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    kept = {key: value for key, value in state.items() if key not in counters}
    for scheme in _SCHEMES:
        names = _names(scheme)
        if set(names) == set(kept):
            renamed = {names[key]: value for key, value in kept.items()}
            if scheme[0].startswith("layer"):
                _refuse_a_guess(given, where)
            return renamed, _arguments(renamed, given, where, notes)
    _refuse_unsupported(kept, where)
    got = f"keys {', '.join(list(state)[:4])}, …"
    allowed = "four blocks named encoder.0, encoder.1, encoder.4, …, or 0, 1, 4, …, or layer1.0, layer1.1, …"
    raise CheckpointError(where, got, allowed, "Give the architecture that made it, `--arch ./my_net.py:Net`.")


def _names(scheme: tuple[str, str, int, int]) -> dict[str, str]:
    """Foreign key -> ours."""
    conv, norm, stride, first = scheme
    names: dict[str, str] = {}
    for block in range(_BLOCKS):
        at = block * stride + first
        for part, foreign in (("conv", conv), ("norm", norm)):
            for leaf in _PARTS[part]:
                names[f"{foreign.format(at, at + 1)}.{leaf}"] = f"block{block + 1}.{part}.{leaf}"
    return names


def _arguments(state: Mapping[str, Tensor], given: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    width, channels = state["block1.conv.weight"].shape[:2]
    if channels != 1 and "size" not in given:
        step = "Give the side of the images it was trained on, for example --arg size=84."
        raise CheckpointError(where, f"{channels} image channels and no size", "images of a known size", step)
    found = {"layout": "padded", "statistics": "running", "width": width, "channels_in": channels, "size": 28}
    found |= {key: given[key] for key in found.keys() & given.keys()}
    notes.append(f"layout {found['layout']}, statistics {found['statistics']}, images of {found['size']} pixels a side")
    return found


def _refuse_a_guess(given: Mapping[str, Any], where: str) -> None:
    """Raise unless `given` says what the keys layer1.0.weight, … leave open."""
    needed = ["layout", "statistics"] + (["binary"] if given.get("layout") == "padded" else [])
    missing = [key for key in needed if key not in given]
    if missing:
        got = f"keys layer1.0.weight, layer1.1.weight, …, which do not tell {' and '.join(missing)}"
        allowed = "layout relation, statistics batch (relation networks) or layout padded, statistics running"
        step = "Give --layout and --statistics, and for layout padded --arg binary=[] or the numbers of binary blocks."
        raise CheckpointError(where, got, allowed, step)


def _refuse_unsupported(state: Mapping[str, Tensor], where: str) -> None:
    """Name parts of few-shot networks that are not supported."""
    for fragment, what in (("lstm", "full context embeddings (FCE) of a matching network"), ("fc", "a relation head")):
        keys = [key for key in state if fragment in key]
        if keys:
            step = "Save the state dict of the encoder alone, without these keys, and import that."
            raise CheckpointError(where, f"{what} ({keys[0]}, …), which is not supported", "an encoder alone", step)
