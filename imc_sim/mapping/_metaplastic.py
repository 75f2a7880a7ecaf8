"""State dicts of SynapticMetaplasticityBNN under the names of `BnnMlp`, `BnnConv` and `BnnVgg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim.mapping._foreign import NORM, OWN_ARCH, Args, Found, State, refuse_zeros

#: inputs of the published networks whose first layer sees grey levels unchanged
_PIXELS = 784
#: pixels a side of the images of the published convolutional network
_SIDE = 28
#: BnnVgg: their names of the convolutions, of the fully connected layers, and of the norms of both
_VGG_CONVS = tuple(f"features.{n}" for n in (0, 3, 7, 10, 14, 17))
_VGG_PRODUCTS = tuple(f"classifier.{n}" for n in (0, 4, 8))
_VGG_NORMS = (*(f"features.{n}" for n in (1, 5, 8, 12, 15, 19)), *(f"classifier.{n}" for n in (1, 5, 9)))
_VGG_CHANNELS = 128
_ZERO = "an activation of exactly 0 counts as -1, which word lines encode; in the original as 0"
#: leaves of a norm -> whether it has scale and shift, and running statistics
_FORMS = {
    frozenset(): (False, False), frozenset(NORM[:2]): (True, False), frozenset(NORM[2:]): (False, True),
    frozenset(NORM): (True, True),
}  # fmt: skip


def mlp_state(state: State, where: str, notes: list[str], given: Args) -> Found:
    """Return the state under the names of `BnnMlp`, and the arguments that its keys and shapes determine.

    Names: `layers.fc1.weight`, `layers.bn1.weight`, `layers.bn1.running_mean`, …; without keys of norms these are
    instance norms. Weights that are not all +-1, next to running statistics with scale and shift, can be those of a
    binary network (BNN) or of a float one (DNN). The first layer of a binary network sees the signs of its inputs
    unless there are 784, as in the original.
    """
    count = sum(key.startswith("layers.fc") for key in state)
    renamed, found = _renamed(state, {f"layers.fc{n + 1}": f"fc.{n}" for n in range(count)}, where, given)
    names = [f"fc.{n}.weight" for n in range(count)]
    inputs, *sizes = renamed[names[0]].shape[1], *(renamed[name].shape[0] for name in names)
    signs = all(bool((renamed[name].abs() == 1).all()) for name in names)
    told = signs or not (found.get("statistics") == "running" and found.get("affine"))  # only a BNN has other norms
    found |= {"inputs": inputs, "hidden": sizes[:-1], "classes": sizes[-1]} | ({"kind": "binary"} if told else {})
    kind = {**found, **given}.get("kind")
    if kind != "float":
        found["binary_inputs"] = inputs != _PIXELS
    if kind == "binary":
        refuse_zeros(renamed, names, where)
        seen = "the signs of its inputs" if found["binary_inputs"] else "its inputs unchanged"
        notes += [f"binary, by the original's rule for {inputs} inputs the first layer sees {seen}", _ZERO]
    return renamed, found


def conv_state(state: State, where: str, notes: list[str], given: Args) -> Found:
    """Return the state under the names of `BnnConv`, and the arguments that its keys and shapes determine.

    Names: `layers.cv1.weight`, …, `layers.fc4.weight`, `layers.bn1.weight`, …. Without keys of norms these are batch
    norms without scale and running statistics, or instance norms, which are not supported: `given` must state
    statistics.
    """
    blocks = max(1, sum(key.startswith("layers.cv") for key in state))
    names = {f"layers.cv{n + 1}": f"conv.{n}" for n in range(blocks)} | {f"layers.fc{blocks + 1}": "fc"}
    renamed, found = _renamed(state, names, where, given)
    binary = [f"{ours}.weight" for ours in names.values()]
    convs, fc = [renamed[name] for name in binary[:-1]], renamed["fc.weight"]
    if "norm" in found:
        got = "no keys of norms, as batch norms without running statistics and instance norms both have it"
        step = "Add --statistics batch for batch norms; instance norms are not supported."
        if given.get("statistics") != "batch":
            raise CheckpointError(where, got, "stated statistics", step)
        found = {"statistics": "batch", "affine": False}
        renamed |= _blank([w.shape[0] for w in (*convs, fc)])
    channels, kernels = [convs[0].shape[1], *(w.shape[0] for w in convs)], [w.shape[2] for w in convs]
    side = _SIDE
    for kernel in kernels:
        side = (side + 3 - kernel) // 2
    if fc.shape[1] != channels[-1] * side**2:
        got = f"{fc.shape[1]} inputs of fc after kernels {kernels}"
        allowed = f"{channels[-1] * side**2}, for padding 1, means over 2 x 2 and images of {_SIDE} pixels a side"
        raise CheckpointError(where, got, allowed, OWN_ARCH)
    refuse_zeros(renamed, binary, where)
    notes += ["binary, the first convolution sees which pixels are above 0 (unchanged pixels with 3 channels)", _ZERO]
    found |= {"channels": channels, "kernels": kernels, "classes": fc.shape[0], "size": _SIDE}
    return renamed, found | {"binary_inputs": channels[0] != 3}


def vgg_state(state: State, where: str, notes: list[str], given: Args) -> Found:
    """Return the state under the names of `BnnVgg`, and the arguments that its keys and shapes determine.

    Names: `features.0.weight`, `features.1.running_mean`, …, `classifier.0.weight`, ….
    """
    names = {theirs: f"conv.{n}" for n, theirs in enumerate(_VGG_CONVS)}
    names |= {theirs: f"fc.{n}" for n, theirs in enumerate(_VGG_PRODUCTS)}
    renamed, found = _renamed(state, names, where, given, _VGG_NORMS)
    if "norm" in found:
        got = f"keys {', '.join(list(state)[:4])}, … and none of norms"
        raise CheckpointError(where, got, "features.1.weight, … of batch norms", OWN_ARCH)
    channels, inputs = renamed["conv.0.weight"].shape[:2]
    if inputs != 3:
        got = f"{inputs} channels, whose signs the original's first convolution sees"
        raise CheckpointError(where, got, "images of 3 channels", OWN_ARCH)
    refuse_zeros(renamed, [f"{ours}.weight" for ours in names.values()], where)
    classes = renamed["fc.2.weight"].shape[0]
    notes.append(_ZERO)
    return renamed, found | {"width": channels / _VGG_CHANNELS, "classes": classes, "channels_in": 3}


def _renamed(
    state: State, products: Mapping[str, str], where: str, given: Args, norms: Sequence[str] | None = None
) -> Found:
    """Return the state under our names and the form of its norms; statistics that it lacks are 0 and 1.

    products: their name of each product layer -> ours. norms: their names of the norms, one after each product.
    """
    norms = norms or [f"layers.bn{n + 1}" for n in range(len(products))]
    names = {f"{name}.weight": f"{ours}.weight" for name, ours in products.items()}
    names |= {f"{name}.{leaf}": f"norm.{n}.{leaf}" for n, name in enumerate(norms) for leaf in NORM}
    forms = {frozenset(leaf for leaf in NORM if f"{name}.{leaf}" in state) for name in norms}
    form = forms.pop() if len(forms) == 1 else None
    wrong = [key for key in state if key not in names]
    wrong += [f"{name}.weight" for name in products if f"{name}.weight" not in state]
    if form not in _FORMS or wrong:
        got = f"keys {', '.join(wrong[:4] or list(state)[:4])}, …"
        allowed = f"{', '.join(list(names)[:2])}, … and a norm of the same kind after each product"
        raise CheckpointError(where, got, allowed, OWN_ARCH)
    renamed, (affine, running) = {names[key]: value for key, value in state.items()}, _FORMS[form]
    if not form:
        return renamed, {"norm": "instance"}
    if not running:
        if given.get("statistics", "batch") != "batch":
            got, step = f"no running statistics, and statistics {given['statistics']!r}", "Leave --statistics out."
            raise CheckpointError(where, got, "statistics batch", step)
        renamed |= _blank([state[f"{name}.weight"].shape[0] for name in norms])
    return renamed, {"statistics": "running" if running else "batch", "affine": affine}


def _blank(sizes: Sequence[int]) -> dict[str, Tensor]:
    """Return running statistics for norms that use those of the batch."""
    means = {f"norm.{n}.running_mean": torch.zeros(size) for n, size in enumerate(sizes)}
    return means | {f"norm.{n}.running_var": torch.ones(size) for n, size in enumerate(sizes)}
