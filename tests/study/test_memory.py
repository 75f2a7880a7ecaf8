"""Memory of a study: estimated before it starts, compared with the machine, never stored as a failure."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from imc_sim import InputError
from imc_sim._errors import ResultsWarning
from imc_sim._memory import Memory, OutOfMemoryError, is_out_of_memory, memory_of_machine, within_memory
from imc_sim.evaluate import evaluate_chips, memory_use
from imc_sim.study import Progress, _dry_run, _runner, dry_run, run
from imc_sim.study._memory_use import MemoryEstimate
from imc_sim.study._probe import forget_peak, peak_bytes

GB = 10**9
TASK: dict[str, Any] = {
    "dataset": "glyphs", "split": "test", "episodes": 3, "classes": 6, "queries": 2, "rotations": False,
}  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "x", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r", "task": TASK, "chips": {"min": 2},
}  # fmt: skip


# -- the estimate -----------------------------------------------------------------------------------------------


def test_the_estimate_grows_with_chips_images_and_width() -> None:
    from imc_sim import load_chip, load_model
    from imc_sim.mapping import bytes_per_chip

    chip = load_chip("rram_hfo2_1t1r")
    each = bytes_per_chip(load_model("batmann_small_xnor"), chip)

    def use(chips: int = 1, **task: Any) -> int:
        return memory_use("batmann_small_xnor", chip.to_dict(), TASK | task, chips)

    assert use(65) - use(1) > 64 * each
    many = {"way": 5, "passes": "episodes", "batch": 15}
    images = 15 * 990 * 32 * 32 * 4
    assert images < use(episodes=1000, **many) - use(episodes=10, **many) < 4 * images
    assert use(dim=65_536) > use(dim=64) + 5 * 65_000 * 8
    assert use(episodes=100, attack={"kind": "pgd"}) > use(episodes=100)


def test_a_chip_takes_less_than_its_estimate() -> None:
    from imc_sim import load_chip

    chip = load_chip("rram_hfo2_1t1r").to_dict()
    forget_peak()
    before = peak_bytes()
    evaluate_chips("batmann_small_xnor", chip, TASK, range(3), 0)
    assert peak_bytes() - before <= memory_use("batmann_small_xnor", chip, TASK, 3) < GB


@pytest.mark.parametrize("call", [run, dry_run], ids=["run", "dry run"])
def test_an_absurd_study_is_refused_before_anything_is_allocated(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (_runner, _dry_run):
        monkeypatch.setattr(module, "memory_of_machine", lambda: Memory(16 * GB, 8 * GB))
    task = {"dataset": "glyphs", "split": "test", "episodes": 10**6, "queries": 15, "passes": "episodes", "batch": 80}
    forget_peak()
    before = peak_bytes()
    options = {} if call is dry_run else {"out": tmp_path / "x"}
    with pytest.raises(InputError, match=r"memory of the study: got up to \d{3} GB, by estimate; allowed: 3 times"):
        call(STUDY | {"task": task}, **options)
    assert peak_bytes() - before < GB / 2
    assert not (tmp_path / "x").exists()


def test_a_study_that_takes_more_than_is_free_gets_a_warning_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_runner, "memory_of_machine", lambda: Memory(16 * GB, 10**8))
    seen: list[Progress] = []
    with pytest.warns(ResultsWarning, match=r"the study may take up to .* by estimate; 100 MB of 16 GB are available"):
        results = run(STUDY, tmp_path / "x", progress=lambda p: seen.append(p))
    assert results.failed == 0
    assert seen[0].memory_bytes is not None
    assert seen[0].memory_bytes > 10**8


@pytest.mark.parametrize(
    ("estimate", "step"),
    [
        (MemoryEstimate(GB, 10 * GB, 12 * GB, 4, 1), "one chip takes that much"),
        (MemoryEstimate(GB, 2 * GB, 12 * GB, 4, 1), r"Use --batch 1 \(or a lower memory_limit\)\."),
        (MemoryEstimate(GB, 2 * GB, 4 * GB, 4, 8), r"Use --batch 1 \(or a lower memory_limit\) and 3 workers\."),
        (MemoryEstimate(GB, 2 * GB, 2 * GB, 1, 8), r"Use 3 workers\."),
    ],
)
def test_the_warning_names_what_would_fit(estimate: MemoryEstimate, step: str) -> None:
    with pytest.warns(ResultsWarning, match=step):
        estimate.check(Memory(16 * GB, 10 * GB))


def test_no_warning_where_memory_suffices() -> None:
    MemoryEstimate(GB, GB, 2 * GB, 4, 3).check(Memory(16 * GB, 9 * GB))


# -- the machine ------------------------------------------------------------------------------------------------


def files(root: Path, **contents: str) -> Path:
    for name, text in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


INFO = "MemTotal: 16000 kB\nMemFree: 1 kB\nMemAvailable: 12000 kB\n"


def test_the_memory_of_the_machine_is_that_of_its_control_groups(tmp_path: Path) -> None:
    def group(name: str, limit: str, used: str, stat: str = "") -> None:
        path = tmp_path / "sys/fs/cgroup" / name
        path.mkdir(parents=True, exist_ok=True)
        for file, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", stat)):
            (path / file).write_text(text)

    files(tmp_path, proc__meminfo=INFO, proc__self__cgroup="0::/a/b\n")
    assert memory_of_machine(tmp_path) == (16_384_000, 12_288_000)
    group("a/b", "max", "5")
    assert memory_of_machine(tmp_path) == (16_384_000, 12_288_000)
    group("a", "9000", "5000", "anon 1\ninactive_file 1000\n")
    assert memory_of_machine(tmp_path) == (9000, 5000)
    first = files(tmp_path / "one", proc__meminfo=INFO, proc__self__cgroup="7:cpu:/x\n4:memory:/x\n")
    at = first / "sys/fs/cgroup/memory/x"
    at.mkdir(parents=True)
    (at / "memory.limit_in_bytes").write_text("8000")
    (at / "memory.usage_in_bytes").write_text("6000")
    assert memory_of_machine(first) == (8000, 2000)


# -- allocations that fail --------------------------------------------------------------------------------------


def test_what_counts_as_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
    wrapped = InputError("a", "b", "c", "d")
    wrapped.__cause__ = caught.value
    for error in (MemoryError(), OSError(errno.ENOMEM, "x"), wrapped, RuntimeError("CUDA out of memory. Tried")):
        assert is_out_of_memory(error)
    for error in (RuntimeError("shapes differ"), OSError(errno.ENOSPC, "x"), ValueError("out of memory")):
        assert not is_out_of_memory(error)


def test_the_error_of_a_call_holds_nothing_that_was_allocated() -> None:
    def call() -> None:
        held = torch.empty(1)
        bytearray(2**62)
        del held

    with pytest.raises(OutOfMemoryError, match=re.escape("a batch of trials: got no memory (MemoryError)")) as caught:
        within_memory(call)
    assert caught.value.__context__ is None
    with pytest.raises(ZeroDivisionError):
        within_memory(lambda: 1 / 0)
