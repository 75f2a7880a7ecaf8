"""The command line as a whole: help, speed, exit codes, errors in one line."""

from __future__ import annotations

import errno
import re
import resource
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from pandas import DataFrame

from imc_sim._errors import InputError
from imc_sim.cli import _app, app, main
from imc_sim.cli._run import table_rows
from imc_sim.config import find_card
from imc_sim.study import Results

VERBS = {
    "Studies": ["run", "status", "plot", "report"],
    "Models": ["train", "evaluate", "map", "cost", "import", "device"],
    "Content and installation": ["list", "doctor", "show", "data"],
}
SHOWN = (
    "device", "converters", "confusion", "sensitivity", "tsne", "spikes", "forgetting", "sign-flips", "quadratic",
    "schema",
)  # fmt: skip
EVERY = [
    *([verb] for verbs in VERBS.values() for verb in verbs), *(["show", kind] for kind in SHOWN),
    ["data", "fetch"], ["data", "check"], ["device", "fit"],
]  # fmt: skip


def listed(text: str) -> dict[str, list[str]]:
    """Return the commands under each heading of a help text."""
    sections = re.findall(r"^(\w[\w ]*):\n((?:  [\w-]+ .*\n)+)", text.partition("Options:")[2], re.MULTILINE)
    return {head: re.findall(r"^  ([\w-]+)", lines, re.MULTILINE) for head, lines in sections}


def test_help_lists_every_command_in_its_group(run: Callable) -> None:
    ran = run("--help")
    assert ran.code == 0
    assert listed(ran.out) == VERBS
    kinds = run("show", "--help").out
    assert sorted(name for names in listed(kinds).values() for name in names) == sorted(SHOWN)
    assert not re.search(r"^  .*\.\.\.$", ran.out + kinds, re.MULTILINE), (
        "a first sentence too long for the list of commands"
    )


def test_every_command_is_in_these_tests() -> None:
    def paths(command: Any, words: list[str]) -> list[list[str]]:
        below = getattr(command, "commands", {})
        return [words, *(path for name, each in below.items() for path in paths(each, [*words, name]))]

    assert sorted(EVERY) == sorted(paths(typer.main.get_command(app), [])[1:])


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_help_has_examples_that_parse(words: list[str], run: Callable) -> None:
    shown = run(*words, "--help").out.split("Examples:\n")[1].splitlines()
    examples = [shlex.split(line.partition(">")[0]) for line in shown if line.strip()]
    assert examples
    for example in examples:
        assert example[: 1 + len(words)] == ["imc-sim", *words]
        command: Any = typer.main.get_command(app)
        rest = example[1:]
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(" ".join(words), rest)  # raises where an option or an argument is unknown


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("sho", "show"), ("show sens", "sensitivity"), ("run quickst", "quickstart"), ("import --ar", "--arch"),
        ("map batmann_small_x", "batmann_small_xnor"), ("map batmann_small_xnor rram_hf", "rram_hfo2_1t1r"),
        ("evaluate x --chip rram_hf", "rram_hfo2_1t1r"),
    ],
)  # fmt: skip
def test_the_shell_completes_commands_options_and_names(
    typed: str, completed: str, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"imc-sim {typed}"
    monkeypatch.setenv("_IMC_SIM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert completed in run().out.split()


@pytest.mark.parametrize("verb", [verb for verbs in VERBS.values() for verb in verbs])
def test_every_verb_has_help_for_each_option(verb: str, run: Callable) -> None:
    ran = run(verb, "--help")
    assert ran.code == 0
    options = re.findall(r"^  (--[\w-]+)(.*(?:\n {10,}.*)*)", ran.out, re.MULTILINE)
    assert options
    for option, text in options:
        assert re.search(r"[a-z]{2,}.*\s[a-z]", text), option


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["list", "models"], ["list", "chips"], ["list", "studies"],
                                  ["list", "datasets"], ["list", "archs"], ["run", "--help"]])  # fmt: skip
def test_help_and_lists_load_no_torch(argv: list[str], python: Callable) -> None:
    heavy = {"torch", "matplotlib", "pandas", "sklearn"}
    program = (
        f"import sys; from imc_sim.cli import main; code = main({argv!r}); "
        f"loaded = sorted(set(sys.modules) & {heavy!r}); print('loaded', *loaded); sys.exit(code)"
    )
    ran = python("-c", program)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == "loaded"


def test_help_takes_less_than_a_second(python: Callable) -> None:
    """Processor time is measured: wall time depends on what else runs."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python("-m", "imc_sim.cli", "--help").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 1.0


def test_version(run: Callable) -> None:
    assert re.fullmatch(r"imc-sim (\d+\.\d+\.\d+|not installed)\n", run("--version").out)


@pytest.mark.parametrize(
    ("options", "error"),
    [("--executor thread", "executor: got 'thread'"), ("--executor inline --workers 4", "workers: got 4"),
     ("--executor process --scheduler tcp://x:1", "scheduler: got 'tcp://x:1'"),
     ("--scheduler tcp://x:1 --workers 2", "workers: got 2 with scheduler")],
)  # fmt: skip
def test_a_dry_run_refuses_executors_that_the_run_refuses(options: str, error: str, run: Callable) -> None:
    for words in (["--dry-run"], []):
        ran = run("run", "quickstart", *words, *options.split())
        assert (ran.code, error in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("argv", [[], ["bogus"], ["list"], ["list", "chip"], ["map", "x"],
                                  ["show", "tsnee", "x", "ideal"], ["list", "chips", "--odd"],
                                  ["evaluate", "x", "--chips", "0"], ["evaluate", "x", "--chips", "many"]])  # fmt: skip
def test_wrong_usage_is_exit_code_2(argv: list[str], run: Callable) -> None:
    ran = run(*argv)
    assert ran.code == 2
    assert "Traceback" not in ran.out + ran.err
    assert not argv or (ran.out, ran.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["run", "quickstart", "--worker", "2"], r"run: No such option: --worker. Did you mean '--workers'\? See"),
        (["evalute", "x"], r"No such command 'evalute'. Did you mean 'evaluate'\? See `imc-sim --help`"),
        (["status", "models/benn"], "a family of models.*imc-sim list models benn"),
        (["report", "models/own"], "a model folder.*imc-sim evaluate models/own"),
        (["status", "runs/own"], "a training run that has not ended"),
        (["status", "absent"], "no such folder"),
        (["list", "models", "bennn"], "'bennn', which no name contains"),
        (["list", "chips", "--trained"], "--trained"),
        (["run", "quickstart", "--set", "chip=rram_neurram"],
         r"cases\.0\.set \(chip\.device\.programming\.sigma_hrs\) and axes\.0\.path .*--set cases\.0\.set={}"),
        (["run", "quickstart", "--set", "chip=rram_neurram", "--set", "cases.0.set={}"], r"sets it in axes\.0\.path"),
    ],
)  # fmt: skip
def test_errors_say_what_to_change(
    argv: list[str], match: str, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("models/benn/family.yaml", "models/own/model.yaml", "runs/own/training.jsonl"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("summary: s\nmodels: {}\n")
    monkeypatch.chdir(tmp_path)
    ran = run(*argv, *(["--quiet"] if argv[0] not in ("status", "evalute") else []))
    assert ran.code == 2
    assert re.search(match, ran.err), ran.err


def test_models_are_listed_by_part_of_the_name_and_by_having_weights(run: Callable) -> None:
    every, some, trained = (
        run("list", "models", *more) for more in ((), ("metaplastic",), ("metaplastic", "--trained"))
    )
    names = [[line.split()[0] for line in ran.out.splitlines()[1:]] for ran in (every, some, trained)]
    assert set(names[2]) < set(names[1]) < set(names[0])
    assert {name.partition("_")[0] for name in names[1]} == {"metaplastic"}
    assert some.err.count("(") >= 1
    assert all("weights" in find_card(name).data for name in names[2])
    assert f"{len(names[0])} models; `imc-sim list models PART`" in every.err


@pytest.mark.parametrize("argv", [["map", "no_such_model", "no_such_chip"], ["evaluate", "no_such_model"],
                                  ["train", "no_such_model"], ["import", "no.pth", "--arch", "batmann", "--out", "x"],
                                  ["run", "no_such_study"]])  # fmt: skip
def test_bad_names_give_one_line(
    argv: list[str], run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*argv)
    assert ran.code == 2
    assert ran.out == ""
    assert len([line for line in ran.err.splitlines() if line.startswith("imc-sim: ")]) == 1
    assert "no" in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `imc-sim doctor` raise `error`."""
    broken = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

    @broken.callback()
    def _options() -> None: ...

    @broken.command("doctor")
    def _doctor() -> None:
        raise error

    monkeypatch.setattr(_app, "app", broken)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("tile.rows", 0, "1 or more", "Set it."), 2, "tile.rows: got 0; allowed: 1 or more. Set it."),
        (OSError(errno.ENOSPC, "No space left on device", "out/trials.jsonl"), 2, "out/trials.jsonl: no space left"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "an output of this command"),
        (PermissionError(errno.EACCES, "Permission denied", "out/x"), 2, "out/x: Permission denied"),
        (KeyboardInterrupt(), 2, "interrupted"),
        (typer.Exit(1), 1, ""),
        (RuntimeError("odd"), 1, "RuntimeError: odd. This is a bug in imc_sim; IMC_SIM_DEBUG=1"),
    ],
)
def test_errors_give_one_line_and_the_right_exit_code(
    error: BaseException, code: int, text: str, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(error, monkeypatch)
    ran = run("doctor")
    assert ran.code == code
    assert text in ran.err
    assert len(ran.err.splitlines()) == bool(text)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RuntimeError("odd"), monkeypatch)
    monkeypatch.setenv("IMC_SIM_DEBUG", "1")
    with pytest.raises(RuntimeError, match="odd"):
        main(["doctor"])


def test_a_closed_pipe_is_not_an_error(python: Callable, repository: Path) -> None:
    program = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-m', 'imc_sim.cli', 'list', 'archs'], stdout=subprocess.PIPE, "
        "stderr=subprocess.PIPE); p.stdout.close(); print(p.stderr.read().decode()); p.wait()"
    )
    assert "Traceback" not in python("-c", program, cwd=repository).out


def test_the_table_of_a_run_has_values_in_their_units_and_accuracies_in_percent() -> None:
    axis = {"path": "chip.converter.bits", "label": "ADC", "unit": "bits", "scale": 2}
    columns = ["case", axis["path"], "chips", "mean", "half_width", "median", "p05", "p95", "digital"]
    values = [["a", 4, 20, 0.99, 0.05, 0.98, 0.9, 1.0, 0.995], ["a", 5, 20, 0.01, 0.05, 0.02, 0.0, 0.1, 0.4]]
    table = DataFrame(values, columns=columns)
    results = Results(Path(), {"axes": [axis]}, table, {}, 0, "", intervals=((0.94, 1.0), (0.0, 0.06)))
    first, second = table_rows(results)
    assert list(first.values()) == ["a", "8", "20", "99.00 [94.00, 100.00]", "98.00", "90.00 .. 100.00", "99.50"]
    assert list(second.values()) == ["a", "10", "20", "1.00 [0.00, 6.00]", "2.00", "0.00 .. 10.00", "40.00"]
    assert list(first) == [
        "case", "ADC (bits)", "chips", "mean, 95 % interval %", "median %", "5-95 % of chips", "digital %",
    ]  # fmt: skip


def test_app_is_the_installed_command() -> None:
    assert isinstance(app, typer.Typer)
    assert torch.get_num_threads() == 1
