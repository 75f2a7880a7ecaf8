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
    ("{0}", "{1}", 4, 0),
    ("layer{0}.0", "layer{0}.1", 1, 1),
)
_PARTS = {"conv": ("weight", "bias"), "norm": ("weight", "bias", "running_mean", "running_var")}
_BLOCKS = 4


def conv4_state(state: Mapping[str, Tensor], where: str, notes: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state under the names of `Conv4`, and its arguments as far as keys and shapes tell them.

    Names: `encoder.0`, `encoder.1`, `encoder.4`, … or `0`, `1`, `4`, … (matching and prototypical networks, `padded`);
    `layer1.0`, `layer1.1`, `layer2.0`, … (relation networks, `relation`, run with the statistics of the batch).
    """
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    kept = {key: value for key, value in state.items() if key not in counters}
    for scheme in _SCHEMES:
        names = _names(scheme)
        if set(names) == set(kept):
            renamed = {names[key]: value for key, value in kept.items()}
            return renamed, _arguments(renamed, relation=scheme[0].startswith("layer"), notes=notes)
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


def _arguments(state: Mapping[str, Tensor], relation: bool, notes: list[str]) -> dict[str, Any]:
    weight = state["block1.conv.weight"]
    found = {"layout": "relation" if relation else "padded", "statistics": "batch" if relation else "running"}
    notes.append(
        f"by the names of its layers layout {found['layout']} and statistics {found['statistics']}; shapes do "
        "not tell, so --arg layout=… and --arg statistics=… come first"
    )
    return {**found, "width": weight.shape[0], "channels_in": weight.shape[1], "size": 28}
