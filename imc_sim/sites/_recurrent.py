"""Recurrent layers as linear products: the functions behind `nn.LSTM`, `nn.GRU`, `nn.RNN` and their cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._errors import InputError

#: products with the input and with the state, state -> new state; the first tensor of a state is the output
Step = Callable[[Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def _lstm(x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    z = (xz + hz).sigmoid()
    n = (xn + (xr + hr).sigmoid() * hn).tanh()
    return (n + z * (state[0] - n),)


def _rnn(x: Tensor, h: Tensor, state: tuple[Tensor, ...], activation: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    return (activation(x + h),)


def _cell(
    step: Step, x: Tensor, hx: Tensor | Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Any:
    """Return the new state of a cell, as torch's cell functions do."""
    state = _states(hx)
    found = step(F.linear(x, w_ih, b_ih), F.linear(state[0], w_hh, b_hh), state)
    return found[0] if len(found) == 1 else found


def _states(hx: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


def _layers(
    step: Step, x: Tensor, hx: Tensor | Sequence[Tensor], weights: Sequence[Tensor], biases: bool, layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the output and the last states of all layers, as torch's recurrent functions do.

    The products with the inputs of all steps are one call, those with the state one per step.
    """
    if isinstance(hx, Tensor) and hx.ndim == 1:  # the lengths of a packed sequence
        advice = "Pad the sequences to one length."
        raise InputError("recurrent layer", "a packed sequence", "a tensor of steps", advice)
    directions = 2 if bidirectional else 1
    states = _states(hx)
    each = len(weights) // (layers * directions)
    h = x if batch_first else x.transpose(0, 1)
    last: list[tuple[Tensor, ...]] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            own = weights[number * each : (number + 1) * each]
            y, state = _direction(step, h, tuple(s[number] for s in states), own, biases, direction == 1)
            outputs.append(y)
            last.append(state)
        h = torch.cat(outputs, -1) if directions == 2 else outputs[0]
    return (h if batch_first else h.transpose(0, 1)), *(torch.stack(each) for each in zip(*last, strict=True))


def _direction(
    step: Step, x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor], biases: bool, backward: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs [batch, steps, hidden] of one layer in one direction, and its last state."""
    w_ih, w_hh, *rest = weights
    b_ih, b_hh = rest[:2] if biases else (None, None)
    projection = rest[-1] if len(rest) % 2 else None
    inputs = F.linear(x, w_ih, b_ih)
    outputs: list[Tensor] = []
    for t in reversed(range(x.shape[1])) if backward else range(x.shape[1]):
        state = step(inputs[:, t], F.linear(state[0], w_hh, b_hh), state)
        state = state if projection is None else (F.linear(state[0], projection), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backward else outputs, 1), state


_STEPS: dict[str, Step] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": partial(_rnn, activation=torch.tanh),
    "rnn_relu": partial(_rnn, activation=torch.relu),
}
#: torch function -> the same made of linear products
RECURRENT: dict[Callable[..., Any], Callable[..., Any]] = {
    getattr(torch, name): partial(_layers, step) for name, step in _STEPS.items()
} | {getattr(torch, f"{name}_cell"): partial(_cell, step) for name, step in _STEPS.items()}
