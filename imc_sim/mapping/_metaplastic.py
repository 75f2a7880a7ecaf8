"""State dicts of SynapticMetaplasticityBNN under the names of `BnnMlp`, `BnnConv` and `BnnVgg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim.mapping._foreign import refuse_zeros

#: inputs of the published networks whose first layer sees grey levels as they are
_PIXELS = 784
#: pixels a side of the images of the published convolutional network
_SIDE = 28
#: numbers of convolutions and norms in `features`, of products and norms in `classifier`
_VGG = ((0, 3, 7, 10, 14, 17), (1, 5, 8, 12, 15, 19), (0, 4, 8), (1, 5, 9))
_VGG_CHANNELS = 128
_LEAVES = ("weight", "bias", "running_mean", "running_var")
#: leaves of a norm -> whether it has scale and shift, and running statistics
_FORMS = {
    frozenset(): (False, False), frozenset(_LEAVES[:2]): (True, False), frozenset(_LEAVES[2:]): (False, True),
    frozenset(_LEAVES): (True, True),
}  # fmt: skip
_OWN = "Give the architecture that made it, `--arch ./my_net.py:Net`."

Given = Mapping[str, Any]
State = Mapping[str, Tensor]
Found = tuple[dict[str, Tensor], dict[str, Any]]


def mlp_state(state: State, where: str, notes: list[str], given: Given) -> Found:
    """Return the state under the names of `BnnMlp`, and its arguments as far as keys and shapes tell them.

    Names: `layers.fc1.weight`, `layers.bn1.weight`, `layers.bn1.running_mean`, …; without keys of norms these are
    instance norms. Weights that are not all +-1, next to running statistics with scale and shift, are those of a binary
    network (BNN) or of a float one (DNN): `given` must say the kind. The first layer of a binary network sees the signs
    of its inputs unless there are 784, as in the original.
    """
    kept = _without_counters(state)
    if not any(key.startswith("layers.") for key in kept):
        return kept, {}
    count = sum(key.startswith("layers.fc") for key in kept)
    renamed, found = _renamed(kept, {f"layers.fc{n + 1}": f"fc.{n}" for n in range(count)}, count, where, given)
    weights = [renamed[f"fc.{n}.weight"] for n in range(count)]
    kind = given.get("kind") or _kind(weights, found, where)
    found |= {"kind": kind, "inputs": weights[0].shape[1], "hidden": [w.shape[0] for w in weights[:-1]]}
    found |= {"classes": weights[-1].shape[0]}
    if kind == "binary":
        refuse_zeros(renamed, [f"fc.{n}.weight" for n in range(count)], where)
        found["binary_inputs"] = weights[0].shape[1] != _PIXELS
        seen = "the signs of its inputs" if found["binary_inputs"] else "its inputs as they are"
        notes.append(f"binary, by the original's rule for {weights[0].shape[1]} inputs the first layer sees {seen}")
    return renamed, found


def conv_state(state: State, where: str, notes: list[str], given: Given) -> Found:
    """Return the state under the names of `BnnConv`, and its arguments as far as keys and shapes tell them.

    Names: `layers.cv1.weight`, …, `layers.fc4.weight`, `layers.bn1.weight`, …. Without keys of norms these are batch
    norms without scale and running statistics, or instance norms, which are not supported: `given` must say statistics.
    """
    kept = _without_counters(state)
    if not any(key.startswith("layers.") for key in kept):
        return kept, {}
    blocks = sum(key.startswith("layers.cv") for key in kept)
    names = {f"layers.cv{n + 1}": f"conv.{n}" for n in range(blocks)} | {f"layers.fc{blocks + 1}": "fc"}
    renamed, found = _renamed(kept, names, blocks + 1, where, given)
    if "norm" in found:
        got = "no keys of norms, which batch norms without running statistics and instance norms have in common"
        step = "Give --statistics batch for batch norms; instance norms are not supported."
        if given.get("statistics") != "batch":
            raise CheckpointError(where, got, "a statement which they are", step)
        found = {"statistics": "batch", "affine": False}
        renamed |= _blank({n: w.shape[0] for n, w in enumerate([*_weights(renamed, blocks), renamed["fc.weight"]])})
    convs = _weights(renamed, blocks)
    channels, kernels = [convs[0].shape[1], *(w.shape[0] for w in convs)], [w.shape[2] for w in convs]
    side = _SIDE
    for kernel in kernels:
        side = (side + 3 - kernel) // 2
    if renamed["fc.weight"].shape[1] != channels[-1] * side**2:
        got = f"{renamed['fc.weight'].shape[1]} inputs of fc after kernels {kernels}"
        allowed = f"{channels[-1] * side**2}, for padding 1, means over 2 x 2 and images of {_SIDE} pixels a side"
        raise CheckpointError(where, got, allowed, _OWN)
    refuse_zeros(renamed, [*(f"conv.{n}.weight" for n in range(blocks)), "fc.weight"], where)
    notes.append("binary, the first convolution sees which pixels are above 0 (as they are with 3 channels)")
    found |= {"channels": channels, "kernels": kernels, "classes": renamed["fc.weight"].shape[0]}
    return renamed, found | {"binary_inputs": channels[0] != 3}


def vgg_state(state: State, where: str, notes: list[str], given: Given) -> Found:
    """Return the state under the names of `BnnVgg`, and its arguments as far as keys and shapes tell them.

    Names: `features.0.weight`, `features.1.running_mean`, …, `classifier.0.weight`, ….
    """
    kept = _without_counters(state)
    if not any(key.startswith("features.") for key in kept):
        return kept, {}
    convs, norms, products, after = _VGG
    names = {f"features.{theirs}": f"conv.{n}" for n, theirs in enumerate(convs)}
    names |= {f"classifier.{theirs}": f"fc.{n}" for n, theirs in enumerate(products)}
    theirs = [*(f"features.{n}" for n in norms), *(f"classifier.{n}" for n in after)]
    renamed, found = _renamed(kept, names, len(theirs), where, given, theirs)
    first = renamed["conv.0.weight"]
    if "norm" in found:
        got = f"keys {', '.join(list(kept)[:4])}, … and none of norms"
        raise CheckpointError(where, got, "features.1.weight, … of batch norms", _OWN)
    if first.shape[1] != 3:
        got = f"{first.shape[1]} channels, whose signs the original's first convolution sees"
        raise CheckpointError(where, got, "images of 3 channels", _OWN)
    binary = [f"conv.{n}.weight" for n in range(len(convs))] + [f"fc.{n}.weight" for n in range(len(products))]
    refuse_zeros(renamed, binary, where)
    classes = renamed["fc.2.weight"].shape[0]
    return renamed, found | {"width": first.shape[0] / _VGG_CHANNELS, "classes": classes, "channels_in": 3}


def _without_counters(state: State) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _renamed(
    state: State, products: Mapping[str, str], norms: int, where: str, given: Given, theirs: Sequence[str] | None = None
) -> Found:
    """Return the state under our names and what its norms are; statistics that it has not are 0 and 1.

    products: their name of each product layer -> ours. theirs: their names of the norms, one after each product.
    """
    theirs = theirs or [f"layers.bn{n + 1}" for n in range(norms)]
    names = {f"{name}.weight": f"{ours}.weight" for name, ours in products.items()}
    names |= {f"{name}.{leaf}": f"norm.{n}.{leaf}" for n, name in enumerate(theirs) for leaf in _LEAVES}
    forms = {frozenset(leaf for leaf in _LEAVES if f"{name}.{leaf}" in state) for name in theirs}
    form = forms.pop() if len(forms) == 1 else None
    strange = [key for key in state if key not in names]
    strange += [f"{name}.weight" for name in products if f"{name}.weight" not in state]
    if form not in _FORMS or strange:
        got = f"keys {', '.join(strange[:4] or list(state)[:4])}, …"
        allowed = f"{', '.join(list(names)[:2])}, … and a norm of the same kind after each product"
        raise CheckpointError(where, got, allowed, _OWN)
    renamed, (affine, running) = {names[key]: value for key, value in state.items()}, _FORMS[form]
    if not form:
        return renamed, {"norm": "instance"}
    if not running:
        if given.get("statistics", "batch") != "batch":
            got, step = f"no running statistics, and statistics {given['statistics']!r}", "Leave --statistics out."
            raise CheckpointError(where, got, "statistics batch", step)
        renamed |= _blank({n: state[f"{name}.weight"].shape[0] for n, name in enumerate(theirs)})
    return renamed, {"statistics": "running" if running else "batch", "affine": affine}


def _blank(sizes: Mapping[int, int]) -> dict[str, Tensor]:
    """Return running statistics for norms that use those of the batch."""
    means = {f"norm.{n}.running_mean": torch.zeros(size) for n, size in sizes.items()}
    return means | {f"norm.{n}.running_var": torch.ones(size) for n, size in sizes.items()}


def _weights(state: State, blocks: int) -> list[Tensor]:
    return [state[f"conv.{n}.weight"] for n in range(blocks)]


def _kind(weights: Sequence[Tensor], norms: Given, where: str) -> str:
    """Return the kind where keys and weights tell it; only the binary networks have norms of other forms."""
    both = norms.get("statistics") == "running" and norms.get("affine")
    if both and not all(bool((w.abs() == 1).all()) for w in weights):
        got = "weights that are not all +-1, with running statistics: a binary network (BNN) or a float one (DNN)"
        raise CheckpointError(where, got, "a statement which it is", "Give --arg kind=binary or --arg kind=float.")
    return "binary"
