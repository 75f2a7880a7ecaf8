"""The reference of study files: its examples are studies, its commands work, its counts are right."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from imc_sim.cli import main
from imc_sim.config import parse_yaml
from imc_sim.study import Axis, json_schema, load_study, points_of, run, with_settings
from imc_sim.testing import stand_in_evaluator

#: points of every example
POINTS = {
    "my_sizes": 10,
    "my_chips": 72,
    "my_table": 2,
    "my_wires": 4 * 3 * 2 - 2 * 2 - 3,
    "my_quickstart": 6,
    "my_first": 2,
}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "studies.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def example(page: str, name: str) -> dict[str, Any]:
    return next(data for data in map(parse_yaml, blocks(page, "yaml")) if data["name"] == name)


def test_every_example_is_known(page: str) -> None:
    assert [parse_yaml(block)["name"] for block in blocks(page, "yaml")] == list(POINTS)


@pytest.mark.parametrize("name", POINTS)
def test_examples_pass_the_schema_and_run(name: str, page: str, tmp_path: Path) -> None:
    data = example(page, name)
    assert [error.message for error in Draft202012Validator(json_schema("study")).iter_errors(data)] == []
    study = load_study(data)
    assert len(points_of(study)) == POINTS[name]
    results = run(with_settings(study, ["chips={min: 2}"]), tmp_path / "out", evaluator=evaluator)
    assert len(results.table) == POINTS[name]
    assert results.failed == 0


def evaluator(model: str, chip: dict[str, Any] | None, task: dict[str, Any], *rest: Any, **options: Any) -> Any:
    """Return the evaluator without a network, which knows one kind of programming only."""
    if chip is not None and "sigma" not in chip["device"]["programming"]:
        chip = {**chip, "device": {**chip["device"], "programming": {"sigma": 0.1}}}
    return stand_in_evaluator(model, chip, task, *rest, **options)


def test_examples_do_what_the_page_says(page: str) -> None:
    wires = [p.chip for p in points_of(load_study(example(page, "my_wires"))) if p.chip]
    assert all(chip["tile"]["rows"] == chip["tile"]["cols"] for chip in wires)
    assert all(chip["wires"]["r_row_ohm"] == chip["wires"]["r_col_ohm"] / 2 for chip in wires)
    tasks = {(p.task["way"], p.task["shot"]) for p in points_of(load_study(example(page, "my_chips")))}
    assert tasks == {(5, 1), (20, 5)}
    child = load_study(example(page, "my_quickstart"))
    assert (child.task["episodes"], child.task["queries"], child.chips.min) == (50, 4, 50)
    assert [case.name for case in child.cases] == ["controller and memory on RRAM", "memory alone"]


def test_short_forms_in_the_text_are_right(page: str) -> None:
    forms = re.findall(r"`(\{(?:range|linspace|log): [^`]*\})`", page)
    assert len(forms) >= 4
    for form in forms:
        values = Axis.model_validate({"path": "seed", "values": parse_yaml(f"v: {form}")["v"]}).values
        assert 4 <= len(values) <= 11
        assert type(values[0]) is type(values[-1])


def test_commands_of_the_page_work(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]
    assert [command[1] for command in commands] == ["run", "show", "show", "show"]
    study, *settings = [word for word in commands[0][2:] if word != "--set"]
    changed = with_settings(load_study(study), settings)
    assert (changed.chips.min, changed.seed, changed.axes[0].values) == (100, 1, (0, 0.5))
    for command in commands[1:]:
        assert main(command[1 : command.index(">")]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == f"imc_sim {command[3]}"
