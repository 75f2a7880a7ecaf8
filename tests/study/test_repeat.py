"""The content of a results folder is enough to repeat its study, to the bit, from anywhere."""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from imc_sim._errors import InputError, ResultsError
from imc_sim.cli import main
from imc_sim.config import read_yaml, trusting, write_yaml
from imc_sim.nn.networks import arch_files, build_arch
from imc_sim.nn.store import Arch, ModelCard, load_model, save_model
from imc_sim.report import write_report
from imc_sim.study import Results, combine, load_study, run, status
from imc_sim.study._content import keep_copies
from imc_sim.study._kept_files import KeptFiles
from imc_sim.study._points import points_of
from imc_sim.testing import stand_in_evaluator
from tests.warm import run_python

NET = """
from imc_sim.nn import Conv2d, Linear
from torch import nn

class Net(nn.Module):
    size = 16
    def __init__(self, maps=2):
        super().__init__()
        self.conv, self.fc = Conv2d(1, maps, 4, stride=4, bias=False), Linear(maps * 16, 8, policy="xnor")
    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))
"""
SHIPPED = "batmann_small_xnor"


def save(folder: Path, maps: int, code: str = "./net.py") -> None:
    """Save a model of the network in `code`, a path relative to the model's folder."""
    folder.mkdir(parents=True)
    (folder / code).write_text(NET)
    torch.manual_seed(maps)
    arch = f"{code}:Net"
    module = build_arch(arch, {"maps": maps}, folder)
    card = ModelCard(name=folder.name, summary="a test", arch=Arch(name=arch, args={"maps": maps}))
    save_model(folder, module, card, extra=arch_files(arch, folder) if code == "./net.py" else None)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a working folder with its own models, chip and study; one model is called like a shipped one."""
    home = tmp_path / "home"
    save(home / "models" / "mine", 2)
    save(home / "models" / "other", 3, code="../shared.py")
    save(home / "elsewhere" / "mine", 4)
    save(home / "models" / "batmann_5w1s_xnor", 5)
    chip: dict[str, Any] = read_yaml(Path(__file__).parents[2] / "device_configs" / "ideal.yaml") | {"name": "mychip"}
    chip["policy"] = {"float": "digital"}
    chip["device"]["programming"] = {"kind": "relative", "sigma": 0.5, "sigma_hrs": 0.5}
    (home / "device_configs").mkdir()
    (home / "device_configs" / "mychip.yaml").write_text(write_yaml(chip))
    task = {"dataset": "glyphs", "split": "test", "episodes": 3, "classes": 6, "way": 3, "queries": 2}
    models = ["mine", "./elsewhere/mine", "models/other", "batmann_5w1s_xnor", SHIPPED]
    study = {"name": "own", "model": "mine", "chip": "mychip", "task": task, "chips": {"min": 2},
             "axes": [{"path": "model", "values": models}],
             "cases": [{"name": "a"}, {"name": "b", "set": {"chip": "device_configs/mychip.yaml", "seed": 1}}],
             "skip": [{"case": "b", "model": "models/other"}]}  # fmt: skip
    (home / "own.yaml").write_text(write_yaml(study))
    return home


def command(line: str, folder: Path) -> None:
    """Run a printed command literally in `folder`."""
    words = shlex.split(line)
    assert words[0] == "imc-sim"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    env.pop("IMC_SIM_PATH", None)
    done = run_python("-m", "imc_sim.cli", *words[1:], cwd=folder, env=env)
    assert done.returncode == 0, done.stderr


def test_moved_results_are_repeated_to_the_bit_by_the_printed_command(home: Path, tmp_path: Path) -> None:
    command("imc-sim run own.yaml --out results/own", home)
    moved = tmp_path / "moved" / "results"
    moved.parent.mkdir()
    shutil.move(home / "results" / "own", moved)
    shutil.rmtree(home)
    save(moved / "models" / SHIPPED, 6)  # another model, which has a shipped one's name in the working folder
    page = html.unescape((moved / "report.html").read_text())
    own = ("device_configs/mychip.yaml", "models/batmann_5w1s_xnor", "models/mine", "models/mine-2", "models/other")
    assert ", ".join(own) in page
    assert "The data are part of the installation: glyphs." in page
    in_folder, from_page = re.findall(r"<code>(imc-sim run .*?)</code>", page)
    command(in_folder, moved)
    assert (moved / "again" / "table.csv").read_bytes() == (moved / "table.csv").read_bytes()
    first = read_yaml(moved / "study.resolved.yaml")
    assert read_yaml(moved / "again" / "study.resolved.yaml") == first
    copies = [p.relative_to(moved / "again") for p in (moved / "again").rglob("*/*.*")]
    assert len(copies) == 1 + 4 * 3
    assert all((moved / path).read_bytes() == (moved / "again" / path).read_bytes() for path in copies)
    (settings,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    (moved / from_page.split()[2]).write_text(settings)
    wanted = [p["id"] for p in first["points"]]
    assert [p.id for p in points_of(load_study(moved / "study.yaml"))] == wanted
    assert len(set(wanted)) == 9


def stub(folder: Path, study: dict[str, Any], **options: Any) -> dict[str, Any]:
    run(study, folder, evaluator=stand_in_evaluator, **options)
    return read_yaml(folder / "study.resolved.yaml")


def small(model: Path) -> dict[str, Any]:
    task = {"dataset": "glyphs", "split": "test", "episodes": 5}
    return {"name": "s", "model": str(model), "chip": "ideal", "task": task, "chips": {"min": 1}}


def test_ids_follow_from_the_code_of_a_network_and_not_from_its_path(home: Path, tmp_path: Path) -> None:
    found = {}
    for name, code in (("here", "./net.py"), ("there", "../other.py"), ("changed", "./net.py")):
        folder = tmp_path / name / "m"
        save(folder, 2, code)
        if name == "changed":
            (folder / "net.py").write_text(NET + "\n# changed\n")
        found[name] = [p.id for p in points_of(load_study(small(folder)))]
    assert found["here"] == found["there"] != found["changed"]


def test_code_in_a_results_folder_is_not_the_users_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IMC_SIM_TRUST")
    monkeypatch.chdir(home)
    theirs = home / "results" / "theirs"
    own = small(Path("mine")) | {"chip": "mychip", "task": {"dataset": "glyphs", "split": "test", "episodes": 1}}
    assert "model" in stub(theirs, own)["content"]
    write_report(Results.load(theirs))
    assert html.unescape((theirs / "report.html").read_text()).count("--out again --trust") == 2
    monkeypatch.chdir(theirs)
    assert main(["run", "study.resolved.yaml", "--out", "again", "--dry-run"]) == 2
    assert "names code, which was not run" in (error := capfd.readouterr().err)
    assert "copy it" not in error, "its models are in ./models"
    assert main(["run", f"{theirs}/study.resolved.yaml", "--out", "again", "--dry-run"]) == 2
    assert main(["run", "study.resolved.yaml", "--out", "again", "--dry-run", "--trust"]) == 0


def test_a_missing_copy_is_named_before_anything_runs(home: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    stub(results, small(home / "models" / "mine"))
    shutil.rmtree(results / "models")
    with pytest.raises(InputError, match=r"content\.model\..*nothing at .*Copy the results folder as a whole"):
        run(results / "study.resolved.yaml", tmp_path / "again", evaluator=stand_in_evaluator)
    assert not (tmp_path / "again").exists()


def test_a_folder_whose_content_lies_outside_is_not_copied(tmp_path: Path) -> None:
    """The file names that folder, and could be from anyone."""
    source, out = tmp_path / "a" / "source", tmp_path / "b" / "out"
    source.mkdir(parents=True)
    (tmp_path / "a" / "chip.yaml").write_text("name: x")
    for place in ("../chip.yaml", str(tmp_path / "a" / "chip.yaml")):
        with pytest.raises(ResultsError, match="allowed: a place within the folder"):
            keep_copies(source, out, {"content": {"chip": {"x": place}}})
    assert not (tmp_path / "b").exists()


def test_combined_folders_keep_the_copies(home: Path, tmp_path: Path) -> None:
    for name, chips in (("one", 1), ("two", 2)):
        stub(tmp_path / name, small(home / "models" / "mine") | {"chips": {"min": chips}})
    combine([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    shutil.rmtree(home)
    found = points_of(load_study(tmp_path / "both" / "study.resolved.yaml"))
    assert found[0].model == str(tmp_path / "both" / "models" / "mine")


def test_models_whose_features_are_trained_are_kept_too(home: Path, tmp_path: Path) -> None:
    task = {"kind": "classification", "features": str(home / "models" / "mine")}
    cases = [{"name": "a"}, {"name": "b", "set": {"task.features": str(home / "models" / "other")}}]
    first = stub(tmp_path / "results", small(home / "elsewhere" / "mine") | {"task": task, "cases": cases})
    shutil.rmtree(home)
    again = stub(tmp_path / "again", load_study(tmp_path / "results" / "study.resolved.yaml").to_dict())
    assert again == first
    assert sorted(p.name for p in (tmp_path / "again" / "models").iterdir()) == ["mine", "mine-2", "other"]


SCORE = """
from pathlib import Path

import torch

from helper import factor

def inputs():
    return torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))

def score(model, chip_index):
    offset = float((Path(__file__).parent / "offset.txt").read_text())
    return factor() * float(model(inputs()).square().mean()) + offset
"""
DATA = """
import numpy as np

def make(split):
    generator = np.random.default_rng(len(split))
    return generator.integers(0, 255, (20, 16, 16)).astype("uint8"), np.arange(20) % 8
"""


def with_functions(home: Path) -> None:
    """Write two studies of the user's functions: a metric with its helper and data, and a data set."""
    (home / "eval.py").write_text(SCORE)
    (home / "helper.py").write_text("def factor():\n    return 1000.0\n")
    (home / "offset.txt").write_text("7")
    (home / "data.py").write_text(DATA)
    axes = [{"path": "chip.device.programming.sigma", "values": [0.1, 0.5]}]
    metric = {"kind": "function", "call": "./eval.py:score", "inputs": "eval.py:inputs", "files": ["offset.txt"]}
    labelled = {"kind": "classification", "dataset": "./data.py:make", "split": "test"}
    chip = read_yaml(home / "device_configs" / "mychip.yaml")
    chip["policy"] = {"float": "digital", "binary": "crossbar"}
    for name, task in (("metric", metric), ("labelled", labelled)):
        study = {"name": name, "model": "mine", "chip": chip, "task": task, "axes": axes, "chips": {"min": 2}}
        (home / f"{name}.yaml").write_text(write_yaml(study))


@pytest.mark.parametrize("name", ["metric", "labelled"])
def test_functions_of_the_user_are_kept_and_repeated_from_an_empty_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with_functions(home)
    monkeypatch.chdir(home)
    first = run(home / f"{name}.yaml", home / "results" / name)
    moved = tmp_path / "moved"
    shutil.move(home / "results" / name, moved)
    shutil.rmtree(home)
    kept = {str(path.relative_to(moved)) for path in (moved / "files").rglob("*.*")}
    own = {"metric": {"files/eval/eval.py", "files/eval/helper.py", "files/eval/offset.txt"}}
    assert kept == own.get(name, {"files/data/data.py"})
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    again = run(moved / "study.resolved.yaml", "again")
    assert again.digest == first.digest
    assert read_yaml(Path("again/study.resolved.yaml")) == read_yaml(moved / "study.resolved.yaml")
    assert {str(path.relative_to("again")) for path in Path("again/files").rglob("*.*")} == kept
    assert str(tmp_path) not in (moved / "study.resolved.yaml").read_text()
    file = moved / min(kept)
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.raises(InputError, match=rf"content\.files, .*{file.name}': got content .*allowed: that of the run"):
        run(moved / "study.resolved.yaml", "changed")


def test_changed_code_of_a_kept_network_is_named(home: Path, tmp_path: Path) -> None:
    stub(tmp_path / "results", small(home / "models" / "other"))
    path = tmp_path / "results" / "models" / "other" / "shared.py"
    path.write_text(path.read_text() + "# changed\n")
    with pytest.raises(InputError, match=r"content\.files, .*shared\.py"):
        run(tmp_path / "results" / "study.resolved.yaml", tmp_path / "again", evaluator=stand_in_evaluator)


def test_a_results_folder_with_functions_runs_only_where_it_is_trusted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_functions(home)
    monkeypatch.chdir(home)
    run(home / "metric.yaml", tmp_path / "moved")
    monkeypatch.setenv("IMC_SIM_TRUST", "")
    for folder in (tmp_path, tmp_path / "moved"):
        monkeypatch.chdir(folder)
        with pytest.raises(InputError, match="a study in .* that names code, which was not run"):
            load_study(tmp_path / "moved" / "study.resolved.yaml")
    with trusting():
        assert load_study("study.resolved.yaml").content.files
    save(tmp_path / "moved" / "named" / "models" / "own", 2)
    monkeypatch.setenv("IMC_SIM_PATH", "named")
    assert load_model("own").size == 16, "a folder that the user names, although inside"


def test_a_check_of_data_runs_no_code_of_a_results_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(tmp_path / "results", small(home / "models" / "other"))
    path, mark = tmp_path / "results" / "study.resolved.yaml", tmp_path / "mark"
    (tmp_path / "data.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    part = f"{tmp_path / 'data.py'}:get test"
    path.write_text(write_yaml(read_yaml(path) | {"data": {part: "0" * 64}}))
    assert status(tmp_path / "results", check_data=True).other_data  # folders of tests are trusted
    assert mark.exists()
    mark.unlink()
    monkeypatch.setenv("IMC_SIM_TRUST", "")
    found = status(tmp_path / "results", check_data=True)
    assert (found.absent_data, mark.exists()) == ((part,), False)


def test_files_of_one_name_are_copied_apart(tmp_path: Path) -> None:
    found, paths = KeptFiles(), [tmp_path / folder / "cells.npz" for folder in "abc"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(path.parent.name)
        found._add(str(path))
    assert len(set(found.names.values())) == 3
    found.write(tmp_path / "results")
    for path in paths:
        assert (tmp_path / "results" / found.names[str(path)]).read_text() == path.parent.name
