"""Products of whole-number inputs and weights in one compiled pass, with read noise and ADCs.

Programmed weights are whole multiples of a power of two, and inputs of -1, 0 and 1, or of a few bits, whole numbers: so
is every sum, and below 2^24 float32 holds it exactly. The kernel is used only where that is certain. Its results then
equal those of `TiledReadout` to the bit, which computes where numba or the processor's instructions are missing.
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
from imc_sim.array._whole_tiles import WholeTiles

#: sums that float32 holds exactly
_EXACT = 2**24
#: largest whole number by number of words; the upper one of two words is rounded and has 8 bits as well
_LARGEST = {1: 127, 2: 32639}
#: approximate seconds for converting one input into a byte, and for packing one weight
BYTE_S, _PACKED_S = 1e-10, 4e-10
_NOTHING = np.empty(0, np.float32)
#: bytes behind the last input that a group of four may reach, and bytes behind the weights that the matrix unit reads
SLACK, _BEHIND = 64, 64 * COLUMNS


@functools.cache
def why_not() -> str | None:
    """Return the reason why the compiled kernel cannot be used on this machine; None where it can."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed: pip install 'imc-sim[fast]'"
    from imc_sim.array._compiled import _byte_products

    return None if _byte_products.supported() else "the processor has neither AVX2 nor AVX-512, or numba may not use it"


def has_matrix_unit() -> bool:
    """Tell whether the kernel, which must be usable, multiplies on the processor's matrix unit (AMX)."""
    from imc_sim.array._compiled import _tiles

    return _tiles.usable()


def kernel_name() -> str:
    """Return the name of the compiled kernel, which must be usable: that of its instructions."""
    from imc_sim.array._compiled import _byte_products

    return "AMX" if has_matrix_unit() else "AVX-512 VNNI" if _byte_products.VNNI else "AVX2"


# -- inputs --------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class InputBytes:
    """Hold vectors of whole-number inputs as bytes, each a shifted view of an image, or a row of a matrix.

    Attributes:
        data: uint8, every input plus `offset`.
        offset: number that is added to an input.
        count: number of vectors.
        inputs: inputs of a vector.
        run: inputs that are contiguous.
        run_pitch: bytes from one run of a vector to its next.
        pixels: vectors of an image and of one of its lines.
        pitches: bytes from image to image, line to line, vector to vector.
        plane: bytes from an input to its square.
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
        """Return the rows of a matrix as bytes; None unless all are whole numbers from -127 to 127.

        Args:
            x: [n, in].
            squares: whether squares follow; inputs must then be from -1 to 1.
        """
        n, inputs = x.shape
        data, offset = _bytes(x.contiguous(), squares)
        if data is None:
            return None
        return cls(data, offset, n, inputs, inputs, inputs, (1, 1), (inputs, 0, 0), x.numel())

    @classmethod
    def of_signs(cls, x: Tensor, data: Tensor) -> InputBytes:
        """Return vectors of signs as bytes.

        Args:
            x: signs [n, in].
            data: the bytes, as `signs` returns them.
        """
        n, inputs = x.shape
        return cls(data, 1, n, inputs, inputs, inputs, (1, 1), (inputs, 0, 0), x.numel())

    @classmethod
    def of_images(cls, images: Tensor, kernel: int, stride: int, squares: bool = False) -> InputBytes | None:
        """Return the patches of images as bytes, pixel after pixel; None where `of_rows` returns None.

        Args:
            images: padded images [b, H, W, C]; entries of a patch are ordered by row, column, channel.
            kernel: size of the kernel.
            stride: stride of the convolution.
            squares: as in `of_rows`.
        """
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
        """Return the bytes from a vector's start to some of its inputs.

        Args:
            firsts: numbers of the inputs; those of squares follow the inputs.
        """
        plane, number = np.divmod(firsts, self.inputs)
        line, within = np.divmod(number, self.run)
        return plane * self.plane + line * self.run_pitch + within


def _bytes(x: Tensor, squares: bool) -> tuple[Tensor | None, int]:
    """Return (x plus an offset as bytes, followed by its squares if needed; the offset)."""
    out = torch.empty((1 + squares) * x.numel() + SLACK, dtype=torch.uint8)
    flat, buffer = x.reshape(-1).numpy(), out.numpy()
    for top, offset in ((1, 1),) if squares else ((1, 1), (127, 128)):
        if _converted(flat, offset, top, buffer):
            if squares:
                _converted(np.square(flat), offset, top, buffer[len(flat) :])
            return out, offset
    return None, 0


def _converted(x: NDArray[np.float32], offset: int, top: int, out: NDArray[np.uint8]) -> bool:
    """Write x + offset as bytes to out; return whether every x is a whole number from -top to top."""
    from imc_sim.array._compiled._packing import to_bytes, to_bytes_in_pool

    wrong = np.zeros(1, np.bool_)
    parallel_for(to_bytes, to_bytes_in_pool, (x, offset, top, out, wrong), len(x), len(x) * BYTE_S)
    return not wrong[0]


# -- weights -------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Packed:
    """Hold one chip's programmed weights in the layout of the kernel.

    weights: int8, by tile, panel of columns, word and group of four inputs. firsts: [groups], number of the first input
    of each; those of squares follow the inputs. starts: [tiles + 1], first group of each tile. sums: [tiles, columns]
    int32 of whole numbers, columns padded to panels. unit: value of 1 in window / steps. bound: largest sum of
    magnitudes of a column on one tile.
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
        """Pack weights; None where they are not multiples of their unit, or have more than 16 bits.

        run: inputs that are contiguous in memory; see `InputBytes`.
        """
        source = _Source.of(weights)
        layout = _layout(source.inputs, run, weights.square is not None)
        each = (cls._in_words(words, source, layout, weights.unit) for words in _LARGEST)
        return next((packed for packed in each if packed is not None), None)

    @classmethod
    def _in_words(cls, words: int, source: _Source, layout: _Layout, unit: float) -> Packed | None:
        """Pack weights into a number of words; None where a weight or a sum of 32 bits does not fit."""
        from imc_sim.array._compiled._packing import pack, pack_in_pool

        top, most = _LARGEST[words], max(map(len, layout.slots))
        if source.largest > top or most * top >= 2**31:
            return None
        tiles, columns, starts = source.tiles, source.tiles[0].shape[0], layout.starts
        padded = -(-columns // COLUMNS) * COLUMNS
        size = 4 * int(starts[-1]) * words * padded
        weights = torch.empty(size + _BEHIND, dtype=torch.int8)[:size]
        sums, bound, place = np.zeros((len(tiles), padded), np.int32), 0, 4 * words * padded
        for t, (tile, first, slots) in enumerate(zip(tiles, source.firsts, layout.slots, strict=True)):
            part, groups = weights.numpy()[starts[t] * place : starts[t + 1] * place], int(starts[t + 1] - starts[t])
            bounds = np.zeros(columns, np.int32)
            arguments = (tile, first, source.unit, source.rounds, slots, groups, words, top, part, sums[t], bounds)
            parallel_for(pack, pack_in_pool, arguments, padded, columns * len(slots) * _PACKED_S, COLUMNS)
            if bounds.min() < 0:
                return None
            bound = max(bound, int(bounds.max()))
        return cls(weights, layout.firsts, starts, sums, unit, words, bound, columns)


@dataclass(frozen=True)
class _Source:
    """Hold arrays [columns, *] with the weights of each row of tiles, for `pack`.

    firsts: column of an array at which its tile begins. inputs: of each tile, without squares. largest: largest whole
    number, 0 if unknown. unit and rounds are those of `pack`.
    """

    tiles: list[NDArray[Any]]
    firsts: list[int]
    inputs: tuple[int, ...]
    largest: int
    unit: float
    rounds: bool

    @classmethod
    def of(cls, weights: ProgrammedWeights) -> _Source:
        """Return the arrays of programmed weights, as whole numbers where they are held so."""
        tiles = weights.linear
        if isinstance(tiles, WholeTiles):
            ends = [rows.indices(tiles.whole.shape[1])[:2] for rows in tiles.rows]
            inputs, firsts = tuple(stop - start for start, stop in ends), [start for start, _ in ends]
            return cls(
                [tiles.whole] * len(ends), firsts, inputs, round(tiles.largest / tiles.step), float(tiles.step), True
            )
        inputs = tuple(tile.shape[1] for tile in tiles)
        if weights.square is not None:
            tiles = [torch.cat(both, 1) for both in zip(tiles, weights.square, strict=True)]
        return cls([tile.numpy() for tile in tiles], [0] * len(tiles), inputs, 0, weights.unit, False)


@dataclass(frozen=True)
class _Layout:
    """Hold firsts and starts as `Packed` does. slots: for each tile, the place of every input in its groups of four."""

    firsts: NDArray[np.int64]
    starts: NDArray[np.int64]
    slots: tuple[NDArray[np.int64], ...]


@functools.lru_cache(maxsize=64)
def _layout(inputs: tuple[int, ...], run: int, squares: bool) -> _Layout:
    """Return the layout of tiles with these numbers of inputs, followed by their squares if needed."""
    edges = np.cumsum([0, *inputs]).tolist()
    each = [_groups(start, stop, run) for start, stop in itertools.pairwise(edges)]
    if squares:
        each = [(np.append(f, f + edges[-1]), np.append(s, s + 4 * len(f))) for f, s in each]
    starts = np.cumsum([0, *(len(firsts) for firsts, _ in each)], dtype=np.int64)
    return _Layout(np.concatenate([firsts for firsts, _ in each]), starts, tuple(slots for _, slots in each))


def _groups(start: int, stop: int, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide inputs start … stop into groups of four neighbours within a run.

    Return the first input of each group, and the place of every input in all groups of four.
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
    """Hold the read noise of every sum: std [tiles, columns] float32, in window / steps, times normal numbers.

    counter: counter of all tiles' streams. keys: their keys [tiles, 2]. reads: vectors of one read, and words from one
    read to the next.
    """

    std: Tensor
    counter: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    reads: tuple[int, int]


@dataclass(frozen=True)
class _Transfer:
    """Hold the conversion of a tile's sums as arguments of the kernel; see `run`."""

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]
    codes: NDArray[np.float32]
    last: NDArray[np.float32]
    mode: int

    @classmethod
    def of(cls, packed: Packed, quantisers: list[Quantiser] | None, gain: float, constant: Tensor | None) -> _Transfer:
        """Return the conversion of gain * (sum + constant) by these ADCs; arguments as in `multiply`."""
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
    packed: Packed, inputs: InputBytes, quantisers: list[Quantiser] | None, gain: float, constant: Tensor | None,
    noise: Noise | None = None,
) -> Tensor | None:  # fmt: skip
    """Return the converted sums of every vector, added over all tiles: [vectors, columns]; None if they can be inexact.

    The input of an ADC is gain * (sum + noise + constant), with constant [tiles, columns]. Without quantisers these are
    added.
    """
    from imc_sim.array._compiled import _kernel as kernel

    if packed.bound * (1 if inputs.offset == 1 else 127) > _EXACT:
        return None
    to = _Transfer.of(packed, quantisers, gain, constant)
    count = -(-inputs.count // kernel.ROWS) * kernel.ROWS
    out = torch.empty(count, packed.sums.shape[1], dtype=torch.float32)
    sums = packed.sums * np.int32(-inputs.offset)
    arguments = (
        inputs.data.numpy(), out.numpy(), packed.weights.numpy(), inputs.places(packed.firsts), packed.starts, sums,
        to.shift, to.scale, to.codes, to.last, inputs.pixels, inputs.pitches, to.mode, packed.words,
        *_noise(packed, noise), (inputs.count, packed.columns), _width(packed), int(inputs.offset == 1),
    )  # fmt: skip
    parallel_for(kernel.run, kernel.run_in_pool, arguments, count, _seconds(packed, count, noise), kernel.ROWS)
    return out[: inputs.count, : packed.columns]


def _width(packed: Packed) -> int:
    """Return the bytes of a tile's inputs in whole registers of the matrix unit; 0 where it does not multiply."""
    from imc_sim.array._compiled import _kernel as kernel
    from imc_sim.array._compiled import _tiles

    width = -(-4 * int(np.diff(packed.starts).max()) // _tiles.INPUTS) * _tiles.INPUTS
    return width if width <= kernel.WIDEST and has_matrix_unit() else 0


def _seconds(packed: Packed, vectors: int, noise: Noise | None) -> float:
    """Return the approximate seconds of a product on one thread."""
    each = len(packed.weights) * 3e-12 + (0.0 if noise is None else packed.sums.size * 1e-9)
    return vectors * each


def _noise(packed: Packed, noise: Noise | None) -> tuple[Any, ...]:
    """Return the arguments of the kernel's `run` for the noise."""
    if noise is None:
        return np.empty((0, 0), np.float32), _NOTHING, np.empty(4, np.uint64), np.empty((0, 2), np.uint64), (1, 0)
    std = np.zeros(packed.sums.shape, np.float32)
    std[:, : packed.columns] = noise.std.numpy() / np.float32(packed.unit)
    return std, normal_quantiles(), noise.counter, noise.keys, noise.reads
