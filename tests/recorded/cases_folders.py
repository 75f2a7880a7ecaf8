"""Commands on results folders: runs, their continuation, figures, reports, tables and merged folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pandas import read_csv
from torch import nn

from imc_sim.config import write_yaml
from imc_sim.study import sweep
from tests.recorded.cases_cli import GLYPHS, MODEL, narrow, typed
from tests.recorded.cases_sites import made
from tests.recorded.made import folder, real, tried, without

CHIP: dict[str, Any] = {
    "name": "own", "source": "made up", "tile": {"rows": 40, "cols": 30}, "policy": {"int8": "digital"},
    "device": {"g_lrs_S": "80 uS", "g_hrs_S": "6 uS", "programming": {"kind": "relative", "sigma": 0.3}},
}  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "kept", "question": "How much?", "model": MODEL, "chip": "./own.yaml", "seed": 3, "chips": {"min": 3},
    "task": GLYPHS, "axes": [{"path": "chip.device.programming.sigma", "values": [0.0, 0.9]}],
    "cases": [{"name": "few"}, {"name": "binary keys", "set": {"task.keys": "binary"}}],
}  # fmt: skip
PRICED: dict[str, Any] = STUDY | {
    "name": "priced", "axes": [], "chips": {"min": 2}, "chip": "rram_neurram_core",
    "cases": [{"name": "a", "published": 0.5}, {"name": "b", "set": {"chip.converter": {"kind": "sym", "bits": 4}}}],
}  # fmt: skip
#: parts of lines that differ from run to run
CHANGES = r"\d+(\.\d+)? (s|MB|GB|kB|trials/s)\b|(?<=rate_per_s\": )\d+\.\d+|\b[0-9a-f]{12,}\b"


def lines(at: Path, *commands: str) -> list[Any]:
    """Return the exit code and lines of commands, without progress, times and digests."""
    found = []
    for command in commands:
        printed = [line for line in typed(*command.split(), at=at) if not str(line).startswith("2> running ")]
        found += [command, *narrow([re.sub(CHANGES, "SOME", str(line)) for line in printed])]
    return found


def record_studies() -> dict[str, Any]:
    """A study of an own chip from its run to reports, by commands."""
    with folder() as at:
        (at / "own.yaml").write_text(write_yaml(CHIP))
        (at / "s.yaml").write_text(write_yaml(STUDY))
        (at / "p.md").write_text("# Page\n\n<!-- table kept -->\nold\n<!-- end of table -->\n")
        found = lines(
            at, "run s.yaml --set task.wya=3", "run s.yaml --out a --set chips.min=2 --quiet", "status a",
            "run s.yaml --out a --set seed=5", "run s.yaml --out a --quiet", "status a --json", "plot a --kind heatmap",
            "report a --trials csv", "report a a --trials csv --out c", "report a s.yaml --trials csv --out d",
            "report a c --trials csv", "report a --out c", "report a --trials csv --page p.md", "report a --page p.md",
            "status c", "run a --quiet",
        )  # fmt: skip
        files = sorted(str(path.relative_to(at)) for path in (at / "a").rglob("*"))
        (at / "own.yaml").unlink()
        again = Path("a", "study.resolved.yaml")
        found += lines(at, f"run {again} --out e --set chips.min=1 --set axes.0.values=[0.0] --quiet")
        (at / "a" / "trials.jsonl").write_text("")
        found += lines(at, "status a", "report a")
        return {"lines": found, "files": files, "page": (at / "p.md").read_text().splitlines()}


def record_priced_studies() -> dict[str, Any]:
    """A study of chips with costs, compared with published figures."""
    with folder() as at:
        (at / "s.yaml").write_text(write_yaml(PRICED))
        (at / "p.md").write_text("# Page\n\n<!-- table priced -->\nold\n<!-- end of table -->\n")
        found = lines(at, "run s.yaml --out a --quiet", "plot a --kind pareto", "report a --page p.md")
        table = read_csv(at / "a" / "table.csv")
        return {
            "lines": found, "page": (at / "p.md").read_text().splitlines(), "table": [*table.columns],
            "numbers": table.select_dtypes("number").to_numpy().tolist(),
            "front": (at / "a" / "pareto.csv").read_text().splitlines()[0],
        }  # fmt: skip


def record_sweeps() -> dict[str, Any]:
    """Tables of sweeps of a network in memory."""
    network = made(nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3)))
    inputs = real(9, 12)
    chip = CHIP | {"policy": {"float": "crossbar"}, "encoding_multibit": {"kind": "differential"}}
    chip |= {"device": CHIP["device"] | {"levels": "continuous"}}

    def score(model: nn.Module, number: int | None) -> dict[str, float]:
        return {
            "error": float((model(inputs) - network(inputs)).abs().mean()),
            "number": -1.0 if number is None else number,
        }

    found: dict[str, Any] = {}
    sigma = "device.programming.sigma"
    with folder() as at, torch.no_grad():
        axes: dict[Any, Any] = {sigma: [0.0, 0.2], "device.read.sigma": [0.0, 0.05]}
        more: dict[str, Any] = {"chips": 2, "progress": False, "inputs": inputs, "better": "lower", "metric": "error"}
        table = sweep(network, chip, axes, score, out=at / "a", unit="V", **more)
        found["table"] = [
            list(map(str, table.columns)),
            *np.round(table.select_dtypes("number").to_numpy(), 5).tolist(),
        ]
        found["files"] = sorted(path.name for path in (at / "a").iterdir())
        calls: dict[str, Any] = {
            "no function": (axes, 3, {}), "axis": ({"device.x": [1]}, score, {}), "no values": ({sigma: []}, score, {}),
            "metric": ({sigma: [0.1]}, score, {"metric": "b"}), "chips": ({sigma: [0.1]}, score, {"chips": 0}),
        }  # fmt: skip
        for name, (swept, function, change) in calls.items():
            text = str(tried(sweep, network, chip, swept, function, **(more | change)))
            found[name] = re.sub(r"[0-9a-f]{8,}", "ID", without(text, at))
    return found
