"""Counter-based random numbers, addressed by (seed, chip, layer, stage) and a position.

A number depends only on its address: more chips, other batches, another order or more workers change no other number.
Philox generates 16-bit uniform words. Normal numbers are looked up in a table of 65,536 quantiles, which is five times
faster than the ziggurat method and can start at any position. The words 0 and 65,535 take a second word, at the same
place of a second plane of the stream, that divides the tails further: see `imc_sim._quantiles`.

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011 (Philox 4x64).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError, check_whole, shown_value
from imc_sim._quantiles import PARTS, TAIL, WIDTH, normal_quantiles
from imc_sim._threads import parallel_for

#: 16-bit words in one Philox block of four 64-bit numbers; positions are given in whole blocks.
BLOCK = 16
#: chips of one call at most
MOST_CHIPS = 1_000_000
#: below this count, loading compiled code takes longer than it saves
_LARGE = 2**17
#: time that compiled code takes per number, roughly
_SECONDS = 1e-9
_BELOW_ONE = np.float32(1.0 - 2.0**-24)


@functools.cache
def compiled() -> bool:
    """Tell whether numba is installed: it generates large counts in one compiled pass, with the same numbers."""
    return importlib.util.find_spec("numba") is not None


@functools.lru_cache(maxsize=4096, typed=True)  # True is no seed, though it equals 1
def _key(seed: int, layer: str, stage: str) -> tuple[int, int]:
    check_seed(seed, "random numbers")
    name = hashlib.sha256(f"{layer}\0{stage}".encode("utf-8", "surrogatepass")).digest()[:16]
    entropy = [seed, *np.frombuffer(name, dtype=np.uint32).tolist()]
    low, high = np.random.SeedSequence(entropy).generate_state(2, np.uint64)
    return int(low), int(high)


@dataclass(frozen=True)
class Stream:
    """The random numbers of one stage of one layer. `seed` >= 0; `layer` and `stage` are names."""

    seed: int
    layer: str
    stage: str

    def words(self, count: int, chip: int, epoch: int = 0, block: int = 0) -> NDArray[np.uint16]:
        """Return `count` uniform 16-bit words of a chip and a programming epoch, from `block` on."""
        counter, key = self.start(chip, epoch, block)
        bits = np.random.Philox(key=key, counter=counter)
        return bits.random_raw(-(-count // 4)).view(np.uint16)[:count]

    def columns(self, count: int, chip: int, epoch: int = 0, block: int = 0) -> NDArray[np.int32]:
        """Return `count` columns of a quantile table: the words, and for words 0 and 65,535 a column of the tails."""
        words = self.words(count, chip, epoch, block)
        found = words.astype(np.int32)
        outermost = np.flatnonzero(words + np.uint16(1) < 2)  # 65,535 + 1 is 0 in 16 bits
        for place in outermost.tolist():
            counter, key = self.start(chip, epoch, block + place // BLOCK)
            counter[3] += np.uint64(1)  # the second plane
            second = np.random.Philox(key=key, counter=counter).random_raw(4).view(np.uint16)[place % BLOCK]
            found[place] = PARTS + TAIL * bool(words[place]) + (int(second) >> 4)
        return found

    def entries(
        self, table: NDArray[np.float32], rows: NDArray[np.int32], chip: int, epoch: int = 0
    ) -> NDArray[np.float32]:
        """Return entry (rows[i], column i) of a table [*, WIDTH] for every row: [n].

        With numba, large counts take one compiled pass; the columns are the same.
        """
        if len(rows) < _LARGE or not compiled():
            return table.reshape(-1).take(rows * WIDTH + self.columns(len(rows), chip, epoch))
        from imc_sim._philox import DRAWS, entries, entries_in_pool

        out = np.empty(len(rows), np.float32)
        arguments = (table.reshape(-1), rows, *self.start(chip, epoch), out)
        parallel_for(entries, entries_in_pool, arguments, len(rows), len(rows) * _SECONDS, DRAWS)
        return out

    def differences(
        self, table: NDArray[Any], units: NDArray[np.float32], chip: int, epoch: int = 0
    ) -> tuple[NDArray[Any], int] | None:
        """Return entries of the positive parts of units [n, m] minus those of the negative parts: [n, m].

        Also return the largest magnitude. The table [*, WIDTH] and the result are whole numbers of 16 or 32 bits,
        whose differences must fit. Words are those of rows in the order [n, 2, m]. None where the count is
        small or numba is not installed.
        """
        if 2 * units.size < _LARGE or not compiled():
            return None
        from imc_sim._philox import pairs, pairs_in_pool

        out, tops = np.empty(units.shape, table.dtype), np.empty(len(units), np.int32)
        arguments = (table.reshape(-1), units, *self.start(chip, epoch), out, tops)
        parallel_for(pairs, pairs_in_pool, arguments, len(units), 2 * units.size * _SECONDS)
        return out, int(tops.max())

    def signed(
        self, table: NDArray[Any], units: NDArray[Any], chip: int, epoch: int = 0
    ) -> tuple[NDArray[Any], float]:  # fmt: skip
        """Return entry (|unit|, column i) of a table [*, WIDTH] with the sign of the unit, for units [n, m]: [n, m].

        Also return the largest magnitude. With numba, large counts take one compiled pass; the numbers are the same.
        """
        if table.dtype == np.float32 and units.size >= _LARGE and compiled():
            from imc_sim._philox import signed, signed_in_pool

            out, tops = np.empty(units.shape, np.float32), np.empty(len(units), np.float32)
            arguments = (table.reshape(-1), units, *self.start(chip, epoch), out, tops)
            parallel_for(signed, signed_in_pool, arguments, len(units), units.size * _SECONDS)
            return out, float(tops.max())
        rows = np.abs(units).astype(np.int32).reshape(-1)
        found = table.reshape(-1).take(rows * WIDTH + self.columns(len(rows), chip, epoch)).reshape(units.shape)
        return np.where(units < 0, -found, found), float(np.abs(found).max())

    def start(self, chip: int, epoch: int = 0, block: int = 0) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return counter [4] and key [2] of Philox before block `block` of the stream."""
        if not isinstance(self.seed, int):
            check_seed(self.seed, "random numbers")  # others need not be hashable
        key = np.array(_key(self.seed, self.layer, self.stage), dtype=np.uint64)
        try:
            return np.array([*map(index, (block, epoch, chip)), 0], dtype=np.uint64), key
        except (TypeError, OverflowError) as error:
            got, step = f"chip {shown_value(chip)}, epoch {shown_value(epoch)}", "Set another chip or epoch."
            raise InputError("random numbers", got, "whole numbers from 0 to 2^64 - 1", step) from error

    def order(self, count: int, chip: int = 0, epoch: int = 0) -> NDArray[np.int64]:
        """Return a random permutation of 0 to count - 1, [count]: the order of 64-bit numbers of the stream."""
        return np.argsort(self.words(4 * count, chip, epoch).view(np.uint64), kind="stable")

    def normal(self, count: int, chip: int, epoch: int = 0, block: int = 0) -> NDArray[np.float32]:
        """Return `count` standard normal numbers. With numba, large counts take one compiled pass."""
        if count >= _LARGE and compiled():
            from imc_sim._philox import DRAWS, quantiles, quantiles_in_pool

            out = np.empty(count, np.float32)
            arguments = (normal_quantiles(), *self.start(chip, epoch, block), out)
            parallel_for(quantiles, quantiles_in_pool, arguments, count, count * _SECONDS, DRAWS)
            return out
        return normal_quantiles().take(self.columns(count, chip, epoch, block))

    def uniform(self, count: int, chip: int, epoch: int = 0, block: int = 0) -> NDArray[np.float32]:
        """Return `count` uniform numbers in (0, 1) with 24 bits; each takes two words."""
        words = self.words(2 * count, chip, epoch, block).view(np.uint32)
        found = ((words >> np.uint32(8)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-24)
        return np.minimum(found, _BELOW_ONE, out=found)  # in float32, the largest word plus 0.5 rounds to 2^24


class Address(NamedTuple):
    """Address of the random numbers of one layer of one chip: equal addresses give equal cells.

    epoch: programming epoch, the number of a (re)programming of the same cells. `Device` methods take it unpacked.
    """

    seed: int
    layer: str
    chip: int
    epoch: int = 0

    def stream(self, tile: int, stage: str) -> Stream:
        """Return the stream of one stage of one row of tiles, for example read noise."""
        return Stream(self.seed, f"{self.layer}/{tile}", stage)


def chip_numbers(chips: int | range, where: str) -> range:
    """Return the numbers of `chips` chips (a count, or the range of numbers itself).

    Raises:
        InputError: where there is no chip, a million and more, or a number below 0.
    """
    if not isinstance(chips, (int, np.integer, range)) or isinstance(chips, bool):
        got = shown_value(chips)
        raise InputError(f"{where}, chips", got, "a whole number, or a range of numbers", "Set the chips.")
    numbers = chips if isinstance(chips, range) else range(chips)
    count = len(numbers[: MOST_CHIPS + 1])  # of a huge range there is no length
    if not 1 <= count <= MOST_CHIPS:
        allowed = f"1 to {MOST_CHIPS:,} chips"
        raise InputError(f"{where}, chips", shown_value(chips), allowed, "Set the number of chips.")
    if min(numbers[0], numbers[-1]) < 0:
        raise InputError(f"{where}, chips", chips, "chip numbers of 0 or more", "Count the chips from 0.")
    return numbers


def check_seed(seed: int, where: str) -> None:
    """Raise InputError unless `seed` is a whole number of 0 or more."""
    check_whole(seed, f"{where}, seed", step="Set another seed.")


def check_address(seed: int, epoch: int, where: str) -> None:
    """Raise InputError unless seed and programming epoch are whole numbers of 0 or more."""
    check_seed(seed, where)
    check_whole(epoch, f"{where}, epoch")


def blocks(count: int) -> int:
    """Return the number of whole blocks that `count` words occupy."""
    return -(-count // BLOCK)
