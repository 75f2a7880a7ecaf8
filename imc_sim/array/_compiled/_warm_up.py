"""Compilation of all kernels in one call."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from imc_sim import _rng
from imc_sim.array._chip import load_chip
from imc_sim.array._compiled import _product
from imc_sim.array._compiled._signs import signs
from imc_sim.array._crossbar import Crossbar
from imc_sim.array.circuit.conductance import effective_conductance


@dataclass(frozen=True)
class Compilation:
    """Report a compilation.

    Attributes:
        fresh: whether something was compiled now; otherwise all was loaded.
        seconds: time that it took.
        folder: folder of the compiled code; None without one.
    """

    fresh: bool
    seconds: float
    folder: str | None


def compile_kernels() -> Compilation | None:
    """Compile all kernels with numba, or load them from disk.

    It takes about 15 seconds of one core once per installation; small crossbars are programmed and read.

    Returns:
        A report; None without numba.
    """
    if not _rng.compiled():
        return None
    functions = _functions()
    before, started = _misses(functions), time.perf_counter()
    _work()
    return Compilation(_misses(functions) > before, time.perf_counter() - started, functions[0].stats.cache_path)


def _work() -> None:
    """Call every compiled function; the sizes are the smallest for which torch does not compute instead."""
    w = torch.ones(256, 256)
    chip = load_chip("rram_hfo2_1t1r").replace("compute", "int8").replace("device.programming.sigma", 0.1)
    Crossbar.program(w, chip).mvm(w[:16])
    Crossbar.program(w, chip.replace("device.faults.stuck_lrs", 0.1)).mvm(w[:16])
    Crossbar.program(w, chip.replace("device.levels", 64)).mvm(w[:16])
    Crossbar.program(torch.ones(512, 256), chip.replace("draws", "pairs"))
    Crossbar.program(w, chip.replace("device.read.telegraph", {"probability": 0.1, "amplitude": 0.1})).mvm(w[:16])
    _rng.Stream(0, "", "").normal(2**17, 0)
    signs(w)
    effective_conductance(w[:5, :5], 1.0, 1.0)


def _misses(functions: list[Any]) -> int:
    """Return the number of functions that were requested and not on disk."""
    return sum(sum(function.stats.cache_misses.values()) for function in functions)


def _functions() -> list[Any]:
    """Return the functions that numba keeps on disk."""
    from imc_sim import _philox
    from imc_sim.array._compiled import _dissection, _packing, _traps

    found: list[Any] = [_philox.pairs_in_pool, _philox.entries_in_pool, _philox.quantiles_in_pool]
    found += [_philox.signed_in_pool, _packing.to_multiples_in_pool, _traps.changes_in_pool]
    found.append(_packing.to_signs_in_pool)
    found.append(_dissection.conductances_in_pool)
    if _product.why_not() is None:
        from imc_sim.array._compiled import _kernel

        found += [_kernel.run_in_pool, _packing.pack_in_pool, _packing.to_bytes_in_pool]
    return found
