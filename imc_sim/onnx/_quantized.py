"""Quantisation: ONNX's own pairs of operators, and those of QONNX, which Brevitas and FINN write.

QONNX keeps quantised values as floats: whole numbers times a scale. See the reference for each operator.

Reference:
    A. Pappalardo et al., "QONNX: Representing arbitrary-precision quantized neural networks", arXiv:2206.07527.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from imc_sim.onnx._node import RANGES, TYPES, Node, Operator


def _per_axis(node: Node, values: Tensor, x: Tensor) -> Tensor:
    """Return scales or zero points in a shape that fits the quantised tensor: one, one per channel or per block."""
    block = node.get("block_size", 0)
    axis = node.get("axis", 1)
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])


def _quantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    kind = _kind_of(node, zero)
    if kind not in RANGES:
        raise node.refuse(f"the element type {kind}", "integers of 4 to 32 bits")
    y = torch.round(x / _per_axis(node, scale, x))
    y = y if zero is None else y + _per_axis(node, zero, x)
    return y.clamp(*RANGES[kind]).to(TYPES[kind])


def _kind_of(node: Node, zero: Tensor | None) -> int:
    """Return the ONNX element type that a node quantises to: that of its zero point."""
    if zero is None:
        return node.get("output_dtype", 0) or 2
    stated = node.types[2] if len(node.types) > 2 else 0
    return stated or {torch.uint8: 2, torch.int8: 3, torch.int16: 5}.get(zero.dtype, 0)


def _dequantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    y = x.to(scale.dtype)
    y = y if zero is None else y - _per_axis(node, zero, x).to(scale.dtype)
    return y * _per_axis(node, scale, x)


def _dynamic_quantize(_node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round(-low / scale).clamp(0, 255)
    return (torch.round(x / scale) + zero).clamp(0, 255).to(torch.uint8), scale, zero.to(torch.uint8)


def _up(x: Tensor) -> Tensor:
    return x.sign() * x.abs().ceil()


def _half_up(x: Tensor) -> Tensor:
    return x.sign() * (x.abs() + 0.5).floor()


def _half_down(x: Tensor) -> Tensor:
    return x.sign() * (x.abs() - 0.5).ceil()


_ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "ROUND": torch.round, "HALF_EVEN": torch.round, "CEIL": torch.ceil, "FLOOR": torch.floor, "UP": _up,
    "DOWN": torch.trunc, "HALF_UP": _half_up, "HALF_DOWN": _half_down,
}  # fmt: skip


def _rounding(node: Node, default: str) -> Callable[[Tensor], Tensor]:
    """Return the rounding of a node."""
    mode = str(node.get("rounding_mode", default)).upper()
    if mode not in _ROUNDING:
        raise node.refuse(f"rounding_mode {mode!r}", f"rounding_mode of {', '.join(_ROUNDING)}")
    return _ROUNDING[mode]


def _limits(node: Node, bits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest whole number of so many bits."""
    signed, narrow, one = node.get("signed", 1), node.get("narrow", 0), torch.ones_like(bits, dtype=torch.float32)
    half = 2 ** (bits.float() - 1)
    if signed:
        return -half + narrow, half - one
    return 0 * one, 2 * half - one - narrow


def _bipolar_quant(_node: Node, x: Tensor, scale: Tensor) -> Tensor:
    return torch.where(x >= 0, scale, -scale)


def _quant(node: Node, x: Tensor, scale: Tensor, zero: Tensor, bits: Tensor) -> Tensor:
    y = x / scale + zero
    if node.get("signed", 1) and bool((bits == 1).all()):  # one signed bit is a sign
        y = torch.where(y >= 0, torch.ones_like(y), -torch.ones_like(y))
    else:
        y = _rounding(node, "ROUND")(y.clamp(*_limits(node, bits)))
    return (y - zero) * scale


def _trunc(node: Node, x: Tensor, scale: Tensor, zero: Tensor, bits: Tensor, *to: Tensor) -> Tensor:
    """Leave out the lowest bits: five inputs in version 1, six with the scale of the output in version 2."""
    y, rounding = torch.round(x / scale + zero), _rounding(node, "FLOOR")
    if len(to) == 1:
        return (rounding(y / 2 ** (bits - to[0]).float()) - zero) * scale
    step = 2 ** torch.round(torch.log2(to[0] / scale))
    return (rounding((y / step).clamp(*_limits(node, to[1]))) - zero / step) * to[0]


def _multi_threshold(node: Node, x: Tensor, thresholds: Tensor) -> Tensor:
    """Count the thresholds [channels or 1, n] that each element reaches."""
    last = str(node.get("data_layout", "NCHW")).endswith("C")
    values = (x if last else x.movedim(1, -1)).contiguous()
    ordered = thresholds.sort(-1).values
    if len(ordered) == 1:
        count = torch.searchsorted(ordered[0], values, right=True)
    else:
        rows = values.reshape(-1, values.shape[-1]).T.contiguous()
        count = torch.searchsorted(ordered, rows, right=True).T.reshape(values.shape)
    count = (count if last else count.movedim(-1, 1)).to(x.dtype)
    return count * node.get("out_scale", 1.0) + node.get("out_bias", 0.0)


QUANTIZED: dict[str, Operator] = {
    "DequantizeLinear": _dequantize, "DynamicQuantizeLinear": _dynamic_quantize, "QuantizeLinear": _quantize
}  # fmt: skip
#: domains of QONNX
DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas", "finn")
QONNX: dict[str, Operator] = {
    f"{domain}:{name}": function
    for domain in DOMAINS
    for name, function in {
        "BipolarQuant": _bipolar_quant, "IntQuant": _quant, "MultiThreshold": _multi_threshold, "Quant": _quant,
        "Trunc": _trunc,
    }.items()
}  # fmt: skip
