"""Networks of ONNX files from the command line: import, map, evaluate, and studies of them."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import imc_sim
from imc_sim import load_onnx, sweep
from imc_sim._errors import InputError
from imc_sim.array import load_chip
from imc_sim.evaluate import arch_of
from imc_sim.mapping import import_checkpoint, map_model
from imc_sim.nn.store import inputs_of, load_model

pytest.importorskip("onnx")

TASK = ["--set", "kind=classification", "--set", "dataset=digits", "--set", "images=20"]
DIGITAL = ["--set", "chip.policy.float=digital"]


class SignConv(nn.Conv2d):
    """A binary convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return nn.functional.conv2d(x.sign(), self.weight.sign(), padding=self.padding)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the ONNX file of a binary network, exported for one image, and inputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMC_SIM_TRUST", raising=False)
    torch.manual_seed(0)
    body = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), SignConv(8, 8, 3, padding=1))
    network = nn.Sequential(*body, nn.Flatten(), nn.Linear(8 * 36, 10)).eval()
    with warnings.catch_warnings(action="ignore"):  # of the exporter
        torch.onnx.export(network, (torch.randn(1, 1, 8, 8),), "bnn.onnx", dynamo=False, opset_version=17)
    np.save("x.npy", np.random.default_rng(0).standard_normal((20, 1, 8, 8)))
    Path("device_configs").mkdir()
    text = "name: mine\npolicy: {float: digital}\ndevice: {g_lrs_S: 100 uS, g_hrs_S: 1 uS}\n"
    Path("device_configs/mine.yaml").write_text(text)
    return tmp_path


def imported(run: Callable, *more: str) -> None:
    ran = run("import", "bnn.onnx", "--inputs", "x.npy", "--out", "models/mine", *more)
    assert ran.code == 0, ran.err


def test_a_model_folder_is_the_network_of_the_file(home: Path, run: Callable) -> None:
    """Its weights are stored once, and its graph can be read by other programs."""
    imported(run)
    sizes = {path.name: path.stat().st_size for path in Path("models/mine").iterdir()}
    assert set(sizes) == {"model.yaml", "weights.safetensors", "inputs.safetensors", "network.onnx"}
    assert sizes["network.onnx"] < 4000 < sizes["weights.safetensors"]
    network, own, x = load_model("mine"), load_onnx("bnn.onnx"), torch.randn(5, 1, 8, 8)
    assert network.state_dict().keys() == own.state_dict().keys()
    assert torch.equal(network(x), own(x))
    assert torch.equal(load_onnx("models/mine/network.onnx")(x), own(x))
    chip = load_chip("ideal").replace("policy.float", "digital")
    assert torch.equal(map_model(network, chip, inputs=inputs_of(network))(x)[0], own(x))


def test_commands_take_the_file_as_they_take_the_model(home: Path, run: Callable) -> None:
    imported(run)
    by_name, typed = (run("map", name, *more, "ideal", *DIGITAL, "--json")
                      for name, more in (("mine", ()), ("bnn.onnx", ("--inputs", "x.npy"))))  # fmt: skip
    assert by_name.code == typed.code == 0, by_name.err + typed.err
    assert json.loads(by_name.out) == json.loads(typed.out)
    places = {row["layer"]: row["place"] for row in json.loads(by_name.out)["layers"]}
    assert places == {"0/Conv": "digital", "2/Conv": "crossbar", "4/Gemm": "digital"}
    ideal = ["--chip", "ideal", "--chips", "1", *DIGITAL]
    by_name, typed = (run("evaluate", name, *TASK, *ideal) for name in ("mine", "bnn.onnx"))
    assert by_name.code == typed.code == 0, by_name.err + typed.err
    assert by_name.out == typed.out


def test_a_study_runs_resumes_and_keeps_the_network(home: Path, run: Callable) -> None:
    """The copy in the results folder is enough to run it again; no trust is needed, as no code is run."""
    imported(run)
    study = {
        "name": "s", "question": "Does it tolerate variation?", "model": "models/mine", "chip": "mine",
        "task": {"kind": "classification", "dataset": "digits", "split": "test", "images": 20},
        "chips": {"min": 2, "max": 2}, "axes": [{"path": "chip.device.programming.sigma", "values": [0.0, 3.0]}],
    }  # fmt: skip
    (home / "s.yaml").write_text(json.dumps(study))
    for _ in range(2):
        ran = run("run", "s.yaml", "--out", "results/s")
        assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in Path("results/s/trials.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    correct = [row["correct"] for row in sorted(rows, key=lambda row: row["values"])]
    assert correct[0] == correct[1] == correct[2]
    assert correct[3:] != correct[1:3]
    shutil.rmtree("models")
    Path("bnn.onnx").unlink()
    ran = run("run", "results/s/study.resolved.yaml", "--out", "results/again")
    assert ran.code == 0, ran.err
    again = [json.loads(line) for line in Path("results/again/trials.jsonl").read_text().splitlines()]
    assert {row["id"]: row["correct"] for row in again} == {row["id"]: row["correct"] for row in rows}


def test_the_identity_covers_the_graph(home: Path, run: Callable) -> None:
    imported(run)
    shutil.copytree("models/mine", "models/copy")
    assert arch_of("mine") == arch_of("copy")
    with Path("models/copy/network.onnx").open("ab") as file:
        file.write(b"\x1a\x01z")  # the name of the program that made the file
    assert arch_of("mine") != arch_of("copy")
    Path("models/copy/network.onnx").unlink()
    with pytest.raises(InputError, match=r"no file .*network\.onnx"):
        arch_of("copy")


def test_without_the_package_every_command_says_what_to_install(
    home: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(run)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run("list", "models").code == 0
    for command in (["map", "mine", "ideal"], ["evaluate", "mine", *TASK], ["import", "bnn.onnx", "--out", "models/b"]):
        ran = run(*command)
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
        assert "pip install 'imc_sim[onnx]'" in ran.err


def test_options_that_an_onnx_file_does_not_take(home: Path, run: Callable) -> None:
    for command, match in (
        (["import", "bnn.onnx", "--arch", "batmann", "--out", "models/b"], "--arch with an ONNX file"),
        (["import", "bnn.onnx", "--weights", "x.npy", "--out", "models/b"], "--weights with an ONNX file"),
        (["import", "bnn.onnx"], "no --out"),
        (["map", "bnn.onnx", "ideal", "--rename", "a=b"], "--rename"),
        (["map", "bnn.onnx", "ideal", *DIGITAL], "Add --inputs FILE"),
        (["map", "none.onnx", "ideal", "--inputs", "x.npy"], "no such file"),
    ):
        ran = run(*command)
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
        assert match in ran.err
    with pytest.raises(InputError, match="arguments for an ONNX file"):
        import_checkpoint(None, "bnn.onnx", "models/b", {"classes": 10})


def test_a_sweep_takes_the_network(home: Path) -> None:
    network, x = load_onnx("bnn.onnx"), torch.randn(8, 1, 8, 8)
    chip = load_chip("mine")
    table = sweep(network, chip, {"device.programming.sigma": [0, 2]}, rms, inputs=x, chips=2, out="results/sweep")
    (ideal, varied), (digital, _) = table["median"].tolist(), table["digital"].tolist()
    assert ideal == pytest.approx(digital, rel=1e-5)
    assert varied != pytest.approx(digital, rel=1e-3)


def rms(model: Callable, chip_index: int | None) -> float:
    return float(model(torch.ones(2, 1, 8, 8)).square().mean().sqrt())


def test_an_onnx_file_cannot_be_trained(home: Path, run: Callable) -> None:
    imported(run)
    recipe = (
        "recipe: {kind: episodic, dataset: glyphs, split: train, episodes: 1, way: 2, shot: 1, queries: 1, seed: 0}\n"
    )
    card = Path("models/mine/model.yaml")
    card.write_text(card.read_text() + recipe)
    ran = run("train", "mine", "--out", "runs/mine")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "an ONNX file; allowed: an architecture that can be trained" in ran.err


def test_the_lines_of_the_page_map_the_file(home: Path, repository: Path) -> None:
    page = (repository / "docs" / "onnx.md").read_text(encoding="utf-8")
    code = page.split("```py\n")[1].split("```")[0]
    names = {"imc": imc_sim, "chip": load_chip("mine"), "images": torch.randn(4, 1, 8, 8)}
    exec(code, names)
    assert [row.layer for row in names["analog"].report.layers] == ["0/Conv", "2/Conv", "4/Gemm"]
