"""The commands of docs/your_device.md can be followed, from files of a laboratory to a curve."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imc_sim.array import load_chip
from imc_sim.device.fit import guess_kind, read_table
from imc_sim.study import Results


@pytest.fixture
def page(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the page, in a folder with the files of its script."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(repository / "examples" / "lab_files.py"))["main"](Path("lab"))
    return (repository / "docs" / "your_device.md").read_text(encoding="utf-8")


def blocks(page: str, kind: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == kind]


def test_the_files_are_of_the_kinds_that_their_names_say(page: str) -> None:
    kinds = {"levels.csv": "levels", "bake.txt": "retention", "endurance.csv": "endurance", "iv.csv": "iv",
             "noise.txt": "noise", "map.npz": "levels"}  # fmt: skip
    assert {path.name: guess_kind(read_table(path))[0] for path in Path("lab").iterdir()} == kinds


def test_the_commands_of_the_page_give_a_chip_and_a_curve(page: str, run: Callable) -> None:
    for text in blocks(page, "yaml"):
        name = re.findall(r"^# file: (\S+)$", text, re.MULTILINE)
        if name:
            Path(name[0]).parent.mkdir(exist_ok=True)
            small = text.replace("episodes: 100", "episodes: 2").replace("min: 10", "min: 2")
            small = small.replace("batmann_5w1s_xnor", "batmann_small_xnor")
            Path(name[0]).write_text(small, encoding="utf-8")
    commands = re.findall(r"^imc-sim (.*)$", "".join(blocks(page, "sh")), re.MULTILINE)
    printed = {}
    for command in commands:
        ran = run(*shlex.split(command))
        assert ran.code == 0, f"{command}: {ran.err}"
        printed[command] = ran.err + ran.out
    shown = blocks(page, "")[0].splitlines()
    for line in shown[: shown.index("my_chip.yaml") + 1]:
        assert line in printed["device fit lab/levels.csv --into my_chip.yaml"], line
    chip = load_chip("my_chip.yaml")
    assert chip.device.faults.stuck_lrs == pytest.approx(0.03, abs=0.002)
    assert len(Results.load("results/my_study").table) == 8


def test_the_python_of_the_page_runs(page: str) -> None:
    (text,) = blocks(page, "python")
    exec(compile(text, "your_device.md", "exec"), {})


def test_maps_of_an_array_are_tables(page: str, run: Callable) -> None:
    rng = np.random.Generator(np.random.Philox(0))
    target = np.where(rng.random((64, 64)) < 0.5, 5.0, 60.0)
    np.savez("map.npz", target_uS=target, conductance_uS=target * np.exp(0.1 * rng.normal(size=target.shape)))
    ran = run("device", "fit", "map.npz")
    assert ran.code == 0, ran.err
    device = load_chip("map").device
    assert device.g_lrs_S == pytest.approx(60e-6, rel=0.01)
    assert device.g_hrs_S == pytest.approx(5e-6, rel=0.01)
