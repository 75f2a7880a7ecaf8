"""The commands of docs/your_network.md and of the pages that continue it give three curves and a measured array."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim.data import gather_images, gather_labelled, load_classes, load_pool
from imc_sim.study import Results


def train(network: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Train as the author of the repository would."""
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()


def write_checkpoints(nets: ModuleType) -> None:
    """Write the checkpoints and inputs of the repository."""
    data = load_classes("digits", "train")
    digits, labels = torch.from_numpy(gather_labelled(data, slice(None))), torch.from_numpy(data.labels.copy())
    np.save("digits.npy", digits[:20].numpy())
    torch.manual_seed(0)
    for name in ("cnn", "bnn"):
        network = getattr(nets, name)()
        train(network, digits, labels, epochs=3)
        torch.save({"epoch": 3, "state_dict": network.state_dict()}, f"{name}.pth")
        with warnings.catch_warnings(action="ignore"):  # of the exporter
            torch.onnx.export(network.eval(), (digits[:1],), f"{name}.onnx", dynamo=False)
    places = np.array([(label, instance, 0) for label in range(20) for instance in range(20)])
    characters = torch.from_numpy(gather_images(load_pool("glyphs", "train", 32), places))
    np.save("characters.npy", characters[:20].numpy())
    encoder = nets.encoder(64)
    head = nn.Linear(64, 20)
    train(nn.Sequential(encoder, head), characters, torch.from_numpy(places[:, 0].copy()), epochs=2)
    state = {f"model.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"state_dict": state | {"head.weight": head.weight}}, "encoder.ckpt")


@pytest.mark.slow
def test_the_commands_of_the_page_give_three_curves(
    repository: Path, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pages = ("your_network", "onnx", "measured_arrays")
    page = "".join((repository / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in pages)
    for name, text in re.findall(r"^```(?:py|yaml)\n# file: (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    write_checkpoints(importlib.import_module("nets"))
    for name in ("nets", "layers"):
        monkeypatch.delitem(sys.modules, name)
    shell = "".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    commands = re.findall(r"^imc-sim (.*)$", shell, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["map", "evaluate"] + 3 * ["import"] + 4 * ["run"] + [
        "map", "import", "evaluate", "map", "map", "evaluate", "run",
    ]  # fmt: skip
    printed = []
    for command in commands:
        ran = run(*shlex.split(command))
        assert ran.code == 0, f"{command}: {ran.err}"
        printed.append(ran.out)
    assert re.search(r"^2 +binary +4,608 +crossbar", printed[0], re.MULTILINE)
    assert float(re.search(r"all images +(0\.\d+)", printed[1])[1]) > 0.7  # type: ignore[index]
    assert re.search(r"^2/Conv +binary +4,608 +crossbar", printed[9], re.MULTILINE), printed[9]
    assert re.findall(r"all images.*", printed[11]) == re.findall(r"all images.*", printed[1])
    for folder in ("my_variation", "my_cnn", "my_encoder"):
        rows = [json.loads(line) for line in Path("results", folder, "trials.jsonl").read_text().splitlines()]
        ideal = {row["correct"] for row in rows if row["values"] in ([], [0], [0.0])}
        assert len(rows) == 31
        assert max(ideal) - min(ideal) <= (0 if folder == "my_variation" else 5), ideal
        assert {row["correct"] for row in rows} > ideal
        assert Path("results", folder, "report.html").is_file()
    first = Results.load("results/first").table
    assert first["chips"].tolist() == [5] * 7
    assert first["median"].to_list()[0] > max(0.7, first["median"].to_list()[-1])
    assert "cells of 4 measured chips are" in printed[-3]
    (row,) = re.findall(r"on rram_hfo2_1t1r +(0\.\d+) .* 4 measured chips", printed[-2])
    results = Results.load("results/my_array")
    assert abs(results.table["mean"].to_list()[0] - float(row)) < 1e-3  # the same cells, without read noise
    assert results.table["chips"].tolist() == [4, 4, 4]
