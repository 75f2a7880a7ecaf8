"""Exact wires as ratios to a sparse direct solve of the same circuits, measured in the same run on one thread.

    python benchmarks/wires.py [--rounds 7]

The yardstick is what one would write with scipy: nodal equations assembled from arrays, factored once by SuperLU
(MMD_AT_PLUS_A, symmetric mode) and solved for all right-hand sides. For the tiles of a chip it is the path in torch,
which is used without numba, and the time is also given over one plain float32 product of torch. Each figure is the
ratio of the shortest of several runs, the two in turn, in processor time, which other programs on the machine disturb
little. The whole controller is timed on its own, on two threads, by the clock on the wall.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import splu
from threadpoolctl import threadpool_limits

import imc_sim as imc
from imc_sim import _rng

R_OHM = 1.0
LRS_S, HRS_S = 1e-4, 1e-6
#: 128 x 128 tiles of `batmann_5w1s_xnor` in column pairs
TILES = 86
WIRES = imc.array.Wires(kind="nodal", r_row_ohm=R_OHM, r_col_ohm=R_OHM)
Row = tuple[str, float, float, float]


def direct(G: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Currents [vectors, cols] of cells G [rows, cols] for voltages V [vectors, rows], by one sparse factorisation.

    Unknowns: the word-line node of every cell, then the bit-line node of every cell.
    """
    rows, cols = G.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit, g = word + word.size, 1.0 / R_OHM
    pairs = ((word, bit, G.ravel()), (word[:, :-1], word[:, 1:], g), (bit[:-1], bit[1:], g))
    a = np.concatenate([p[0].ravel() for p in pairs])
    b = np.concatenate([p[1].ravel() for p in pairs])
    branch = np.concatenate([np.broadcast_to(p[2], p[0].size) for p in pairs])
    count = 2 * word.size
    diagonal = np.bincount(a, branch, count) + np.bincount(b, branch, count)
    diagonal[word[:, 0]] += g  # each driver behind one segment
    diagonal[bit[-1]] += g  # each sense node likewise
    every = np.arange(count)
    entries = np.concatenate([-branch, -branch, diagonal])
    at = np.concatenate([a, b, every]), np.concatenate([b, a, every])
    matrix = sparse.csc_matrix((entries, at), shape=(count, count))
    source = np.zeros((count, len(V)))
    source[word[:, 0]] = g * V.T
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return g * factors.solve(source)[bit[-1]].T


def cells(size: int) -> np.ndarray:
    """Return cells sampled as half LRS, half HRS."""
    return np.where(np.random.default_rng(size).random((size, size)) < 0.5, LRS_S, HRS_S)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compared(ours: Callable[[], object], yardstick: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the shortest reference time over ours, and the latter in s; eight runs of ours per reference."""
    ours()
    mine = theirs = float("inf")
    for _ in range(rounds):
        theirs = min(theirs, seconds(yardstick))
        mine = min(mine, *(seconds(ours) for _ in range(8)))
    return theirs / mine, mine


def matrices(rounds: int) -> Iterator[Row]:
    """The whole M of one tile: the direct solve has as many right-hand sides as rows."""
    for size in (64, 128):
        G = cells(size)
        tile, V = torch.from_numpy(G), np.eye(size)

        def ours(tile: torch.Tensor = tile) -> torch.Tensor:
            return imc.array.effective_conductance(tile, R_OHM, R_OHM)

        assert np.abs(ours().numpy() / direct(G, V) - 1).max() < 1e-9
        yield f"M of one {size} x {size} tile, float64", *compared(ours, lambda: direct(G, V), rounds), 4.0  # noqa: B023


def tiles(rounds: int) -> Iterator[Row]:
    """M of the 86 tiles of a controller, compiled, over the same in torch."""
    chip = torch.from_numpy(np.stack([cells(128)] * TILES))

    def ours() -> torch.Tensor:
        return imc.array.effective_conductance(chip, R_OHM, R_OHM)

    def in_torch() -> torch.Tensor:
        compiled, _rng.compiled = _rng.compiled, lambda: False
        try:
            return ours()
        finally:
            _rng.compiled = compiled

    if _rng.compiled():
        assert (ours() / in_torch() - 1).abs().max() < 1e-12
        yield f"M of {TILES} tiles of 128 x 128, over torch", *compared(ours, in_torch, rounds), 5.0
    x, w = torch.rand(2048, 1152), torch.rand(1152, 512)
    share, _ = compared(lambda: torch.mm(x, w), ours, rounds)
    print(f"M of {TILES} tiles takes {share:.1f} plain products of 2048 x 1152 x 512 in float32")


def vectors(rounds: int) -> Iterator[Row]:
    """A few inputs on a large array, to 1e-8 of the largest current."""
    G = cells(512)
    V = np.random.default_rng(1).random((8, 512))
    array, inputs = torch.from_numpy(G), torch.from_numpy(V)

    def ours() -> torch.Tensor:
        return imc.array.solve_currents(array, inputs, WIRES).currents

    exact = direct(G, V)
    assert np.abs(ours().numpy() - exact).max() < 1e-8 * np.abs(exact).max()
    yield "8 inputs on 512 x 512 cells, to 1e-8", *compared(ours, lambda: direct(G, V), min(rounds, 3)), 20.0


def controller() -> float:
    """Seconds to map a trained controller onto tiles of 128 x 128 with exact wires, and to run 16 images: one chip."""
    torch.set_num_threads(2)
    model = imc.load_model("batmann_5w1s_xnor")
    chip = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.1)
    for key, value in (("tile.rows", 128), ("tile.cols", 128), ("policy.float", "crossbar")):
        chip = chip.replace(key, value)
    chip = chip.replace("wires", WIRES.to_dict())
    images = torch.randn(16, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    started = time.perf_counter()
    with torch.no_grad():
        imc.map_model(model, chip, chips=1, seed=0)(images)
    return time.perf_counter() - started


def main() -> int:
    """Print the table; exit 1 if a ratio is below its limit or the controller takes 30 s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="pairs per figure")
    rounds = parser.parse_args().rounds
    print(f"one thread, torch {torch.__version__}, cells {LRS_S:g} / {HRS_S:g} S, wires {R_OHM:g} ohm per pitch")
    print(f"{'work':<44}{'ms':>9}{'times faster':>14}{'at least':>10}")
    failed = False
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for part in (matrices, tiles, vectors):
            for label, times, best, limit in part(rounds):
                print(f"{label:<44}{best * 1e3:9.2f}{times:14.1f}{limit:10.0f}", flush=True)
                failed |= times < limit
    took = controller()
    print(f"controller on 128 x 128 tiles, one chip, two threads: {took:.1f} s (at most 30)")
    return int(failed or took >= 30.0)


if __name__ == "__main__":
    raise SystemExit(main())
