"""Networks of any modules from the command line: import, map, evaluate, and studies of them."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from imc_sim._errors import CheckpointError, InputError
from imc_sim.array import load_chip
from imc_sim.evaluate import arch_of
from imc_sim.mapping import map_model
from imc_sim.nn.store import inputs_of, load_model, read_inputs
from imc_sim.study import load_study
from imc_sim.study._points import points_of

CODE = """
import torch
from torch import nn
from binary import SignConv

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.body, self.head = SignConv(8, 8, 3, padding=1), nn.Linear(8 * 36, classes)

    def forward(self, x):
        return self.head(self.body(self.norm(self.stem(x))).flatten(1))

class Encoder(nn.Sequential):
    def __init__(self, size=16):
        super().__init__(nn.Conv2d(1, 4, 3, stride=2), SignConv(4, size, 15), nn.Flatten())
"""
BINARY = """
from torch import nn

class SignConv(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(x.sign(), self.weight.sign(), padding=self.padding)
"""
SIZES = {"Net": 8, "Encoder": 32}
TASKS = {
    "Net": {"kind": "classification", "dataset": "digits", "split": "test", "images": 20},
    "Encoder": {"kind": "few_shot", "dataset": "glyphs", "split": "test", "rotations": False, "episodes": 2},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the code, weights and inputs of two networks, and a chip for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMC_SIM_TRUST", raising=False)
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "binary.py").write_text(BINARY)
    from imc_sim.nn.networks import build_arch

    torch.manual_seed(0)
    for name, size in SIZES.items():
        torch.save({"state_dict": build_arch(f"./net.py:{name}", {}, tmp_path).state_dict()}, f"{name}.pth")
        np.save(f"{name}.npy", np.random.default_rng(0).standard_normal((20, 1, size, size)))
    (tmp_path / "device_configs").mkdir()
    text = "name: mine\npolicy: {float: digital}\ndevice: {g_lrs_S: 100 uS, g_hrs_S: 1 uS}\n"
    (tmp_path / "device_configs" / "mine.yaml").write_text(text)
    return tmp_path


def words(name: str, *more: str) -> list[str]:
    return [f"./net.py:{name}", "--weights", f"{name}.pth", "--inputs", f"{name}.npy", *more]


def imported(run: Callable, name: str, *more: str) -> None:
    ran = run("import", *words(name, "--out", f"models/{name}", *more))
    assert ran.code == 0, ran.err


def test_a_model_folder_is_mapped_as_its_network(home: Path, run: Callable) -> None:
    """The folder holds all that mapping needs, and maps as the network and the inputs do from Python."""
    imported(run, "Net")
    files = {"model.yaml", "weights.safetensors", "inputs.safetensors", "net.py", "binary.py"}
    assert {path.name for path in Path("models/Net").iterdir()} == files
    ran = run("map", "models/Net", "ideal", "--set", "chip.policy.float=digital", "--json")
    assert ran.code == 0, ran.err
    typed = run("map", *words("Net"), "ideal", "--set", "chip.policy.float=digital", "--json")
    assert json.loads(ran.out) == json.loads(typed.out)
    assert {row["layer"]: row["place"] for row in json.loads(ran.out)["layers"]} == {
        "stem": "digital", "body": "crossbar", "head": "digital",
    }  # fmt: skip
    network = load_model("Net")
    assert torch.equal(inputs_of(network), read_inputs(home / "Net.npy"))
    x = torch.randn(3, 1, 8, 8)
    chip = load_chip("ideal").replace("policy.float", "digital")
    assert torch.equal(map_model(network, chip, inputs=inputs_of(network))(x)[0], network(x))


@pytest.mark.parametrize("name", list(SIZES))
def test_a_study_maps_a_network_by_its_products(name: str, home: Path, run: Callable) -> None:
    """On ideal cells the accuracy is that of the network; with device variation it is another."""
    imported(run, name)
    study = {
        "name": "s", "question": "Does it tolerate variation?", "model": f"models/{name}", "chip": "mine",
        "task": TASKS[name], "chips": {"min": 2, "max": 2},
        "axes": [{"path": "chip.device.programming.sigma", "values": [0.0, 3.0]}],
    }  # fmt: skip
    (home / "s.yaml").write_text(json.dumps(study))
    ran = run("run", "s.yaml", "--out", "results/s")
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in Path("results/s/trials.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    correct = [row["correct"] for row in sorted(rows, key=lambda row: row["values"])]
    assert correct[0] == correct[1] == correct[2]
    assert correct[3:] != correct[1:3]
    shutil.rmtree("models")
    again = run("run", "results/s/study.resolved.yaml", "--out", "results/again")
    assert (again.code, again.err.count("--trust")) == (2, 1)
    again = run("run", "results/s/study.resolved.yaml", "--out", "results/again", "--trust")
    assert again.code == 0, again.err


def test_an_import_states_its_command(home: Path, run: Callable) -> None:
    imported(run, "Net", "--arg", "classes=10")
    command = "imc-sim import ./net.py:Net --weights Net.pth --inputs Net.npy --arg classes=10 --out models/Net"
    assert f"\ncommand: {command}\n" in Path("models/Net/model.yaml").read_text()
    shutil.move("models/Net", "Net")
    assert run(*command.split()[1:]).code == 0
    assert all(path.read_bytes() == (home / "Net" / path.name).read_bytes() for path in Path("models/Net").iterdir())


def test_a_model_folder_is_not_imported_again(home: Path, run: Callable) -> None:
    imported(run, "Net")
    ran = run("import", "models/Net", "--out", "models/again")
    assert (ran.code, "models/Net: got a folder" in ran.err) == (2, True), ran.err


def test_figures_of_a_classifier(home: Path, run: Callable) -> None:
    """It has no key memory, and takes no embedded characters."""
    imported(run, "Net")
    ran = run("show", "confusion", "Net", "mine", "--chips", "1")
    assert ran.code == 2
    assert "task.size: got images of 1 x 32 x 32 for model 'Net'" in ran.err
    task = ["--set", "task.kind=classification", "--set", "task.dataset=digits", "--set", "task.images=20"]
    ran = run("show", "sensitivity", "Net", "mine", "--chips", "1", *task, "--out", "figures")
    assert ran.code == 0, ran.err
    assert [line.split()[0] for line in ran.out.splitlines()[1:3]] == ["body", "all"]


def test_the_sensitivity_of_each_site_is_measured(home: Path, run: Callable) -> None:
    imported(run, "Encoder")
    ran = run("show", "sensitivity", "Encoder", "mine", "--chips", "1", "--set", "task.episodes=2", "--out", "figures")
    assert ran.code == 0, ran.err
    table = next(Path("figures").glob("*.csv")).read_text()
    assert [line.split(",")[0] for line in table.splitlines()[1:]] == ["1", "memory", "all together"], table


def test_evaluate_needs_a_task_and_takes_one(home: Path, run: Callable) -> None:
    imported(run, "Net")
    ran = run("evaluate", "models/Net")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert re.search("states no task.*--set kind=classification --set dataset=", ran.err)
    task = ["--set", "kind=classification", "--set", "dataset=digits", "--set", "images=20"]
    ideal = ["--chip", "ideal", "--chips", "1", "--set", "chip.policy.float=digital"]
    by_name, typed = (run("evaluate", *model, *task, *ideal) for model in (["models/Net"], words("Net")))
    assert by_name.code == typed.code == 0, by_name.err + typed.err
    assert by_name.out == typed.out
    digital, chip = (re.search(r" (0\.\d+)", line) for line in by_name.out.splitlines()[1:])
    assert digital is not None
    assert chip is not None
    assert digital[1] == chip[1]


def test_a_network_without_inputs_is_mapped_with_images_of_its_task(home: Path, run: Callable) -> None:
    ran = run("import", "./net.py:Net", "--weights", "Net.pth", "--out", "models/Net")
    assert ran.code == 0, ran.err
    task = ["--set", "kind=classification", "--set", "dataset=digits", "--set", "images=20"]
    ran = run("evaluate", "Net", *task, "--chip", "ideal", "--chips", "1", "--set", "chip.policy.float=digital")
    assert ran.code == 0, ran.err
    ran = run("map", "Net", "ideal")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "no inputs; allowed: some, to find the products of the network. Add --inputs FILE" in ran.err


ALL_DIGITAL = "--set", "chip.policy={binary: digital, float: digital}"


def test_a_network_that_stays_digital_is_an_error_without_a_key_memory(home: Path, run: Callable) -> None:
    """In map, evaluate and studies; a key memory on the chip, or a policy that says so, is enough."""
    imported(run, "Net")
    imported(run, "Encoder")
    task = [word for key, value in TASKS["Net"].items() for word in ("--set", f"{key}={value}")]
    for words in (["map", "Net", "ideal"], ["evaluate", "Net", "--chip", "ideal", *task]):
        ran = run(*words, *ALL_DIGITAL)
        assert ran.code == 2
        assert "chip.policy: got all products with weights digital (3); allowed: one product on crossbars" in ran.err
        assert (
            "Set policy.float and policy.binary to crossbar (on crossbars, these real weights also need enc" in ran.err
        )
        assert run(*words, *ALL_DIGITAL, "--set", 'chip.policy.layers={"*": digital}').code == 0
    study = {"name": "s", "model": "Net", "chip": "mine", "task": TASKS["Net"], "chips": {"min": 1}}
    (home / "s.yaml").write_text(json.dumps(study))
    ran = run("run", "s.yaml", *ALL_DIGITAL)
    assert (ran.code, Path("results").exists()) == (2, False)
    assert "all products with weights digital (3)" in ran.err
    few_shot = ["--set", "model=Encoder", "--set", f"task={json.dumps(TASKS['Encoder'])}"]
    assert run("run", "s.yaml", *ALL_DIGITAL, *few_shot).code == 0
    ran = run("run", "s.yaml", *ALL_DIGITAL, *few_shot, "--set", "chip.policy.memory=digital", "--out", "results/no")
    assert ran.code == 2
    assert "all products with weights digital (2)" in ran.err


def test_import_says_whether_the_network_maps(home: Path, run: Callable) -> None:
    """In short, as `map` says it in full: sites, their places, what is refused and why."""
    lines = run("import", *words("Net", "--out", "models/a")).out.splitlines()
    assert [line.split() for line in lines[-4:-1]] == [
        ["stem", "real", "72", "refused:", "real", "weights"],
        ["body", "binary", "576", "crossbar"],
        ["head", "real", "2,880", "refused:", "real", "weights"],
    ]
    assert lines[-1].startswith("not ready for rram_hfo2_1t1r: 2 of 3 products have no place. Set policy.float to ")
    ran = run("import", *words("Net", "--out", "models/b", "--chip", "mine"))
    mapped = run("map", "models/b", "mine").out.splitlines()[-1]
    assert ran.out.splitlines()[-1] == f"ready for mine; {mapped}"
    chip = load_chip("mine").replace("policy.float", "crossbar").replace("policy.int8", "crossbar")
    chip = chip.replace("encoding_multibit", {"kind": "differential"})
    (home / "few.yaml").write_text(json.dumps(chip.replace("name", "few").to_dict()))
    rounded = run("import", *words("Net", "--out", "models/c", "--chip", "few.yaml")).out.splitlines()[-1]
    assert re.search("not ready for few: map_model: got weights that differential rounds", rounded)
    ran = run("import", "./net.py:Net", "--weights", "Net.pth", "--out", "models/d")
    assert ran.out.splitlines()[-1].startswith("products: not known without inputs. With --inputs FILE")
    ran = run("import", "./net.py:Net", "--weights", "Net.pth", "--inputs", "Encoder.npy", "--out", "models/e")
    assert ran.code == 0
    assert "the network cannot be mapped: network Net: got RuntimeError" in ran.out.splitlines()[-1]
    ran = run("import", *words("Net", "--out", "models/f", "--chip", "rram_hfo2"))
    assert (ran.code, Path("models/f").exists()) == (2, False)
    assert "Did you mean 'rram_hfo2_1t1r'" in ran.err


def test_a_network_without_products_is_an_error(home: Path, run: Callable) -> None:
    (home / "pool.py").write_text("from torch import nn\n\ndef make():\n    return nn.AvgPool2d(2)\n")
    ran = run("map", "./pool.py:make", "ideal", "--inputs", "Net.npy")
    assert (ran.code, "a network without a product with weights" in ran.err) == (2, True), ran.err


def point_ids(home: Path, model: str) -> list[str]:
    study = {
        "name": "s", "question": "Which?", "model": model, "chip": "mine", "task": TASKS["Net"], "chips": {"min": 2},
        "axes": [{"path": "chip.device.programming.sigma", "values": [0.0, 3.0]}],
    }  # fmt: skip
    return [point.id for point in points_of(load_study(study))]


def test_the_identity_covers_code_weights_and_inputs(home: Path, run: Callable) -> None:
    imported(run, "Net")
    known = [point_ids(home, "models/Net")]
    shutil.copytree("models/Net", "models/copy")
    assert point_ids(home, "models/copy") == known[0]
    with (home / "models" / "copy" / "binary.py").open("a") as file:
        file.write("# another file\n")
    known.append(point_ids(home, "models/copy"))
    np.save("Net.npy", np.load("Net.npy")[::-1])
    ran = run("import", *words("Net", "--out", "models/inputs"))
    assert ran.code == 0
    known.append(point_ids(home, "models/inputs"))
    assert arch_of("models/inputs") != arch_of("models/Net")
    state = torch.load("Net.pth")
    state["state_dict"]["head.bias"] += 1
    torch.save(state, "Net.pth")
    imported(run, "Net", "--out", "models/weights")
    known.append(point_ids(home, "models/weights"))
    assert len({point for ids in known for point in ids}) == 8


def test_damaged_inputs_are_named(home: Path, run: Callable) -> None:
    imported(run, "Net")
    path = home / "models" / "Net" / "inputs.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"1234")
    with pytest.raises(CheckpointError, match=r"inputs\.safetensors: got SHA-256"):
        load_model("Net")


def test_options_of_a_network_with_the_name_of_a_model_are_refused(run: Callable) -> None:
    ran = run("map", "batmann_small_xnor", "ideal", "--weights", "w.pth")
    assert ran.code == 2
    assert "--weights" in ran.err


def test_inputs_in_an_archive_of_code_are_refused_before_torch_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"x": torch.ones(2, 3)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        archive.writestr("x/constants.pkl", b"")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read the archive"))
    with pytest.raises(InputError, match=r"--inputs: got .*a TorchScript archive, which holds code; nothing of it was"):
        read_inputs(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.zeros((4, 1, 8, 8), np.uint8), "bytes"),
        (np.full((4, 1, 8, 8), np.nan), "NaN"),
        (np.zeros((1, 8)), "two or more samples"),
        (np.array(["a", "b"]), "torch tensor"),
    ],
)
def test_inputs_that_no_network_takes_are_refused(content: np.ndarray, match: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", content)
    with pytest.raises(ValueError, match=match):
        read_inputs(tmp_path / "x.npy")


def test_inputs_of_several_arguments(tmp_path: Path) -> None:
    a, b = np.ones((20, 3), np.float32), np.arange(40).reshape(20, 2)
    np.savez(tmp_path / "named.npz", image=a, label=b)
    np.savez(tmp_path / "numbered.npz", a, b)
    np.savez(tmp_path / "some_named.npz", a, label=b)
    torch.save({0: torch.from_numpy(a), "label": torch.from_numpy(b)}, tmp_path / "keys.pt")
    assert [*read_inputs(tmp_path / "some_named.npz")] == ["label", "arr_0"]
    assert [*read_inputs(tmp_path / "keys.pt")] == ["0", "label"]
    named, numbered = read_inputs(tmp_path / "named.npz"), read_inputs(tmp_path / "numbered.npz")
    assert list(named) == ["image", "label"]
    assert isinstance(numbered, tuple)
    assert numbered[1].dtype == torch.int64
    assert all(len(x) == 16 for x in (*named.values(), *numbered))


def test_the_cost_of_a_network_and_of_its_key_memory(home: Path, run: Callable) -> None:
    """A network without a task runs on its inputs, an encoder on images of its task, with a search of its memory."""
    more = ("rram_neurram_core", "--set", "chip.policy.float=digital", "--chips", "2", "--json", "--quiet")
    ran = run("cost", *words("Net"), *more, "--out", "figure")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert [layer["layer"] for layer in found["layers"]] == ["stem", "body", "head"]
    body = found["layers"][1]["actions"]
    assert (body["vectors"], body["operations"]) == (36, 2 * 36 * 72 * 8)
    assert len(found["energies_J"]) == 2
    rows = [row for row in found["rows"] if row["energy_J"]]
    assert sum(row["energy_J"] for row in rows) == pytest.approx(found["totals"]["energy_J"])
    assert found["not_counted"][0] == "multiply_add (energy, time, area)"
    assert sorted(path.name for path in Path("figure").iterdir()) == ["cost.csv", "cost.png", "cost.svg"]
    table = Path("figure/cost.csv").read_text().splitlines()
    assert table[0] == "layer,component,action,count,energy_J,latency_s,area_m2"
    assert len(table) == 1 + len(found["rows"])

    imported(run, "Encoder")
    card = Path("models/Encoder/model.yaml")
    task = "{kind: few_shot, dataset: glyphs, split: test, rotations: false}"
    task = f"measured: [{{accuracy: 0.5, interval: [0.4, 0.6], task: {task}}}]\n"
    card.write_text(card.read_text().replace("measured: []\n", "") + task)
    ran = run("cost", "models/Encoder", *more)
    assert ran.code == 0, ran.err
    memory = json.loads(ran.out)["layers"][-1]
    assert (memory["layer"], memory["actions"]["conversions"], memory["actions"]["lines_driven"]) == ("memory", 5, 16)
    assert [each["cells"] for each in memory["programming"]] == [2 * 5 * 16] * 2


def test_the_cost_of_a_chip_that_states_none(home: Path, run: Callable) -> None:
    ran = run("cost", *words("Net"), "ideal", "--quiet")
    assert (ran.code, ran.out) == (2, "")
    assert "chip 'ideal': got no cost given" in ran.err
    assert "docs/cost.md" in ran.err


@pytest.mark.parametrize("command", ["map", "evaluate", "run", "plot", "train"])
def test_commands_that_run_code_of_cards_take_the_option_that_their_error_names(run: Callable, command: str) -> None:
    assert "--trust" in run(command, "--help").out
