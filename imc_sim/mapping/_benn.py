"""State dicts of BENN-PyTorch, networks in network of binary convolutions, under the names of `BinaryNin`."""

from __future__ import annotations

from imc_sim._errors import CheckpointError
from imc_sim.mapping._foreign import NORM, OWN_ARCH, Args, Found, State, refuse_zeros

#: kind -> number in their Sequential -> our block, for blocks of norm, sign and convolution
_BLOCKS = {
    "sb": {3: 2, 5: 3, 6: 4, 8: 5, 9: 6},
    "ab": {0: 1, 1: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7},
}
#: the float ends of kind sb: their module -> ours, and its leaves
_ENDS = {
    "xnor.0": ("block1.conv", NORM[:2]), "xnor.1": ("block1.norm", NORM[2:]),
    "xnor.10": ("block7.norm", NORM[2:]), "xnor.11": ("block7.conv", NORM[:2]),
}  # fmt: skip
#: the mean over the input channels that counts as 0, in units of the mean magnitude
_CENTRED = 1e-3
_WIDE = 192


def benn_state(state: State, where: str, notes: list[str], given: Args) -> Found:
    """Return the state under the names of `BinaryNin`, and the arguments that its keys and shapes determine.

    Names: `xnor.0.weight`, `xnor.1.running_mean`, `xnor.3.bn.weight`, `xnor.3.conv.weight`, … (Net, kind sb) or
    `xnor.0.bn.weight`, `xnor.0.conv.weight`, … (AllBinNet, kind ab). The float network RealNet has the names of kind
    sb, but its weights are not centred. Binary weights are centred over the input channels and bounded by 1, as the
    original does before every forward pass, and get their scale.
    """
    kind = next((kind for kind in _BLOCKS if set(_names(kind)) == set(state)), None)
    if kind is None:
        got = f"keys {', '.join(list(state)[:4])}, …"
        raise CheckpointError(where, got, "the layers of Net or AllBinNet of BENN-PyTorch", OWN_ARCH)
    renamed = {ours: state[theirs] for theirs, ours in _names(kind).items()}
    binary = [f"block{block}.conv" for block in _BLOCKS[kind].values()]
    if kind == "sb" and "kind" not in given:
        _refuse_float_network(renamed, binary, where)
    for name in binary:
        weight = renamed[f"{name}.weight"]
        weight = (weight - weight.mean(1, keepdim=True)).clamp(-1.0, 1.0)
        renamed[f"{name}.weight"] = weight
        renamed[f"{name}.alpha"] = weight.abs().mean((1, 2, 3)).reshape(-1, 1, 1)
    refuse_zeros(renamed, [f"{name}.weight" for name in binary], where)
    notes.append(f"by its keys kind {kind}; binary weights centred over the input channels, bounded by 1")
    first, last = renamed["block1.conv.weight"], renamed["block7.conv.weight"]
    found = {"kind": kind, "width": first.shape[0] / _WIDE, "classes": last.shape[0], "channels_in": first.shape[1]}
    return renamed, found


def _names(kind: str) -> dict[str, str]:
    """Return the name of each tensor in BENN-PyTorch -> its name in `BinaryNin`."""
    modules = {
        f"xnor.{number}.{part}": (f"block{block}.{ours}", leaves)
        for number, block in _BLOCKS[kind].items()
        for part, ours, leaves in (("bn", "norm", NORM), ("conv", "conv", NORM[:2]))
    } | (_ENDS if kind == "sb" else {})
    return {f"{theirs}.{leaf}": f"{ours}.{leaf}" for theirs, (ours, leaves) in modules.items() for leaf in leaves}


def _refuse_float_network(state: State, binary: list[str], where: str) -> None:
    """Raise where weights are not centred over the input channels, which the original's binary ones always are."""
    for name in binary:
        weight = state[f"{name}.weight"]
        if weight.mean(1).abs().max() > _CENTRED * weight.abs().mean():
            got = f"weights of {name} that are not centred over the input channels, like those of the float RealNet"
            step = "Add --arg kind=sb if it is a binary network nevertheless; the float one is not supported."
            raise CheckpointError(where, got, "weights as BENN-PyTorch saves those of binary layers", step)
