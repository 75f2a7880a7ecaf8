"""Wire resistance as an effective conductance, computed once at programming.

With linear cells the circuit of cells and wires is linear, so that currents = v @ M with a matrix M that depends on the
cells and the wires alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._threads import one_thread
from imc_sim.array.circuit.inputs import Array, cells, patterns
from imc_sim.array.circuit.lines import Lines, bit_lines, word_lines
from imc_sim.array.circuit.merge import nodal_inverse, transfer_conductance
from imc_sim.array.circuit.wires import Wires
from imc_sim.config import build

#: numbers that are held together for word lines (or bit lines) that are single nodes
_NUMBERS_AT_ONCE = 2**23


@checked
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
    """Return the effective conductance M of the exact circuit: currents = v @ M.

    v [*, rows] are the drivers' voltages, every row driven; currents [*, cols] flow into virtual ground. The circuit is
    that of `Wires` with kind nodal. A resistance of zero is exact; if all are zero, M is G. The error of each entry is
    at most 2e-13 in float64 and 1e-5 in float32, relative, for up to 512 x 512 cells. It takes O(n^3) for n x n cells;
    arrays are independent. There is no gradient.

    Args:
        G: conductances of the cells [*, rows, cols].
        r_row_ohm: resistance of a word line per cell.
        r_col_ohm: resistance of a bit line per cell.
        r_source_ohm: resistance of the driver at each driven end of a word line.
        r_sense_ohm: resistance of the sense node at the lower end of a bit line.
        drive: `single` or `double`, ends of a word line that are driven.
        dtype: float32 or float64, of the result; None: that of G. Compiled code computes in float64.

    Returns:
        M [*, rows, cols].

    Units:
        Conductances in S, resistances in ohm.

    Raises:
        InputError: for cells that are negative or not finite, and for resistances out of range.
    """
    values = {"r_row_ohm": r_row_ohm, "r_col_ohm": r_col_ohm, "r_source_ohm": r_source_ohm, "r_sense_ohm": r_sense_ohm}
    numbers = {name: float(x) for name, x in values.items()}
    wires = build(Wires, {"kind": "nodal", "drive": drive, **numbers}, where="effective_conductance")
    return wired_conductance(cells(G, "effective_conductance", dtype), wires)


@checked
def column_conductance(
    G: Array, r_col_ohm: float, *, r_sense_ohm: float = 0.0, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the effective conductance M [*, rows, cols] with resistance in the bit lines alone (kind `columns`).

    Bit lines are solved exactly; the IR drop along word lines is left out. With half the cells at 250 uS, half at 25 uS
    and every row driven, the rms error of the currents is 10 % on 64 x 64 cells at 0.5 ohm, 19 % at 1 ohm, and 55 % on
    128 x 128 cells at 1 ohm.

    Args:
        G: conductances of the cells [*, rows, cols].
        r_col_ohm: resistance of a bit line per cell.
        r_sense_ohm: resistance of the sense node at the lower end of a bit line.
        dtype: float32 or float64 to compute in; None: that of G.

    Units:
        Conductances in S, resistances in ohm.

    Reference:
        CIM-Explorer, arXiv 2505.14303.
    """
    numbers = {"r_col_ohm": float(r_col_ohm), "r_sense_ohm": float(r_sense_ohm)}
    wires = build(Wires, {"kind": "columns", **numbers}, where="column_conductance")
    return wired_conductance(cells(G, "column_conductance", dtype), wires)


@torch.no_grad()
def wired_conductance(G: Tensor, wires: Wires) -> Tensor:
    """Return M [*, rows, cols] in S with every row driven; G itself for ideal wires.

    Args:
        G: cells [*, rows, cols] in S.
        wires: resistances.
    """
    if wires.is_ideal:
        return G
    flat = G.reshape(-1, *G.shape[-2:])
    if wires.r_row_ohm > 0.0 and wires.r_col_ohm > 0.0:
        return transfer_conductance(flat, wires).reshape(G.shape)
    return _without_one_resistance(flat.permute(1, 2, 0)[..., None], wires)[..., 0].permute(2, 0, 1).reshape(G.shape)


@checked
@torch.no_grad()
def gated_conductance(G: Array, gates: Array, wires: Wires) -> Tensor:
    """Return M [*, patterns, rows, cols] in S of a 1T1R array for patterns of gates, exact.

    A row whose gate is off is open: its cells load no bit line, and its row of M is 0. Every pattern is a circuit to be
    solved; for many patterns see `approximate_gating`.

    Args:
        G: cells [*, rows, cols] in S.
        gates: [patterns, rows] of 0 (off) and 1 (on).
        wires: resistances.
    """
    g = cells(G, "gated_conductance")
    s = patterns(gates, g, "gated_conductance")
    return wired_conductance(g[..., None, :, :] * s[:, :, None], wires)


# -- one direction without resistance --------------------------------------------------------------------


@one_thread()
def _without_one_resistance(g: Tensor, wires: Wires) -> Tensor:
    """Return M [rows, cols, batch, 1] of cells g of this shape where r_row_ohm, r_col_ohm or both are zero."""
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
    """Return M [k, l, batch, 1] of k lines without resistance behind a series resistance, crossed by l ladders.

    g [k, l, batch, 1]. With the ladders eliminated, the k nodes have conductances `linked` [batch, k, k] between each
    other, `out` to the ladders' far ends, and their series conductance.
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
