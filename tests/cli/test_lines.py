"""Lines of doctor, lists, runs, sweeps, maps and checks, with the functions that do the work replaced."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim import InputError
from imc_sim.cli import _doctor, _list
from imc_sim.cli._show_model import TASK, _show
from imc_sim.cli._show_signs import _large, _small
from imc_sim.data import ARCHIVES, DATASETS
from imc_sim.data._check import CheckReport
from imc_sim.study import Progress


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


# -- doctor -------------------------------------------------------------------------------------------------


def test_doctor_states_versions_and_how_to_get_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "imc_sim.cli._versions.version", lambda name: "not installed" if name in ("numba", "scipy") else "1.2"
    )
    python, *rest = _doctor._versions()
    assert python == f"python {platform.python_version()}"
    lines = dict(line.split(" ", 1) for line in rest)
    assert len(rest) == len(lines) == len(_doctor._PACKAGES) + len(_doctor._EXTRAS)
    assert lines.pop("numba") == "not installed (optional: pip install 'imc-sim[fast]')"
    assert lines.pop("scipy") == "not installed", "no extra"
    assert set(lines.values()) == {"1.2"}


@pytest.mark.parametrize("cuda", [False, True])
def test_doctor_states_the_machine(cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"card {number}")
    system, threads, device = _doctor._machine()
    assert system == f"{platform.system()} {platform.machine()}, 7 processors"
    assert (threads, device) == ("torch threads 5", f"CUDA device: {'card 0' if cuda else 'none'}")


@pytest.mark.parametrize(
    ("memtorch", "left", "compiled", "lines"),
    [
        ("", "", None, ["memtorch: works", "products of whole numbers: compiled by numba (AMX)"]),
        ("not here", "no numba", None, ["memtorch: not here", "products of whole numbers: torch, as no numba"]),
        ("", "x", (4.6, True, "/k"), ["memtorch: works", "products of whole numbers: torch, as x",
                                      "compiled code: compiled now, in 5 s, and kept in /k"]),
        ("", "x", (4.6, False, "/k"), ["memtorch: works", "products of whole numbers: torch, as x",
                                       "compiled code: kept in /k"]),
        ("", "x", (4.6, True, None), ["memtorch: works", "products of whole numbers: torch, as x",
                                      "compiled code: cannot be kept; set NUMBA_CACHE_DIR to a writable folder"]),
    ],
)  # fmt: skip
def test_doctor_states_the_backends(
    memtorch: str, left: str, compiled: Any, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = None if compiled is None else SimpleNamespace(seconds=compiled[0], fresh=compiled[1], folder=compiled[2])
    monkeypatch.setattr("imc_sim.backends.memtorch.why_not", lambda: memtorch)
    monkeypatch.setattr("imc_sim.array.why_not_compiled", lambda: left)
    monkeypatch.setattr("imc_sim.array.kernel_name", lambda: "AMX")
    monkeypatch.setattr("imc_sim.array.compile_kernels", lambda: found)
    assert list(_doctor._backends()) == ["native: works", *lines]


def test_doctor_finds_a_data_set_with_all_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_DATA", str(tmp_path))
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    targets = [tmp_path / archive.target for archive in ARCHIVES["usps"]]
    assert len(targets) > 1

    def stated() -> dict[str, str]:
        root, decoded, *lines = _doctor._data()
        assert root == f"data root {tmp_path} ($IMC_SIM_DATA)"
        assert decoded.startswith(f"decoded copies {tmp_path / 'cache'}")
        return dict(line.split(": ", 1) for line in lines)

    assert list(stated()) == list(DATASETS)
    assert stated()["glyphs"] == "embedded"
    for target in targets:
        assert stated()["usps"] == "missing: imc-sim data fetch usps"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    assert stated()["usps"] == "there"
    assert stated()["mnist"] == "missing: imc-sim data fetch mnist"
    monkeypatch.delenv("IMC_SIM_DATA")
    assert not next(_doctor._data()).endswith(")")


def test_doctor_lists_what_is_wrong(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(card: Any, _: Path) -> None:
        raise InputError("weights", card.name, "others", "Train.")

    for part in ("_versions", "_machine", "_backends", "_data"):
        monkeypatch.setattr(_doctor, part, lambda: ["line"])
    monkeypatch.setattr("imc_sim.config.content_names", lambda _: ["batmann_small_xnor", "absent"])
    monkeypatch.setattr("imc_sim.nn.store.verify_weights", verify)
    monkeypatch.setattr("imc_sim.config.missing_files", lambda: [Path("a"), Path("b")])
    ran = run("doctor", "--quiet")
    checks = ran.out.partition("checks\n")[2].splitlines()
    assert ran.code == 1
    assert checks[:2] == [f"  missing in this installation: {name}" for name in "ab"]
    assert "pip install --force-reinstall" in checks[2]
    assert checks[3].startswith("  model 'batmann_small_xnor': weights: got ")
    assert checks[4].startswith("  model 'absent': ")
    assert ran.out.startswith(
        "versions\n  line\nmachine\n  line\nbackends\n  line\ndata\n  line\ncontent\n  2 models in "
    )
    monkeypatch.setattr("imc_sim.config.content_names", lambda _: [])
    monkeypatch.setattr("imc_sim.config.missing_files", list)
    assert run("doctor", "--quiet").code == 0


def test_doctor_counts_content_and_names_the_folders_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"model": [tmp_path, tmp_path / "absent", tmp_path], "chip": [tmp_path / "absent"], "study": [tmp_path]}
    monkeypatch.setattr("imc_sim.config.search_folders", lambda kind: folders[kind])
    monkeypatch.setattr("imc_sim.config.content_names", lambda kind: ["x"] * len(kind))
    assert list(_doctor._content()) == [f"5 models in {tmp_path}", "4 chips in no folder", f"5 studies in {tmp_path}"]


# -- lists --------------------------------------------------------------------------------------------------


def test_a_list_counts_what_an_installation_lacks(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for lost, stated in ((["a"], "lacks a. "), (["a", "b", "c"], "lacks a and 2 more. ")):
        monkeypatch.setattr("imc_sim.config.missing_files", lambda lost=lost: lost)
        assert f"this installation {stated}" in run("list", "chips").err
        assert [run("list", what).err for what in ("archs", "datasets")] == ["", ""]
    monkeypatch.setattr("imc_sim.config.missing_files", list)
    monkeypatch.setitem(_list._ROWS, _list.What.queues, list)
    for part in ([], ["x"]):
        ran = run("list", "queues", *part)
        assert (ran.code, ran.out) == (0, "")
        assert ran.err == "no queues found; see `imc-sim doctor` for the folders searched\n"


def test_a_summary_is_that_of_the_file_or_its_source() -> None:
    long = "word " * 40
    cases = [
        ({"summary": "a", "source": "b"}, "a"), ({"source": "b"}, "b"), ({"summary": "", "source": "b"}, "b"), ({}, ""),
        ({"arch": 1, "weights": 1, "summary": "a"}, "a"), ({"arch": 1, "summary": "a"}, "a (not trained yet)"),
        ({"arch": 1, "curve": 1, "summary": "a"}, "a (curve alone, no weights)"), ({"summary": "a\n  b"}, "a b"),
    ]  # fmt: skip
    for data, text in cases:
        assert _list._summary(lambda _, data=data: data, "n") == text
    short = _list._summary(lambda _: {"summary": long}, "n")
    assert short.endswith("word …")
    assert len(short) in range(104, 111)


# -- runs ---------------------------------------------------------------------------------------------------


def test_a_stopped_run_names_the_command_that_was_typed(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imc_sim.study.run", stopped)
    typed = "results/quickstart. To go on: imc-sim run quickstart --set 'a b=1'\n"
    for words, end in ((["run", "quickstart", "--set", "a b=1"], typed),
                       ([], "results/quickstart. To go on: imc-sim run quickstart\n")):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["imc-sim", *words])
        ran = run("run", "quickstart", "--quiet")
        assert (ran.code, ran.err) == (2, f"stopped; finished trials are kept in {end}")
    monkeypatch.setattr(sys, "argv", ["imc-sim", "train", "--sweep", "x y"])
    monkeypatch.setattr("imc_sim.train.run_trainings", stopped)
    ran = run("train", "--sweep", "metaplastic_cells", "--out", "o", "--quiet")
    assert (ran.code, ran.err) == (
        2, "stopped; finished points are kept in o. To go on: imc-sim train --sweep 'x y'\n",
    )  # fmt: skip


def test_the_progress_of_a_run_names_failed_trials(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any, progress: Callable, **__: Any) -> None:
        progress(Progress(done=1, total=4))
        progress(Progress(done=4, total=4, failed=3))
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imc_sim.study.run", work)
    first, last = [line for line in run("run", "quickstart").err.splitlines() if line.startswith("running ")]
    assert first.startswith("running quickstart: 1/4")
    assert "failed" not in first
    assert last.startswith("running quickstart: 4/4")
    assert last.endswith("  failed 3")


def test_a_dry_run_prints_its_table_and_remark(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(rows=lambda: [{"a": 1, "b": 2.5}], note="roughly")
    monkeypatch.setattr("imc_sim.study.dry_run", lambda *_, **__: found)
    ran = run("run", "quickstart", "--dry-run", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "a  b\n1  2.5\n", "roughly\n")


def test_failed_points_of_a_sweep_are_counted(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(sweep: Any, folder: Path, device: str, told: Callable, **_: Any) -> list[Any]:
        told("first")(1, 3, {"loss": 2.0})
        return [{"row": 1}, {"row": None}, {"row": None}]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imc_sim.train.run_trainings", work)
    monkeypatch.setattr("imc_sim.plotting.draw_trainings", lambda spec, rows, folder: [folder / spec["name"]])
    ran = run("train", "--sweep", "metaplastic_cells", "--out", "o")
    assert (ran.code, ran.out) == (1, "o/metaplastic_cells\n")
    assert "metaplastic_cells: 1/3" in ran.err
    assert "loss" not in ran.err, "rows of points of several processes are mixed"
    assert ran.err.splitlines()[-1].startswith("2 of 3 points failed; their errors are in o/trainings.jsonl. To train")


def test_a_check_of_data_lists_facts_and_problems(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for problems, code in (((), 0), (("p", "q"), 1)):
        report = CheckReport("mnist", Path("d"), not problems, {"images": "7"}, problems)
        monkeypatch.setattr("imc_sim.data.check", lambda *_, report=report, **__: report)
        ran = run("data", "check", "mnist", "--quiet")
        assert ran.code == code
        assert ran.out.splitlines() == ["mnist  d", "  images: 7", *(f"  problem: {text}" for text in problems)]
        end = "incomplete or changed; remove it and run `imc-sim data fetch mnist`" if problems else "complete"
        assert ran.err == f"{end}\n"


# -- maps and figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chips", [1, 3])
@pytest.mark.parametrize("words", [[], ["--calibrate"], ["--export", "e.npz"], ["--conductances", "c.npz"]])
def test_a_map_prints_the_report_and_does_no_more_than_requested(
    words: list[str], chips: int, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    report = SimpleNamespace(to_text=lambda: "text", to_dict=lambda: {"layers": []})
    analog = SimpleNamespace(
        report=report, chips=tuple(range(chips)), analog_layers={}, to_npz=lambda path: done.append(str(path))
    )
    monkeypatch.setattr("imc_sim.evaluate.map_for_card", lambda *_: analog)
    monkeypatch.setattr("imc_sim.evaluate.calibrate_for_card", lambda _, name: done.append(f"calibrated {name}"))
    monkeypatch.setattr("imc_sim.analog.deviations", lambda _: {"fc": 0.12345})
    ran = run("map", "m", "ideal", *words, "--quiet")
    measured = "--conductances" in words
    line = (
        f"fc: cells of {chips} measured chip{'s' if chips > 1 else ''} are 12.3 % of the window off their targets (rms)"
    )
    assert ran.out.splitlines() == ["text", *([line] if measured else [])]
    assert done == {"--calibrate": ["calibrated m"], "--export": ["e.npz"]}.get(words[0] if words else "", [])
    printed = json.loads(run("map", "m", "ideal", *words, "--json", "--quiet").out)
    assert printed == {"layers": []} | ({"measured": {"fc": 0.12345}} if measured else {})


def test_a_grid_of_features_is_stored_and_its_shares_are_printed(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pandas import DataFrame

    kinds: list[Any] = []
    monkeypatch.setattr("imc_sim.study.Results.load", lambda folder: folder)
    monkeypatch.setattr("imc_sim.plotting.draw", lambda folder, kind: kinds.append(kind) or [folder / "f.png"])
    monkeypatch.setattr("imc_sim.study.study_embeddings", lambda *_, **__: "points")
    monkeypatch.setattr("imc_sim.plotting.tsne_data", lambda points: DataFrame({"x": [points]}))
    monkeypatch.setattr("imc_sim.plotting.tsne_shares", lambda data: data.rename(columns={"x": "share"}))
    assert run("plot", tmp_path, "--quiet").out == f"{tmp_path}/f.png\n"
    assert run("plot", tmp_path, "--kind", "fgsm", "--quiet").out == f"{tmp_path}/f.png\n"
    assert not (tmp_path / "tsne.csv").exists()
    assert run("plot", tmp_path, "--kind", "tsne", "--quiet").out == f"share\npoints\n{tmp_path}/f.png\n"
    assert (tmp_path / "tsne.csv").read_text() == "x\npoints\n"
    assert kinds == [None, ["fgsm"], ["tsne"]]


def test_the_tasks_without_a_network_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    path, optimum = _small()
    assert optimum == [1.5, 0.5]
    assert len(path) in (500, 501)  # type: ignore[arg-type]
    np_path: Any = path
    step = np_path[1] - np_path[0]
    signs = torch.tensor([1.0, 1.0], dtype=torch.float64) - torch.tensor(optimum, dtype=torch.float64)
    hessian = torch.tensor([[2.4047, 0.2158], [0.2158, 0.7733]], dtype=torch.float64)
    assert step == pytest.approx((-0.35 * hessian @ signs).numpy())
    assert np_path[0] == pytest.approx([0.01, 0.02])
    (first, again, other) = (_large(seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert [len(column) for column in first.values()] == [200, 200]
    given: list[Any] = []

    def moved(*args: Any) -> Any:
        given.extend(args)
        return [torch.zeros(1), torch.ones(1)]

    task = SimpleNamespace(path=moved, flip_increases=lambda w: 3 * w)
    monkeypatch.setattr("imc_sim.train.QuadraticTask.random", lambda *args: (given.extend(args), task)[1])
    assert _large(7) == {"w": [1.0], "increase": [3.0]}, "after the last step"
    eigenvalues, seed, start, rate, steps = given
    assert eigenvalues == pytest.approx(np.linspace(0.5, 2.5, 200))
    assert start.tolist() == torch.full((200,), 0.01).tolist()
    assert (seed, rate, steps) == (7, 0.1, 500)


@pytest.mark.parametrize("stated", [(), ({"kind": "classification", "dataset": "digits", "images": 9, "way": 2},)])
def test_spikes_are_counted_on_the_first_task_of_the_card(
    stated: tuple[dict[str, Any], ...], run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    found = SimpleNamespace(to_dict=lambda: {"layers": [{"a": 1}], "accuracy": [{"b": 2}]})
    measured = [SimpleNamespace(task=task) for task in (*stated, *stated)]
    monkeypatch.setattr("imc_sim.nn.store.load_card", lambda _: (SimpleNamespace(measured=measured), Path()))
    monkeypatch.setattr("imc_sim.nn.store.check_code_of", lambda *_: None)  # tests/store/test_own_code.py tests it
    monkeypatch.setattr("imc_sim.evaluate.measure_firing", lambda *args: (seen.append(args[:2]), found)[1])
    ran = run("show", "spikes", "m", "--quiet")
    assert ran.out == "a\n1\n\nb\n2\n"
    first = dict(stated[0]) if stated else {"kind": "classification"}
    assert seen.pop() == ("m", first | {"images": 1000, "steps": None})
    assert json.loads(run("show", "spikes", "m", "--json", "--quiet").out) == found.to_dict()
    assert run("show", "spikes", "m", "--steps", "3", "--images", "4", "--set", "way=5", "--quiet").code == 0
    assert seen.pop() == ("m", first | {"images": 4, "steps": 3, "way": 5})
    assert measured[0].task == stated[0] if stated else True, "the card is unchanged"


def test_settings_of_a_figure_end_with_it(tmp_path: Path) -> None:
    usual, tasks = dict(TASK), []
    for settings in (["task.way=4"], None):
        _show("x", lambda *args: tasks.append(args[2]) or [], "m", "ideal", tmp_path, 16, 0, settings)
    assert tasks == [usual | {"way": 4}, usual]
    assert usual == TASK
    for wrong in ("task.way=0", "chip.converter.bits=99"):
        with pytest.raises(InputError):
            _show("x", lambda *_: pytest.fail("work before the check"), "m", "ideal", tmp_path, 16, 0, [wrong])


def test_a_distribution_that_is_absent_is_not_installed() -> None:
    from imc_sim.cli._versions import version

    assert version("no-such-distribution") == "not installed"
    assert version("numpy")[0].isdigit()


@pytest.mark.parametrize(("left_open", "code"), [(0, 0), (2, 1)])
def test_a_run_with_trials_left_open_fails_and_is_not_kept(
    left_open: int, code: int, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last progress counts."""
    kept: list[Path] = []
    shown = {"failed": 0, "waiting": 0, "done": 3, "total": 3, "memory_bytes": None}

    def ran(*_: Any, progress: Callable, **__: Any) -> None:
        for count in (1, left_open):
            progress(SimpleNamespace(left_open=count, **shown))

    monkeypatch.setattr("imc_sim.study.run", ran)
    monkeypatch.setattr("imc_sim.cli._run._finish", lambda *_: None)
    monkeypatch.setattr("imc_sim.cli._repeated.kept_output", lambda _: None)
    monkeypatch.setattr("imc_sim.cli._repeated.keeping_output", lambda _: contextlib.nullcontext(kept.append))
    assert run("run", "quickstart", "--out", str(tmp_path / "out")).code == code
    assert kept == [tmp_path / "out"] * (not left_open)
