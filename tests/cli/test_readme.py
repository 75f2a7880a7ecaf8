"""The README and the page of trained models: commands and examples run, numbers are those of cards and tables."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from imc_sim.config import content_names
from imc_sim.nn.store import load_card, load_model

#: what makes a study of the README small enough for a test
SMALL = ["--set", "chips.min=2", "--set", "task.episodes=3", "--set", "task.classes=6"]


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_worked_example_from_a_checkpoint_to_a_curve(
    readme: str, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {f"module.{name}": tensor for name, tensor in load_model("batmann_5w1s_xnor").state_dict().items()}
    torch.save(state, tmp_path / "my_controller.pth")
    commands = [line for block in blocks(readme, "sh") for line in block.splitlines() if line.startswith("imc-sim")]
    assert len(commands) == 11
    assert {shlex.split(command)[1] for command in commands} == {"run", "import", "map", "evaluate", "show", "status"}
    cells = [f"{200 + 3 * (k % 7)},{20 + k % 5}" for k in range(70)]
    (tmp_path / "my_cells.csv").write_text("\n".join(["LRS (uS),HRS (uS)", *cells]))
    for command in commands:
        small = ["--chips", "2", "--set", "task.episodes=3", "--set", "task.classes=6"]
        extra = {"run": SMALL, "evaluate": ["--episodes", "3"], "show sensitivity": small}
        argv = shlex.split(command)[1:]
        ran = run(*argv, *extra.get(argv[0], extra.get(" ".join(argv[:2]), [])))
        assert ran.code == 0, f"{command}: {ran.err}"
    written = {path.name for path in (tmp_path / "results" / "quickstart").iterdir()}
    promised = re.findall(r"`(report\.html|robustness\.png|table\.csv|[\w.]+\.jsonl|[\w.]+\.yaml)`", readme)
    assert len(set(promised) & written) == 5
    assert set(promised) <= written | {"my_study.yaml"}
    (study,) = blocks(readme, "yaml")
    (tmp_path / "my_study.yaml").write_text(study)
    ran = run("run", "my_study.yaml", *SMALL)
    assert ran.code == 0, ran.err
    assert "converter resolution (bits)" in ran.out


def test_python_example_runs_and_is_short(readme: str, python: Callable) -> None:
    (program,) = blocks(readme, "python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    ran = python("-W", "error", "-c", program)
    assert ran.code == 0, ran.err
    assert "86 tiles of 128 x 128" in ran.out
    assert "accuracy per chip" in ran.out


def test_commands_in_the_text_exist(readme: str, run: Callable) -> None:
    verbs = set(re.findall(r"`imc-sim ([a-z][a-z-]*)", readme))
    assert {"run", "data", "list", "doctor"} <= verbs
    assert all(run(verb, "--help").code == 0 for verb in verbs)


def test_files_that_it_names_are_there(readme: str, repository: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        assert (repository / target).exists(), target


@pytest.fixture(scope="module")
def controllers(repository: Path) -> str:
    return (repository / "docs" / "controllers.md").read_text(encoding="utf-8")


def table_of(repository: Path, study: str) -> list[dict[str, str]]:
    with (repository / "docs" / "figures" / f"{study}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_medians_are_those_of_the_figure(readme: str, repository: Path) -> None:
    lines = readme.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| sigma of device variation"))
    shown = [[cell.strip() for cell in lines[start + k].strip("|").split("|")[1:]] for k in (0, 2)]
    table = table_of(repository, "quickstart")
    assert shown[0] == [f"{float(row['x']):g}" for row in table]
    assert shown[1] == [f"{float(row['median']):.1f}" for row in table]
    assert f"(digital: {float(table[0]['digital']):.1f})" in lines[start + 2]


def test_accuracies_are_those_of_the_cards(controllers: str) -> None:
    shown = [name for name in content_names("model") if f"| `{name}`" in controllers]
    assert {"batmann_5w1s_float", "batmann_5w1s_xnor"} <= set(shown)
    for name in shown:
        card, _ = load_card(name)
        stated = [m for m in card.measured if m.task["dataset"] != "glyphs"]
        assert stated
        rows = "\n".join(line for line in controllers.splitlines() if line.startswith(f"| `{name}`"))
        for m in stated:
            low, high = m.interval
            assert f"{100 * m.accuracy:.2f} % [{100 * low:.2f}, {100 * high:.2f}]" in rows
            assert m.published is None or f"{100 * m.published:.2f} %" in rows


def test_variation_table_is_that_of_its_figure(controllers: str, repository: Path) -> None:
    table = table_of(repository, "batmann_variation")
    assert len(table) == 4 * 11
    head = next(line for line in controllers.splitlines() if line.startswith("| on RRAM"))
    shown = [float(x) for x in re.findall(r"(\d+) %", head)]
    for row in table:
        cell = f"{float(row['median']):.1f} ({float(row['p05']):.1f}-{float(row['p95']):.1f})"
        line = next(text for text in controllers.splitlines() if text.startswith(f"| {row['series']} |"))
        if float(row["x"]) in shown:
            assert line.split(" | ")[2 + shown.index(float(row["x"]))].strip(" |") == cell
