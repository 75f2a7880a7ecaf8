"""Operators of ONNX that make matrix products, each as the one torch function that mapping watches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.onnx._node import Node, Operator

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def window(node: Node, dims: int) -> tuple[list[int], list[int]]:
    """Return strides and dilations of a convolution or pooling.

    Args:
        node: the node.
        dims: number of spatial dimensions.
    """
    return list(node.get("strides") or [1] * dims), list(node.get("dilations") or [1] * dims)


def pads_of(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding before and after each spatial dimension of a convolution or pooling.

    Args:
        node: the node.
        sizes: of the input.
        kernel: sizes of the window.
    """
    auto = node.require("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    dims = len(sizes)
    if not auto.startswith("SAME"):
        pads = (auto == "NOTSET" and node.get("pads")) or [0] * (2 * dims)
        return list(zip(pads[:dims], pads[dims:], strict=True))
    found = []
    for size, k, stride, dilation in zip(sizes, kernel, *window(node, dims), strict=True):
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        found.append((total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2))
    return found


def flat(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Return padding in the order of `torch.nn.functional.pad`.

    Args:
        pads: before and after each spatial dimension.
    """
    return [n for pair in reversed(pads) for n in pair]


def _conv(node: Node, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = w.ndim - 2
    strides, dilations = window(node, dims)
    pads = pads_of(node, x.shape[2:], w.shape[2:])
    padding: Any = [before for before, _ in pads]
    if any(before != after for before, after in pads):
        x, padding = F.pad(x, flat(pads)), 0
    return _CONV[dims](x, w, bias, strides, padding, dilations, node.get("group", 1))


def _conv_transpose(node: Node, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a transposed convolution; where torch has no such padding, the full one is cropped."""
    dims = w.ndim - 2
    strides, dilations = window(node, dims)
    extra = list(node.get("output_padding") or [0] * dims)
    full = [
        stride * (size - 1) + added + (k - 1) * dilation + 1
        for size, k, stride, dilation, added in zip(x.shape[2:], w.shape[2:], strides, dilations, extra, strict=True)
    ]
    pads = _cropped(node, x.shape[2:], full, strides)
    group = node.get("group", 1)
    if all(before == after for before, after in pads) and all(p < s for p, s in zip(extra, strides, strict=True)):
        padding = [before for before, _ in pads]
        return _TRANSPOSED[dims](x, w, bias, strides, padding, extra, group, dilations)
    y = F.pad(_TRANSPOSED[dims](x, w, bias, strides, 0, 0, group, dilations), flat([(0, n) for n in extra]))
    if bias is not None and any(extra):
        raise node.refuse("output_padding of a stride or more, or next to unequal pads", "a smaller output_padding")
    return F.pad(y, flat([(-before, -after) for before, after in pads]))


def _cropped(node: Node, sizes: Sequence[int], full: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return how much a transposed convolution leaves out before and after each spatial dimension."""
    auto = node.require("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    wanted = node.get("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if wanted is None:
        return pads_of(node, sizes, ())
    totals = [size - w for size, w in zip(full, wanted[-len(full) :], strict=True)]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if auto == "SAME_UPPER" else [(after, before) for before, after in halves]


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Return alpha A B + beta C, as one linear product where it is one."""
    a, alpha, beta = a.mT if node.get("transA", 0) else a, node.get("alpha", 1.0), node.get("beta", 1.0)
    w = b if node.get("transB", 0) else b.mT
    bias = None if c is None or beta == 0 else c * beta if beta != 1 else c
    if alpha == 1 and (bias is None or bias.shape == w.shape[:1]):
        return F.linear(a, w, bias)
    y = F.linear(a, w)
    y = y if alpha == 1 else y * alpha
    return y if bias is None else y + bias


def _matmul(_node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def _einsum(node: Node, *inputs: Tensor) -> Tensor:
    return torch.einsum(node.get("equation").replace(" ", ""), *inputs)


def _recurrent(
    gates: Sequence[int], activations: Sequence[str], run: Callable[[Node], Callable[..., tuple[Tensor, ...]]]
) -> Operator:
    """Return a recurrent operator: the gates of ONNX in torch's order, and the torch function."""

    def operator(
        node: Node, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
        *state: Tensor | None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Return the outputs of all steps [steps, directions, batch, size] and the last states."""
        _check_recurrent(node, activations, state)
        batch_first, size, directions = bool(node.get("layout", 0)), r.shape[-1], len(w)
        x = x if batch_first else x.transpose(0, 1)
        if lengths is not None and bool((lengths != x.shape[1]).any()):
            raise node.refuse("sequences of several lengths", "sequences of one length")
        given = [s if s is None or not batch_first else s.transpose(0, 1) for s in (*state, None, None)]
        states = [_state(s, x, directions, size) for s in given[: 2 if len(gates) == 4 else 1]]
        weights = [part for d in range(directions) for part in _weights(w[d], r[d], None if b is None else b[d], gates)]
        backward = node.get("direction", "forward") == "reverse"
        first: Any = tuple(states) if len(states) == 2 else states[0]
        x = x.flip(1) if backward else x
        y, *last = run(node)(x, first, weights, b is not None, 1, 0.0, False, directions == 2, True)
        y = (y.flip(1) if backward else y).unflatten(2, (directions, size))
        return (y, *(s.transpose(0, 1) for s in last)) if batch_first else (y.permute(1, 2, 0, 3), *last)

    return operator


def _check_recurrent(node: Node, activations: Sequence[str], state: Sequence[Tensor | None]) -> None:
    """Refuse variants of recurrent operators that torch does not have."""
    given = list(node.get("activations", ()))
    wanted = list(activations) * (len(given) // len(activations))
    if given not in (wanted, ["Relu"] * len(given) if node.kind == "RNN" else wanted):
        raise node.refuse(f"the activations {', '.join(given)}", ", ".join(activations))
    for name in ("clip", "input_forget"):
        if node.get(name, 0):
            raise node.refuse(name, f"no {name}")
    if len(state) > 2 and state[2] is not None:
        raise node.refuse("peepholes", "no peepholes")


def _state(given: Tensor | None, x: Tensor, directions: int, size: int) -> Tensor:
    """Return a first state [directions, batch, size]: zeros, or the given one, repeated where it is for one sample."""
    if given is None:
        return x.new_zeros(directions, len(x), size)
    return given.expand(-1, len(x), -1) if given.shape[1] == 1 else given


def _weights(w: Tensor, r: Tensor, b: Tensor | None, gates: Sequence[int]) -> list[Tensor]:
    """Return weights and biases of one direction with the gates in torch's order."""

    def ordered(x: Tensor) -> Tensor:
        parts = x.chunk(len(gates))
        return torch.cat([parts[k] for k in gates])

    return [ordered(w), ordered(r), *(() if b is None else (ordered(part) for part in b.chunk(2)))]


def _run_lstm(_node: Node) -> Callable[..., tuple[Tensor, ...]]:
    return torch.lstm


def _run_gru(node: Node) -> Callable[..., tuple[Tensor, ...]]:
    return torch.gru if node.get("linear_before_reset", 0) else _gru_reset_first


def _gru_reset_first(
    x: Tensor, first: Tensor, weights: Sequence[Tensor], biases: bool, *_: Any
) -> tuple[Tensor, Tensor]:
    """Return the output and the last states of a GRU that applies its reset gate to the state, not to its product."""
    size, each, found = first.shape[-1], len(weights) // len(first), []
    for direction, h in enumerate(first):
        w, r, *b = weights[direction * each : (direction + 1) * each]
        b_x, b_h = b if biases else (None, None)
        gates, new = r.split([2 * size, size])
        b_gates, b_new = (None, None) if b_h is None else b_h.split([2 * size, size])
        steps, states = F.linear(x, w, b_x).unbind(1), []
        for step in reversed(steps) if direction else steps:
            (x_r, x_z, x_n), (h_r, h_z) = step.chunk(3, -1), F.linear(h, gates, b_gates).chunk(2, -1)
            z, n = (x_z + h_z).sigmoid(), (x_n + F.linear((x_r + h_r).sigmoid() * h, new, b_new)).tanh()
            h = n + z * (h - n)
            states.append(h)
        found.append((torch.stack(states[::-1] if direction else states, 1), h))
    outputs, last = zip(*found, strict=True)
    return torch.cat(outputs, -1), torch.stack(last)


def _run_rnn(node: Node) -> Callable[..., tuple[Tensor, ...]]:
    return torch.rnn_relu if "Relu" in node.get("activations", ()) else torch.rnn_tanh


PRODUCTS: dict[str, Operator] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul,
    "GRU": _recurrent((1, 0, 2), ("Sigmoid", "Tanh"), _run_gru),
    "LSTM": _recurrent((0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh"), _run_lstm),
    "RNN": _recurrent((0,), ("Tanh",), _run_rnn),
}  # fmt: skip
