"""`~` is the home folder in every path that a user writes: options, arguments, files and Python calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imc_sim.cli import _app, main
from imc_sim.config import write_yaml
from imc_sim.data import data_digest
from imc_sim.nn.networks import build_arch
from imc_sim.study import Results, combine, load_study, run, status
from imc_sim.testing import stand_in_evaluator

STUDY: dict[str, Any] = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5}, "chips": {"min": 2},
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home folder; the working directory is another one, in which nothing may be written."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return home


def study(home: Path) -> None:
    results = run(STUDY, "~/out", evaluator=stand_in_evaluator)
    assert results.folder == home / "out"
    assert status("~/out").done == len(Results.load(Path("~/out")).rows) == 3
    assert combine(["~/out"], "~/both", ["csv"]) == [home / "both" / "trials.csv"]


def verbs(home: Path) -> None:
    rows = "".join(f"{100 + k},{10 + k / 10}\n" for k in range(30))
    (home / "cells.csv").write_text(f"LRS (uS),HRS (uS)\n{rows}")
    assert main(["import", "~/cells.csv", "--out=~/chips/mine.yaml"]) == 0
    assert (home / "chips" / "mine.yaml").is_file()
    assert main(["map", "batmann_small_xnor", "~/chips/mine.yaml"]) == 0


def files(home: Path) -> None:
    (home / "base.yaml").write_text(write_yaml(STUDY))
    (home / "child.yaml").write_text(write_yaml({"name": "child", "base": "~/base.yaml"}))
    assert load_study("~/child.yaml").model == STUDY["model"]
    (home / "net.py").write_text("import torch\nclass Net(torch.nn.Module): pass\n")
    assert type(build_arch("~/net.py:Net", {}, Path("elsewhere"))).__name__ == "Net"


def images(home: Path) -> None:
    from PIL import Image

    (home / "set" / "val" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(home / "set" / "val" / "a" / "1.png")
    assert len(data_digest("folder:~/set test")) == 64


@pytest.mark.parametrize("use", [study, verbs, files, images])
def test_options_and_files_expand_the_home_folder(use: Callable[[Path], None], home: Path) -> None:
    use(home)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("~/x", "/h/x"), ("~", "/h"), ("--out=~/x", "/h/x"), ("--page=~", "/h"), ("--set=chip=~/x.yaml", None),
        ("x~", None), ("./~/x", None), ("--out", None), ("--set", None), ("a=~/x", None),
    ],
)  # fmt: skip
def test_python_arguments_expand_the_home_folder(
    argument: str, expanded: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    option = re.match(r"(--\w+=)?", argument)
    assert option
    assert _app._expanded(argument) == (argument if expanded is None else f"{option[0]}{expanded}")
