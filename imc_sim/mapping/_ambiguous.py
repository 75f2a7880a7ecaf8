"""Arguments that change what a network computes, but no key and no shape of its state dict: imports require them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imc_sim._errors import CheckpointError

Args = Mapping[str, Any]

_STATISTICS = "running (kept from training) or batch (of the images of a call)"
_BINARY = "numbers of the blocks that end in a binary activation, [] for none"
_STOCHASTIC = "true or false, whether binary activations are sampled"
_REAL = "true or false, whether the first layer sees bits or signs of its inputs"
#: architecture -> ambiguous argument -> allowed values
AMBIGUOUS: dict[str, dict[str, str]] = {
    "binact": {
        "binary": _BINARY,
        "stochastic": _STOCHASTIC,
        "otherwise": "hard_sigmoid (April 2020) or relu (from May 2020), of the other blocks",
        "down": "pool or stride, how maps are halved",
    },
    "bitnet": {"version": "6 or 6_v101, which layers are pooled", "activation": "spikes, clamp or relu"},
    "bnn_conv": {"size": "pixels a side", "binary_inputs": _REAL, "statistics": _STATISTICS},
    "bnn_mlp": {"kind": "binary (BNN) or float (DNN)", "binary_inputs": _REAL, "statistics": _STATISTICS},
    "bnn_vgg": {"statistics": _STATISTICS},
    "continual": {"statistics": _STATISTICS},
    "conv4": {
        "layout": "relation (relation networks, statistics batch) or padded (other encoders, statistics running), told "
        "only by keys such as encoder.0, encoder.0.0 and 0 of matching and prototypical networks",
        "statistics": _STATISTICS,
        "policy": "float, int8 or latent, the kind of weights",
        "binary": _BINARY,
        "stochastic": _STOCHASTIC,
    },
    "convnet": {"stages": "channels of every convolution by stage, such as [[32], [64, 64]]"},
}
#: arguments that are options of `imc-sim import`
_OPTIONS = ("layout", "statistics")
#: argument -> whether the others leave it without effect
_IDLE: dict[str, Callable[[Args], bool]] = {
    "stochastic": lambda args: not args.get("binary", True),
    "binary_inputs": lambda args: args.get("kind") == "float",
    "statistics": lambda args: args.get("norm") == "instance",
}


def refuse_a_guess(arch: str, args: Args, where: str, keys: Sequence[str]) -> None:
    """Raise unless `args` hold every argument of `arch` that keys and shapes of a checkpoint do not determine."""
    missing = _missing(arch, args)
    if missing:
        got = f"keys {', '.join(keys[:2])}, … and shapes that do not tell {', '.join(missing)}"
        options = (f"--{'' if key in _OPTIONS else 'arg '}{key}=…" for key in missing)
        step = f"Add {' and '.join(options)}, as the network was trained."
        raise CheckpointError(where, got, "; ".join(f"{key}: {text}" for key, text in missing.items()), step)


def _missing(arch: str, args: Args) -> dict[str, str]:
    """Return the ambiguous arguments that are not given, with the allowed values."""
    idle = {key for key, test in _IDLE.items() if test(args)}
    found = {key: text for key, text in AMBIGUOUS.get(arch, {}).items() if key not in args and key not in idle}
    if arch in ("continual", "ensemble"):
        inner = _missing(args.get("arch", "bnn_mlp"), args.get("args") or {})
        listed = ", ".join(f"{key} ({text})" for key, text in inner.items())
        found |= {"args": f"arguments of each network with {listed}"} if inner else {}
    return found
