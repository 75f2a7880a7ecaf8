"""Move states along d state / dt = rate(state, voltage) at a constant voltage, for cells in a tensor of any shape.

The rate is a function of the state alone while the voltage is held, so that the time between two states is an
integral: it is tabulated once per voltage and inverted for all cells, whatever the length of a pulse. The speed is
taken as exponential between nodes of y = ln((x - low) / (high - x)), which are close to each other at both ends,
where windows and compliance currents slow a state down. Accuracy: 1e-3 of the conductance, tested against an
integration at 1e-8; speeds are within 2e-4.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from imc_sim.device._finite import check_finite

#: Intervals of a table, a power of two; its nodes reach from -_END to _END in y, to 1.5e-8 of the range from its ends.
_INTERVALS, _END = 2048, 18.0
_STEP = 2.0 * _END / _INTERVALS
#: States further out in y than this are at the end.
_OUT = 40.0
#: Tables that are made in one go, which bounds the memory.
_TOGETHER = 256
#: Up to so many voltages, each one has a table that is kept: 33 kB.
_FEW = 4


class Motion(Protocol):
    """A state equation, hashable by value: d state / dt of states [*] at voltages, and the ends of the states."""

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor: ...

    @property
    def bounds(self) -> tuple[float, float]: ...


class _Table(NamedTuple):
    """Motion in y at each voltage. low, high, direction: [voltages, 1], the range in which states move, and where to.

    log_speed: ln |dy / dt| at the nodes [voltages, nodes]; time_s: when a state that moves up passes the nodes, counted
    from the fastest one, so that neither slow end rounds the other.
    """

    low: Tensor
    high: Tensor
    direction: Tensor
    log_speed: Tensor
    time_s: Tensor


def travel(motion: Motion, state: Tensor, v_V: Tensor, dt_s: Tensor) -> Tensor:
    """Return the states after dt_s at v_V, all of one shape. All states move in one direction at one voltage."""
    rate, (low, high) = motion.rate(state, v_V), motion.bounds
    moving = (dt_s > 0.0) & torch.where(state <= low, rate > 0.0, torch.where(state >= high, rate < 0.0, rate != 0.0))
    if not bool(moving.any()):
        return state
    volts, which = torch.unique(v_V[moving].double(), return_inverse=True)
    x, dt = state[moving].double(), dt_s[moving].double()
    for first in range(0, len(volts), _TOGETHER):
        here = (which >= first) & (which < first + _TOGETHER)
        table = _tables(motion, tuple(volts[first : first + _TOGETHER].tolist()))
        x[here] = _moved(table, x[here], which[here] - first, dt[here])
    moved = state.clone()
    moved[moving] = x.to(state.dtype)
    return moved


def _tables(motion: Motion, volts: tuple[float, ...]) -> _Table:
    """Return the table of these voltages. Those of a few are kept: pulses and sweeps repeat them."""
    if len(volts) > _FEW:
        return _table.__wrapped__(motion, volts)
    rows = [_table(motion, (v,)) for v in volts]
    return rows[0] if len(rows) == 1 else _Table(*(torch.cat(part) for part in zip(*rows, strict=True)))


@functools.lru_cache(maxsize=1024)
def _table(motion: Motion, volts: tuple[float, ...]) -> _Table:
    """Tabulate the motion at each of these voltages."""
    v = torch.tensor(volts, dtype=torch.float64)[:, None]
    y = torch.linspace(-_END, _END, _INTERVALS + 1, dtype=torch.float64)[None]
    low, high = (torch.full_like(v, end) for end in motion.bounds)
    share, slope = torch.sigmoid(y), torch.sigmoid(y) * torch.sigmoid(-y)
    speed = motion.rate(low + (high - low) * share, v)
    if not bool((speed != 0.0).all()):
        low, high = _moving_range(motion, low + (high - low) * share, speed != 0.0, v)
        speed = motion.rate(low + (high - low) * share, v)
    name = type(getattr(motion, "model", motion)).__name__
    check_finite(speed, f"switching model {name}, speed", "Reduce its voltages, exponents or speeds.")
    log_speed = (speed.abs() / ((high - low) * slope)).clamp(1e-200, 1e200).log()
    taken = _time(log_speed[:, :-1], log_speed.diff(dim=1) / _STEP, torch.full_like(y[:, 1:], _STEP))
    early, start = torch.arange(_INTERVALS) < log_speed.argmax(1, keepdim=True), torch.zeros_like(v)
    after = torch.cat([start, taken.masked_fill(early, 0.0).cumsum(1)], 1)
    before = torch.cat([taken.masked_fill(~early, 0.0).flip(1).cumsum(1).flip(1), start], 1)
    return _Table(low, high, torch.sign(speed.sum(1, keepdim=True)), log_speed, after - before)


def _moving_range(motion: Motion, nodes: Tensor, moves: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest state that moves, [voltages, 1], to 1e-6 of the distance of nodes [voltages, nodes]."""
    last, ends = nodes.shape[1] - 1, []
    for out, at in ((-1, moves.byte().argmax(1)), (1, last - moves.flip(1).byte().argmax(1))):
        inside = nodes.gather(1, at[:, None])
        outside = nodes.gather(1, (at[:, None] + out).clamp(0, last))
        for _ in range(4):
            steps = inside + (outside - inside) * torch.linspace(0, 1, 33, dtype=torch.float64)
            still = ((motion.rate(steps, v) != 0.0).cumprod(1).sum(1, keepdim=True) - 1).clamp(0, 31)
            inside, outside = steps.gather(1, still), steps.gather(1, still + 1)
        ends.append(inside)
    return ends[0], ends[1]


def _moved(table: _Table, x: Tensor, which: Tensor, dt_s: Tensor) -> Tensor:
    """States x [n] after dt_s, with row `which` of the table."""
    low, high = table.low[which, 0], table.high[which, 0]
    y = ((x - low).clamp_min(0.0).log() - (high - x).clamp_min(0.0).log()).clamp(-_OUT, _OUT)
    node = ((y + _END) / _STEP).floor().clamp(0, _INTERVALS - 1).long()
    log_speed, growth = _interval(table, which, node)
    time = table.time_s[which, node] + _time(log_speed, growth, y - (node * _STEP - _END))
    time = time + table.direction[which, 0] * dt_s
    node = _last_before(table.time_s, which, time)
    log_speed, growth = _interval(table, which, node)
    y = (node * _STEP - _END) + _distance(log_speed, growth, time - table.time_s[which, node])
    x = low + (high - low) * torch.sigmoid(y)
    return torch.where(y >= _OUT, high, torch.where(y <= -_OUT, low, x))


def _interval(table: _Table, which: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
    """Return ln of the speed at a node, and its growth per unit of y from there to the next one."""
    here = table.log_speed[which, node]
    return here, (table.log_speed[which, node + 1] - here) / _STEP


def _last_before(times: Tensor, which: Tensor, time: Tensor) -> Tensor:
    """Return the last node but one, or an earlier one, that row `which` of times passes by `time` [n]: bisection."""
    if len(times) == 1:
        return torch.searchsorted(times[0, 1:-1], time, right=True)
    node, step = torch.zeros_like(which), _INTERVALS // 2
    while step:
        node = torch.where(times[which, node + step] <= time, node + step, node)
        step //= 2
    return node


def _time(log_speed: Tensor, growth: Tensor, distance: Tensor) -> Tensor:
    """Time to go a distance in y where the speed grows exponentially."""
    u = -growth * distance
    mean = torch.where(u.abs() < 1e-8, 1.0, torch.expm1(u) / u)
    return (distance * mean * torch.exp(-log_speed)).clamp(-1e250, 1e250)


def _distance(log_speed: Tensor, growth: Tensor, time: Tensor) -> Tensor:
    """Distance in y after a time, the inverse of `_time`; infinite where the speed grows without bound before."""
    way = time * torch.exp(log_speed)
    u = growth * way
    mean = torch.where(u.abs() < 1e-8, 1.0, -torch.log1p(-u.clamp_max(1.0)) / u)
    return way * mean
