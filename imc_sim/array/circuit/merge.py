"""The effective conductance of crossbars with wires, by merging blocks of cells.

Nested dissection without a sparse matrix. A block of rows x columns cells is a network between its ports: the
upper (T) and lower (B) ends of its bit lines and the left (L) and right (R) ends of its word lines. Blocks of
up to 4 x 4 cells are reduced by the star-mesh transform, all in one pass. Neighbours are then joined, always along the
shorter side, by eliminating the line ends that they share: O(n^3) for an n x n array, in batched dense products, where
block elimination along the columns needs O(n^4).

A network holds only the conductances between its ports. Its diagonal, minus their sum, is formed where it is needed, so
that nothing is subtracted: every entry of the result has a small relative error, however small the wires' resistance.

Reference: Grassmann, Taksar and Heyman, Oper. Res. 33, 1985; O'Cinneide, Numer. Math. 65, 1993 (on Markov chains).
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from imc_sim import _rng
from imc_sim._threads import one_thread, parallel_for
from imc_sim.array.circuit.dissection import dissection
from imc_sim.array.circuit.leaves import Network, leaves
from imc_sim.array.circuit.wires import Wires

#: cells that are merged together, so that the networks of a level fit a CPU's cache, or a part of a GPU's memory
_CELLS_AT_ONCE, _CELLS_AT_ONCE_GPU = 2**14, 2**21
#: approximate seconds that a cell takes in compiled code
_CELL_S = 1e-7


def transfer_conductance(G: Tensor, wires: Wires) -> Tensor:
    """Return M [batch, rows, cols] of arrays whose word lines and bit lines both have resistance.

    Args:
        G: cells [batch, rows, cols] in S.
        wires: resistances.
    """
    if G.device.type == "cpu" and _rng.compiled():
        return _compiled(G, wires)
    limit = _CELLS_AT_ONCE if G.device.type == "cpu" else _CELLS_AT_ONCE_GPU
    with one_thread():
        parts = [_merge_all(part, wires) for part in G.split(max(1, limit // (G.shape[1] * G.shape[2])))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _compiled(G: Tensor, wires: Wires) -> Tensor:
    """Return M from one compiled pass per array, in float64."""
    from imc_sim.array._compiled._dissection import conductances, conductances_in_pool

    (count, rows, cols), double = G.shape, wires.drive == "double"
    # With two drivers, their segments at the far end are those of a column without cells.
    along_row = np.full(cols + double, 1.0 / wires.r_row_ohm)
    along_row[[0, -1] if double else 0] = 1.0 / (wires.r_row_ohm + wires.r_source_ohm)
    along_col = np.full(rows, 1.0 / wires.r_col_ohm)
    along_col[-1] = 1.0 / (wires.r_col_ohm + wires.r_sense_ohm)
    plan, out = dissection(rows, cols + double, double), torch.empty(G.shape, dtype=torch.float64)
    cells = torch.nn.functional.pad(G, (0, int(double))).double().contiguous()
    arguments = cells.numpy(), along_row, along_col, out.numpy(), plan.sizes, plan.last, plan.tables
    parallel_for(conductances, conductances_in_pool, arguments, count, G.numel() * _CELL_S)
    return out.to(G.dtype)


def nodal_inverse(between: Tensor, outwards: Tensor) -> Tensor:
    """Return the inverse [*, n, n] of the nodal matrix of n nodes, resistances in ohm.

    Args:
        between: conductances between the nodes [*, n, n], overwritten; its diagonal is ignored.
        outwards: conductances from the nodes to all others [*, n].
    """
    diagonal = between.diagonal(0, -2, -1)
    diagonal.zero_()
    total = between.sum(-1).add_(outwards)
    between.neg_()
    diagonal.copy_(total)
    return torch.linalg.inv_ex(between).inverse


def _merge_all(G: Tensor, wires: Wires) -> Tensor:
    """Return M of a batch of arrays that are merged together."""
    _, rows, cols = G.shape
    padded_rows, leaf_rows, row_factors = _plan(rows)
    padded_cols, leaf_cols, col_factors = _plan(cols)
    spare_rows, spare_cols = padded_rows - rows, padded_cols - cols
    # Rows are added above the array, where bit lines are open: an open line end carries no current.
    G = torch.nn.functional.pad(G, (0, spare_cols, spare_rows, 0))
    along_row, far_end = _word_line(wires, cols, spare_cols)
    along_col = [1.0 / wires.r_col_ohm] * (padded_rows - 1) + [1.0 / (wires.r_col_ohm + wires.r_sense_ohm)]
    net = leaves(G, G.new_tensor(along_row), G.new_tensor(along_col), (leaf_rows, leaf_cols))
    net = _reduced(net, list(row_factors), list(col_factors), far_end)
    return net.vh[:, 0, 0, -1, :cols, 0, spare_rows:].mT


def _word_line(wires: Wires, cols: int, spare: int) -> tuple[list[float], float]:
    """Return the conductances in S of a word line's segments, left of each column, and from its right end to a driver.

    Spare columns have no cells: with one driver they are an open end, with two they are pieces of the last segment.
    """
    end, double = wires.r_row_ohm + wires.r_source_ohm, wires.drive == "double"
    segments = [1.0 / end] + [1.0 / wires.r_row_ohm] * (cols - 1)
    piece = (spare + 1) / end if double else 1.0 / wires.r_row_ohm
    return segments + [piece] * spare, piece if double else 0.0


@functools.cache
def _plan(size: int) -> tuple[int, int, tuple[int, ...]]:
    """Return (padded size, lines per leaf, number of blocks that each merge joins); no factor is above 5."""
    padded = size
    while True:
        leaf = next(k for k in (4, 3, 2, 1) if padded % k == 0)
        rest, factors = padded // leaf, []
        for prime in (5, 3, 2):
            while rest % prime == 0:
                factors.append(prime)
                rest //= prime
        if rest == 1:
            return padded, leaf, tuple(factors)
        padded += 1


def _reduced(net: Network, row_factors: list[int], col_factors: list[int], far_end: float) -> Network:
    """Return one block with the ports L and B alone. far_end: S from the right end of a word line to its driver."""
    if not row_factors:
        net = _close(net.turned, 0).turned
    if not col_factors:
        net = _close_right(net, far_end)
    while row_factors or col_factors:
        if col_factors and (net.cols <= net.rows or not row_factors):
            net = _join_columns(net, col_factors.pop(0), bool(row_factors), bool(col_factors), far_end)
        else:
            keep_hh = bool(col_factors) or far_end > 0.0
            net = _join_rows(net, row_factors.pop(0), bool(row_factors), keep_hh)
    return net


def _join_columns(net: Network, factor: int, more_rows: bool, more_cols: bool, far_end: float) -> Network:
    """Join blocks side by side; open right ends of word lines are eliminated first, which makes the last join cheap."""
    blocks = [net.every(2, k, factor) for k in range(factor)]
    if not more_cols and not far_end:
        blocks[-1] = _close(blocks[-1], 1)
    net = _folded(blocks, more_rows, more_cols or far_end > 0.0)
    return _close_right(net, far_end) if far_end and not more_cols else net


def _join_rows(net: Network, factor: int, more_rows: bool, keep_hh: bool) -> Network:
    """Join blocks one below the other; open upper ends of bit lines are eliminated first."""
    blocks = [net.every(1, k, factor).turned for k in range(factor)]
    if not more_rows:
        blocks[0] = _close(blocks[0], 0)
    return _folded(blocks, keep_hh, more_rows).turned


def _folded(blocks: list[Network], keep_vv: bool, keep_hh: bool) -> Network:
    """Join all blocks of a line, left to right. keep_*: whether a later step needs that part of the result."""
    net = blocks[0]
    for k, block in enumerate(blocks[1:], 2):
        net = _join(net, block, keep_vv, keep_hh or k < len(blocks))
    return net


def _join(left: Network, right: Network, keep_vv: bool, keep_hh: bool) -> Network:
    """Join two blocks: the last ends of the left one's word lines are the first ends of the right one's."""
    lead, (v, c1, h1, r) = left.vh.shape[:3], left.vh.shape[3:]
    c, h1, h = c1 + right.vh.shape[4], h1 - 1, h1 + right.vh.shape[5] - 2
    to_v = torch.cat([left.vh[..., -1, :], right.vh[..., 0, :]], -2).view(*lead, v * c, r)
    to_h = torch.cat([left.hh[..., :-1, :, -1, :].flatten(-3, -2), right.hh[..., 1:, :, 0, :].flatten(-3, -2)], -2)
    shared = left.hh[..., -1, :, -1, :] + right.hh[..., 0, :, 0, :]
    inverse = nodal_inverse(shared, to_v.sum(-2) + to_h.sum(-2))
    over_v = to_v @ inverse
    vh = (over_v @ to_h.mT).view(*lead, v, c, h, r)
    vh[..., :c1, :h1, :] += left.vh[..., :-1, :]
    vh[..., c1:, h1:, :] += right.vh[..., 1:, :]
    vv = hh = vh.new_empty(0)
    if keep_vv:
        vv = (over_v @ to_v.mT).view(*lead, v, c, v, c)
        vv[..., :c1, :, :c1] += left.vv
        vv[..., c1:, :, c1:] += right.vv
    if keep_hh:
        hh = ((to_h @ inverse) @ to_h.mT).view(*lead, h, r, h, r)
        hh[..., :h1, :, :h1, :] += left.hh[..., :-1, :, :-1, :]
        hh[..., h1:, :, h1:, :] += right.hh[..., 1:, :, 1:, :]
    return Network(vv, vh, hh)


def _close(net: Network, side: int) -> Network:
    """Eliminate the open ends of word lines on one side (0 L, 1 R)."""
    lead, (v, c, _, r) = net.vh.shape[:3], net.vh.shape[3:]
    other = slice(1 - side, 2 - side)
    to_v, to_h = net.vh[..., side, :].reshape(*lead, v * c, r), net.hh[..., 1 - side, :, side, :]
    inverse = nodal_inverse(net.hh[..., side, :, side, :].clone(), to_v.sum(-2) + to_h.sum(-2))
    over_v = to_v @ inverse
    vh = (over_v @ to_h.mT).view(*lead, v, c, 1, r) + net.vh[..., other, :]
    hh = ((to_h @ inverse) @ to_h.mT).view(*lead, 1, r, 1, r) + net.hh[..., other, :, other, :]
    vv = (over_v @ to_v.mT).view(net.vv.shape) + net.vv if net.vv.numel() else net.vv
    return Network(vv, vh, hh)


def _close_right(net: Network, far_end: float) -> Network:
    """Eliminate the right ends of word lines: open, or connected to the left end's driver through `far_end` S."""
    if far_end:
        hh = net.hh.clone()
        for a, b in ((0, 1), (1, 0)):
            hh[..., a, :, b, :].diagonal(0, -2, -1).add_(far_end)
        net = Network(net.vv, net.vh, hh)
    return _close(net, 1)
