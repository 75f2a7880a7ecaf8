"""Families of models: every shipped card, names and paths, rows on top of bases, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from imc_sim import InputError
from imc_sim.config import content_names, digest, find_card, read_yaml, write_yaml
from imc_sim.nn.networks import arch_files
from imc_sim.nn.store import Arch, ModelCard, build_model, load_card, load_model, save_model
from imc_sim.study._content import _keep_model
from imc_sim.train._recipe import ClassificationRecipe
from imc_sim.train._train import recipe_of

NET = "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 1)\n"
RECIPE = {"kind": "classification", "measure": [{"task": {"dataset": "a"}, "note": "x"}, {"task": {"dataset": "b"}}]}
BASES = {
    "whole": {"summary": "s", "arch": {"name": "../net.py:Net"}, "recipe": RECIPE, "licence": "MIT"},
    "slow": {"base": "whole", "recipe": {"epochs": 9, "classes": [0, 1]}},
}
MODELS: dict[str, dict[str, Any]] = {
    "own_plain": {"base": "whole"},
    "own_slow": {"base": "slow", "recipe.epochs": 20, "recipe.measure.1.task.batch": 5, "recipe.classes": [3]},
}


def family(folder: Path, measured: Any = None, **changes: Any) -> Path:
    """Write a family with its own network into a folder; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NET)
    (folder / "results.json").write_text(json.dumps({} if measured is None else measured))
    data = {"summary": "ours", "results": "results.json", "bases": BASES, "models": MODELS} | changes
    (folder / "family.yaml").write_text(write_yaml(data))
    return folder / "family.yaml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a family of the user."""
    family(tmp_path / "models" / "own")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(folder: Path, **changes: Any) -> ModelCard:
    """Save the network of the family as a whole model into a folder."""
    card = ModelCard(name=folder.name, summary="whole", arch=Arch(name="./net.py:Net"))
    files = arch_files(card.arch.name, folder.parent)
    return save_model(folder, build_model(card, folder.parent), card.model_copy(update=changes), extra=files)


def test_shipped_cards_have_their_recorded_digests() -> None:
    with (Path(__file__).parent / "cards.csv").open(encoding="utf-8") as file:
        record = {row["name"]: row["digest"] for row in csv.DictReader(file)}
    found = {
        name: digest({k: v for k, v in load_card(name)[0].to_dict().items() if k != "inputs"})
        for name in content_names("model")
    }
    changed = {name: found.get(name) for name in found | record if found.get(name) != record.get(name)}
    assert not changed, "if the change is intended, write these digests into cards.csv"


@pytest.mark.parametrize("name", ["batmann_small_xnor", "batmann_s1", "bnn_cifar10_vgg", "cifar10_features"])
def test_old_and_new_paths_of_models_resolve(name: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    whole = find_card(name)
    families = [name] if name == "cifar10_features" else [name, f"{name.partition('_')[0]}/{name}"]
    for path in (f"models/{each}{end}" for each in families for end in ("", "/model.yaml")):
        found = find_card(path)
        assert (found.data, found.place.resolve()) == (whole.data, whole.place.resolve())
    assert find_card(repository / "models" / name).data == whole.data


def test_a_row_overrides_its_bases(home: Path) -> None:
    plain, slow = find_card("own_plain").data, find_card("own_slow").data
    assert plain == {"name": "own_plain"} | BASES["whole"]
    measure = [{"task": {"dataset": "a"}, "note": "x"}, {"task": {"dataset": "b", "batch": 5}}]
    assert slow == plain | {
        "name": "own_slow", "recipe": RECIPE | {"epochs": 20, "classes": [3], "measure": measure},
    }  # fmt: skip
    slow["recipe"]["measure"][0]["task"].clear()
    slow["recipe"]["classes"].append(4)
    assert find_card("own_slow").data["recipe"] == RECIPE | {"epochs": 20, "classes": [3], "measure": measure}


def test_results_are_added_to_measured_values(home: Path) -> None:
    rows = [{"accuracy": 0.5, "interval": [0.4, 0.6]}, {"accuracy": 0.7, "interval": [0.6, 0.8], "task": {"c": 1}}]
    family(home / "models" / "own", {"own_plain": {"epochs": 3, "measured": rows}})
    card, _ = load_card("own_plain")
    assert card.epochs == 3
    assert card.measured[0].to_dict()["task"] == {"dataset": "a"}
    assert [m.task for m in card.measured] == [{"dataset": "a"}, {"dataset": "b", "c": 1}]
    assert [(m.accuracy, m.note) for m in card.measured] == [(0.5, "x"), (0.7, "")]
    assert load_card("own_slow")[0].measured == ()


def test_a_family_that_changes_is_read_again(home: Path) -> None:
    assert find_card("own_plain").data["licence"] == "MIT"
    family(home / "models" / "own", models={"own_plain": {"base": "whole", "licence": "BSD"}})
    assert find_card("own_plain").data["licence"] == "BSD"
    assert "own_slow" not in content_names("model")


def test_results_that_change_are_read_again(home: Path) -> None:
    for accuracy in (0.5, 0.6, 0.5):
        rows = [{"accuracy": accuracy, "interval": [0.4, 0.7]}, {"accuracy": 0.7, "interval": [0.6, 0.8]}]
        (home / "models" / "own" / "results.json").write_text(json.dumps({"own_plain": {"measured": rows}}))
        assert [row["accuracy"] for row in find_card("own_plain").data["measured"]] == [accuracy, 0.7]


def test_a_network_next_to_its_family_is_built_without_a_folder_of_the_model(home: Path) -> None:
    card, folder = load_card("own_plain")
    assert not folder.exists()
    assert type(build_model(card, folder)).__name__ == "Net"


def test_a_whole_card_replaces_the_row(home: Path) -> None:
    models = home / "models"
    inside = save(models / "own" / "own_plain", licence="inside")
    assert load_card("own_plain")[0] == load_model("own_plain").card == inside
    (models / "net.py").write_text(NET)
    outside = save(models / "own_plain", licence="outside")
    assert load_card("own_plain")[0] == outside
    assert load_card("models/own/own_plain")[0] == inside
    assert content_names("model").count("own_plain") == 1


def test_copies_of_a_family_model_are_complete(home: Path) -> None:
    torch.manual_seed(0)
    card = save(home / "models" / "own" / "own_first")
    path = home / "models" / "own" / "own_first"
    (path / "model.yaml").unlink()
    assert card.weights is not None
    weights = card.weights.to_dict()
    results = {
        "own_first": {"weights": weights},
        "own_plain": {"weights": weights | {"file": f"../{path.name}/{weights['file']}"}},
    }
    family(home / "models" / "own", results, models=MODELS | {"own_first": {"base": "whole"}})
    for name in ("own_first", "own_plain"):
        _keep_model(find_card(name), home / "kept", name)
    wanted = {name: load_model(name).state_dict() for name in ("own_first", "own_plain")}
    shutil.rmtree(home / "models")
    for name, state in wanted.items():
        files = sorted(p.name for p in (home / "kept" / name).iterdir())
        assert files == ["model.yaml", "net.py", "weights.safetensors"]
        kept = load_model(home / "kept" / name)
        assert read_yaml(home / "kept" / name / "model.yaml")["name"] == name
        assert all(torch.equal(state[key], value) for key, value in kept.state_dict().items())


def many(**row: Any) -> dict[str, Any]:
    return {"models": MODELS | {"own_bad": row}}


@pytest.mark.parametrize(
    ("changes", "results", "error"),
    [
        (many(base="slwo"), {}, r"own_bad: base: got 'slwo'; allowed: whole, slow.*Did you mean 'slow'"),
        ({"bases": BASES | {"whole": {"base": "slow"}}} | many(base="slow"), {}, "slow -> whole -> slow"),
        (many(base={"a": 1}), {}, r"line \d+: models\.own_bad: base: got \{'a': 1\}; allowed: whole, slow"),
        (many(**{"base": "whole", "recipe.measure.2.note": "y"}), {}, r"measure\.2\.note: got '2' in a list of 2"),
        (many(**{"base": "whole", "summary.x": "y"}), {}, r"summary\.x: got 'x' in 's'"),
        (many(base="whole", name="x"), {}, r"models\.own_bad: .*without `name`"),
        (many() | {"model": {}}, {}, "unknown key 'model'.*Did you mean 'models'"),
        ({"models": {"own_bad": {}, "owner": {}}}, {}, "got 'owner'; allowed: names that begin with own_"),
        (many() | {"bases": []}, {}, "bases: got list"),
        (many() | {"results": "result.json"}, {}, r"results: got .*no file .*result\.json"),
        (many(), {"own_bed": {}}, r"got 'own_bed'.*Did you mean 'own_bad'"),
        (many(base="whole"), {"own_bad": {"measured": [{}]}}, "got 1 entries; allowed: 2"),
        (many(), [1], r"results\.json: got other values"),
    ],
)
def test_errors_in_a_family_are_refused(changes: dict[str, Any], results: Any, error: str, home: Path) -> None:
    family(home / "models" / "own", results, **changes)
    with pytest.raises(InputError, match=error):
        find_card("own_bad")


def test_the_family_of_the_docs_is_valid(home: Path, repository: Path) -> None:
    page = (repository / "docs" / "models.md").read_text(encoding="utf-8")
    text = page.partition("## A family")[2].split("```yaml\n")[1].split("```")[0]
    (home / "models" / "mine").mkdir()
    (home / "models" / "mine" / "family.yaml").write_text(text)
    (home / "models" / "mine" / "results.json").write_text("{}")
    recipes = {name: recipe_of(load_card(name)[0], name) for name in ("mine_5", "mine_50_slow")}
    assert [recipe.epochs for recipe in recipes.values() if isinstance(recipe, ClassificationRecipe)] == [5, 50]
    assert recipes["mine_50_slow"].learning_rate == 0.0001
    assert recipes["mine_50_slow"].measure[0].note == "all test images, low rate"
    for name in recipes:
        build_model(*load_card(name))


def test_two_families_with_one_name_are_refused(home: Path) -> None:
    family(home / "models" / "own_plain", bases={}, models={"own_plain_2": {}})
    family(home / "models" / "own", models={"own_plain_2": {}})
    with pytest.raises(InputError, match="allowed: one family"):
        find_card("own_plain_2")


def test_a_family_is_not_a_model(home: Path) -> None:
    with pytest.raises(InputError, match=r"a family; allowed: own_plain, own_slow"):
        find_card("models/own/family.yaml")
    with pytest.raises(InputError, match=r"got 'models/own'"):
        find_card("models/own")
