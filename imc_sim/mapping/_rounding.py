"""Rounding of the weights of a site by cells, and settings that would hold the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.analog import AnalogLayer

#: relative root mean square error of a site's weights in cells above which mapping refuses
_MOST = 0.01
_BITS = range(2, 17)


@torch.no_grad()
def weight_error(layer: AnalogLayer) -> float:
    """Return the relative root mean square difference of the weights in ideal cells to the network's own.

    Args:
        layer: a layer on crossbars.
    """
    own, plan = layer.matrix().double(), layer.crossbar.plan
    held, device, steps = plan.targets.weights.double(), plan.chip.device, plan.targets.steps
    if plan.encoding.operands == "real" and not device.linear:  # levels that are not equally spaced
        g = plan.against_reference(device.positions(steps)[plan.cells.long()] * steps)
        linear = plan.encoding.coefficients(g, 0.0).linear
        held = torch.einsum("osi,s->oi", linear, plan.gains.double() * plan.encoding.gain_in)
    return _relative(held * plan.targets.scale, own)


def refuse_rounding(errors: Mapping[str, tuple[AnalogLayer, float]]) -> None:
    """Raise one InputError that names every site whose cells hold other weights than the network's own.

    Args:
        errors: site -> its layer and its error.

    Raises:
        InputError: an error is above 1 %.
    """
    rounded = {name: each for name, each in errors.items() if each[1] > _MOST}
    if not rounded:
        return
    found = ", ".join(f"{name!r} by {100 * error:.1f} %" for name, (_, error) in rounded.items())
    names = {layer.encoding.name for layer, _ in rounded.values()}
    got = f"weights that {' and '.join(sorted(names))} rounds: {found} (relative root mean square)"
    bits = [bits_for(layer.matrix().detach().double()) for layer, _ in rounded.values()]
    most = max((b for b in bits if b is not None), default=None)
    if most is None or None in bits:
        hold = f"{_BITS[-1]} bits do not hold them: set device.levels: continuous"
    else:
        levels = f"{{kind: differential}} with device.levels {2 ** (most - 1)} or continuous"
        hold = f"{most} bits hold them: set encoding_multibit {{kind: sliced, weight_bits: {most}}}, or {levels}"
    step = f"{hold}, keep the sites digital, or accept it by policy.allow_rounding: true."
    raise InputError("map_model", got, f"{100 * _MOST:g} % or less", step)


def bits_for(weights: Tensor) -> int | None:
    """Return the bits, sign included, that hold weights to 1 %; None if 16 do not.

    Args:
        weights: a matrix of any shape.
    """
    top = weights.abs().max()
    for bits in _BITS:
        step = top / (2 ** (bits - 1) - 1)
        if _relative((weights / step).round() * step, weights) <= _MOST:
            return bits
    return None


def _relative(held: Tensor, own: Tensor) -> float:
    return float((held - own).norm() / own.norm().clamp_min(1e-300))
