"""Errors of files name the line of their key, and errors of settings the setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from imc_sim import InputError, load_chip, load_study
from imc_sim.cli._chips import chip_with
from imc_sim.config import Origin, Place, find_card
from imc_sim.config import _origin as module
from imc_sim.config._synonyms import stored_path
from imc_sim.nn.store import build_model, load_card
from imc_sim.study import points_of, with_settings
from imc_sim.study._store import read_study
from imc_sim.train import load_queue, load_trainings, recipe_of
from imc_sim.train._queue import _checked
from imc_sim.train._sweep import points_of as trainings_of
from imc_sim.train._train import changed_card

CHIP = """\
name: c
device:
  g_lrs_S: 1e-4
  g_hrs_S: 1e-6
adc: {kind: auto, bits: 4}
"""
STUDY = """\
name: s
model: batmann_5w1s_xnor
chip: ideal
task: {dataset: glyphs, split: test, episodes: 2}
cases:
  - name: a
  - name: b
    set:
      task.keys: binary
axes:
  - path: chip.device.programming.sigma
    values:
      - 0.1
      - 0.2
derived:
  chip.tile.cols: chip.tile.rows
"""


def at(path: Path, text: str, *changes: tuple[str, str]) -> Path:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("1e-6", "x"), "4: device.g_hrs_S"),
        (("bits: 4", "bits: x"), "5: converter.bits"),
        (("g_hrs_S", "g_hsr_S"), "4: device.g_hsr_S"),
        (("  g_hrs_S: 1e-6\n", ""), "2: device.g_hrs_S"),
        (("name: c\n", "nam: c\n"), "1: nam"),
        (("device:\n", "device: &d\n"), None),
        (("adc: {kind: auto, bits: 4}", "read:\n  <<: {seed: 3}"), "5: read"),
        (("1e-6", "2e-4"), "2: device"),
    ],
)
def test_an_error_of_a_chip_names_the_line(tmp_path: Path, change: tuple[str, str], place: str | None) -> None:
    path = at(tmp_path / "c.yaml", CHIP, change)
    if place is None:
        load_chip(path)
        return
    with pytest.raises(InputError) as error:
        load_chip(path)
    assert error.value.where == f"{path}, line {place}"


@pytest.mark.parametrize("key", ["a b", "task: x", "x, axes", "a.b", "0", "'", "'\"\\", "é", ".", "#"])
def test_unknown_keys_of_any_text_are_found(tmp_path: Path, key: str) -> None:
    written = json.dumps(key)
    path = at(tmp_path / "c.yaml", CHIP, ("adc: {", f"adc: {{{written}: 1, "))
    with pytest.raises(InputError) as error:
        load_chip(path)
    assert error.value.where == f"{path}, line 5: {stored_path('adc')}.{key}"
    path = at(
        tmp_path / "s.yaml", STUDY, ("axes:", f"{written}: 1\naxes:"), ("    set:", f"    {written}: 1\n    set:")
    )
    with pytest.raises(InputError) as error:
        load_study(path)
    assert error.value.where == f"{path}, line 8: cases.1.{key}"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("binary", "x"), "9: case 'b', task: keys"),
        (("- 0.2", "- -0.2"), "14: case 'a', chip: device.programming.sigma"),
        (("episodes: 2", "episodes: 0"), "4: case 'a', task: episodes"),
        (("chip: ideal", "chip: idael"), "3: chip"),
        (("model: batmann_5w1s_xnor", "model: nothing"), "2: model"),
        (("glyphs", "glyps"), "4: data set"),
        (("chip.tile.cols: chip.tile.rows", "chip.tile.cols: {path: chip.tile.rows, plus: 0.5}"),
         "16: case 'a', chip: tile.cols"),
        (("task: {", "chip_task: {kind: {}}\ntask: {"), "4: case 'a', chip_task.kind"),
        (("    set:\n", "    set: 3\n    published: {}\n    note:\n"), "8: cases.1.set"),
        (("  - name: b", "  - name: a"), "1"),
        (("      - 0.2", "      - 0.1"), "11: axes.0"),
    ],
)  # fmt: skip
def test_an_error_of_a_study_names_the_line(tmp_path: Path, change: tuple[str, str], place: str) -> None:
    path = at(tmp_path / "s.yaml", STUDY, change)
    with pytest.raises(InputError) as error:
        points_of(load_study(path))
    assert error.value.where == f"{path}, line {place}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("task:\n  shot: 0\n", "own.yaml, line 4: case 'a', task: shot"),
        ("cases:\n  b: {set: {task.way: 1}}\n", "own.yaml, line 4: case 'b', task: way"),
        ("set:\n  task.way: 1\n", "own.yaml, line 4: case 'a', task: way"),
        ("set:\n  task.x.y: 1\n", "own.yaml, line 4: case 'a', task: x"),
        ("seed: -1\n", "own.yaml, line 3: seed"),
        ("derived: {}\naxes:\n  chip.device.programming.sigma: {labels: [u]}\n", "own.yaml, line 4: axes.0"),
        ("task: {kind: classification}\n", "s.yaml, line 4: case 'a', task: episodes"),
        ("base: nothing\n", "own.yaml, line 2: study"),
    ],
)
def test_an_error_of_a_study_with_a_base_names_the_file_that_has_the_key(
    tmp_path: Path, text: str, place: str
) -> None:  # fmt: skip
    at(tmp_path / "s.yaml", STUDY)
    own = at(
        tmp_path / "own.yaml", f"name: o\n{'' if 'base' in text else 'base: s.yaml'}\n{text}".replace("\n\n", "\n")
    )
    with pytest.raises(InputError) as error:
        points_of(load_study(own))
    assert error.value.where == f"{tmp_path}/{place}"


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("task.way=1", "--set task.way"),
        ("cases.1.set.task.keys=x", "--set cases.1.set.task.keys: case 'b', task: keys"),
        ("axes.0.values=[-1]", "--set axes.0.values: case 'a', chip: device.programming.sigma"),
        ("chip.adc.bits=99", "--set chip.converter.bits"),
        ("chip=idael", "--set chip"),
    ],
)
def test_an_error_of_a_setting_names_the_setting(tmp_path: Path, setting: str, place: str) -> None:
    study = with_settings(load_study(at(tmp_path / "s.yaml", STUDY)), [setting])
    with pytest.raises(InputError) as error:
        points_of(study)
    assert error.value.where == place


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["chip.converter.bits=4", "chip.converter={kind: auto, bits: 99}"], "chip.converter"),
        (["chip.converter={kind: auto, bits: 4}", "chip.converter.bits=99"], "chip.converter.bits"),
    ],
)
def test_of_several_settings_of_a_value_the_last_is_named(tmp_path: Path, settings: list[str], named: str) -> None:
    study = with_settings(load_study(at(tmp_path / "s.yaml", STUDY)), settings)
    with pytest.raises(InputError) as error:
        points_of(study)
    assert error.value.where.startswith(f"--set {named}")
    assert error.value.where.removeprefix(f"--set {named}")[:1] in ("", ":")


def test_a_study_that_names_code_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMC_SIM_TRUST", raising=False)
    (tmp_path / "x").mkdir()
    path = at(tmp_path / "x" / "s.yaml", STUDY, ("keys: binary", "call: ./e.py:f"))
    with pytest.raises(InputError, match="that names code") as error:
        load_study(path)
    assert error.value.where == f"{path}, line 9: cases.1.set.task.call"


def test_a_chip_with_settings_names_the_setting_or_the_line(tmp_path: Path) -> None:
    path = str(at(tmp_path / "c.yaml", CHIP))
    with pytest.raises(InputError, match=r"^--set chip.adc.bits: converter.bits: got 99"):
        chip_with(path, ["chip.adc.bits=99"])
    with pytest.raises(InputError, match=r"^--set chip.device.g_lrs_S: device: got values"):
        chip_with(path, ["chip.device.g_lrs_S=1e-9"])


def card(folder: Path, **changes: Any) -> Path:
    data = {k: v for k, v in find_card("bnn_mnist").data.items() if k in ("arch", "recipe")}
    return at(folder / "model.yaml", yaml.safe_dump({"name": "m", "summary": "s", **data, **changes}, sort_keys=False))


def line_of(path: Path, part: str) -> int:
    return next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if part in line)


def test_errors_of_cards_queues_and_training_sweeps_name_the_line(tmp_path: Path) -> None:
    path = card(tmp_path)
    at(path, path.read_text(encoding="utf-8"), ("epochs: ", "epochs: -"))
    with pytest.raises(InputError) as error:
        recipe_of(load_card(path)[0], "the card")
    assert error.value.where == f"{path}, line {line_of(path, 'epochs')}: recipe: epochs"
    path = card(tmp_path, arch={"name": "bnn_conv", "args": {"width": 3}})
    with pytest.raises(InputError) as error:
        build_model(*load_card(path))
    assert error.value.where == f"{path}, line {line_of(path, 'args')}: arch.args"
    found = load_card("bnn_mnist")[0]
    found = changed_card(found, [("recipe.epochs", -1)], "--set", found.origin.with_settings(["recipe.epochs"]))
    with pytest.raises(InputError, match=r"^--set recipe.epochs: got -1"):
        recipe_of(found, "")
    text = "name: q\nentries:\n  - {name: a, model: bnn_mnist}\n  - name: b\n    model: bnn_mnist\n    set:\n"
    for key, place in [
        ("recipe.epochs: -1", "7: entry 'b', recipe: epochs"),
        ("recipe.x.y: 1", "7: entry 'b', path 'recipe.x.y'"),
        ("kind: 1", "6: entry 'b'"),
    ]:
        queue = load_queue(at(tmp_path / "q.yaml", f"{text}      {key}\n"))
        with pytest.raises(InputError) as error:
            _checked(queue.entries[1], queue)
        assert error.value.where == f"{tmp_path}/q.yaml, line {place}"
    text = "name: t\nmodel: bnn_mnist\npanels:\n  - path: recipe.learning_rate\n    values:\n      - 0.1\n      - -1\n"
    with pytest.raises(InputError, match=r"t.yaml, line 8: seeds.1: got -1; allowed: greater than or equal to 0"):
        load_trainings(at(tmp_path / "t.yaml", f"{text}seeds: [0, -1]\n"))
    sweep = load_trainings(at(tmp_path / "t.yaml", text))
    with pytest.raises(InputError) as error:
        list(trainings_of(sweep))
    assert error.value.where == f"{tmp_path}/t.yaml, line 7: recipe: learning_rate"


def test_an_error_of_a_model_of_a_family_names_its_row_or_that_of_its_base(tmp_path: Path) -> None:
    text = (
        "bases:\n  one:\n    summary: 3\n  two:\n    base: one\n    arch: {name: x}\nmodels:\n  f_a:\n    base: two\n"
    )
    path = at((tmp_path / "f").absolute() / "family.yaml", text) if (tmp_path / "f").mkdir() is None else None
    with pytest.raises(InputError) as error:
        load_card(tmp_path / "f" / "f_a")
    assert error.value.where == f"{path}, line 3: models.f_a: summary"
    assert path is not None
    at(path, text, ("    base: two", "    base: two\n    recipe.epochs: 2\n    summary: [1]"))
    with pytest.raises(InputError) as error:
        load_card(tmp_path / "f" / "f_a")
    assert error.value.where == f"{path}, line 11: models.f_a: summary"


def test_an_error_of_stored_results_names_the_line(tmp_path: Path) -> None:
    at(tmp_path / "study.resolved.yaml", "schema: 2\nname: x\npoints: []\n")
    with pytest.raises(InputError) as error:
        read_study(tmp_path)
    assert error.value.where == f"{tmp_path}/study.resolved.yaml, line 1"


def test_files_that_are_no_mapping_of_text_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for content, where in [(b"", 1), (b"- a\n", 1), (b"name: c\nsource: \xff\n", 2)]:
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            load_chip(path)
        assert error.value.where == f"{path}, line {where}"


def test_errors_of_other_files_are_unchanged(tmp_path: Path) -> None:
    path = at(tmp_path / "a.yaml", "a: 1\nb: two\n")
    origin = Origin((Place(str(path)),))
    other = InputError("elsewhere.yaml, line 3: b", "'two'", "x", "y")
    assert origin.located(other) is other
    unknown = InputError("b", "'three'", "x", "y")
    assert origin.located(unknown) is unknown
    found = origin.located(InputError("b", "'two'", "x", "y"))
    assert (found.where, found.got) == (f"{path}, line 2: b", "'two'")
    path.unlink()
    gone = InputError(f"{path}: b", "'two'", "x", "y")
    assert origin.located(gone) is gone


def test_no_file_is_read_again_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_root", lambda file: pytest.fail(f"read {file}"))
    points_of(load_study(at(tmp_path / "s.yaml", STUDY)))
    assert load_study(tmp_path / "s.yaml") == load_study(yaml.safe_load(STUDY))


def test_keys_of_all_merged_mappings_are_found(tmp_path: Path) -> None:
    """Also those that a merged mapping merges itself."""
    text = "name: c\ninner: &inner\n  g_hrs_S: -1\nouter: &outer\n  <<: *inner\nfirst: &first {g_lrs_S: 1e-4}\n"
    for merged, line in (("[*first, *outer]", 3), ("*outer", 3), ("[*first, *inner]", 3)):
        path = at(tmp_path / "c.yaml", f"{text}device:\n  <<: {merged}\n")
        place = Origin.of(path)._place(["device", "g_hrs_S"], InputError("x", "-1", "", ""), True)
        assert place == f"{path}, line {line}"


def test_of_several_files_that_hold_as_much_of_a_key_the_first_is_named(tmp_path: Path) -> None:
    files = [at(tmp_path / f"{name}.yaml", f"name: {name}\ndevice: {{g_lrs_S: 1e-4}}\n") for name in "ab"]
    origin = Origin(tuple(place for file in files for place in Origin.of(file).places))
    assert origin._place(["device", "g_hrs_S"], InputError("x", "", "", ""), True) == f"{files[0]}, line 2"
