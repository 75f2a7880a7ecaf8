"""Networks of several files: what runs, what is copied, and what their identity covers."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim.cli import main
from imc_sim.config import code_of, find_card, trusting, write_yaml
from imc_sim.evaluate import arch_of, network_key
from imc_sim.mapping import import_checkpoint, map_model
from imc_sim.nn.networks import build_arch
from imc_sim.nn.store import load_model
from imc_sim.study import load_study

LAYER = "import torch\nclass Sign(torch.nn.Linear):\n    factor = {factor}\n"
LAYER += "    def forward(self, x):\n        return self.factor * torch.nn.functional.linear(x, self.weight.sign())\n"
#: name of the entry file -> files of a repository, in the ways in which repositories import their own
REPOSITORIES = {
    "main.py": {"main.py": "from layer import Sign\n", "layer.py": LAYER},
    "models/net.py": {"models/net.py": "from .layer import Sign\n", "models/layer.py": LAYER},
    "nets/net.py": {"nets/net.py": "from nets.layer import Sign\n", "nets/layer.py": LAYER},
    "a/net.py": {
        "a/net.py": "from ..b import Sign\n", "b/__init__.py": "from b.layer import *\n", "b/layer.py": LAYER,
    },
    "p/net.py": {"p/net.py": "from .types import Sign\n", "p/types.py": LAYER},
    "lazy.py": {"lazy.py": "def Sign(*a):\n    import sub.layer as s\n    return s.Sign(*a)\n", "sub/layer.py": LAYER},
}  # fmt: skip
MAKE = "\nimport torch\ndef make(wide):\n    print('loud')\n    return torch.nn.Sequential(Sign(4, wide))\n"


def repository(folder: Path, entry: str, factor: float = 1.0) -> Path:
    """Write the files of a repository, and some that no network needs."""
    files = REPOSITORIES[entry] | {"setup.py": "raise SystemExit", "data.py": "raise ValueError"}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{factor}", str(factor)) + (MAKE if name == entry else ""))
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"0.weight": torch.randn(3, 4), "0.bias": torch.zeros(3)}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.mark.parametrize("entry", REPOSITORIES)
def test_files_that_a_network_imports_are_found_copied_and_identified(
    entry: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder can be moved after the repository has gone; a change of any of its files is another network."""
    monkeypatch.chdir(repository(tmp_path / "repo", entry))
    modules = set(sys.modules)
    import_checkpoint(weights, f"./{entry}:make", "models/mine", {"wide": 3})
    assert {name for name in set(sys.modules) - modules if not name.startswith("imc_sim")} == set()
    assert capsys.readouterr().out == ""
    written = {p.relative_to("models/mine").as_posix() for p in Path("models/mine").rglob("*.py")}
    assert len(written) == len(REPOSITORIES[entry])
    shutil.move("models/mine", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(tmp_path / "repo")
    x, w = torch.randn(5, 4), torch.load(weights)["0.weight"]
    assert torch.equal(load_model("moved")(x), x @ w.sign().T)
    before = network_key("moved"), arch_of("moved")
    layer = next(path for path in Path("moved").rglob("*.py") if "factor = " in path.read_text())
    layer.write_text(layer.read_text().replace("factor = 1.0", "factor = 2.0"))
    assert network_key("moved")[1] != before[0][1]
    assert arch_of("moved") != before[1]
    assert torch.equal(load_model("moved")(x), 2 * x @ w.sign().T)


def test_two_repositories_with_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    made = [
        build_arch("./main.py:make", {"wide": 2}, repository(tmp_path / str(factor), "main.py", factor))
        for factor in (1.0, 3.0)
    ]
    made[1].load_state_dict(made[0].state_dict())
    x = torch.randn(2, 4)
    assert torch.equal(made[1](x), 3 * made[0](x))


def test_equal_code_of_two_folders_is_run_in_each(tmp_path: Path) -> None:
    """A network may read files next to it."""
    text = "from pathlib import Path\nimport torch\nsize = int((Path(__file__).parent / 'size').read_text())\n"
    for size in (3, 5):
        (folder := tmp_path / str(size)).mkdir()
        (folder / "size").write_text(str(size))
        (folder / "net.py").write_text(f"{text}def make():\n    return torch.nn.Linear(4, size)\n")
    with trusting():
        made: list[Any] = [build_arch("./net.py:make", {}, tmp_path / str(size)) for size in (3, 5, 3)]
    assert [each.out_features for each in made] == [3, 5, 3]


def test_names_of_files_are_part_of_the_digest(tmp_path: Path) -> None:
    sums = set[str]()
    for swapped in (False, True):
        one, other = ("1", "2") if not swapped else ("2", "1")
        for name, content in {"net": "import one, other\n", "one": f"x = {one}\n", "other": f"x = {other}\n"}.items():
            (tmp_path / f"{name}.py").write_text(content)
        sums.add(code_of("./net.py:make", tmp_path).sha256)
    assert len(sums) == 2


def test_the_digest_of_a_single_file_is_that_of_its_content(tmp_path: Path) -> None:
    """Ids of results that were computed with networks of one file stay valid."""
    import hashlib

    (tmp_path / "net.py").write_text("import torch\n")
    assert code_of("./net.py:Net", tmp_path).sha256 == hashlib.sha256(b"import torch\n").hexdigest()


@pytest.mark.parametrize(
    ("text", "args", "match"),
    [
        ("def make(a, b=1): ...", {}, r"got no a; allowed: arguments of make\(a, b=1\)\. Add --arg a=…"),
        ("def make(a): ...", {"a": 1, "c": 2}, "unexpected keyword argument 'c'"),
        ("def make(): return 3", {}, "returns an int"),
        ("def mak(): return 3", {}, "allowed: mak. Did you mean 'mak'"),
        ("import torch\ndef make(): return torch.nn.LazyLinear(3)", {}, "'weight', which has no size yet"),
        ("import argparse; p = argparse.ArgumentParser(); p.add_argument('x'); p.parse_args()", {}, "__main__"),
        ("import no_such_package", {}, "No module named 'no_such_package'"),
        ("from .part import gone", {}, "No module named 'part'"),
        ("def make(): return 1 / 0", {}, "ZeroDivisionError while calling make"),
    ],
)
def test_code_that_makes_no_network_is_one_clear_error(
    text: str, args: dict[str, int], match: str, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(text)
    with pytest.raises(InputError, match=match):
        build_arch("./net.py:make", args, tmp_path)


@pytest.fixture
def foreign(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder whose code leaves a mark, in a folder that is not trusted."""
    monkeypatch.chdir(repository(tmp_path / "repo", "main.py"))
    import_checkpoint(weights, "./main.py:make", tmp_path / "foreign", {"wide": 3})
    mark = tmp_path / "mark"
    with (tmp_path / "foreign" / "layer.py").open("a") as file:
        file.write(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.delenv("IMC_SIM_TRUST")
    return tmp_path / "foreign"


def test_code_of_a_foreign_card_does_not_run(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = foreign.parent / "mark"
    with pytest.raises(InputError, match="not run.*--trust"):
        load_model(foreign)
    for words in (["map", foreign, "ideal"], ["evaluate", foreign, "--set", "seed=1"], ["list", "models"],
                  ["show", "confusion", foreign, "ideal"]):  # fmt: skip
        code, err = main(list(map(str, words))), capsys.readouterr().err
        assert (code, err.count("--trust")) == ((0, 0) if "list" in words else (2, 1)), (words, err)
    assert not mark.exists()


@pytest.mark.parametrize("how", ["argument", "variable", "models"])
def test_code_of_a_trusted_card_runs(how: str, foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "variable":
        monkeypatch.setenv("IMC_SIM_TRUST", str(foreign.parent))
    if how == "models":
        Path("models").mkdir()
        foreign = Path(shutil.move(foreign, Path.cwd() / "models" / "mine"))
    load_model(foreign, trust=how == "argument")
    assert Path("../mark").exists()


def test_a_network_inside_an_ensemble_is_not_trusted_either(foreign: Path) -> None:
    text = (foreign / "model.yaml").read_text().replace("./main.py:make", "ensemble")
    (foreign / "model.yaml").write_text(text.replace("wide: 3", f"arch: '{foreign}/main.py:make'"))
    assert find_card(foreign).data["arch"]["name"] == "ensemble"
    with pytest.raises(InputError, match="not run"):
        load_model(foreign)


DATA = """import pathlib
import numpy
pathlib.Path({mark!r}).touch()
def get(*_):
    return numpy.zeros((20, 8, 8), "uint8"), numpy.arange(20) % 10
℘ = get
"""
RECIPE = {"kind": "classification", "dataset": "digits", "epochs": 1, "validation": 2}
QUEUE = "name: q\nentries: [{name: a, model: bnn_mnist, set: {recipe.dataset: DATA}}]\n"
SWEEP = "name: s\nmodel: bnn_mnist\npanels: [{path: recipe.dataset, values: [DATA]}]\n"
STUDY = "name: s\nmodel: bnn_mnist\nchip: ideal\ntask: {kind: function, call: DATA}\n"


@pytest.mark.parametrize("name", ["get", "℘"])
def test_data_and_functions_of_foreign_files_do_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, code = tmp_path / "mark", tmp_path / "foreign" / "data.py"
    card = find_card("bnn_mnist").data | {"weights": None}
    task = {"kind": "classification", "dataset": f"{code}:{name}", "split": "test"}
    measured = [{"task": task, "accuracy": 0.5, "interval": [0.4, 0.6]}]
    cards = {
        "data": {"recipe": {**RECIPE, "dataset": f"{code}:{name}"}}, "measured": {"recipe": {}, "measured": measured},
        "measure": {"measured": [], "recipe": {**RECIPE, "measure": [{"task": task}]}},
    }  # fmt: skip
    for folder, changes in cards.items():
        (code.parent / folder).mkdir(parents=True)
        (code.parent / folder / "model.yaml").write_text(write_yaml(card | changes), encoding="utf-8")
    code.write_text(DATA.format(mark=str(mark)), encoding="utf-8")
    for file, text in {"queue": QUEUE, "sweep": SWEEP, "study": STUDY}.items():
        (code.parent / f"{file}.yaml").write_text(text.replace("DATA", f"{code}:{name}"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMC_SIM_TRUST")
    monkeypatch.setattr("imc_sim.nn.store.verify_weights", lambda *_: None)  # which the cards lack
    for words in ("train foreign/data", "train foreign/measure", "evaluate foreign/measured",
                  "evaluate foreign/measure", "show spikes foreign/measured", "cost foreign/measured rram_neurram_core",
                  "train --queue foreign/queue.yaml", "train --sweep foreign/sweep.yaml",
                  "run foreign/study.yaml --dry-run"):  # fmt: skip
        exit_code, err = main(words.split()), capsys.readouterr().err
        assert (exit_code, mark.exists()) == (2, False), words
        assert re.search(r"\.yaml, line \d+: .* that names code, which was not run.*--trust", err), (words, err)


def test_training_runs_no_code_of_foreign_models_that_a_recipe_names(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"name: s\nmodel: bnn_mnist\nset: {{recipe.start_from: {foreign}}}\n"
    Path("s.yaml").write_text(f"{text}panels: [{{path: recipe.epochs, values: [1]}}]\n")
    measure = f"recipe.measure=[{{task: {{kind: classification, dataset: digits, features: {foreign}}}}}]"
    settings = ("recipe.dataset=digits", "recipe.epochs=1", "recipe.validation=2", measure)
    card = foreign / "model.yaml"
    for name in ("make", "a-b"):  # a file runs before its names are known
        card.write_text(card.read_text().replace("main.py:make", f"main.py:{name}"))
        for words in (["--sweep", "./s.yaml"], ["bnn_mnist", *(word for each in settings for word in ("--set", each))]):
            exit_code, err = main(["train", *words]), capsys.readouterr().err
            assert (exit_code, "not run" in err, (foreign.parent / "mark").exists()) == (2, True, False), err


KEYS = {"0.weight": torch.ones(3, 4), "0.bias": torch.ones(3), "2.num_batches_tracked": torch.tensor(0)}
NET = "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), N(3))\n"
NET = NET.replace("N(3)", "torch.nn.BatchNorm1d(3)")
STATE = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)).state_dict()


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ({"state_dict": {f"model.{k}": v for k, v in STATE.items()} | {"loss.w": torch.ones(1)}, "epoch": 1}, {}),
        ({"params": STATE}, {}),
        ({"model": {f"_orig_mod.{k}": v for k, v in STATE.items()}}, {}),
        ({k: v for k, v in STATE.items() if "tracked" not in k}, {}),
        ({k.replace("0.", "fc."): v for k, v in STATE.items()}, {"renames": [("fc", "0")]}),
        ({k.replace("0.", "body.fc."): v for k, v in STATE.items()}, {"renames": [("body.fc.", "0.")]}),
        ({**STATE, "extra": torch.ones(1)}, {"renames": [("extra", "")]}),
        (
            {f"{p}.{k}": v + e for p, e in (("net", 0), ("ema", 1)) for k, v in STATE.items()},
            {"prefix": "net."},
        ),
    ],
)
def test_names_of_tensors(content: dict, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    torch.save(content, "w.ckpt")
    import_checkpoint("w.ckpt", "./net.py:make", "models/mine", **options)
    loaded = load_model("mine").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in STATE.items())


@pytest.mark.parametrize(
    ("content", "options", "match"),
    [
        ({f"{p}.{k}": v for p in ("net", "ema") for k, v in STATE.items()}, {}, r"Add --prefix net\."),
        ({k.replace("0.weight", "0.weigth"): v for k, v in STATE.items()}, {}, "'0.weight'.*'0.weigth'.*--rename"),
        (STATE, {"renames": [("0.wieght", "x")]}, r"--rename.*'0.weight'"),
        (STATE, {"renames": [("0", "2")]}, "two tensors '2.weight'"),
        (STATE, {"prefix": "net."}, r"--prefix.*'net\.'.*0\., 2\."),
    ],
)
def test_names_that_fit_nothing(content: dict, options: dict, match: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=match):
        import_checkpoint(tmp_path / "w.pt", f"{tmp_path}/net.py:make", tmp_path / "mine", **options)


def test_random_weights_are_refused_and_complete_networks_taken(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET + "def done():\n    n = make()\n    n[0].weight.data.fill_(1)\n"
                                     "    n[0].bias.data.fill_(2)\n    return n\n")  # fmt: skip
    with pytest.raises(InputError, match="random weights, such as '0.weight'.*--weights"):
        import_checkpoint(None, f"{tmp_path}/net.py:make", tmp_path / "mine")
    import_checkpoint(None, f"{tmp_path}/net.py:done", tmp_path / "mine")
    assert load_model(tmp_path / "mine").state_dict()["0.bias"].tolist() == [2.0] * 3


def test_studies_run_code_only_in_trusted_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name: s\nmodel: m\nchip: ideal\ntask: {kind: function, call: ./eval.py:score}\n"
    for folder in ("here", "here/studies", "here/results/x", "other"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "s.yaml").write_text(text)
    monkeypatch.delenv("IMC_SIM_TRUST")
    monkeypatch.chdir(tmp_path / "here")
    for path in ("s", "s.yaml", "./s.yaml", "studies/s.yaml"):
        assert load_study(path).name == "s"
    for path in ("results/x/s.yaml", "../other/s.yaml"):
        with pytest.raises(InputError, match="a study in .* that names code, which was not run"):
            load_study(path)
        with trusting():
            assert load_study(path).name == "s"
    monkeypatch.setenv("IMC_SIM_TRUST", str(tmp_path / "other"))
    assert load_study("../other/s.yaml").name == "s"
    (tmp_path / "other" / "s.yaml").write_text(
        text.replace("task: {kind: function, call: ./eval.py:score}", "task: {}")
    )
    monkeypatch.setenv("IMC_SIM_TRUST", "")
    assert load_study("../other/s.yaml").name == "s"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("bnn.onnx", "'bnn.onnx', an ONNX network; .*imc_sim.load_onnx.'bnn.onnx'.*imc-sim import bnn.onnx --out"),
        ("w.pth", r"'w.pth', a file of weights; .*imc-sim import ./my_net.py:NAME --weights w.pth"),
        ("page.html", "'page.html', an HTML document"),
        ("./net.py:make", "code of a network; .*imc_sim.map_model, or .*imc-sim import ./net.py:make"),
        ("folder", r"'folder', a folder without model.yaml; "),
        ("lost.pth", "'lost.pth', no such file; "),
        ("LOST.ONNX", "'LOST.ONNX', no such file; "),
        ("~/bnn.onnx", "'~/bnn.onnx', an ONNX network; .*imc-sim import /.*/home/bnn.onnx --out"),
        ("~/folder", "'~/folder', a folder without model.yaml; "),
        (nn.Linear(2, 2), "a Linear; allowed: a text or a path"),
    ],
)
def test_what_is_no_model_is_named_with_what_to_do(
    name: Any, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("folder", "home/folder"):
        Path(folder).mkdir(parents=True)
    files = {"bnn.onnx": "\x08pytorch", "w.pth": "weights", "page.html": "<html>", "home/bnn.onnx": "\x08pytorch"}
    for file, content in files.items():
        Path(file).write_text(content)
    with pytest.raises(InputError, match=match):
        load_model(name)


def test_mapping_a_name_says_how_to_load_it() -> None:
    with pytest.raises(InputError, match=r"got '.*'; .* imc_sim.load_model\(NAME\), imc_sim.load_onnx\(FILE\)"):
        map_model("bnn.onnx", "ideal")  # type: ignore[arg-type]
