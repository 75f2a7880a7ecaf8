"""From a study to points and trials: everything is resolved and validated before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from imc_sim._errors import InputError, nearest
from imc_sim.config import as_engine, digest, find_card, set_path
from imc_sim.data import digests_of
from imc_sim.evaluate import arch_of, weights_digest
from imc_sim.study._acting import check_acting, of_any_model
from imc_sim.study._axes import grid
from imc_sim.study._conditions import Derived, look_up, matches, paths_in, unknown_path
from imc_sim.study._content import content_of
from imc_sim.study._point import SCHEMA, Point, data_parts_of
from imc_sim.study._spec import ROOTS, Case, Study

_PLACE = ("case", "values", "id", "baseline", "reference")


def points_of(study: Study) -> list[Point]:
    """Return all points, case by case, with axes zipped or crossed in order, without those that the study skips.

    Raises:
        InputError: for the first point that is not valid.
    """
    seen: set[str] = set()
    data: dict[str, str] = {}
    places = [(number, place) for number in range(len(study.cases)) for place in grid(study.axes)]
    tried = (_point(study, study.cases[number], place, seen, data) for number, place in places)
    points = [point for point in tried if point is not None]
    where = f"study {study.name!r}, skip"
    unknown = next((path for rule in study.skip for path in rule if path not in seen), None)
    if unknown is not None:
        raise unknown_path(unknown, seen, where)
    if not points:
        raise InputError(where, f"conditions that hold at all {len(places)} points", "a point at least", "Relax one.")
    check_acting(study, points, of_any_model)
    return points


def _point(
    study: Study, case: Case, place: tuple[int, ...], seen: set[str], data: dict[str, str]
) -> Point | None:  # fmt: skip
    """Return the point, or None where a condition skips it; a skipped point need not be valid.

    Args:
        seen: receives the paths that a condition may name.
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
        raise broken
    parts = [*data_parts_of(facts["task"], facts["chip"]), *data_parts_of(facts["chip_task"], facts["chip"])]
    data |= digests_of(part for part in parts if part not in data)
    model = study.content.locate("model", facts["model"])
    return Point(
        case.name, tuple((a.path, a.shown(k)) for a, k in zip(study.axes, place, strict=True)), model,
        weights_digest(model), facts["chip"], _located(study, facts["chip_task"]), facts["seed"],
        as_engine(facts["engine"], f"{where}, engine"), _located(study, facts["task"]), arch_of(model),
        data,
    )  # fmt: skip


def _located(study: Study, task: dict[str, Any]) -> dict[str, Any]:
    """Return the task with the path of the model whose features it uses."""
    model = task.get("features")
    return task if model is None else {**task, "features": study.content.locate("model", model)}


def _settings(study: Study, case: Case, place: tuple[int, ...], where: str) -> dict[str, Any]:
    """Return model, chip, tasks, engine and seed after cases, axes and derived values, not yet validated."""
    groups = [axis.paths for axis in study.axes]
    groups[:1] = [case.sweep] if case.sweep else groups[:1]
    swept = [(p, axis.values[k]) for axis, k, group in zip(study.axes, place, groups, strict=True) for p in group]
    settings: dict[str, Any] = {"model": study.model, "task": study.task, "seed": study.seed}
    settings["chip"] = _found(study, study.chip)
    settings["chip_task"] = study.chip_task
    settings["engine"] = None if study.engine is None else study.engine.to_dict()
    # A whole before its parts: an axis over chips comes before one over their tiles, whichever the file names first.
    for path, value in sorted([*case.set.items(), *swept], key=lambda item: item[0].count(".")):
        _apply(settings, path, _found(study, value) if path == "chip" else value, where)
    for target, source in study.derived.items():
        _apply(settings, target, _derived(settings, source, target, where), where)
    return settings


def _found(study: Study, chip: Any) -> Any:
    """Return the path of a chip that is named."""
    return study.content.locate("chip", chip) if isinstance(chip, str) else chip


def _derived(settings: dict[str, Any], source: Derived, target: str, where: str) -> Any:
    """Return the value that follows from the one at the source: as it was set, else as in the completed chip or
    task.
    """
    there, value = look_up(settings, source.path)
    place = f"{where}, derived {target!r}"
    if not there:
        facts = _completed(settings, where)
        there, value = look_up(facts, source.path)
        if not there:
            raise unknown_path(source.path, paths_in(facts), place)
    return source.of(value, place)


def _completed(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the settings with names looked up, defaults filled in, and validated."""
    chip = _chip(settings["chip"], where)
    model, seed = settings["model"], settings["seed"]
    if not isinstance(model, str):
        raise InputError(f"{where}, model", repr(model), "the name or path of a model", "See `imc-sim list models`.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"{where}, seed", repr(seed), "a whole number of 0 or more", "Change the value.")
    engine = chip["engine"] if settings["engine"] is None else settings["engine"]
    engine = as_engine(engine, f"{where}, engine").to_dict()
    tasks = _tasks(settings["task"], settings["chip_task"], where)
    return {"model": model, "chip": chip, **tasks, "engine": engine, "seed": seed}


def _apply(settings: dict[str, Any], path: str, value: Any, where: str) -> None:
    root = path.split(".", maxsplit=1)[0]
    if root not in ROOTS:
        step = f"{nearest(root, ROOTS)}Start the path with one of these."
        raise InputError(f"{where}, path {path!r}", repr(root), ", ".join(ROOTS), step)
    if root == "chip" and path != "chip" and not _reaches(settings, path):
        settings["chip"] = _chip(settings["chip"], where)
    if root == "engine" and path != "engine":
        own = _chip(settings["chip"], where)["engine"]
        settings["engine"] = as_engine(settings["engine"] or own, f"{where}, engine").to_dict()
    if path != root and isinstance(settings[root], dict):
        settings[root] = copy.deepcopy(settings[root])  # what the study says is not to be written into
    set_path(settings, path, value, where)


def _reaches(settings: dict[str, Any], path: str) -> bool:
    """Tell whether the mapping that holds the leaf of the path exists.

    Where it does not, the chip is completed, which validates it as it is; values that only fit with others set later
    are therefore not refused too early.
    """
    node: Any = settings
    for part in path.split(".")[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    return isinstance(node, dict)


def _chip(chip: Any, where: str) -> dict[str, Any]:
    from imc_sim.array import Chip, load_chip
    from imc_sim.config import build

    if isinstance(chip, dict):
        return build(Chip, chip, where=f"{where}, chip").to_dict()
    if not isinstance(chip, str):
        raise InputError(f"{where}, chip", repr(chip), "a name, a path or a mapping", "See `imc-sim list chips`.")
    return load_chip(chip).to_dict()


def _tasks(task: Any, on_chips: Any, where: str) -> dict[str, dict[str, Any]]:
    """Return the task, and the task of chips, which differs in the keys that chip_task sets."""
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
    """Return how long the model was trained, from its card: `episodes` or `epochs`."""
    card = find_card(model).data
    return {key: card[key] for key in ("episodes", "epochs") if isinstance(card.get(key), int)}


def resolved(study: Study, points: list[Point]) -> dict[str, Any]:
    """Return the fully resolved study, the content of study.resolved.yaml. It can be run again as a study."""
    where = f"study {study.name!r}"
    data = study.to_dict()
    data["chip"], data["task"] = _chip(_found(study, study.chip), where), _task(study.task, f"{where}, task")
    data["content"] = content_of(study.model_copy(update={"chip": data["chip"]})).to_dict()
    names = study.content.names("model")
    data["weights"] = {names.get(p.model, p.model): p.weights for p in points}
    data["trained"] = {names.get(p.model, p.model): trained(p.model) for p in points}
    data["data"] = dict(sorted(points[0].data.items()))
    grid = [_place(p) for p in points]
    whole = [place | _prose(p, names) for place, p in zip(grid, points, strict=True)]
    return {"schema": SCHEMA, "digest": digest({"name": study.name, "points": grid}), **data, "points": whole}


def _prose(point: Point, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what readers want to know of a point; its ids cover it already, so it is not hashed.

    names: names of the models in the study, by path. chance: accuracy of guessing.
    """
    from imc_sim.evaluate import build_task

    asked = point.digital_task or point.task
    differs = {key: value for key, value in point.task.items() if value != asked.get(key)}
    chance = build_task(point.task, "task").chance
    task = build_task(asked, "task").to_dict()
    if task.get("features") is not None:
        task["features"] = names.get(task["features"], task["features"])
    stated = _stated(point.model, task)
    known = {"model": names.get(point.model, point.model), "chip": point.chip and point.chip["name"], "chance": chance}
    return known | ({} if stated is None else {"stated": stated}) | ({"chip_task": differs} if differs else {})


#: keys that make a card's figure one of another kind of question
_ASKED = ("kind", "dataset", "way", "shot", "attack", "permutation", "features", "stage", "head")


def _stated(model: str, task: dict[str, Any]) -> float | None:
    """Return the lowest accuracy on the model's card for this kind of task, with any read-out; None if the card
    states none.
    """
    measured = find_card(model).data.get("measured") or ()
    same = [m for m in measured if all(m["task"].get(key, task.get(key)) == task.get(key) for key in _ASKED)]
    return min((float(m["accuracy"]) for m in same), default=None) if task.get("attack") is None else None


def place_keys(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, of every point in study.resolved.yaml, the keys that the digest of the study covers."""
    return [{key: point[key] for key in _PLACE if key in point} for point in points]


def _place(point: Point) -> dict[str, Any]:
    baseline, reference = (digital.id for digital in point.digital())
    place = {"case": point.case, "values": [v for _, v in point.coordinates], "id": point.id, "baseline": baseline}
    return place if reference == baseline else {**place, "reference": reference}
