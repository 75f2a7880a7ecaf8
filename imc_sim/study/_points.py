"""Study -> points -> trials: everything resolved and validated before anything runs."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any, final

from imc_sim._errors import InputError, nearest
from imc_sim.config import NATIVE, Engine, as_engine, digest, set_path
from imc_sim.study._spec import ROOTS, Axis, Case, Study

SCHEMA = 1


@final
@dataclass(frozen=True)
class Point:
    """One place of the grid, resolved: nothing in it refers to a file but the model's name.

    weights: SHA-256 of the model's weights. chip: every setting, or None for the digital baseline, which no engine
    computes.
    """

    case: str
    coordinates: tuple[tuple[str, Any], ...]
    model: str
    weights: str
    chip: dict[str, Any] | None
    task: dict[str, Any]
    seed: int
    engine: Engine = NATIVE

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """All that affects a result but the number of the chip. Prose about the chip does not.

        The engine is the point's own, and in the content where it is not the native one.
        """
        prose = {"name", "source", "validity", "engine"}
        chip = None if self.chip is None else {k: v for k, v in self.chip.items() if k not in prose}
        data = {"schema": SCHEMA, "weights": self.weights, "chip": chip, "task": self.task, "seed": self.seed}
        return data if self.engine.native else data | {"engine": self.engine.to_dict()}

    @functools.cached_property
    def id(self) -> str:
        return digest(self.content)

    def trial(self, chip: int) -> Trial:
        """The trial of chip number `chip` (-1: the digital baseline)."""
        return Trial(digest({**self.content, "chip_number": chip}), self, chip)

    def baseline(self) -> Point:
        """The same model and task without a chip; it belongs to no seed of chips."""
        return Point(self.case, (), self.model, self.weights, None, self.task, 0)


@final
@dataclass(frozen=True)
class Trial:
    """One chip at one point. `id` is the SHA-256 of the canonical JSON of all that affects its result."""

    id: str
    point: Point
    chip: int


def points_of(study: Study) -> list[Point]:
    """All points, case by case, axes crossed in order; raises InputError for the first that is not valid."""
    grids = [[(axis, value) for value in axis.values] for axis in study.axes]
    return [_point(study, case, coordinates) for case in study.cases for coordinates in itertools.product(*grids)]


def _point(study: Study, case: Case, coordinates: tuple[tuple[Axis, Any], ...]) -> Point:
    where = f"study {study.name!r}, case {case.name!r}"
    paths = [axis.paths for axis, _ in coordinates]
    paths[0] = case.sweep or paths[0]
    swept = [(path, value) for group, (_, value) in zip(paths, coordinates, strict=True) for path in group]
    settings: dict[str, Any] = {"model": study.model, "chip": study.chip, "task": dict(study.task)}
    settings["engine"] = None if study.engine is None else study.engine.to_dict()
    for path, value in [*case.set.items(), *swept]:
        _apply(settings, path, value, where)
    chip = _chip(settings["chip"], where)
    engine = chip["engine"] if settings["engine"] is None else settings["engine"]
    return Point(
        case.name, tuple((axis.path, value) for axis, value in coordinates), settings["model"],
        _weights(settings["model"]), chip, _task(settings["task"], where), study.seed,
        as_engine(engine, f"{where}, engine"),
    )  # fmt: skip


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
    set_path(settings, path, value, where)


def _reaches(settings: dict[str, Any], path: str) -> bool:
    """The mapping that holds the path's leaf is there. Else the chip is completed, which checks it as it stands;

    values that go together only with others set after them are thus not refused half-way.
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
    return load_chip(chip).to_dict()


def _task(task: dict[str, Any], where: str) -> dict[str, Any]:
    from imc_sim.evaluate import build_task

    return build_task(task, f"{where}, task").to_dict()


@functools.lru_cache(maxsize=64)
def _weights(model: str) -> str:
    from imc_sim.evaluate import weights_digest

    return weights_digest(model)


def resolved(study: Study, points: list[Point]) -> dict[str, Any]:
    """The study with nothing left to look up: what study.resolved.yaml holds. It can be run again as a study."""
    where = f"study {study.name!r}"
    data = study.to_dict()
    data["chip"], data["task"] = _chip(study.chip, where), _task(study.task, where)
    data["weights"] = {p.model: p.weights for p in points}
    grid = [
        {"case": p.case, "values": [v for _, v in p.coordinates], "id": p.id, "baseline": p.baseline().id}
        for p in points
    ]
    return {"schema": SCHEMA, "digest": digest({"name": study.name, "points": grid}), **data, "points": grid}
