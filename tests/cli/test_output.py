"""Commands print tables, remarks, progress and lists, and end with the right exit code."""

from __future__ import annotations

import errno
import io
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
import yaml
from pandas import DataFrame

from imc_sim._errors import ResultsWarning
from imc_sim.cli import _app, _list, _train, main
from imc_sim.cli._app import _expanded, _explained
from imc_sim.cli._chips import apply_settings
from imc_sim.cli._console import Pace, gentle_stop, print_rows, progress_bar, remarks
from imc_sim.cli._help import complete_chip
from imc_sim.cli._old_names import with_new_names
from imc_sim.cli._own_network import renamed_pairs
from imc_sim.cli._run import _finish, comparison_rows, table_rows
from imc_sim.cli._status import _line
from imc_sim.plotting._comparison import COLUMNS
from imc_sim.report import Conclusion
from imc_sim.study import Results, Status


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- the console --------------------------------------------------------------------------------------------


def test_rows_are_aligned_and_cells_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"a": 0.1234567, "b": (1, 2.5)}, {"a": None, "c": "long text"}], {0: "first", 1: "second"})
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["a         b       c", "0.123457  1..2.5", "                  long text"]
    assert printed.err == "first\nsecond\n"


def test_only_warnings_about_results_become_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> None:
        for _ in range(2):
            warnings.warn("moved", ResultsWarning, stacklevel=1)
        warnings.warn("other", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="other"), remarks():
        warn()
    assert capsys.readouterr().err == "imc-sim: moved\n"


def test_downloads_are_counted_in_megabytes() -> None:
    seconds = iter([0.0, 1.0, 3.0])
    pace = Pace(lambda: next(seconds))
    pace.update(0)
    pace.update(6_000_000)
    assert pace.text(6_000_000, 12_000_000, "bytes") == "2 MB/s, ETA 0:00:03"
    assert pace.text(6_000_000, 5_000_000) == "2000000/s", "no time left to state"


def test_a_log_has_ten_lines_and_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("imc_sim.cli._console.time.monotonic", lambda: now[0])
    with progress_bar("x") as update:
        for done in range(101):
            now[0] += 0.01
            update(done, 100)
        assert len(capsys.readouterr().err.splitlines()) == 11
        for second in range(121):
            now[0] = 10 + second
            update(5, None)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_both_signals_are_handled_and_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for first in (signal.SIGINT, signal.SIGTERM):
        with gentle_stop("it") as stop:
            signal.raise_signal(first)
            assert stop()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# -- the application ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("raised", "code"), [(SystemExit("why"), 1), (SystemExit(None), 0), (SystemExit(3), 3)])
def test_exits_become_codes(raised: SystemExit, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: Any) -> None:
        raise raised

    monkeypatch.setattr(_app, "_command_line", lambda _: app)
    assert main(["list"]) == code
    monkeypatch.setattr(_app, "_command_line", lambda _: lambda **_: 130)
    assert main(["list"]) == 2, "interrupted"


def test_debugging_is_off_at_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def app(**_: Any) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(_app, "_command_line", lambda _: app)
    monkeypatch.setenv("IMC_SIM_DEBUG", "0")
    assert main(["list"]) == 1
    assert "This is a bug" in capsys.readouterr().err


def test_a_full_quota_is_a_full_disk() -> None:
    assert "no space left" in _explained(OSError(errno.EDQUOT, "Quota exceeded", "x"))[0]
    assert _explained(OSError(errno.EIO, "", "x")) == (
        "x: [Errno 5] : 'x'. Check the path, its rights and its disk.",
        2,
    )


def test_home_is_expanded_where_a_shell_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = ["~/a", "--out=~/b", "--set", "x=~/c", "a~b", "--set=chip=~"]
    assert [str(_expanded(word)) for word in words] == [
        "/home/me/a", "--out=/home/me/b", "--set", "x=~/c", "a~b", "--set=chip=~",
    ]  # fmt: skip


def test_characters_that_an_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    _app._make_streams_safe()
    print("\u00b5", flush=True)
    assert raw.getvalue() == b"\\xb5\n"


@pytest.mark.parametrize(("free", "closed"), [(1, 3), (2, 3), (3, 3), (5, 5)])
def test_standard_streams_that_were_closed_are_opened(free: int, closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handles 1 and 2 stay open, and the one after them is closed again."""
    handles, ended = iter(range(free, 9)), list[int]()
    monkeypatch.setattr(os, "open", lambda *_: next(handles))
    monkeypatch.setattr(os, "dup", lambda _: next(handles))
    monkeypatch.setattr(os, "close", ended.append)
    _app._make_streams_safe()
    assert ended == [closed]


@pytest.mark.parametrize("words", [[], ["show"], ["data"]])
def test_a_group_without_a_command_prints_its_help(words: list[str], run: Callable) -> None:
    ran = run(*words)
    assert (ran.code, "Usage" in ran.out + ran.err) == (2, True)


def test_settings_name_the_parts_that_there_are() -> None:
    chip = {"tile": {"rows": 3}}
    apply_settings(["chip.tile.rows=4"], chip=chip)
    assert chip["tile"]["rows"] == 4
    for setting, parts in (("chip=ideal", {"chip": chip}), ("task.way=4", {"chip": chip})):
        with pytest.raises(Exception, match=r"allowed: chip\.…\. Write for example chip.converter.bits=4\.$"):
            apply_settings([setting], **parts)
    with pytest.raises(Exception, match=r"got 'tile\.rows'; allowed: chip\.…\. Write chip\.tile\.rows\.$"):
        apply_settings(["tile.rows=4"], chip=chip)
    with pytest.raises(Exception, match=r"chip\.… or task\.….* or task\.episodes=50\.$"):
        apply_settings(["x.y=1"], chip=chip, task={})


def test_names_of_tensors_are_pairs() -> None:
    assert renamed_pairs(["a=b", "c="]) == [("a", "b"), ("c", "")]
    for wrong in ("a", "=b"):
        with pytest.raises(Exception, match="old=new"):
            renamed_pairs([wrong])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("combine a --help", "report a --help"),
        ("combine a --format=csv b", "report a --trials=csv b"),
        ("list models", "list models"),
    ],
)
def test_old_names_keep_their_options(old: str, new: str) -> None:
    assert with_new_names(old.split()) == new.split()


def test_names_are_completed_from_their_beginning() -> None:
    found = complete_chip("rram_hfo2")
    assert "rram_hfo2_1t1r" in found
    assert all(name.startswith("rram_hfo2") for name in found)
    assert complete_chip("hfo2_1t1r") == []


# -- lists --------------------------------------------------------------------------------------------------


def card(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "arch": {"name": "batmann", "args": {}}, "summary": "s", "source": "not this"} | more


def test_lists_say_what_a_model_lacks(here: Path, run: Callable) -> None:
    cards = {
        "lonely_curve": {"curve": {"episode": [1]}},
        "lonely_bare": {},
        "lovely_whole": {"weights": {"sha256": "0"}},
    }
    for name, more in cards.items():
        (here / "models" / name).mkdir(parents=True)
        (here / "models" / name / "model.yaml").write_text(yaml.safe_dump(card(name, **more)))
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in run("list", "models", "lo").out.splitlines()[1:]}
    assert rows["lonely_curve"] == "s (curve alone, no weights)"
    assert rows["lonely_bare"] == "s (not trained yet)"
    assert rows["lovely_whole"] == "s"
    for words, names in ((("onely",), ["lonely_bare", "lonely_curve"]), (("_whole", "--trained"), ["lovely_whole"])):
        assert [line.split()[0] for line in run("list", "models", *words).out.splitlines()[1:]] == names
    assert run("list", "models", "lonely", "--trained").code == 2


def test_families_are_named_above_their_first_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "imc_sim.config.family_summaries", lambda: {"f": ("ours", ["c", "b"]), "g": ("theirs", ["a"]), "h": ("", ["z"])}
    )
    rows = [{"name": name, "summary": ""} for name in "abcd"]
    assert _list._headings(rows) == {0: "g: theirs (1 model)", 1: "f: ours (2 models)"}


def test_a_long_list_says_how_to_shorten_it(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for count, stated in ((40, False), (41, True)):
        rows = [{"name": f"n{k}", "summary": "s"} for k in range(count)]
        monkeypatch.setitem(_list._ROWS, _list.What.archs, lambda rows=rows: rows)
        assert ("PART" in run("list", "archs").err) is stated
        assert run("list", "archs", "--quiet").err == ""


# -- runs ---------------------------------------------------------------------------------------------------

STATUS = Status("s", 5, 0, 0, False, None, None, None)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "s (complete): 5 done, 0 failed, 0 left"),
        ({"failed": 2}, "s (complete, 2 failed): 5 done, 2 failed, 0 left"),
        ({"left": 1}, "s (stopped): 5 done, 0 failed, 1 left"),
        ({"left": 9, "at_least": True, "writer": "process 1 on h", "rate_per_s": 0.12345, "eta_s": 72.9},
         "s (running, process 1 on h): 5 done, 0 failed, at least 9 left, 0.123 trials/s, ETA 0:01:13"),
        ({"damaged": ("a", "b")}, "s (complete): 5 done, 0 failed, 0 left, 2 damaged rows (--check lists them)"),
        ({"damaged": ("a",)}, "s (complete): 5 done, 0 failed, 0 left, 1 damaged row (--check lists it)"),
    ],
)  # fmt: skip
def test_the_status_is_one_line(changed: dict[str, Any], line: str) -> None:
    import dataclasses

    assert _line(dataclasses.replace(STATUS, **changed)) == line


@pytest.mark.parametrize(
    ("changed", "code", "last"),
    [({}, 0, ["all rows are sound", "same data"]), ({"other_data": ("x",)}, 1, ["all rows are sound", "x"]),
     ({"absent_data": ("y",)}, 0, ["all rows are sound", "'y' is not here"]),
     ({"damaged": ("z",)}, 1, ["z", "same data"])],
)  # fmt: skip
def test_a_check_fails_where_results_cannot_be_trusted(
    changed: dict[str, Any], code: int, last: list[str], run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses
    import json

    monkeypatch.setattr("imc_sim.study.status", lambda *_, **__: dataclasses.replace(STATUS, **changed))
    ran = run("status", "x", "--check")
    assert (ran.code, ran.out.splitlines()[1:]) == (code, last)
    ran = run("status", "x", "--check", "--json")
    assert ran.code == code
    assert json.loads(ran.out)["done"] == 5, "nothing but JSON"


AXIS = {"path": "p", "label": "", "unit": "", "scale": 100}
TABLE = {"case": "a", "p": [0.25, True], "chips": [1, 2], "mean": 0.5, "half_width": 0.1, "median": 0.25, "p05": 0.125,
         "p95": 0.75, "digital": 0.9}  # fmt: skip


def results_of(**more: Any) -> Results:
    study = {
        "axes": [AXIS],
        "points": [],
        "cases": [],
        "metric": {"name": "m", "unit": "K", "better": "lower", "tolerance": 1},
    }
    ends = ((-math.inf, math.inf), (0.25, 0.75))
    return Results(Path("f"), study, DataFrame(TABLE), {}, 0, "", intervals=ends, **more)


def test_scores_are_in_their_unit_and_one_chip_has_no_interval() -> None:
    first, second = table_rows(results_of())
    assert list(first) == [
        "case",
        "p",
        "chips",
        "mean, 95 % interval K",
        "median K",
        "lowest to highest of chips",
        "digital K",
    ]
    assert list(first.values()) == ["a", "25", "1", "0.5", "0.25", "0.125 .. 0.75", "0.9"]
    assert (second["p"], second["mean, 95 % interval K"]) == ("True", "0.5 [0.25, 0.75]")


def test_the_comparison_on_the_screen_has_no_long_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    row = dict.fromkeys(COLUMNS, math.nan) | {"setting": "a", "chips": 3, "chip": "c", "trained": "", "note": "long"}
    row |= {"chip_task": "way 5", "digital_over": "", "classes": 0, "on_chip": 90.0}
    monkeypatch.setattr("imc_sim.plotting.comparison_data", lambda _: DataFrame([row, row | {"chip_task": "way 6"}]))
    (first, _) = comparison_rows(results_of())
    assert first["ours on c"] == "90.00"
    assert not {"note", "reduced task"} & set(first)


def test_a_run_ends_with_figure_report_and_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("imc_sim.plotting.figures_of", lambda _: {"a": None, "b": None})
    monkeypatch.setattr("imc_sim.report.Conclusion.of", lambda _: Conclusion("It holds.", []))
    monkeypatch.setattr(
        "imc_sim.report.write_report",
        lambda results, figures, concluded: results.folder / f"report{figures}{concluded.text}",
    )
    _finish(results_of(), Path("f"))
    assert capsys.readouterr().out.splitlines()[-2:] == ["figure f/a.png, report f/reportTrueIt holds.", "It holds."]
    empty = results_of(rows={"i": {"state": "failed", "error": "odd\nmore"}})
    empty = Results(Path("f"), empty.study, DataFrame(TABLE).iloc[:0], {}, 3, "", rows=empty.rows)
    with pytest.raises(typer.Exit) as stopped:
        _finish(empty, Path("f"))
    printed = capsys.readouterr()
    assert (stopped.value.exit_code, printed.out) == (1, "")
    assert "3 trials failed; the first: odd All" in printed.err
    assert "more" not in printed.err
    assert "--retry-failed" in printed.err


# -- training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "rows_at"), [(0.0, [1, 3, 4]), (20.0, [1, 4])])
def test_the_curve_is_updated_for_new_rows_by_time_and_at_the_end(
    seconds: float, rows_at: list[int], monkeypatch: pytest.MonkeyPatch, here: Path, run: Callable
) -> None:
    monkeypatch.setattr(_train, "_DRAW_EVERY_S", seconds)
    shown_at: list[int] = []
    monkeypatch.setattr(_train, "_draw", lambda _: shown_at.append(len(shown)))
    shown: list[Any] = []

    def train_model(*args: Any) -> None:
        for step, row in enumerate([{}, {"loss": 1.0}, {"loss": 1.0}, {"loss": 0.5}]):
            args[4](step, 4, row)
            shown.append(row)

    monkeypatch.setattr("imc_sim.train.train_model", train_model)
    assert run("train", "m", "--quiet").out == "runs/m\n"
    assert shown_at == rows_at


def test_a_stopped_training_without_a_checkpoint_says_so(
    monkeypatch: pytest.MonkeyPatch, here: Path, run: Callable
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imc_sim.train.train_model", stopped)
    ran = run("train", "m", "--quiet")
    assert (ran.code, "nothing was reached" in ran.err) == (2, True)


def test_a_queue_with_failures_ends_with_1(monkeypatch: pytest.MonkeyPatch, here: Path, run: Callable) -> None:
    states = [("a", "done"), ("b", "failed"), ("c", "waiting")]

    def run_queue(queue: Any, folder: Path, device: str, shown: Any) -> Iterator[Any]:
        for name, state in states:
            with shown(1, SimpleNamespace(name=name), folder / name):
                pass
            yield SimpleNamespace(entry=name, state=state, error="odd")

    shown_at: list[Path] = []
    monkeypatch.setattr(_train, "_draw", shown_at.append)
    monkeypatch.setattr("imc_sim.train.run_queue", run_queue)
    ran = run("train", "--queue", "published_sizes", "--out", "o", "--quiet")
    assert (ran.code, ran.out) == (1, "o/a\n")
    assert "published_sizes, b: failed: odd" in ran.err
    assert ran.err.splitlines()[-1].startswith("2 of ")
    assert shown_at == [Path("o") / name for name, _ in states]
    del states[1:]
    assert run("train", "--queue", "published_sizes", "--out", "o", "--quiet").code == 0


@pytest.mark.parametrize(("rows", "code", "files"), [([1, 1], 0, 1), ([1, None], 1, 1), ([None, None], 1, 0)])
def test_a_training_sweep_draws_what_it_has(
    rows: list[Any], code: int, files: int, monkeypatch: pytest.MonkeyPatch, here: Path, run: Callable
) -> None:
    monkeypatch.setattr("imc_sim.train.run_trainings", lambda *_, **__: [{"row": row} for row in rows])
    monkeypatch.setattr("imc_sim.plotting.draw_trainings", lambda *_: [Path("t.png")])
    ran = run("train", "--sweep", "metaplastic_cells", "--quiet")
    assert (ran.code, len(ran.out.splitlines())) == (code, files)
    assert ("--retry-failed" in ran.err) is bool(code)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("train m --workers 2", "--workers without --sweep"),
        ("train m --retry-failed", "--retry-failed without --sweep"),
        ("train --queue q --set recipe.m=1", "settings in the queue's file"),
        ("import ./n.py:f --out x --name y", "--name with a network"),
        ("import ./n.py:f --out x --arch batmann", "--arch with a network"),
        ("import a.pth --weights w --arch batmann --out x", "--weights with a file"),
        ("import a.csv --prefix p", "--prefix with measured cells"), ("import A.TAR", "without --arch"),
        ("list archs --trained", "--trained"), ("evaluate m --arg a=1", "--arg"),
        ("map m ideal --weights w", "--weights"),
    ],
)  # fmt: skip
def test_options_without_meaning_are_refused(words: str, text: str, here: Path, run: Callable) -> None:
    ran = run(*words.split(), "--quiet")
    assert (ran.code, text in ran.err, list(here.iterdir())) == (2, True, []), ran.err


def test_every_folder_of_a_report_has_its_page(monkeypatch: pytest.MonkeyPatch, run: Callable, here: Path) -> None:
    monkeypatch.setattr("imc_sim.study.Results.load", lambda folder: folder)
    monkeypatch.setattr("imc_sim.report.Conclusion.of", lambda folder: Conclusion(f"of {folder}", []))
    monkeypatch.setattr("imc_sim.report.write_report", lambda folder, concluded: folder / f"{concluded.text}.html")
    ran = run("report", "a", "b", "--quiet")
    assert ran.out.splitlines() == ["a/of a.html", "of a", "b/of b.html", "of b"]
    monkeypatch.setattr("imc_sim.study.combine", lambda *_: [])
    monkeypatch.setattr("imc_sim.study.has_parquet", lambda: False)
    for form, stated in (("csv", False), ("all", True)):
        assert ("Parquet is not written" in run("report", "a", "--trials", form, "--quiet").err) is stated
