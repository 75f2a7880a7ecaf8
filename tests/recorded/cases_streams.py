"""Recorded random numbers, quantile tables, compiled kernels, statistics and texts that all packages use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim._quantiles import masses, normal_quantiles, probabilities
from imc_sim._quantities import with_unit
from imc_sim._rng import Address, Stream, blocks, chip_numbers
from imc_sim._stats import Sample, band, band_label, chip_interval, class_error, mean_interval, wilson
from imc_sim.array import InputBytes
from imc_sim.device._pair_law import differences
from tests.recorded.cases_array import numbers
from tests.recorded.short import short


def record_streams() -> dict[str, Any]:
    stream, found = Stream(3, "layer", "stage"), {}
    for chip, epoch, block in ((0, 0, 0), (2, 0, 0), (0, 5, 0), (1, 2, 7)):
        address = (chip, epoch, block)
        found[f"{address}"] = [
            stream.words(37, *address), stream.columns(37, *address), stream.normal(37, *address),
            stream.uniform(21, *address), *stream.start(*address), stream.order(15, chip, epoch),
        ]  # fmt: skip
    tails = Stream(1, "", "tails").columns(400_000, 1, 2, 3)
    outer = np.flatnonzero(tails >= 65536)
    found["tails"] = [outer.tolist(), tails[outer].tolist()]
    found["other"] = [
        Stream(s, name, stage).words(9, 1) for s, name, stage in ((4, "a", "b"), (4, "b", "a"), (5, "a", "b"))
    ]
    found["address"] = [Address(2, "x", 1, 4).stream(3, "read").normal(5, 1), [blocks(n) for n in (0, 1, 16, 17)]]
    found["chips"] = [list(chip_numbers(3, "")), list(chip_numbers(range(2, 6, 2), ""))]
    short_table = numbers(1, 3 * len(probabilities())).numpy().reshape(3, -1)
    rows = (np.arange(50) % 3).astype(np.int32)
    units = np.round(numbers(2, 7, 9).numpy()).clip(-2, 2)
    found["small counts"] = [stream.entries(short_table, rows, 1, 2), *stream.signed(short_table, units, 2, 1)]
    return short(found)


def record_compiled() -> dict[str, Any]:
    """Large counts, which numba computes in one pass where it is installed: rows that begin within a block."""
    pytest.importorskip("numba")
    table = numbers(1, 3 * len(probabilities())).numpy().reshape(3, -1)
    stream, found = Stream(6, "big", "kernel"), {}
    for n, m in ((140, 508), (700, 101), (129, 1019)):
        units = np.round(numbers(n, n, m).numpy()).clip(-2, 2).astype(np.float32)
        pair = stream.differences(np.round(table * 2**12).astype(np.int16), units, 1, 2)
        each = list(stream.signed(table, units, 2, 3)) if units.size >= 2**17 else []
        assert pair is not None
        found[f"{n} x {m}"] = [pair[0], pair[1], pair[0][-1], pair[0][:, -1], *each]
    rows = (np.arange(140_001) * 7 % 3).astype(np.int32)
    found["entries"] = [stream.entries(table, rows, 0, 1), stream.normal(140_001, 1, 2, 5)]
    found["bytes"] = _bytes()
    return short(found)


def _bytes() -> list[Any]:
    """Return whether inputs fit bytes, and the bytes of those that do."""
    found: list[Any] = []
    cases = ([-127.0, 127.0], [-128.0, 1.0], [128.0, 0.0], [1.0, -1.0], [-2.0, 0.0], [2.0, 0.0], [0.5, 1.0])
    for values in cases:
        x = torch.tensor([values, [0.0, 1.0], [-1.0, 0.0]])
        for squares in (False, True):
            held = InputBytes.of_rows(x, squares)
            count = x.numel() * (1 + squares)
            found.append(None if held is None else [held.offset, held.data[:count], held.inputs, held.plane])
    images = InputBytes.of_images(torch.ones(2, 5, 6, 3), 3, 2)
    assert images is not None
    found.append(
        [images.count, images.run, images.run_pitch, *images.pixels, *images.pitches, images.places(np.arange(27))]
    )
    return found


def record_quantiles() -> dict[str, Any]:
    table = torch.from_numpy(
        np.stack([normal_quantiles() * s + c for s, c in ((0.1, 0.0), (0.3, 1.0), (0.0, 2.0))])
    ).double()
    law = differences(table)
    return short({
        "probabilities": probabilities()[::997],
        "masses": [masses()[[0, 1, 65535, 65536, 73727]], float(masses().sum())],
        "normal": [normal_quantiles()[::997], normal_quantiles()[65536::511]],
        "differences": [law[k, ::997] for k in range(3)] + [law[:, 65536::511]],
    })  # fmt: skip


def record_statistics() -> dict[str, Any]:
    values = np.array([0.25, 0.5, 0.75, 1.0, 0.5, 0.5, 0.25, 0.0, 1.0, 0.75])
    classes = np.random.Generator(np.random.Philox(2)).integers(0, 18, (10, 2))
    found: dict[str, Any] = {}
    for of in ("images", "episodes"):
        for given in (None, classes):
            sample = Sample.over(of, values, given)
            assert sample is not None
            found[f"{of}, {given is not None}"] = [
                sample.to_dict(), sample.interval(0.55), sample.interval(1.0, 0.8), sample.class_interval(0.55)
            ]  # fmt: skip
    found["one value"] = str(Sample.over("images", [0.5]))
    found["wilson"] = [
        wilson(m, e, n, f) for m, e, n, f in ((0.3, 0.02, 50, None), (0.0, 0.0, 20, 5), (1.0, 0.0, 7, None))
    ]
    found["classes"] = [class_error(values, classes % k) for k in (3, 18)]
    found["mean"] = [mean_interval(values, 0.9), mean_interval([0.5])]
    each = ([0.5, 0.6, 0.9], [0.7, 0.7, 0.7], [0.4], [0.1, 0.99])
    found["chips"] = [chip_interval(a, vary) for a in each for vary in (True, False)]
    found["band"] = [band(values), band(np.arange(40) / 40), band([0.3])]
    counts = ([1], [5], [18, 19], [19], [30, 40], [3, 7])
    found["labels"] = [band_label(c, named) for c in counts for named in (True, False)]
    numbers_ = (0.0, 9.994e-16, 1e-15, 1.2345e-9, 9.996e-7, 0.0123, 999.4, 999.6, 1e6, -3e-6, 5e12)
    found["units"] = [with_unit(v, "J", d) for v in numbers_ for d in (2, 3)]
    found["areas"] = [with_unit(3.2e-6, "m2"), with_unit(None, "J")]
    return {k: short(v) for k, v in found.items() if not (isinstance(v, float) and math.isnan(v))}
