"""Arguments of `BatmannController` from the state dicts of the original BATMANN code, whose names it has."""

from __future__ import annotations

from imc_sim._errors import CheckpointError
from imc_sim.mapping._foreign import OWN_ARCH, Args, Found, State


def batmann_state(state: State, where: str, _notes: list[str], _given: Args) -> Found:
    """Return the state unchanged, and the arguments of `BatmannController` that its keys and shapes determine.

    Names: `features.conv1.weight`, `features.conv2.alpha`, `fc1.bias`, …. A scale `alpha` of conv2 means kind xnor, or
    rbnn where there are angles `rotate` as well; one of fc1 means a binary last layer. size: the smallest image whose
    feature map fits fc1; up to three larger sizes may fit too, since pooling drops remainders.
    """
    conv, fc = state.get("features.conv1.weight"), state.get("fc1.weight")
    if conv is None or fc is None or conv.ndim != 4 or fc.ndim != 2:
        got = f"keys {', '.join(list(state)[:4])}, …"
        allowed = "the BATMANN layout: features.conv1.weight, …, fc1.weight"
        raise CheckpointError(where, got, allowed, OWN_ARCH)
    kind = "float"
    if "features.conv2.alpha" in state:
        kind = "rbnn" if "features.conv2.rotate" in state else "xnor"
        kind += "_binary_fc" if "fc1.alpha" in state else ""
    width = conv.shape[0]
    side = round((fc.shape[1] / width) ** 0.5)
    sizes = {"width": width, "dim": fc.shape[0], "size": 4 * side + 16}
    return dict(state), {"kind": kind, "channels_in": conv.shape[1], **sizes}
