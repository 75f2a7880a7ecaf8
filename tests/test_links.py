"""Nothing is written outside the folder that a command writes to: by a link, a name or another command's file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError, _files
from imc_sim.config import build, run_folder
from imc_sim.plotting import draw
from imc_sim.report import write_report
from imc_sim.runs import LOCK, FolderLock, is_locked
from imc_sim.study import Results, Study, combine, load_study, run, status
from imc_sim.testing import stand_in_evaluator
from imc_sim.train import Queue, run_queue
from imc_sim.train._sweep import Trainings, run_trainings

CHIP = "name: mine\ndevice: {g_lrs_S: 100 uS, g_hrs_S: 10 uS}\n"
STUDY: dict[str, Any] = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": "ideal",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5}, "chips": {"min": 2},
    "cases": [{"name": "a", "published": 0.9}, {"name": "b", "set": {"task.keys": "binary", "chip": "mine"}}],
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a chip of the user, and a file outside that links lead to."""
    monkeypatch.chdir(tmp_path)
    Path("device_configs").mkdir()
    Path("device_configs/mine.yaml").write_text(CHIP)
    Path("outside").mkdir()
    Path("outside/file").write_text("precious")
    return tmp_path


def _run() -> Results:
    return run(STUDY, "out", evaluator=stand_in_evaluator)


def _damage() -> None:
    with Path("out/trials.jsonl").open("a") as file:
        file.write("x\n")


def _link(name: str, target: str = "outside/file") -> None:
    """Replace a file of the results folder by a link."""
    path = Path("out", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(Path(target).absolute())


@pytest.mark.parametrize("target", ["outside/file", "outside/new"])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        (LOCK, _run),
        ("study.resolved.yaml", _run),
        ("trials.jsonl", _run),
        ("table.csv", _run),
        ("device_configs/mine.yaml", _run),
        ("comparison.png", lambda: draw(Results.load("out"))),
        ("comparison.csv", lambda: draw(Results.load("out"))),
        ("report.html", lambda: write_report(Results.load("out"))),
        ("comparison.md", lambda: write_report(Results.load("out"))),
        ("trials.csv", lambda: combine(["out"], formats=["csv"])),
        ("trials.damaged.jsonl", lambda: (_damage(), _run())),
    ],
)  # fmt: skip
def test_a_link_in_a_results_folder_is_refused(name: str, write: Callable[[], object], target: str, here: Path) -> None:
    if name in (LOCK, "study.resolved.yaml", "trials.jsonl"):
        Path("out").mkdir()
    else:
        _run()
    _link(name, target)
    with pytest.raises(InputError, match=f"out/{name}: got a symbolic link to .*outside"):
        write()
    assert [path.read_text() for path in Path("outside").iterdir()] == ["precious"]


def test_a_linked_folder_in_a_results_folder_is_refused(here: Path) -> None:
    _link("device_configs", "outside")
    with pytest.raises(InputError, match="out/device_configs: got a symbolic link"):
        _run()
    Path("out/code").symlink_to(here / "outside")
    with pytest.raises(InputError, match="out/code: got a symbolic link"):
        _files.write_folder(Path("out"), {"code/net.py": b"x"})
    assert [path.name for path in Path("outside").iterdir()] == ["file"]


def test_a_results_folder_may_itself_be_a_link(here: Path) -> None:
    """Such as one that leads to a larger disk."""
    Path("out").symlink_to("outside")
    assert _run().failed == 0
    assert Path("outside/trials.jsonl").is_file()


def test_folders_of_training_are_not_linked(here: Path) -> None:
    entry = {"name": "first", "model": "bnn_mnist"}
    for name, train in (
        ("first", lambda: list(run_queue(build(Queue, {"name": "q", "entries": [entry]}, "q"), Path("out")))),
        ("unfinished", lambda: run_trainings(build(Trainings, SWEEP, "s"), Path("out"))),
    ):
        _link(name, "outside")
        with pytest.raises(InputError, match=f"out/{name}: got a symbolic link"):
            train()
    assert [path.name for path in Path("outside").iterdir()] == ["file"]


SWEEP = {"name": "s", "model": "bnn_mnist", "panels": [{"path": "recipe.epochs", "label": "epochs", "values": [1]}]}


def test_a_pipe_is_no_file(here: Path) -> None:
    """Opening one would wait for ever."""
    _run()
    for name, read in (
        ("trials.jsonl", lambda: status(Path("out"))),
        (LOCK, FolderLock(Path("out")).take),
        ("study.resolved.yaml", lambda: load_study(Path("out/study.resolved.yaml"))),
    ):
        Path("out", name).unlink()
        os.mkfifo(Path("out", name))
        with pytest.raises((OSError, InputError)):
            read()
        assert not is_locked(Path("out"))


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "/x", "", "a\n"])
def test_names_are_no_paths(name: str) -> None:
    for kind, data in (
        (Study, STUDY), (Trainings, SWEEP), (Queue, {"entries": [{"name": "a", "model": "bnn_mnist"}]}),
    ):  # fmt: skip
        with pytest.raises(InputError, match="name"):
            build(kind, {**data, "name": name}, "here")
    with pytest.raises(InputError, match="name"):
        build(Queue, {"name": "q", "entries": [{"name": name, "model": "bnn_mnist"}]}, "here")


@pytest.mark.parametrize("name", ["..", "../../x", "/x", "a/..", "x"])
def test_a_model_is_trained_below_runs(name: str) -> None:
    folder = run_folder(name)
    assert folder.parent == Path("runs")
    assert folder.name not in ("", "..")


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """One writes all of a report while another is in the middle of it: the last one remains, whole."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(file: Any) -> None:
        file.write(b"slow" * 1000)
        inside.set()
        assert go_on.wait(10)

    first = threading.Thread(target=_files.write_file, args=(tmp_path / "report.html", slow))
    first.start()
    assert inside.wait(10)
    _files.write_file(tmp_path / "report.html", "quick")
    go_on.set()
    first.join()
    assert (tmp_path / "report.html").read_text() == "slow" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
