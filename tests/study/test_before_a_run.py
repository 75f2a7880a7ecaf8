"""Content, settings, distinct parts, costs and folders, which a study looks up, checks and measures before it runs."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from imc_sim import InputError, ResultsError
from imc_sim._errors import MissingDataError
from imc_sim.array import load_chip
from imc_sim.config import Engine, read_yaml, shipped_content, write_yaml
from imc_sim.study import (
    _acting,
    _probe,
    _runner,
    _schema,
    _status,
    dry_run,
    json_schema,
    load_study,
    run,
    study_embeddings,
)  # fmt: skip
from imc_sim.study._places import Content
from imc_sim.study._point import Point
from imc_sim.study._settings import with_value
from imc_sim.study._store import read_study
from imc_sim.testing import stand_in_evaluator

STUDY: dict[str, Any] = {
    "name": "s", "model": "batmann_small_xnor", "chip": "ideal", "task": {"dataset": "glyphs", "split": "test"},
    "derived": {"task.shot": "task.queries"}, "chips": {"min": 2},
}  # fmt: skip
TASK = {"kind": "few_shot", "way": 5, "dataset": "glyphs", "split": "test"}


def point(chip: dict[str, Any] | None = None, **changes: Any) -> Point:
    chip = load_chip("ideal").to_dict() if chip is None else chip
    return dataclasses.replace(Point("a", (), "m", "w", chip, TASK, 0), **changes)


# -- content and settings -----------------------------------------------------------------------------------


def test_a_folder_without_its_card_and_a_chip_that_is_a_folder_are_not_content(tmp_path: Path) -> None:
    content = Content(model={"m": str(tmp_path / "m")}, chip={"c": str(tmp_path / "c"), "n": str(tmp_path / "n.yaml")})
    for name in ("m", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "n.yaml").touch()
    for kind, name in (("model", "m"), ("chip", "c")):
        with pytest.raises(
            InputError, match=rf"content\.{kind}\.{name}: got nothing at .*the {kind} that the run kept"
        ):
            content.locate(kind, name)  # type: ignore[arg-type]
    (tmp_path / "m" / "model.yaml").touch()
    assert content.locate("model", "m") == str(tmp_path / "m")
    assert content.locate("chip", "n") == str(tmp_path / "n.yaml")
    assert content.locate("chip", "other") == "other"
    assert content.names("model") == {str(tmp_path / "m"): "m"}
    with pytest.raises(InputError, match="no chip 'none' in this version"):
        Content(chip={"x": "shipped:none"}).locate("chip", "x")


def test_places_of_content_are_absolute_from_the_folder_of_their_study(tmp_path: Path) -> None:
    content = Content(model={"m": "./models/m"}, chip={"c": "shipped:ideal"}, files={"./files/a.py": "0"})
    placed = content.relative_to(tmp_path)
    assert placed.model == {"m": str(tmp_path / "models" / "m")}
    assert placed.chip == {"c": "shipped:ideal"}
    assert placed.files == {str(tmp_path / "files" / "a.py"): "0"}
    placed.check_files()  # a missing copy is named by what needs it
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.py").write_text("x")
    with pytest.raises(InputError, match="content 2d711642b726; allowed: that of the run, 0"):
        placed.check_files()


def test_shipped_content_is_found_where_the_user_has_some_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[Any, str] = {"chip": "ideal", "model": "batmann_small_xnor"}
    content = Content(chip={"x": "shipped:ideal"}, model={"x": "shipped:batmann_small_xnor"})
    own = {"chip": Path("device_configs/ideal.yaml"), "model": Path("models/batmann_small_xnor/model.yaml")}
    for kind, name in names.items():
        assert content.locate(kind, "x") == name
        own[kind].parent.mkdir(parents=True)
        own[kind].write_text(f"name: {name}\narch: {{name: batmann}}\n")
        assert content.locate(kind, "x") == str(shipped_content(kind, name))


def test_a_path_below_derived_is_one_key() -> None:
    study = with_value(load_study(STUDY), "derived.task.shot", "task.way", "--set")
    assert {target: source.path for target, source in study.derived.items()} == {"task.shot": "task.way"}
    added = with_value(study, "derived", {"task.shot": "seed", "task.queries": "seed"}, "--set")
    assert set(added.derived) == {"task.shot", "task.queries"}


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_one_chip_or_more(batch: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"batch: got {batch}; allowed: a whole number of 1 or more"):
        run(STUDY, tmp_path / "x", batch=batch, evaluator=stand_in_evaluator)
    assert not (tmp_path / "x").exists()


def test_a_batch_fits_into_the_memory_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(_runner, "batch_size", lambda _, *a: (calls.append(a), 2)[1])
    chips: list[Any] = []
    of = _runner.Batch.of
    monkeypatch.setattr(
        _runner.Batch, "of", lambda trials, *a: (chips.append([t.chip for t in trials]), of(trials, *a))[1]
    )
    run(STUDY | {"memory_limit": 1234, "chips": {"min": 5}}, tmp_path, batch=7, evaluator=stand_in_evaluator)
    assert calls == [(stand_in_evaluator, 7, 1234)] * 2
    assert chips == [[-1], [0, 1], [2, 3], [4]]


def test_an_attack_that_is_null_can_be_set_in_part() -> None:
    study = load_study(STUDY | {"task": {"dataset": "glyphs", "split": "test", "attack": None}})
    for path, value in (("task.attack.kind", "pgd"), ("task.attack.steps", 3)):
        study = with_value(study, path, value, "--set")
    assert study.task["attack"] == {"kind": "pgd", "steps": 3}


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_a_base_is_a_file_next_to_the_study(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"base.{suffix}").write_text(write_yaml(STUDY | {"seed": 7}))
    (tmp_path / "own.yaml").write_text(f"name: own\nbase: base.{suffix}\n")
    assert load_study(tmp_path / "own.yaml").seed == 7


def test_a_folder_of_another_study_is_refused_before_the_study_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(STUDY, tmp_path / "x", evaluator=stand_in_evaluator)
    monkeypatch.setattr(_runner, "check_study", lambda *_: pytest.fail("checked"))
    monkeypatch.setattr(_runner, "make_executor", lambda *_: pytest.fail("workers started"))
    with pytest.raises(ResultsError, match="Choose another folder"):
        run(STUDY | {"seed": 1}, tmp_path / "x")


def test_a_study_that_does_not_fit_its_digest_is_refused(tmp_path: Path) -> None:
    run(STUDY, tmp_path, evaluator=stand_in_evaluator)
    file = tmp_path / "study.resolved.yaml"
    held = read_yaml(file)
    assert read_study(tmp_path) == held
    wrong: list[Any] = [
        {key: value for key, value in held.items() if key != name} for name in ("digest", "name", "points")
    ]
    wrong += [held | {"digest": "0"}, held | {"name": "other"}, held | {"name": math.nan}]
    wrong += [held | {"points": points} for points in ([], 3, [3], None, [{"id": 1}])]
    for content in wrong:
        file.write_text(write_yaml(content))
        with pytest.raises(ResultsError, match="points that do not fit its digest"):
            read_study(tmp_path)
    for schema in (3, "2"):
        file.write_text(write_yaml(held | {"schema": schema}))
        with pytest.raises(ResultsError, match=f"results of schema {schema}; allowed: schema 2 or older"):
            read_study(tmp_path)
    for schema in (1, 2):
        file.write_text(write_yaml(held | {"schema": schema}))
        assert read_study(tmp_path)["schema"] == schema


def test_panels_of_features_are_of_the_whole_task_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("imc_sim.evaluate.embedding_grid", lambda *a, **k: (seen.append((a, k)), [])[1])
    axes = [{"path": "model", "values": ["batmann_small_xnor", "batmann_5w1s_xnor"]},
            {"path": "chip.device.programming.sigma", "values": [0.1, 0.2]},
            {"path": "task.way", "values": [5, 6], "label": "ways"}]  # fmt: skip
    study = load_study(STUDY | {"axes": axes, "chip_task": {"episodes": 3}})
    progress = lambda *_: None  # noqa: E731
    study_embeddings(study, 4, 5, 6, progress)
    ((panels, *numbers), named), *_ = seen
    assert (numbers, named) == ([4, 5, 6], {"progress": progress})
    wanted = [(model, way) for model in ("batmann_small_xnor", "batmann_5w1s_xnor") for way in (5, 6)]
    assert [(p.row, p.column, p.model) for p in panels] == [(f"{m}, ways {w}", "all", m) for m, w in wanted]
    assert [(p.task["way"], p.task["episodes"]) for p in panels] == [(way, 1000) for _, way in wanted]


# -- distinct parts -----------------------------------------------------------------------------------------


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Return the checks that are called, by their name and what they check."""
    calls: list[tuple[str, Any]] = []
    monkeypatch.setattr(_runner, "check_device", lambda device, engine: calls.append((device, engine.kind)))
    for name in ("check_task", "check_images", "check_mapping"):
        monkeypatch.setattr(_runner.evaluate, name, lambda *a, n=name: calls.append((n, a)))
    return calls


def counts(calls: list[tuple[str, Any]]) -> dict[str, int]:
    names = [name for name, _ in calls]
    return {name: names.count(name) for name in ("check_task", "check_images", "check_mapping")}


CHIP, FOREIGN = load_chip("rram_hfo2_1t1r"), Engine(kind="memtorch")


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ([{}], (2, 2, 1)),  # the whole task, and that of the chips
        ([{"chip": CHIP.replace("device.programming.sigma", 0.3).to_dict()}], (2, 2, 1)),
        ([{"chip": CHIP.replace("device.levels", 4).to_dict()}], (2, 2, 2)),
        ([{"chip": CHIP.replace("tile.rows", 64).to_dict()}], (2, 2, 2)),
        ([{"chip": CHIP.replace("policy.memory", "digital").to_dict()}], (3, 2, 2)),
        ([{"task": TASK | {"way": 9}}], (3, 3, 1)),
        ([{"digital_task": TASK | {"way": 9}}], (3, 3, 1)),
        ([{"model": "n"}], (2, 4, 2)),
        ([{"conductances": "/c.npz"}], (2, 2, 2)),
        ([{"engine": FOREIGN}], (2, 2, 2)),
        (
            [{"engine": FOREIGN}, {"engine": FOREIGN, "chip": CHIP.replace("device.programming.sigma", 0.3).to_dict()}],
            (2, 2, 3),
        ),
    ],
)
def test_each_distinct_part_of_a_study_is_checked_once(
    others: list[dict[str, Any]], wanted: tuple[int, int, int], checked: list[tuple[str, Any]]
) -> None:
    first = point(CHIP.to_dict())
    _runner._check(load_study(STUDY), [first, first, *(dataclasses.replace(first, **each) for each in others)], "cpu")
    assert tuple(counts(checked).values()) == wanted
    assert [call for call in checked if call[0] == "cpu"] == [
        ("cpu", kind)
        for kind in dict.fromkeys(["native", *(each["engine"].kind for each in others if "engine" in each)])
    ]


def test_checks_are_of_the_point_itself(checked: list[tuple[str, Any]]) -> None:
    whole, reduced = TASK, TASK | {"way": 2}
    only = point(CHIP.to_dict(), task=reduced, digital_task=whole, conductances="/c.npz")
    _runner._check(load_study(STUDY), [only], "cuda")
    assert checked == [
        ("cuda", "native"), ("check_task", (whole,)), ("check_task", (reduced, only.chip)),
        ("check_images", ("m", whole)), ("check_images", ("m", reduced)),
        ("check_mapping", ("m", only.chip, only.engine, reduced, "/c.npz")),
    ]  # fmt: skip
    checked.clear()
    _runner._check(load_study(STUDY), [point().baseline()], "cpu")
    assert counts(checked) == {"check_task": 2, "check_images": 2, "check_mapping": 0}, "nothing is mapped"


def test_settings_that_act_are_those_of_the_chip_its_backend_and_both_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("imc_sim.evaluate.network_key", lambda model: ("key", model))
    monkeypatch.setattr(
        "imc_sim.evaluate.idle_in_task",
        lambda model, calibrates, task: (calls.append((model, calibrates, task["way"])), {"seed"})[1],
    )
    monkeypatch.setattr(
        "imc_sim.evaluate.acting_settings", lambda model, chip, task: {"of": [chip["engine"]["kind"], task["way"]]}
    )
    task = TASK | {"way": 71, "seed": 3}
    chip = CHIP.replace("converter", {"kind": "auto", "range": "calibrated"}).to_dict()
    known = point(chip, task=task, digital_task=task | {"way": 72}, engine=FOREIGN)
    found = _acting.of_its_model(known)
    assert calls == [("m", True, 71), ("m", False, 72)]
    assert found["chip"] == {"of": ["memtorch", 71]}
    assert ("seed" in found["task"], found["task"]["way"], found["digital"]["way"]) == (False, 71, 72)
    assert _acting.of_its_model(known.baseline())["chip"] is None
    assert _acting.of_any_model(known.baseline()) == {"chip": None}


@pytest.mark.parametrize(
    ("data", "other", "absent"),
    [({"a": "1"}, [], []), ({"a": "9"}, ["other files of 'a' (content 1, stored 9)"], []), ({"b": "2"}, [], ["b"]),
     ({"c": "3"}, ["c: got x; allowed: y. z"], []), ({}, [], [])],
)  # fmt: skip
def test_data_of_a_status_are_equal_changed_or_missing(
    data: dict[str, str], other: list[str], absent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(part: str) -> str:
        if part == "b":
            raise MissingDataError("b", "x", "y", "z")
        if part == "c":
            raise InputError("c", "x", "y", "z")
        return "1"

    monkeypatch.setattr(_status, "data_digest", digest)
    assert _status._data(data, Path()) == (tuple(other), tuple(absent))


def test_titles_of_fields_are_removed_and_fields_called_title_kept() -> None:
    field = {"title": "T", "type": "string", "default": {"title": "kept"}}
    found = _schema._tidy(
        {"title": "X", "properties": {"properties": field, "title": field}, "$defs": {"title": field}}
    )
    tidy = {"type": "string", "default": {"title": "kept"}}
    assert found == {"properties": {"properties": tidy, "title": tidy}, "$defs": {"title": tidy}}


def test_sizes_of_memory_in_the_schema_are_those_that_load() -> None:
    schema = Draft202012Validator(json_schema("study"))
    for size in ("3 KB", "1.5 MB", "2 GB", 7):
        assert schema.is_valid(STUDY | {"memory_limit": size})
        load_study(STUDY | {"memory_limit": size})
    for size in ("3 kB", "GB", "3", 0, "² GB"):
        assert not schema.is_valid(STUDY | {"memory_limit": size})
        with pytest.raises(InputError, match="memory_limit: got .* a string such as '2 GB'|memory_limit: got 0"):
            load_study(STUDY | {"memory_limit": size})


# -- costs --------------------------------------------------------------------------------------------------


def test_the_peak_of_memory_is_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Path, "read_text", lambda *_, **__: "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   3 kB\nVmRSS:\t 1 kB\n"
    )
    assert _probe.peak_bytes() == 3 * 1024
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    monkeypatch.setattr(_probe.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=7))
    for platform, wanted in (("linux", 7 * 1024), ("darwin", 7)):
        monkeypatch.setattr(_probe.sys, "platform", platform)
        assert _probe.peak_bytes() == wanted


def test_seconds_are_per_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 16.0])
    seen: list[Any] = []
    monkeypatch.setattr(_probe, "perf_counter", lambda: next(now))
    monkeypatch.setattr(_probe, "peak_bytes", lambda: 5)
    monkeypatch.setattr(_probe, "forget_peak", lambda: seen.append("forget"))
    monkeypatch.setattr(_probe, "evaluate_batch", lambda batch: seen.append((batch.chips, batch.options)))
    found = _probe.Prober(stand_in_evaluator, "cuda", 4, 10)._run(point(), [0, 1, 2])
    assert found == _probe.Cost(2.0, 5)
    assert seen == ["forget", ((0, 1, 2), {"device": "cuda"})]


# -- folders ------------------------------------------------------------------------------------------------


def test_a_folder_without_results_is_named_by_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, got, step in (
        ("family.yaml", "a family of models", r"imc-sim list models my_family"),
        ("training.jsonl", "a training run that has not ended", r"--resume"),
        ("model.yaml", "a model folder", r"imc-sim evaluate \."),
    ):
        folder = tmp_path / "my_family"
        folder.mkdir(exist_ok=True)
        (folder / file).touch()
        monkeypatch.chdir(folder)
        with pytest.raises(ResultsError, match=rf"got {got}; .*{step}"):
            read_study(Path())
    shutil.rmtree(tmp_path / "my_family")
    for name, got in (("none", "no such folder"), ("", r"no study\.resolved\.yaml")):
        with pytest.raises(ResultsError, match=f"got {got}; .*Name the folder that `imc-sim run` wrote"):
            read_study(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "line", "text"),
    [
        ({"task": {"way": 500}}, "way: 500", "task.way: got 500"),
        ({"task": {"queries": 25}}, "task:", "task.query_pool: got 25"),
        ({"task": {"classes": 3000}}, "classes: 3000", "task.classes: got 3000"),
        ({"task": {"split": "tset"}}, "split: tset", "task.split (split of glyphs): got 'tset'"),
        ({"task": {"dataset": "mnist", "size": 32}}, "size: 32", "task.size: got 32"),
        ({"task": {"size": 7}}, "size: 7", "task.size: got images of 1 x 7 x 7"),
        ({"cases": [{"name": "a"}, {"name": "b", "set": {"task.way": 600}}]}, "task.way: 600", "task.way: got 600"),
        ({"axes": [{"path": "task.way", "values": [5, 700]}]}, "- 700", "task.way: got 700"),
        ({"chip_task": {"way": 800}}, "way: 800", "chip_task.way: got 800"),
        ({"set": {"chip.encoding": {"kind": "unipolar"}}}, "chip.encoding:", "layer 'features.conv2', encoding"),
    ],
)
def test_what_only_an_evaluation_would_find_names_the_line(changes: dict, line: str, text: str, tmp_path: Path) -> None:
    task = {"dataset": "glyphs", "split": "test", "episodes": 2}
    study: dict = {"name": "s", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r", "chips": {"min": 2}}
    study |= {"cases": [{"name": "a"}], **changes, "task": task | changes.get("task", {})}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    number = next(k for k, each in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line in each)
    for start in (lambda: run(path, tmp_path / "out"), lambda: dry_run(str(path))):
        with pytest.raises(InputError, match=f"^{re.escape(f'{path}, line {number}: {text}')}"):
            start()
    assert not (tmp_path / "out").exists()
