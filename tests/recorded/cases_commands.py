"""Commands whose work is made up: training, runs that stop or fail, kept output, tables of the screen, and doctor."""

from __future__ import annotations

import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from imc_sim import study as studies
from imc_sim._errors import InputError
from imc_sim.cli import _console, _doctor, _repeated, _run
from imc_sim.config import write_yaml
from imc_sim.plotting import Metric
from imc_sim.study import Progress, _runner, _table_parts, _trials_file, run, trials_table
from imc_sim.train import _queue, _sweep
from tests.recorded.cases_cli import CARD, content_left_out, narrow, typed, workplace
from tests.recorded.cases_learning import RECIPE, SHAPE, SLOW, card
from tests.recorded.cases_results import FUNCTION, lines_of_table, measured, score
from tests.recorded.cases_study import SWEPT
from tests.recorded.made import folder, tried, without
from tests.recorded.short import short
from tests.recorded.stored import STUDIES


def record_training() -> dict[str, Any]:
    """Output of the training of a model and of a queue: finished, stopped and failed."""
    found: dict[str, Any] = {}
    calls: list[Any] = []
    state: dict[str, Any] = {"stop": None}

    def trained(model: str, out: Path, resume: bool, device: str, told: Any, settings: list[str]) -> None:
        calls.append([model, out.name, resume, device, settings])
        out.mkdir(parents=True, exist_ok=True)
        if state["stop"] == "kept":
            (out / "checkpoint.pt").touch()
        if state["stop"] is not None:
            raise KeyboardInterrupt
        if out.name == "bad":
            raise InputError("the card", "nothing", "a recipe", "Add one.")
        told(0, 2, {})
        told(1, 2, {"loss": 1.5})
        told(2, 2, {"loss": 1.5})
        (out / "model.yaml").write_text(write_yaml(CARD))

    figures = lambda where: calls.append(f"figure of {where.name}")  # noqa: E731
    lines = [
        "train tiny --quiet", "train tiny --out o --resume --device cuda --set recipe.seed=4 --set recipe.way=3",
        "train --queue q.yaml --quiet", "train --queue q.yaml --out p --device cuda",
    ]  # fmt: skip
    with workplace() as at, ExitStack() as stack:
        for target in ("imc_sim.train.train_model", "imc_sim.train._queue.train_model"):
            stack.enter_context(mock.patch(target, trained))
        stack.enter_context(mock.patch("imc_sim.plotting.draw_training", figures))
        stack.enter_context(mock.patch.object(_queue, "verify_weights", return_value=None))
        entries = [{"name": "a", "model": "tiny"}, {"name": "bad", "model": "tiny"}]
        (at / "q.yaml").write_text(write_yaml({"name": "queue", "entries": entries}))
        for stop in ("lost", "kept", None):
            state["stop"] = stop
            for line in lines:
                calls.clear()
                printed = [text for text in typed(*line.split(), at=at) if "/s, ETA" not in str(text)]
                found[f"{line}, {stop}"] = [printed, [*calls]]
    return found


def record_training_sweeps() -> dict[str, Any]:
    """Output of a training sweep: finished, with a failed point, and stopped."""
    found: dict[str, Any] = {}
    state = {"stop": False}

    def trained(point: Any, where: Path, device: str, told: Any) -> Any:
        if state["stop"]:
            raise KeyboardInterrupt
        if point.recipe.learning_rate == 0.3:
            raise ValueError("a bad rate")
        return {"epoch": 1.0, "mean": point.recipe.learning_rate, "accuracy": 0.5}, 1.0

    figures: list[Any] = []

    def draw(sweep: Any, rows: Any, where: Path) -> list[Path]:
        figures.append([sweep["name"], len(rows), where.name])
        return [where / "figure.png"]

    with folder() as at, mock.patch.object(_sweep, "_train", trained), \
            mock.patch("imc_sim.plotting.draw_trainings", draw):  # fmt: skip
        (at / "m").mkdir()
        recipe = RECIPE | SLOW | {"tasks": [{}], "images": 20}
        (at / "m" / "model.yaml").write_text(write_yaml(card("bnn_mlp", SHAPE, recipe=recipe).to_dict()))
        panels = [{"path": "recipe.learning_rate", "values": [0.1, 0.3]}]
        (at / "s.yaml").write_text(write_yaml({"name": "swept", "model": "./m", "seeds": [1], "panels": panels}))
        for more in ("--quiet", "--out o", "--retry-failed"):
            line = f"train --sweep s.yaml {more}"
            found[line] = [typed(*line.split(), at=at), [*figures]]
            figures.clear()
        found["status"] = [typed("status", "o", at=at)[:1], typed("status", "o", "--check", at=at)[-2:]]
        state["stop"] = True
        with mock.patch.object(sys, "argv", ["imc-sim", "train", "--sweep", "s.yaml", "a b"]):
            found["stopped"] = typed("train", "--sweep", "s.yaml", "--out", "p", at=at)
    return found


def record_runs() -> dict[str, Any]:
    """Output and exit codes of runs whose trials are made up: finished, again, failed, left open and stopped."""
    found: dict[str, Any] = {}
    calls: list[Any] = []
    real = studies.run

    def ran(spec: Any, where: Path, executor: str, workers: Any, progress: Any, stop: Any, **options: Any) -> Any:
        calls.append([spec.name, where.name, executor, workers, options, stop()])
        if "stopped" in where.name:
            raise KeyboardInterrupt
        if "open" in where.name:
            progress(Progress(3, 9, 1, 2, 5_000_000, "chip 3"))
        progress(Progress(0, 9, memory_bytes=7_000_000))
        evaluator = measured if spec.task.get("kind") == "function" else score
        return real(spec, where, evaluator=evaluator)

    lines = [
        "run s.yaml --out a --quiet", "run s.yaml --out b --workers 2 --batch 3 --set chips.min=2",
        "run f.yaml --quiet --out f", "run f.yaml --out open --scheduler tcp://a --retry-failed",
        "run f.yaml --out stopped",
        "run f.yaml --executor process --device cuda",
    ]  # fmt: skip
    with folder() as at, mock.patch("imc_sim.study.run", ran), mock.patch.object(_run, "_pages", pages):
        (at / "f.py").write_text("def score(network, chip):\n    return 0.5\n")
        (at / "s.yaml").write_text(write_yaml(SWEPT))
        (at / "f.yaml").write_text(write_yaml(FUNCTION))
        for line in lines:
            calls.clear()
            with mock.patch.object(sys, "argv", ["imc-sim", *line.split()]):
                printed = [text for text in typed(*line.split(), at=at) if not str(text).startswith("2> running ")]
            found[line] = [narrow(printed), [*calls]]
    return found


def pages(results: Any) -> tuple[Path, Path, str]:
    """Stand for figures and the report."""
    return results.folder / "figure.png", results.folder / "report.html", "The answer."


def record_screens() -> dict[str, Any]:
    """Tables of results on the screen, for studies with axes, cases, scores and published figures."""
    found: dict[str, Any] = {}
    for name, results in STUDIES.items():
        rows = tried(_run._rows, results)
        shown = [" | ".join(row.values()) for row in rows[:3]] if isinstance(rows, list) else rows
        found[name] = [" | ".join(rows[0]), *shown] if isinstance(rows, list) else rows
    found["intervals"] = [_run._interval(ends, Metric()) for ends in ((0.25, 0.5), (-np.inf, np.inf))]
    axis: dict[str, Any] = {"label": "", "path": "a.b", "unit": "V", "scale": 10.0}
    other: dict[str, Any] = axis | {"label": "x", "unit": ""}
    found["headings"] = [_run._heading(axis), _run._heading(other)]
    found["values"] = [_run._value(each, axis) for each in (0.25, 3, True, "a", None)]
    return found


def record_progress_of_runs() -> dict[str, Any]:
    """Progress of a run with the memory of its workers, and tables of trials in parts."""
    found: dict[str, Any] = {}
    told: list[Any] = []
    estimate = mock.Mock(worker_bytes=123)
    with folder() as at, mock.patch.object(_runner, "estimated_memory", return_value=estimate) as estimated:
        run(
            SWEPT, at / "a", evaluator=score, progress=lambda p: told.append([p.done, p.total, p.memory_bytes]), batch=5
        )
        found["told"] = [told[0], told[-1], len(told), estimate.check.call_count]
        found["estimated"] = [len(estimated.call_args.args[0]), *map(str, estimated.call_args.args[2:])]
        parts = _table_parts.TableParts.of(at / "a")
        whole = trials_table(at / "a")
        for start, count in ((0, 2), (2, 3), (3, None), (len(whole) - 1, 9)):
            some = parts.table(start, count)
            found[f"from {start}, {count}"] = [
                some.equals(whole.iloc[start:][:count].reset_index(drop=True)),
                len(some),
            ]
        text = "".join(parts.csv())
        with mock.patch.object(_table_parts, "_PART", 3):
            pieces = list(parts.csv())
        found["csv"] = ["".join(pieces) == text, len(pieces), len(lines_of_table(whole))]
        found["first"] = short(lines_of_table(whole)[:2])
        found["rules"] = [_trials_file.rules_of({"points": []}).payload]
    return found


def record_kept_output() -> dict[str, Any]:
    """Notes of what a run printed, when they are printed again, and changes that make them useless."""
    found: dict[str, Any] = {}
    with folder() as at, mock.patch.object(_repeated, "user_cache", return_value=at / "cache"), \
            mock.patch.multiple(_repeated, _OLD_NS=-(10**12), _code=lambda: "code", _searched=dict):  # fmt: skip
        (at / "in").write_text("1")
        (at / "out").mkdir()

        def ran(request: list[Any], *, files: tuple[str, ...] = ("in",), say: bool = False) -> str | None:
            with _repeated.keeping_output(request) as keep:
                for name in files:
                    Path(name).read_text()
                print("printed", request)
                if say:
                    warnings.showwarning("careful", UserWarning, "f", 1)
                (at / "out" / "made").write_text("2")
                keep(at / "out")
            return _repeated.kept_output(request)

        with mock.patch.object(sys, "stdout"), mock.patch("warnings.showwarning", return_value=None):
            found["kept"] = ran(["a", 1])
            found["another request"] = _repeated.kept_output(["a", 2])
            (note,) = (at / "cache" / "finished").iterdir()
            data = note.read_bytes()
            changes = {"cut": data[:-1], "changed": data.replace(b"printed", b"printet"), "empty": b""}
            for name, change in changes.items():
                note.write_bytes(change)
                found[name] = _repeated.kept_output(["a", 1])
            note.write_bytes(data)
            with mock.patch.object(_repeated, "_code", return_value="other"):
                found["other code"] = _repeated.kept_output(["a", 1])
            with mock.patch.object(_repeated, "_searched", return_value={"x": None}):
                found["other content"] = _repeated.kept_output(["a", 1])
            found["the same"] = _repeated.kept_output(["a", 1])
            (at / "in").write_text("22")
            found["another input"] = _repeated.kept_output(["a", 1])
            found["kept again"] = ran(["a", 1])
            (at / "out" / "made").unlink()
            found["another output"] = _repeated.kept_output(["a", 1])
            (at / "x.py").write_text("")
            found["code"] = ran(["b"], files=("in", "x.py"))
            found["a warning"] = ran(["c"], say=True)
            with mock.patch.object(_repeated, "_MOST_FILES", 1):
                found["many files"] = ran(["d"])
            with mock.patch.object(_repeated, "_OLD_NS", 10**18):
                found["young files"] = ran(["e"])
            with mock.patch.object(_repeated, "_MOST_NOTES", 2):
                found["most notes"] = [ran([each]) is not None for each in ("f", "g", "h")]
            found["notes"] = len(list((at / "cache" / "finished").iterdir()))
    modes: list[Any] = [("r", 0), ("rb", 0), ("w", 0), ("r+", 0), ("a", 0), (None, 0), (None, 1), (None, 2), ("x", 0)]
    found["writes"] = [_repeated._writes(*each) for each in modes]
    return found


def record_doctor() -> dict[str, Any]:
    """Lines of each part of the check of an installation."""
    found: dict[str, Any] = {}
    versions = {"torch": "1"}
    replaced: dict[str, Any] = {
        "cli._versions.version": lambda name: versions.get(name, "not installed"),
        "array.why_not_compiled": lambda: "numba is missing", "array.compile_kernels": lambda: None,
        "backends.memtorch.why_not": lambda: "it is not installed", "data.data_root": lambda: at,
        "data.cache_folder": lambda: at / "cache", "config.missing_files": lambda: ["models/a.yaml"],
        "config.content_names": lambda kind: ["tiny"] if kind == "model" else [],
        "config.search_folders": lambda kind: [at, at / "none", at],
    }  # fmt: skip
    with folder() as at, ExitStack() as stack:
        for name, function in replaced.items():
            stack.enter_context(mock.patch(f"imc_sim.{name}", function))
        stack.enter_context(mock.patch.dict("os.environ", {"IMC_SIM_DATA": "x"}))
        found["versions"] = list(_doctor._versions())[1:]
        for name in ("_backends", "_data", "_content", "_problems"):
            found[name] = [content_left_out(without(line, at)) for line in getattr(_doctor, name)()]
        made = mock.Mock(seconds=12.3, fresh=True, folder=at)
        for name, change in {"fresh": {}, "kept": {"fresh": False}, "nowhere": {"folder": None}}.items():
            made.configure_mock(**{"fresh": True, "folder": at} | change)
            with mock.patch("imc_sim.array.compile_kernels", return_value=made):
                found[name] = without(list(_doctor._backends())[-1], at)
        printed = typed("doctor", at=at)
        found["printed"] = [printed[0], *[line for line in printed[1:] if not line.startswith("  ")], printed[-1]]
    found["paths"] = _console.duration(75.0)
    return found
