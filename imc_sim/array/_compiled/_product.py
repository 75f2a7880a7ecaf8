"""Products of whole-number inputs with whole-number contrasts in one compiled pass, read noise and converters included.

Contrasts are whole multiples of a power of two, and inputs of -1, 0 and 1, or of a few bits, whole numbers: so is
every sum, and below 2^24 float32 holds it exactly. The kernel is used where that is certain. Its results are then
equal to the bit to those of the tile-by-tile path of `Sensing`, which is its oracle, and which takes its place where
numba or the processor's instructions are missing.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._rng import normal_quantiles
from imc_sim._threads import parallel_for
from imc_sim.array._compiled import COLUMNS
from imc_sim.array._converter import Quantiser
from imc_sim.array._programmed_weights import ProgrammedWeights

#: sums that float32 holds exactly
_EXACT = 2**24
#: the largest whole number of one word and of two; the upper of two is rounded and has 8 bits itself
_LARGEST = {1: 127, 2: 32639}
#: seconds, about, of turning one input into a byte, and of packing one contrast
_BYTE_S, _PACKED_S = 1e-10, 4e-10
_NOTHING = np.empty(0, np.float32)
#: bytes behind the last input that a group of four may reach
_SLACK = 64


@functools.cache
def why_not() -> str | None:
    """Why the compiled kernel cannot be used here; None where it can."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed: pip install 'imc-sim[fast]'"
    from imc_sim.array._compiled import _kernel

    return None if _kernel.supported() else "the processor has no AVX-512 VNNI, or numba may not use it"


# -- inputs --------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class InputBytes:
    """Vectors of whole-number inputs as bytes: each a shifted view of an image, or a row of a matrix.

    data: uint8, every input plus `offset`. count: vectors, of so many inputs. run: inputs that lie side by side;
    run_pitch: bytes from one run of a vector to its next. pixels: vectors of an image and of one of its lines.
    pitches: bytes from image to image, line to line, vector to vector. plane: bytes from an input to its square.
    """

    data: Tensor
    offset: int
    count: int
    inputs: int
    run: int
    run_pitch: int
    pixels: tuple[int, int]
    pitches: tuple[int, int, int]
    plane: int

    @classmethod
    def of_rows(cls, x: Tensor, squares: bool = False) -> InputBytes | None:
        """Of x [n, in]; None where an input is no whole number from -127 to 127 (-1 to 1 with squares)."""
        n, inputs = x.shape
        data, offset = _bytes(x.contiguous(), squares)
        if data is None:
            return None
        return cls(data, offset, n, inputs, inputs, inputs, (1, 1), (inputs, 0, 0), x.numel())

    @classmethod
    def of_images(cls, images: Tensor, kernel: int, stride: int, squares: bool = False) -> InputBytes | None:
        """Of the patches of padded images [b, H, W, C], pixel after pixel; their entries by row, column, channel."""
        b, height, width, channels = images.shape
        data, offset = _bytes(images.contiguous(), squares)
        if data is None:
            return None
        lines, columns = ((n - kernel) // stride + 1 for n in (height, width))
        pitches = (height * width * channels, stride * width * channels, stride * channels)
        count, inputs, run = b * lines * columns, kernel * kernel * channels, kernel * channels
        pixels = (lines * columns, columns)
        return cls(data, offset, count, inputs, run, width * channels, pixels, pitches, images.numel())

    def places(self, firsts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes from a vector's start to its input of each number; squares count on behind the inputs."""
        plane, number = np.divmod(firsts, self.inputs)
        line, within = np.divmod(number, self.run)
        return plane * self.plane + line * self.run_pitch + within


def _bytes(x: Tensor, squares: bool) -> tuple[Tensor | None, int]:
    """(x plus an offset as bytes, behind it the same of the squares where they are wanted; the offset)."""
    out = torch.empty((1 + squares) * x.numel() + _SLACK, dtype=torch.uint8)
    flat, room = x.reshape(-1).numpy(), out.numpy()
    for top, offset in ((1, 1),) if squares else ((1, 1), (127, 128)):
        if _converted(flat, offset, top, room):
            if squares:
                _converted(np.square(flat), offset, top, room[len(flat) :])
            return out, offset
    return None, 0


def _converted(x: NDArray[np.float32], offset: int, top: int, out: NDArray[np.uint8]) -> bool:
    """out = x + offset as bytes; whether every x is a whole number from -top to top."""
    from imc_sim.array._compiled._packing import to_bytes, to_bytes_in_pool

    wrong = np.zeros(1, np.bool_)
    parallel_for(to_bytes, to_bytes_in_pool, (x, offset, top, out, wrong), len(x), len(x) * _BYTE_S)
    return not wrong[0]


# -- contrasts -----------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Packed:
    """One chip's contrasts as the kernel takes them.

    weights: int8, by tile, panel of columns, word and group of four inputs. firsts: [groups] the number of the first
    input of each; squares count on behind the inputs. starts: [tiles + 1] first group of each tile. sums: [tiles,
    columns] int32 of whole numbers, columns padded to panels. unit: what 1 stands for, in window / steps. bound: the
    largest sum of magnitudes of a column on one tile.
    """

    weights: Tensor
    firsts: NDArray[np.int64]
    starts: NDArray[np.int64]
    sums: NDArray[np.int32]
    unit: float
    words: int
    bound: int
    columns: int

    @classmethod
    def of(cls, weights: ProgrammedWeights, run: int) -> Packed | None:
        """None where contrasts are no multiples of the unit of the weights, or have more than 16 bits.

        run: inputs that lie side by side in memory; see `InputBytes`.
        """
        tiles = weights.linear
        if weights.square is not None:
            tiles = tuple(torch.cat(both, 1) for both in zip(tiles, weights.square, strict=True))
        layout = _layout(tuple(t.shape[1] for t in weights.linear), run, weights.square is not None)
        each = (cls._in_words(words, tiles, layout, weights.unit) for words in _LARGEST)
        return next((packed for packed in each if packed is not None), None)

    @classmethod
    def _in_words(cls, words: int, tiles: tuple[Tensor, ...], layout: _Layout, unit: float) -> Packed | None:
        """None where a contrast does not fit so many words."""
        from imc_sim.array._compiled._packing import pack, pack_in_pool

        columns, starts = tiles[0].shape[0], layout.starts
        padded = -(-columns // COLUMNS) * COLUMNS
        weights = torch.zeros(4 * int(starts[-1]) * words * padded, dtype=torch.int8)
        sums, bound, place = np.zeros((len(tiles), padded), np.int32), 0, 4 * words * padded
        for t, (tile, slots) in enumerate(zip(tiles, layout.slots, strict=True)):
            part, groups = weights.numpy()[starts[t] * place : starts[t + 1] * place], int(starts[t + 1] - starts[t])
            bounds = np.zeros(columns, np.int32)
            arguments = (tile.numpy(), unit, slots, groups, words, _LARGEST[words], part, sums[t], bounds)
            parallel_for(pack, pack_in_pool, arguments, columns, tile.numel() * _PACKED_S, COLUMNS)
            if bounds.min() < 0:
                return None
            bound = max(bound, int(bounds.max()))
        return cls(weights, layout.firsts, starts, sums, unit, words, bound, columns)


@dataclass(frozen=True)
class _Layout:
    """firsts, starts: as of `Packed`. slots: of each tile, the place of every input among the fours of its groups."""

    firsts: NDArray[np.int64]
    starts: NDArray[np.int64]
    slots: tuple[NDArray[np.int64], ...]


@functools.lru_cache(maxsize=64)
def _layout(inputs: tuple[int, ...], run: int, squares: bool) -> _Layout:
    """Of tiles with so many inputs, and their squares behind them where wanted."""
    edges = np.cumsum([0, *inputs]).tolist()
    each = [_groups(start, stop, run) for start, stop in itertools.pairwise(edges)]
    if squares:
        each = [(np.append(f, f + edges[-1]), np.append(s, s + 4 * len(f))) for f, s in each]
    starts = np.cumsum([0, *(len(firsts) for firsts, _ in each)], dtype=np.int64)
    return _Layout(np.concatenate([firsts for firsts, _ in each]), starts, tuple(slots for _, slots in each))


def _groups(start: int, stop: int, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs start … stop in groups of four neighbours that do not straddle runs.

    Returns the first input of each group, and the place of every input among all groups' fours.
    """
    numbers = np.arange(start, stop)
    edges = np.maximum(numbers // run * run, start)
    pieces, lengths = np.unique(edges, return_counts=True)
    count = -(-lengths // 4)
    before = np.cumsum(count) - count
    firsts = np.concatenate([p + 4 * np.arange(n) for p, n in zip(pieces, count, strict=True)])
    return firsts, 4 * np.repeat(before, lengths) + numbers - edges


# -- products ------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Noise:
    """Read noise of every sum: std [tiles, columns] float32, in window / steps, times normal numbers.

    counter: of all tiles' streams; keys: [tiles, 2]. reads: vectors of one read, and words from one read to the next.
    """

    std: Tensor
    counter: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    reads: tuple[int, int]


@dataclass(frozen=True)
class _Transfer:
    """What becomes of a tile's sums, as the kernel takes it; see its `run`."""

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]
    codes: NDArray[np.float32]
    last: NDArray[np.float32]
    mode: int

    @classmethod
    def of(cls, packed: Packed, quantisers: list[Quantiser] | None, gain: float, constant: Tensor | None) -> _Transfer:
        from imc_sim.array._compiled import _kernel as kernel

        tiles = len(packed.sums)
        shift, scale = np.zeros(packed.sums.shape, np.float32), np.empty(tiles, np.float32)
        codes, last, mode = np.zeros((tiles, 4), np.float32), np.zeros(2, np.float32), kernel.SUM
        if quantisers is not None:
            same = all(q == quantisers[0] for q in quantisers)
            mode = kernel.CODES if same else kernel.VALUES
            last[:] = quantisers[0].step, len(quantisers) * quantisers[0].base
        for t in range(tiles):
            factor, offset = gain, None if constant is None else constant[t] * gain
            if quantisers is not None:
                q = quantisers[t]
                codes[t] = q.lowest, q.highest, q.step, q.base
                factor, offset = q.scaled(torch.float32, gain, offset)
            scale[t] = np.float32(factor) * np.float32(packed.unit)
            shift[t, : packed.columns] = 0.0 if offset is None else offset
        return cls(shift, scale, codes, last, mode)


def multiply(
    packed: Packed, drives: InputBytes, quantisers: list[Quantiser] | None, gain: float, constant: Tensor | None,
    noise: Noise | None = None,
) -> Tensor | None:  # fmt: skip
    """Sums of every vector over all tiles, each converted: [vectors, columns]; None where they may not be exact.

    gain, constant [tiles, columns]: what the converter sees is gain * (sum + noise + constant). Without quantisers
    that is what is added up.
    """
    from imc_sim.array._compiled import _kernel as kernel

    if packed.bound * (1 if drives.offset == 1 else 127) > _EXACT:
        return None
    to = _Transfer.of(packed, quantisers, gain, constant)
    count = -(-drives.count // kernel.ROWS) * kernel.ROWS
    out = torch.empty(count, packed.sums.shape[1], dtype=torch.float32)
    sums = packed.sums * np.int32(-drives.offset)
    arguments = (
        drives.data.numpy(), out.numpy(), packed.weights.numpy(), drives.places(packed.firsts), packed.starts, sums,
        to.shift, to.scale, to.codes, to.last, drives.pixels, drives.pitches, to.mode, packed.words,
        *_noise(packed, noise), (drives.count, packed.columns),
    )  # fmt: skip
    parallel_for(kernel.run, kernel.run_in_pool, arguments, count, _seconds(packed, count, noise), kernel.ROWS)
    return out[: drives.count, : packed.columns]


def _seconds(packed: Packed, vectors: int, noise: Noise | None) -> float:
    """About what a product takes on one thread."""
    each = len(packed.weights) * 3e-12 + (0.0 if noise is None else packed.sums.size * 1e-9)
    return vectors * each


def _noise(packed: Packed, noise: Noise | None) -> tuple[Any, ...]:
    """Arguments of the kernel's `run` that say what noise there is."""
    if noise is None:
        return np.empty((0, 0), np.float32), _NOTHING, np.empty(4, np.uint64), np.empty((0, 2), np.uint64), (1, 0)
    std = np.zeros(packed.sums.shape, np.float32)
    std[:, : packed.columns] = noise.std.numpy() / np.float32(packed.unit)
    return std, normal_quantiles(), noise.counter, noise.keys, noise.reads
