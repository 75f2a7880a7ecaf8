"""Forgetting: table and figure of the curves on cards, checked by hand, and the page that they are written to."""

from pathlib import Path

import pytest
from pandas import DataFrame

from imc_sim import InputError
from imc_sim.cli import main
from imc_sim.config import write_yaml
from imc_sim.plotting import curves_of, draw_training, forgetting_data, forgetting_table
from imc_sim.plotting._forgetting import forgetting_figure
from imc_sim.report import fill_made

PARTS = {"task": (1, 1, 2, 2), "part": (1, 2, 1, 2), "task1": (0.5, 0.9, 0.6, 0.25), "task2": (0.1, 0.2, 0.7, 0.8)}
TOGETHER = {"task": (1,), "part": (1,), "task1": (0.9,), "task2": (0.7,)}


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, curve in {
        "some_net_a": PARTS,
        "some_net_b": TOGETHER,
        "some_net_a_m1_35": PARTS,
        "some_net_m10": PARTS,
        "some_bare": {},
    }.items():
        card = {"name": name, "summary": "", "arch": {"name": "bnn_mlp"}, "curve": curve}
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.yaml").write_text(write_yaml(card))
    monkeypatch.chdir(tmp_path)


def test_curves_start_when_a_task_is_trained() -> None:
    data = forgetting_data({"a": PARTS, "b": TOGETHER})
    first = data[data["network"] == "a"]
    assert list(zip(first["training"], first["task"], first["accuracy"], strict=True)) == [
        (1, "task1", 50.0), (2, "task1", 90.0), (3, "task1", 60.0), (3, "task2", 70.0),
        (4, "task1", 25.0), (4, "task2", 80.0),
    ]  # fmt: skip
    assert data[data["network"] == "b"]["accuracy"].tolist() == [90.0, 70.0]


def test_tasks_learned_together_have_no_panel_next_to_those_learned_in_turn() -> None:
    titles = [
        [ax.get_title() for ax in forgetting_figure(forgetting_data(curves)).axes if ax.get_visible()]
        for curves in ({"a": PARTS, "b": TOGETHER}, {"b": TOGETHER})
    ]
    assert titles == [["a"], ["b"]]


def test_the_table_gives_the_accuracy_left_and_the_accuracy_before() -> None:
    table = forgetting_table({"a": PARTS, "b": TOGETHER})
    assert table.to_numpy().tolist() == [["a", 25.0, 80.0, 52.5, 85.0], ["b", 90.0, 70.0, 80.0, 80.0]]
    assert list(table.columns) == ["network", "task 1", "task 2", "mean", "when learned"]


def test_names_drop_the_words_that_all_share(cards: None) -> None:
    assert list(curves_of(["some_net_a", "some_net_b"])) == ["a", "b"]
    assert list(curves_of(["some_net_a"])) == ["some_net_a"]
    assert list(curves_of(["some_net_a_m1_35", "some_net_m10"])) == ["a, m = 1.35", "m = 10"]
    with pytest.raises(InputError, match="imc-sim train some_bare"):
        curves_of(["some_bare"])


def test_the_command_fills_a_page(cards: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- made here -->\nold\n<!-- end -->\n\n<!-- made there -->\nkept\n<!-- end -->\n")
    words = ["show", "forgetting", "some_net_a", "some_net_b", "--out", "out/here", "--page", "page.md"]
    assert main(words) == 0
    files = ["table.csv", "forgetting.png", "forgetting.svg", "forgetting.csv"]
    assert capsys.readouterr().out.splitlines()[-5:] == [*(f"out/here/{name}" for name in files), "page.md"]
    first = page.read_text()
    assert "| a | 25.00 | 80.00 | 52.50 | 85.00 |" in first
    assert "| --- | ---: | ---: | ---: | ---: |" in first
    assert "old" not in first
    assert "kept" in first
    assert main(words) == 0
    assert page.read_text() == first
    assert {path.name for path in (tmp_path / "out" / "here").iterdir()} == set(files)
    with pytest.raises(InputError, match="nowhere"):
        fill_made(page, "nowhere", DataFrame({"a": [1.0]}))


def test_continual_training_draws_its_tasks(tmp_path: Path) -> None:
    rows = ['{"task": 1, "part": 1, "task1": 0.5, "task2": 0.1, "loss": 1.0}\n']
    (tmp_path / "training.jsonl").write_text("".join(rows))
    assert [path.name for path in draw_training(tmp_path)] == ["training.png", "training.svg", "training.csv"]
    table = (tmp_path / "training.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[2] for line in table] == ["1,task1,50.0", "1,task2,10.0"]
