"""Resolve a study into points: every setting is completed and validated before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole, nearest
from imc_sim.config import as_engine, canonical_json, copied, digest, find_card, once, reading_once, set_path, user_path
from imc_sim.data import digests_of
from imc_sim.evaluate import arch_of, data_of_task, weights_digest
from imc_sim.study._acting import check_acting, check_prices, of_any_model
from imc_sim.study._axes import grid, grid_size
from imc_sim.study._conditions import Derived, look_up, matches, paths_in, unknown_path
from imc_sim.study._content import code_digests, content_of
from imc_sim.study._kept_files import KeptFiles
from imc_sim.study._measured import check_measured
from imc_sim.study._origin import origin_of
from imc_sim.study._point import SCHEMA, Point, is_calibrated
from imc_sim.study._spec import ROOTS, Case, Study

#: most points of a study; each takes milliseconds to check
_MOST = 100_000
#: keys of a point in study.resolved.yaml that the digest of the study covers
_PLACE = ("case", "values", "id", "baseline", "reference")


@checked
def points_of(study: Study, evaluator: str | None = None) -> list[Point]:
    """Return all points of a study, case by case in the order of the axes, without those that it skips.

    Args:
        study: the study.
        evaluator: digest of a function that evaluates chips instead of the package's own.

    Raises:
        InputError: names the first point that is not valid, a condition whose path exists nowhere, an axis or case
            that changes no result, or points of different metrics.
    """
    with reading_once(), study.origin.naming(f"study {study.name!r}"):
        return _points_of(study, evaluator)


def _points_of(study: Study, evaluator: str | None) -> list[Point]:
    """Return the points of `points_of`, whose errors name no file."""
    study.content.check_files()
    count = len(study.cases) * grid_size(study.axes)
    if count > _MOST:
        step = "Use fewer values, zip axes, or split the study."
        raise InputError(f"study {study.name!r}, axes", f"{count:,} points", f"{_MOST:,} or fewer", step)
    seen: set[str] = set()
    data: dict[str, str] = {}
    places = [(number, place) for number in range(len(study.cases)) for place in grid(study.axes)]
    tried = (_located_point(study, study.cases[number], place, seen, data) for number, place in places)
    points = [replace(point, evaluator=evaluator) for point in tried if point is not None]
    where = f"study {study.name!r}, skip"
    unknown = next((path for rule in study.skip for path in rule if path not in seen), None)
    if unknown is not None:
        raise unknown_path(unknown, seen, where)
    if not points:
        raise InputError(where, f"conditions that hold at all {len(places)} points", "1 or more points", "Relax one.")
    _check_metric(study, points)
    check_measured(study, points)
    check_prices(study, points)
    check_acting(study, points, of_any_model)
    return points


def _located_point(
    study: Study, case: Case, place: tuple[int, ...], seen: set[str], data: dict[str, str]
) -> Point | None:  # fmt: skip
    """Return a point as `_point` does; its errors name the lines of its settings."""
    try:
        return _point(study, case, place, seen, data)
    except InputError as error:
        raise origin_of(study, case, place).located(error, f"study {study.name!r}") from error


def _check_metric(study: Study, points: list[Point]) -> None:
    """Reject points whose results cannot be in one table, and settings that only accuracies have."""
    metrics = {canonical_json(_metric(task)) for p in points for task in (p.task, p.digital_task or p.task)}
    where = f"study {study.name!r}"
    if len(metrics) > 1:
        step = "Make a study of each, or give all functions the same metric, unit, better and tolerance."
        raise InputError(f"{where}, task", f"{len(metrics)} different metrics", "one metric for all points", step)
    width = study.chips.half_width
    if _metric(points[0].task) is None:
        if width is not None and width >= 1:
            step = "Write a fraction of 1."
            raise InputError(f"{where}, chips.half_width", width, "below 1 where results are accuracies", step)
        return
    case = next((case.name for case in study.cases if case.published is not None), None)
    if case is not None:
        step = "Leave published out; state the value in note."
        raise InputError(f"{where}, case {case!r}", "published with a function task", "an accuracy task", step)


def _metric(task: dict[str, Any]) -> dict[str, Any] | None:
    """Return name, unit, direction and tolerance of the scores of a function; None for accuracies."""
    if task["kind"] != "function":
        return None
    return {"name": task["metric"]} | {key: task[key] for key in ("unit", "better", "tolerance")}


def _point(
    study: Study, case: Case, place: tuple[int, ...], seen: set[str], data: dict[str, str]
) -> Point | None:  # fmt: skip
    """Return a point, or None if a condition skips it; a skipped point need not be valid.

    Args:
        study: the study.
        case: the case.
        place: index of the value on every axis.
        seen: receives the paths that exist at the point.
        data: receives the digests of the data that the point reads.
    """
    where = f"study {study.name!r}, case {case.name!r}"
    settings = _settings(study, case, place, where)
    broken: InputError | None = None
    facts: dict[str, Any] = settings
    try:
        facts = _completed(settings, where)
    except InputError as error:
        broken = error
    facts = {**facts, "case": case.name}
    seen |= set(paths_in(facts) if study.skip else ())
    if any(matches(rule, facts, None if broken else f"{where}, skip") for rule in study.skip):
        return None
    if broken is not None:
        raise _with_lines(broken, study, case) from broken
    calibrates = is_calibrated(facts["chip"])
    parts = [part for task in ("task", "chip_task") for part in data_of_task(facts[task], calibrates)]
    data |= digests_of(part for part in parts if part not in data)
    model = study.content.locate("model", facts["model"])
    return Point(
        case.name, tuple((a.path, a.shown(k)) for a, k in zip(study.axes, place, strict=True)), model,
        weights_digest(model), facts["chip"], _located(study, facts["chip_task"]), facts["seed"],
        as_engine(facts["engine"]), _located(study, facts["task"]), arch_of(model),
        data, conductances=facts["conductances"], place=place,
    )  # fmt: skip


def _with_lines(error: InputError, study: Study, case: Case) -> InputError:
    """Return an error about a key of a chip or task with the lines of the study that set this key, if any do."""
    key = error.where.rpartition(", ")[2].replace(": ", ".")
    part = key.rpartition(".")[0]
    number = study.cases.index(case)
    lines = {f"cases.{number}.set ({path})": path for path in case.set}
    swept = [(k, path) for k, axis in enumerate(study.axes) for path in axis.paths]
    swept += [(0, path) for path in case.sweep or ()]
    lines |= {f"axes.{k}.path ({path})": path for k, path in swept} | {
        f"derived ({path})": path for path in study.derived
    }
    if not part or key not in lines.values():
        return error
    found = [line for line, path in lines.items() if path.startswith(f"{part}.")]
    places = dict.fromkeys(line.partition(" ")[0] for line in found)
    options = [f"--set {place}={'{}' if place.endswith('set') else '…'}" for place in places if place != "derived"]
    hint = next(iter(re.findall(r"^Did you mean .*?\? ", error.next_step)), "")
    step = f"{hint}The study sets it in {' and '.join(found)}. Take a chip whose {part} has it, or change that"
    return InputError(error.where, error.got, error.allowed, f"{step}: {' '.join(options)}".removesuffix(": ") + ".")


def _located(study: Study, task: dict[str, Any]) -> dict[str, Any]:
    """Return the task with the path of the model whose features it uses."""
    model = task.get("features")
    return task if model is None else {**task, "features": study.content.locate("model", model)}


def _settings(study: Study, case: Case, place: tuple[int, ...], where: str) -> dict[str, Any]:
    """Return the settings of a point after case, axes and derived values are set, not yet validated."""
    groups = [axis.paths for axis in study.axes]
    groups[:1] = [case.sweep] if case.sweep else groups[:1]
    swept = [(p, axis.values[k]) for axis, k, group in zip(study.axes, place, groups, strict=True) for p in group]
    settings: dict[str, Any] = {"model": study.model, "task": study.task, "seed": study.seed}
    settings["chip"] = _located_chip(study, study.chip)
    settings["chip_task"], settings["conductances"] = study.chip_task, study.conductances
    settings["engine"] = None if study.engine is None else study.engine.to_dict()
    # Short paths first: an axis over whole chips must not overwrite what an axis over their tiles has set.
    for path, value in sorted([*case.set.items(), *swept], key=lambda item: item[0].count(".")):
        _apply(settings, path, _located_chip(study, value) if path == "chip" else value, where)
    for target, source in study.derived.items():
        _apply(settings, target, _derived(settings, source, target, where), where)
    return settings


def _located_chip(study: Study, chip: Any) -> Any:
    """Return the name or path that finds a named chip; return a chip given as a mapping unchanged."""
    return study.content.locate("chip", chip) if isinstance(chip, str) else chip


def _derived(settings: dict[str, Any], source: Derived, target: str, where: str) -> Any:
    """Return a derived value; its source is read as set, or else from the completed chip or task."""
    there, value = look_up(settings, source.path)
    place = f"{where}, derived {target!r}"
    if not there:
        facts = _completed(settings, where)
        there, value = look_up(facts, source.path)
        if not there:
            raise unknown_path(source.path, paths_in(facts), place)
    return source.of(value, place)


def _completed(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the settings validated, with named chips loaded and defaults filled in."""
    chip = _chip(settings["chip"], where)
    model, seed = settings["model"], settings["seed"]
    if not isinstance(model, str):
        raise InputError(f"{where}, model", repr(model), "the name or path of a model", "Use `imc-sim list models`.")
    check_whole(seed, f"{where}, seed")
    key = "engine"
    engine = as_engine(chip[key] if settings[key] is None else settings[key], f"{where}, {key}").to_dict()
    tasks = _tasks(settings["task"], settings["chip_task"], where)
    cells = settings["conductances"]
    if not isinstance(cells, str | None):
        step = "Write the path of a file, or null for simulated cells."
        raise InputError(f"{where}, conductances", repr(cells), "the path of an .npz file, or null", step)
    cells = None if cells is None else str(user_path(cells, "conductances").absolute())
    return {"model": model, "chip": chip, **tasks, "engine": engine, "seed": seed, "conductances": cells}


def _apply(settings: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set one value in place; complete the chip or backend first if the path enters a part that is not there yet."""
    root = path.split(".", maxsplit=1)[0]
    if root not in ROOTS:
        step = f"{nearest(root, ROOTS)}Start the path with one of these."
        raise InputError(f"{where}, path {path!r}", repr(root), ", ".join(ROOTS), step)
    # Completing a chip validates it, so it is avoided if possible: its values may only fit others that are set later.
    parent = look_up(settings, path.rpartition(".")[0])[1]
    if root == "chip" and path != "chip" and not isinstance(parent, dict):
        settings["chip"] = _chip(settings["chip"], where)
    if root == "engine" and path != "engine":
        own = _chip(settings["chip"], where)["engine"]
        settings["engine"] = as_engine(settings["engine"] or own, f"{where}, {root}").to_dict()
    if path != root and isinstance(settings[root], dict):
        settings[root] = copied(settings[root])  # it may belong to the study
    set_path(settings, path, value, where)


def _chip(chip: Any, where: str) -> dict[str, Any]:
    """Return all settings of a chip given as a name, a path or a mapping."""
    from imc_sim.array import Chip, known_settings, load_chip
    from imc_sim.config import build

    if isinstance(chip, dict):
        return known_settings(build(Chip, chip, where=f"{where}, chip"))
    if not isinstance(chip, str):
        raise InputError(f"{where}, chip", repr(chip), "a name, a path or a mapping", "Use `imc-sim list chips`.")
    return once("named chip", chip, lambda: load_chip(chip).to_dict())


def _tasks(task: Any, on_chips: Any, where: str) -> dict[str, dict[str, Any]]:
    """Return all settings of the whole task, and of the reduced task, in which `chip_task` replaces keys."""
    whole = _task(task, f"{where}, task")
    if not isinstance(on_chips, dict):
        step = "Write `chip_task: {episodes: …}`."
        raise InputError(f"{where}, chip_task", repr(on_chips), "a mapping of keys to values", step)
    return {"task": whole, "chip_task": _task({**task, **on_chips}, f"{where}, chip_task") if on_chips else whole}


def _task(task: Any, where: str) -> dict[str, Any]:
    from imc_sim.evaluate import build_task

    if not isinstance(task, dict):
        raise InputError(where, repr(task), "a mapping of keys to values", "Write `task: {dataset: …}`.")
    return build_task(task, where).to_dict()


def trained(model: str) -> dict[str, int]:
    """Return the length of the training from the card of a model, as `episodes` or `epochs`."""
    card = find_card(model).data
    return {key: card[key] for key in ("episodes", "epochs") if isinstance(card.get(key), int)}


def completed(study: Study) -> Study:
    """Return the study with all settings of its chip and task, as study.resolved.yaml has them.

    Args:
        study: the study.
    """
    where = f"study {study.name!r}"
    chip, task = _chip(_located_chip(study, study.chip), where), _task(study.task, f"{where}, task")
    return study.model_copy(update={"chip": chip, "task": task})


def resolved(study: Study, points: list[Point]) -> dict[str, Any]:
    """Return the content of study.resolved.yaml: the study with all defaults, places of its content, and points.

    Args:
        study: the study.
        points: its points.
    """
    complete = completed(study)
    kept = KeptFiles.of(complete)
    data = kept.renamed(complete).to_dict()
    content = content_of(complete)
    files = kept.digests() | code_digests(study, content)
    data["content"] = content.to_dict() | ({"files": files} if files else {})
    names = study.content.names("model")
    weights = {p.model: p.weights for p in points}
    data["weights"] = {names.get(model, model): each for model, each in weights.items()}
    data["trained"] = {names.get(model, model): trained(model) for model in weights}
    data["data"] = dict(sorted((kept.part(name), each) for name, each in points[0].data.items()))
    metric = _metric(points[0].task)
    data |= {} if metric is None else {"metric": metric}
    places = [_place(p) for p in points]
    whole = [place | _described(p, names) for place, p in zip(places, points, strict=True)]
    return {"schema": SCHEMA, "digest": digest({"name": study.name, "points": places}), **data, "points": whole}


def _described(point: Point, names: Mapping[str, str]) -> dict[str, Any]:
    """Return facts about a point for reports, which are not hashed: its id covers them.

    Args:
        point: the point.
        names: path -> name of the models in the study.

    Returns:
        Names of the model and the chip, the accuracy of guessing (`chance`), whether two chips can differ (`vary`),
        the digest of what circuits of the chip take (`cost`), the accuracy that the card of the model states, and the
        keys in which the reduced task differs.
    """
    from imc_sim.array import load_chip
    from imc_sim.evaluate import build_task, chips_vary

    whole = point.digital_task or point.task
    differs = {key: value for key, value in point.task.items() if value != whole.get(key)}
    chance = build_task(point.task, "task").chance
    task = build_task(whole, "task").to_dict()
    if task.get("features") is not None:
        task["features"] = names.get(task["features"], task["features"])
    stated = _stated(point.model, task)
    known = {"model": names.get(point.model, point.model), "chip": point.chip and point.chip["name"]}
    known |= {} if chance is None else {"chance": chance}
    measured = point.conductances is not None
    known |= {} if point.chip is None else {"vary": measured or chips_vary(point.model, load_chip(point.chip))}
    known |= {} if point.cost is None else {"cost": point.cost}
    return known | ({} if stated is None else {"stated": stated}) | ({"chip_task": differs} if differs else {})


#: keys of a task in which an accuracy on a card must agree to be comparable
_COMPARED = ("kind", "dataset", "way", "shot", "attack", "permutation", "features", "stage", "head")


def _stated(model: str, task: dict[str, Any]) -> float | None:
    """Return the lowest comparable accuracy that the card of the model states, or None."""
    if task["kind"] == "function":
        return None
    measured = find_card(model).data.get("measured") or ()
    same = [m for m in measured if all(m["task"].get(key, task.get(key)) == task.get(key) for key in _COMPARED)]
    return min((float(m["accuracy"]) for m in same), default=None) if task.get("attack") is None else None


def place_keys(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the keys of every point of study.resolved.yaml that the digest of the study covers."""
    return [{key: point[key] for key in _PLACE if key in point} for point in points]


def _place(point: Point) -> dict[str, Any]:
    baseline, reference = (digital.id for digital in point.digital())
    place = {"case": point.case, "values": [v for _, v in point.coordinates], "id": point.id, "baseline": baseline}
    return place if reference == baseline else {**place, "reference": reference}
