"""Compiled loops on several threads: every part once, on the thread pool or on Python threads, with equal results."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from imc_sim import _rng, _threads
from imc_sim._quantiles import WIDTH
from imc_sim._rng import Stream
from imc_sim._threads import parallel_for

pytest.importorskip("numba")

from numba import njit

from imc_sim._thread_pool import in_thread_pool


@njit(nogil=True)
def mark(seen, ends, begin, end) -> None:
    """Count one more visit of every place, and where each part ends."""
    ends[begin] = end
    for i in range(begin, end):
        seen[i] += 1


@njit(nogil=True)
def mark_in_pool(arguments, schedule) -> bool:
    return in_thread_pool(mark, arguments, schedule)  # type: ignore[call-arg]  # numba passes the first one


@njit(nogil=True)
def fail(limit, begin, end) -> None:
    if end > limit:
        raise ValueError("beyond")


@njit(nogil=True)
def fail_in_pool(arguments, schedule) -> bool:
    return in_thread_pool(fail, arguments, schedule)  # type: ignore[call-arg]


@pytest.fixture(params=["thread pool", "Python threads"])
def threads_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the test on both kinds of threads; torch has three."""
    if request.param == "thread pool" and _threads._openmp() is None:
        pytest.skip("torch computes with another OpenMP than GNU's")
    if request.param != "thread pool":
        monkeypatch.setattr(_threads, "_openmp", lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1001])
@pytest.mark.parametrize("multiple", [1, 6, 64])
def test_every_place_is_visited_once(threads_of: str, count: int, multiple: int) -> None:
    seen, ends = np.zeros(count, np.int64), np.zeros(count, np.int64)
    parallel_for(mark, mark_in_pool, (seen, ends), count, 1.0, multiple)
    assert (seen == 1).all()
    begins = np.flatnonzero(ends)
    assert (begins % multiple == 0).all()
    assert len(begins) == min(3, -(-count // multiple))
    assert [*ends[begins]] == [*begins[1:], count]


def test_short_work_stays_on_one_thread(threads_of: str) -> None:
    for seconds, parts in ((1e-6, 1), (1.0, 3)):
        seen, ends = np.zeros(90, np.int64), np.zeros(90, np.int64)
        parallel_for(mark, mark_in_pool, (seen, ends), 90, seconds)
        assert np.count_nonzero(ends) == parts


@pytest.mark.skipif(_threads._openmp() is None, reason="torch computes with another OpenMP than GNU's")
def test_fewer_threads_than_parts_compute_all() -> None:
    """OpenMP may give fewer threads than requested; those compute every part."""
    seen, ends = np.zeros(50, np.int64), np.zeros(50, np.int64)
    assert not mark_in_pool((seen, ends), (50, 7, 1, *(_threads._openmp() or ())))
    assert (seen == 1).all()
    assert np.count_nonzero(ends) == 8


def test_a_failure_raises(threads_of: str) -> None:
    parallel_for(fail, fail_in_pool, (90,), 90, 1.0)
    with pytest.raises(MemoryError if threads_of == "thread pool" else ValueError):
        parallel_for(fail, fail_in_pool, (89,), 90, 1.0)


@pytest.mark.parametrize("shape", [(7, 5), (70, 24), (1, 1), (330, 1030)])
def test_random_numbers_on_three_threads_equal_those_on_one(
    threads_of: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rng, "_LARGE", 1)
    monkeypatch.setattr(_rng, "compiled", lambda: True)
    table = np.random.default_rng(0).random((4, WIDTH)).astype(np.float32)
    units = np.random.default_rng(1).integers(-3, 4, shape).astype(np.float32)
    rows, stream = np.abs(units).astype(np.int32).reshape(-1), Stream(7, "layer", "programming")
    made = []
    for least in (0.0, 1.0):
        monkeypatch.setattr(_threads, "_LEAST_S", least)
        monkeypatch.setattr(_threads, "_LEAST_PYTHON_S", least)
        found = stream.differences(table, units, chip=3, epoch=2)
        assert found is not None
        made.append((*found, stream.entries(table, rows, 3, 2), stream.normal(rows.size, 3, 2, block=9)))
    for one, other in itertools.pairwise(made):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
