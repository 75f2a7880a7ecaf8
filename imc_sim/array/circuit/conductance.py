"""Wires of a crossbar as an effective conductance: paid once at programming, nothing per input.

With linear cells the circuit of cells and wires is linear, so the currents that the sense nodes collect are
currents = v @ M with a matrix M that depends on the cells and the wires alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imc_sim._threads import one_thread
from imc_sim.array.circuit.inputs import Array, cells, patterns
from imc_sim.array.circuit.lines import Lines, bit_lines, word_lines
from imc_sim.array.circuit.merge import nodal_inverse, transfer_conductance
from imc_sim.array.circuit.wires import Wires
from imc_sim.config import build

#: numbers held at once for word lines (or bit lines) that are single nodes
_NUMBERS_AT_ONCE = 2**23


def effective_conductance(
    G: Array,
    r_row_ohm: float = 0.0,
    r_col_ohm: float = 0.0,
    *,
    r_source_ohm: float = 0.0,
    r_sense_ohm: float = 0.0,
    drive: str = "single",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """M [*, rows, cols] in S of the exact circuit of cells G [*, rows, cols] in S: currents = v @ M.

    v [*, rows] are the drivers' voltages, every row driven; currents [*, cols] flow into virtual ground.
    The circuit is the one of `Wires` (kind nodal). A resistance of zero is exact, and without any M is G.
    Exact to rounding: float64 within 2e-13 of each entry, float32 within 1e-5 (both of up to 512 x 512 cells).
    O(n^3) for n x n cells; arrays are independent. No gradient.

    dtype: float32 or float64 to compute in, G's own by default. Raises InputError for cells that are negative
    or not finite, and for resistances out of range.
    """
    values = {"r_row_ohm": r_row_ohm, "r_col_ohm": r_col_ohm, "r_source_ohm": r_source_ohm, "r_sense_ohm": r_sense_ohm}
    numbers = {name: float(x) for name, x in values.items()}
    wires = build(Wires, {"kind": "nodal", "drive": drive, **numbers}, where="effective_conductance")
    return wired_conductance(cells(G, "effective_conductance", dtype), wires)


def column_conductance(
    G: Array, r_col_ohm: float, *, r_sense_ohm: float = 0.0, dtype: torch.dtype | None = None
) -> Tensor:
    """M [*, rows, cols] in S of `columns`, the field's approximation: resistance in the bit lines alone.

    The ladder itself is solved exactly. Against the whole circuit it leaves out the drop along word lines. With half
    the cells at 250 uS, half at 25 uS and every row driven, the currents are off by 10 % (rms) on 64 x 64 cells at
    0.5 ohm, by 19 % at 1 ohm, and by 55 % on 128 x 128 at 1 ohm. Source: CIM-Explorer, arXiv 2505.14303.
    """
    numbers = {"r_col_ohm": float(r_col_ohm), "r_sense_ohm": float(r_sense_ohm)}
    wires = build(Wires, {"kind": "columns", **numbers}, where="column_conductance")
    return wired_conductance(cells(G, "column_conductance", dtype), wires)


@torch.no_grad()
@one_thread()
def wired_conductance(G: Tensor, wires: Wires) -> Tensor:
    """M [*, rows, cols] in S of cells G [*, rows, cols] in S, every row driven. G itself for ideal wires."""
    if wires.is_ideal:
        return G
    flat = G.reshape(-1, *G.shape[-2:])
    if wires.r_row_ohm > 0.0 and wires.r_col_ohm > 0.0:
        return transfer_conductance(flat, wires).reshape(G.shape)
    return _without_one_resistance(flat.permute(1, 2, 0)[..., None], wires)[..., 0].permute(2, 0, 1).reshape(G.shape)


@torch.no_grad()
def gated_conductance(G: Array, gates: Array, wires: Wires) -> Tensor:
    """M [*, patterns, rows, cols] in S for gate patterns [patterns, rows] of a 1T1R array G [*, rows, cols], exact.

    A row whose gate is off is open: it carries nothing, its cells load no bit line, and its row of M is 0. One
    circuit per pattern; for more patterns than that pays for, see `approximate_gating`.
    """
    g = cells(G, "gated_conductance")
    s = patterns(gates, g, "gated_conductance")
    return wired_conductance(g[..., None, :, :] * s[:, :, None], wires)


# -- one direction without resistance --------------------------------------------------------------------


def _without_one_resistance(g: Tensor, wires: Wires) -> Tensor:
    """M [rows, cols, batch, 1] of cells g [rows, cols, batch, 1] with r_row_ohm, r_col_ohm or both zero."""
    turned = g.transpose(0, 1)
    words, bits = word_lines(turned, wires), bit_lines(g, wires)
    if words.fixed:
        return g * bits.driven(torch.ones_like(g[0]), len(g))
    if bits.fixed:
        return g * words.driven(torch.ones_like(turned[0]), len(turned)).transpose(0, 1)
    if words.lumped:
        return _single_nodes(g, words, bits)
    return _single_nodes(turned, bits, words).transpose(0, 1)


def _single_nodes(g: Tensor, nodes: Lines, across: Lines) -> Tensor:
    """M [k, l, batch, 1] of k lines without resistance behind a series resistance, crossed by l ladders.

    g [k, l, batch, 1]. With the ladders taken out, the k nodes see `linked` [batch, k, k] among each other, `out`
    to the ladders' far ends and their own series conductance.
    """
    k, series = len(g), nodes.first + nodes.last
    out = (g * across.driven(torch.ones_like(g[0]), k)).permute(2, 3, 0, 1)[:, 0]
    linked = g.new_empty(g.shape[2], k, k)
    step = max(1, _NUMBERS_AT_ONCE // g.numel())
    for start in range(0, k, step):
        own = torch.arange(start, min(start + step, k), device=g.device)
        current = g.new_zeros(*g.shape[:3], len(own))
        current[own, :, :, own - start] = g[own, ..., 0]
        linked[:, :, start : start + step] = across.solve(current).mul_(g).sum(1).transpose(0, 1)
    return (series * nodal_inverse(linked, out.sum(-1) + series) @ out).permute(1, 2, 0)[..., None]
