"""README and the page of trained models: commands and examples run, numbers equal those of cards and tables."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from imc_sim.config import content_names
from imc_sim.nn.store import load_card


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def follow(page: str, run: Callable, python: Callable) -> list[str]:
    """Write the files of a page here, run its programs and commands in their order, and return what each printed."""
    printed = []
    for language, block in re.findall(r"^```(python|yaml|sh)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        name = re.match(r"# file: (\S+)\n", block)
        path = Path(name[1] if name else "")
        if name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block[name.end() :])
        programs = [python(path)] if name and language == "python" and path.parent == Path() else []
        commands = [line for line in block.splitlines() if language == "sh" and line.startswith("imc-sim")]
        for ran in [*programs, *(run(*shlex.split(command, comments=True)[1:]) for command in commands)]:
            assert ran.code == 0, f"{block}: {ran.err}"
            printed.append(" ".join(f"{ran.out} {ran.err}".split()))
    return printed


@pytest.mark.slow
def test_readme_can_be_followed_literally(
    readme: str, run: Callable, warm_python: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first study prints the answer shown; its network, chip and study give results."""
    monkeypatch.chdir(tmp_path)
    first, swept, mapped, study = follow(readme, run, warm_python)
    (answer,) = blocks(readme, "text")
    assert " ".join(answer.split()) in first
    written = {path.name for path in (tmp_path / "results" / "first").iterdir()}
    promised = set(re.findall(r"`(\w+\.(?:html|png|csv|jsonl)|study\.resolved\.yaml)`", readme))
    assert len(promised) == 5
    assert promised <= written
    rows = [[float(value) for value in row] for row in re.findall(r"\d (0\.\d) " + r"(0\.\d+) ?" * 4, swept)]
    assert [row[0] for row in rows] == [0.0, 0.1, 0.2, 0.4]
    assert rows[0][1] == rows[0][4] > 0.9
    assert rows[0][1] > rows[2][1] > rows[3][1]
    assert "5 tiles of 128 x 128" in mapped
    assert "at no ADC resolution tried: it is closest at 8 bits" in study


@pytest.mark.slow
def test_a_network_is_trained_as_the_page_of_models_says(
    repository: Path, run: Callable, warm_python: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (repository / "docs" / "models.md").read_text(encoding="utf-8")
    section = page[page.index("## Train a network") : page.index("## Code that a card names")]
    _, evaluated = follow(section, run, warm_python)
    digital, analog = (float(re.search(rf"{row}.*? (0\.\d+)", evaluated)[1]) for row in ("digits test", "on rram"))  # type: ignore[index]
    assert abs(digital - 0.89) < 0.03
    assert abs(analog - 0.89) < 0.03


def test_python_examples_run(
    repository: Path, warm_python: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    programs = blocks((repository / "docs" / "python.md").read_text(encoding="utf-8"), "python")
    shown = ["86 tiles of 128 x 128", "controller and memory on RRAM", "torch.Size([100, 1, 128, 128])"]
    for program, text in zip(programs, shown, strict=True):
        ran = warm_python("-W", "error", "-c", program.replace("chips.min=5", "chips.min=2"))
        assert ran.code == 0, ran.err
        assert text in ran.out


def test_commands_named_in_the_text_exist(readme: str, run: Callable) -> None:
    verbs = set(re.findall(r"\bimc-sim ([a-z][a-z-]*)", readme))
    assert {"run", "data", "list", "doctor"} <= verbs
    assert all(run(verb, "--help").code == 0 for verb in verbs)


def test_linked_files_exist(readme: str, repository: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (repository / target).exists(), target


@pytest.fixture(scope="module")
def controllers(repository: Path) -> str:
    return (repository / "docs" / "controllers.md").read_text(encoding="utf-8")


def table_of(repository: Path, study: str) -> list[dict[str, str]]:
    with (repository / "docs" / "figures" / f"{study}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_accuracies_equal_those_of_the_cards(controllers: str) -> None:
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


def test_variation_table_equals_that_of_its_figure(controllers: str, repository: Path) -> None:
    table = table_of(repository, "batmann_variation")
    assert len(table) == 4 * 11
    head = next(line for line in controllers.splitlines() if line.startswith("| on RRAM"))
    shown = [float(x) for x in re.findall(r"(\d+) %", head)]
    for row in table:
        cell = f"{float(row['median']):.1f} ({float(row['p05']):.1f}-{float(row['p95']):.1f})"
        line = next(text for text in controllers.splitlines() if text.startswith(f"| {row['series']} |"))
        if float(row["x"]) in shown:
            assert line.split(" | ")[2 + shown.index(float(row["x"]))].strip(" |") == cell
