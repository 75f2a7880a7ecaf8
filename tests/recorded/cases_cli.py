"""Commands: options with their defaults and help, what they print on made-up files, old names and refused words."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from imc_sim._errors import InputError
from imc_sim.cli import app, main
from imc_sim.cli._app import _expanded, _explained
from imc_sim.cli._chips import apply_settings
from imc_sim.cli._console import Pace, _cell, _joined, _note, _rate, duration, gentle_stop, print_rows
from imc_sim.cli._help import complete_chip, complete_model
from imc_sim.cli._list import _summary
from imc_sim.cli._old_names import OLD_NAMES, with_new_names
from imc_sim.cli._own_network import arguments, renamed_pairs
from imc_sim.cli._show_model import _stem
from imc_sim.cli._status import _line
from imc_sim.config import content_names, write_yaml
from imc_sim.data import DATASETS
from imc_sim.study import Status
from tests.recorded.contents import short
from tests.recorded.made import folder, tried, without

MODEL = "batmann_small_xnor"
GLYPHS: dict[str, Any] = {
    "dataset": "glyphs", "split": "test", "classes": 7, "instances": 9, "rotations": False, "episodes": 5,
    "way": 4, "shot": 2, "queries": 3,
}  # fmt: skip
CARD: dict[str, Any] = {
    "name": "tiny",
    "summary": "a tiny controller",
    "arch": {"name": "batmann", "args": {"kind": "xnor", "width": 6, "dim": 24}},
    "recipe": {
        "kind": "episodic", "dataset": "glyphs", "split": "test", "validation_split": "test", "way": 4, "episodes": 2,
        "queries": 2, "rotations_as_classes": False, "validate_every": 1, "validation_episodes": 3,
        "precision": "float32", "seed": 4, "measure": [{"task": GLYPHS, "note": "for the test"}],
    },
}  # fmt: skip


def typed(*words: str, at: Path | None = None) -> list[Any]:
    """Return the exit code of a command, and the lines that it prints, without those of progress."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    found = [code, *("2> " * (stream is err) + line for stream in (out, err) for line in stream.getvalue().split("\n"))]
    lines = [content_left_out(line) for line in found[1:] if line not in ("", "2> ") and not line.endswith(" ...")]
    return [code, *(line if at is None else without(line, at) for line in lines)]


def content_left_out(line: str) -> str:
    """Return a line without what more content would change."""
    for names in (content_names("chip"), list(DATASETS)):
        line = line.replace(", ".join(names), "NAMES")
    return re.sub(r"allowed: (one|a part) of \d+", r"allowed: \1 of N", line)


def narrow(lines: list[Any]) -> list[Any]:
    """Return lines of a table with columns that do not depend on the longest cell."""
    return [re.sub(r"  +", "  ", line) if isinstance(line, str) else line for line in lines]


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all commands with their names, those of groups after the group."""
    for name, command in getattr(group, "commands", {}).items():
        yield f"{path}{name}", command
        yield from commands(command, f"{path}{name} ")


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Work in a folder with an untrained card."""
    with folder() as at:
        (at / "models" / "tiny").mkdir(parents=True)
        (at / "models" / "tiny" / "model.yaml").write_text(write_yaml(CARD))
        yield at


def record_options() -> dict[str, Any]:
    """Names, defaults, limits and help of the options of every command."""
    found: dict[str, Any] = {}
    for path, command in commands(typer.main.get_command(app)):
        texts = [str(command.help or ""), str(command.epilog or "")]
        found[path] = [command.get_short_help_str(200), short("\n".join(texts))]
        for option in command.params:
            # What stands for no default is another object in each version of click.
            default = option.default if isinstance(option.default, str | int | float | Path) else ""
            what = [*option.opts, *option.secondary_opts, default, option.required, option.nargs]
            what += [getattr(option, "is_flag", False), getattr(option, "multiple", False)]
            found[path] += [" ".join(map(str, what)), str(getattr(option, "help", ""))]
    return found


def record_old_names() -> dict[str, Any]:
    """Command lines in names of before, in names of now, and homes in words."""
    lines = [*(f"{old} x --out y" for old in OLD_NAMES), "combine a b --format csv", "combine --help", "list models"]
    (sweep,) = (old for old, new in OLD_NAMES.items() if new == "train --sweep")
    lines += [f"{sweep} --out o n --device cuda", f"{sweep} --resume", "combine --trials=csv a", f"list {sweep}", ""]
    found: dict[str, Any] = {}
    for line in lines:
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            words = with_new_names(line.split())
        found[line] = [" ".join(words), printed.getvalue()]
    home = Path.home()
    found["home"] = [
        _expanded(each).replace(str(home), "HOME") for each in ("~", "~/x", "--out=~/x", "a~", "--set=a=~", "--~")
    ]
    errors = [
        InputError("a", 1, "2", "Do."),
        OSError(28, "full", "file"),
        OSError(2, "No such file", "name"),
        KeyError("k"),
    ]
    found["explained"] = [list(_explained(error)) for error in errors]
    return found


def record_console() -> dict[str, Any]:
    """Tables, times, rates and signals on the console; the options of networks."""
    found: dict[str, Any] = {}
    rows: list[dict[str, Any]] = [
        {"a": 1.0, "b": None, "c": (0.5, 2)}, {"a": 1234567.0, "d": "long text", "b": [1, 2.5, "x"]}, {"c": True},
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        print_rows(rows, {0: "first", 2: "last"})
    found["rows"] = [out.getvalue().split("\n"), err.getvalue().split("\n")]
    found["cells"] = [_cell(each) for each in (0.1234567, 1e-9, 0, None, "", (1, (2.5, 3)), [])]
    found["durations"] = [duration(s) for s in (0, 0.5, 1.5, 59.6, 3599, 3600, 86399.4, 86400, 200000)]
    found["rates"] = [_rate(each) for each in (0.0123, 1.26, 99.9, 100.0, 12345.6)]
    found["joined"] = [_joined("a", "", "b"), _joined("", ""), _note({"a": 0.5, "b": 3}), _note(None)]
    now = [0.0]
    pace = Pace(lambda: now[0])
    found["pace"] = [pace.text(0, 10)]
    for k, done in enumerate((3, 3, 5, 9, *range(10, 70))):
        now[0] = 2.0 * (k + 1)
        pace.update(done)
        if k in (0, 1, 2, 3, 62, 63):
            found["pace"] += [
                pace.rate,
                pace.text(done, 70),
                pace.text(done, None, "bytes"),
                pace.text(done, 69),
                pace.text(done, 5),
            ]
    found["settings"] = []
    for words in (["chip.a=1", "task.b.c=x"], ["other.a=1"], ["chip=1"], ["chip.a"], ["chip.x.y.z=[1, 2]"]):
        chip, task = {"a": 0, "x": {"y": {"z": 3}}}, {"b": {"c": 1}}
        found["settings"].append([tried(apply_settings, words, chip=chip, task=task), chip, task])
    found["settings"].append(tried(apply_settings, ["task.a=1"], chip={}))
    found["arguments"] = [tried(arguments, pairs) for pairs in (["a=1", "b=x=y", "c=[1, 2]"], None, ["a"], ["=1"])]
    found["renamed"] = [tried(renamed_pairs, pairs) for pairs in (["a=b", "c="], None, ["a"], ["=b"])]
    usual: dict[str, Any] = {"settings": [], "seed": 0, "chips": 16}
    found["stems"] = [
        _stem("a/b c", "ch ip", "kind", usual | other)
        for other in ({}, {"seed": 1}, {"chips": 4}, {"settings": ["a=1"]})
    ]
    found["completed"] = [complete_chip("rram_x"), complete_model("bnn_"), complete_chip("none")]
    state: dict[str, Any] = {"study": "s", "done": 1, "failed": 0, "left": 0, "at_least": False, "rate_per_s": None}
    state |= {"eta_s": None, "writer": None, "damaged": [], "other_data": [], "absent_data": []}
    changes: list[dict[str, Any]] = [
        {}, {"failed": 1}, {"left": 3, "at_least": True}, {"left": 2, "writer": "host 5", "rate_per_s": 0.12345},
        {"left": 2, "eta_s": 100.0, "rate_per_s": 12.0}, {"damaged": ["x", "y"]}, {"done": 0, "failed": 2},
    ]  # fmt: skip
    known = set(Status.__dataclass_fields__)
    found["status"] = [_line(Status(**{k: v for k, v in (state | change).items() if k in known})) for change in changes]
    if threading.current_thread() is threading.main_thread():
        before = signal.getsignal(signal.SIGTERM)
        with contextlib.redirect_stderr(io.StringIO()) as err, gentle_stop("a step") as stopped:
            signals = [stopped()]
            signal.raise_signal(signal.SIGTERM)
            signals.append(stopped())
        found["signals"] = [*signals, err.getvalue(), signal.getsignal(signal.SIGTERM) is before]
    return found


def record_lists() -> dict[str, Any]:
    """Lists of each kind of content, summaries, and names that nothing has."""
    found: dict[str, Any] = {"datasets": typed("list", "datasets"), "archs": narrow(typed("list", "archs"))}
    parts = {"models": ("bnn_", "batmann_small"), "chips": ("rram_n", "ramm"), "sweeps": ("metaplastic",)}
    parts |= {"queues": ("published",), "studies": ("quickst", "quikstart")}
    for what, part in ((what, part) for what, each in parts.items() for part in each):
        found[f"{what} {part}"] = narrow(typed("list", what, part))
    found["trained"] = [
        *narrow(typed("list", "models", "mnist_a1", "--trained", "--quiet")),
        *typed("list", "chips", "--trained"),
    ]
    cards: dict[str, dict[str, Any]] = {
        "curve": {"summary": "s", "arch": {}, "curve": "c"}, "untrained": {"summary": "s", "arch": {}},
        "trained": {"summary": "s", "arch": {}, "weights": "w"}, "chip": {"source": "b " * 80}, "none": {},
    }  # fmt: skip
    found["summaries"] = [_summary(cards.__getitem__, name) for name in cards]
    return found


def record_refused_words() -> dict[str, Any]:
    """Words that commands refuse, and names that are nearly right."""
    lines = [
        "evaluate tiny --conductances x.npz",
        "evaluate tniy",
        "train",
        "train tiny --queue q",
        "train --queue q --set a=1",
        "train tiny --workers 2",
        "train tiny --retry-failed",
        "train --sweep s --set a.b=1",
        "map tiny rram_hfo2_1t1R",
        "map tiny ideal --set chip.tile.row=3",
        "map tiny ideal --set tile.rows=3",
        "map tiny ideal --weights w.pth",
        "map tiny ideal --rename a=b",
        "map tiny ideal --inputs x.npy",
        "cost tiny ideal",
        "import w.pth",
        "import w.pth --arch batmann",
        "import x.csv --arg a=1",
        "import x.csv --weights w.pth",
        "import ./n.py:A --arch batmann",
        "import ./n.py:A --name n",
        "import n.onnx --weights w.pth",
        "import w.pth --arch batmann --name n",
        "import x.csv --out models/tiny/model.yaml",
        "import x.csv --chip ideal",
        "device fit none.csv",
        "device fit none.csv --into x.txt",
        "device fit none.csv --name a/b",
        "show device ideal --amplitude 1",
        "show device idael",
        "show tsne tiny ideal --set task.shots=3",
        "show confusion tiny ideal --set tasks.shot=3",
        "status nowhere",
        "plot nowhere",
        "plot nowhere --kind pie",
        "report",
        "report nowhere --trials csv --page p.md",
        "run none",
        "runn",
        "lits models",
        "map tiny ideal --chip 3",
        "data check omniglott",
        "data fetch none",
        "show forgetting tiny",
    ]
    with workplace() as at:
        (at / "p.md").write_text("no table\n")
        return {line: typed(*line.split(), at=at) for line in lines}


def record_one_model() -> dict[str, Any]:
    """A tiny model, trained for two episodes; a trained one, evaluated and mapped, with its cost and layers."""
    found: dict[str, Any] = {}
    few = [f"{key}={json.dumps(value)}" for key, value in GLYPHS.items()]
    tasks, sets = ([word for each in few for word in ("--set", f"{part}{each}")] for part in ("task.", ""))
    with workplace() as at:
        lines = [
            "train tiny --quiet",
            "train tiny --quiet --resume",
            "train tiny --quiet --set recipe.episodes=3",
            "map MODEL rram_hfo2_1t1r",
            "map MODEL ideal --chips 2 --export c.npz",
            "map MODEL ideal --conductances c.npz",
            "cost MODEL rram_neurram_core --images 2 --chips 3",
        ]
        for line in lines:
            found[line] = narrow(typed(*line.replace("MODEL", MODEL).split(), at=at))
        mapped = json.loads("".join(typed("map", MODEL, "rram_xnor", "--json")[1:]))
        found["map"] = [list(row.values()) for row in mapped["layers"]], mapped["tiles"], mapped["cells"]
        for line in (
            "--chip rram_hfo2_1t1r --chips 3 --seed 2 --set chip.device.programming.sigma=0.9",
            "--episodes 3 --set shot=1 --set chip.policy.memory=digital --chip rram_taox --chips 2",
            "--chip ideal --conductances c.npz",
        ):
            found[line] = narrow(typed("evaluate", MODEL, "--quiet", *sets, *line.split(), at=at))
        line = f"show sensitivity {MODEL} rram_neurram_core --chips 2 --seed 3 --quiet"
        found["sensitivity"] = narrow(typed(*line.split(), *tasks, at=at))
        heads, *rows = (at / "runs" / "tiny" / "training.csv").read_text().splitlines()
        # Losses after an update hang on the rounding of gradients, which differs between processors.
        found["training"] = [heads, *(",".join(f"{float(x):.2g}" for x in row.split(",")) for row in rows)]
        found["in the folder"] = sorted(path.name for path in (at / "runs" / "tiny").iterdir())
    return found


def record_measured_cells() -> dict[str, Any]:
    """Chips of made-up cells."""
    found: dict[str, Any] = {"fits": []}
    cells = ["state,conductance (uS)"]
    for name, mean, sd in (("HRS", 5.0, 0.8), ("LRS", 80.0, 6.0)):
        cells += [f"{name},{g:.4f}" for g in np.random.default_rng(5).normal(mean, sd, 40)]
    with folder() as at:
        (at / "cells.csv").write_text("\n".join(cells))
        for line in (
            "device fit cells.csv",
            "device fit cells.csv",
            "import cells.csv --name third --out other.yaml",
            "import cells.csv --out other.yaml",
            "device fit cells.csv --kind retention --into b.yaml",
        ):
            found["fits"].append([line, typed(*line.split(), at=at)])
    return found
