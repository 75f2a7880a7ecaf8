"""Compiling once what numba compiles at its first use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from imc_sim import _rng
from imc_sim.array._chip import load_chip
from imc_sim.array._compiled import _product
from imc_sim.array._crossbar import Crossbar


@dataclass(frozen=True)
class Compilation:
    """fresh: something was compiled just now, in so many seconds; else all was there. folder: where, if at all."""

    fresh: bool
    seconds: float
    folder: str | None


def compile_kernels() -> Compilation | None:
    """Let numba compile all that this package has for it, or load what it has kept; None without numba.

    About ten seconds of one core, once an installation; a small crossbar is programmed and read on the way.
    """
    if not _rng.compiled():
        return None
    functions = _functions()
    before, started = _misses(functions), time.perf_counter()
    _work()
    return Compilation(_misses(functions) > before, time.perf_counter() - started, functions[0].stats.cache_path)


def _work() -> None:
    """The least that reaches every compiled function; sizes are those below which torch computes."""
    w = torch.ones(256, 256)
    chip = load_chip("rram_hfo2_1t1r").replace("compute", "int8").replace("device.programming.sigma", 0.1)
    Crossbar.program(w, chip).mvm(w[:16])
    Crossbar.program(w, chip.replace("device.faults.stuck_lrs", 0.1))
    Crossbar.program(torch.ones(512, 256), chip.replace("draws", "pairs"))
    Crossbar.program(w, chip.replace("device.read.telegraph", {"probability": 0.1, "amplitude": 0.1})).mvm(w[:16])
    _rng.Stream(0, "", "").normal(2**17, 0)


def _misses(functions: list[Any]) -> int:
    """How often something was asked for that had not been kept."""
    return sum(sum(function.stats.cache_misses.values()) for function in functions)


def _functions() -> list[Any]:
    """What is kept, one after the other."""
    from imc_sim import _philox
    from imc_sim.array._compiled import _packing, _traps

    found: list[Any] = [_philox.pairs_in_pool, _philox.entries_in_pool, _philox.quantiles_in_pool]
    found += [_philox.signed_in_pool, _packing.to_multiples_in_pool, _traps.changes_in_pool]
    if _product.why_not() is None:
        from imc_sim.array._compiled import _kernel

        found += [_kernel.run_in_pool, _packing.pack_in_pool, _packing.to_bytes_in_pool]
    return found
