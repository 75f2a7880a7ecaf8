"""Training sweeps: one card's recipe with some settings swept, several seeds per point, with resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import InputError
from imc_sim._files import append, complete_lines, write_folder
from imc_sim._typing import PathLike
from imc_sim.config import Spec, build, digest, find_content, read_yaml, write_yaml
from imc_sim.nn.store import ModelCard, load_card
from imc_sim.train._checkpoint import Log, Progress
from imc_sim.train._recipes import Recipe
from imc_sim.train._train import changed_card, initialised, recipe_of, trained_log

ROWS, SWEEP, _WORK = "trainings.jsonl", "trainings.yaml", "unfinished"
_ROOTS = ("recipe.", "arch.args.")
Value = bool | int | float | str | None | tuple[Any, ...]


@final
class SweptValue(Spec):
    """One swept setting of a card: a panel of the figure. labels: shown instead of the values; none: the values."""

    path: str = Field(description="recipe.… or arch.args.…")
    values: tuple[Value, ...] = Field(min_length=1)
    label: str = Field(default="", description="what the quantity is called in the figure")
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _every_value_has_a_label(self) -> Self:
        if self.labels and len(self.labels) != len(self.values):
            raise ValueError(f"labels, one for each of the {len(self.values)} values")
        return self


@final
class SweptCase(Spec):
    """A named variant: settings of the card, path -> value; a curve of every panel."""

    name: str
    set: dict[str, Any] = Field(default_factory=dict)


@final
class Trainings(Spec):
    """A card's training for every value of every panel, case and seed; panels are swept one at a time, not crossed.

    set: settings of all, path -> value. seeds: of the recipe, which sample the first weights, the images, their order
    and the cells. measure: the column of the training log whose last value is compared.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    summary: str = ""
    question: str = ""
    model: str = Field(description="name or path of a card")
    set: dict[str, Any] = Field(default_factory=dict)
    cases: tuple[SweptCase, ...] = (SweptCase(name="all"),)
    panels: tuple[SweptValue, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    measure: str = "mean"

    @model_validator(mode="after")
    def _paths_are_of_the_card(self) -> Self:
        paths = [*self.set, *(p for case in self.cases for p in case.set), *(panel.path for panel in self.panels)]
        wrong = next((p for p in paths if not p.startswith(_ROOTS)), None)
        if wrong is not None:
            raise ValueError(f"paths that start with {' or '.join(_ROOTS)} (here {wrong!r})")
        return self


@final
@dataclass(frozen=True)
class Point:
    """One training: its place in the figure, and all that decides it."""

    panel: int
    value: int
    case: str
    seed: int
    card: ModelCard
    recipe: Recipe
    base: Path

    @property
    def id(self) -> str:
        """Return the SHA-256 of all that decides the weights: points with the same training share it."""
        return training_id(self.card, self.recipe)


def training_id(card: ModelCard, recipe: Recipe) -> str:
    """Return the SHA-256 of architecture and recipe, all that decides the weights of a training."""
    return digest({"arch": card.arch.to_dict(), "recipe": recipe.training_digest()})


def load_trainings(name: PathLike) -> Trainings:
    """Load trainings by name (studies/trainings/) or path."""
    path = find_content("training", name)
    return build(Trainings, read_yaml(path), str(path))


def points_of(trainings: Trainings) -> Iterator[Point]:
    """Yield every training, panel by panel."""
    card, base = load_card(trainings.model)
    for number, panel in enumerate(trainings.panels):
        for place, value in enumerate(panel.values):
            for case in trainings.cases:
                for seed in trainings.seeds:
                    said = {**trainings.set, **case.set, panel.path: value, "recipe.seed": seed}
                    made = changed_card(card, said.items(), trainings.name)
                    yield Point(number, place, case.name, seed, made, recipe_of(made, trainings.name), base)


def run_trainings(
    trainings: Trainings, out: Path, device: str = "cpu", progress: Callable[[str], Progress] | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """Train every point that `out` does not hold yet; returns a row per point: panel, value, case, seed, row (of the
    log).

    `out` receives trainings.yaml and trainings.jsonl (a line per training, by its id), and a folder for the training
    under way, from whose last epoch a later call continues. progress: given what is trained, the progress of that
    training.
    """
    points, known = list(points_of(trainings)), _stored(out)
    write_folder(out, {SWEEP: write_yaml(trainings.to_dict()).encode()})
    missing = {point.id: point for point in points if point.id not in known}
    for number, (key, point) in enumerate(missing.items(), 1):
        told = progress(f"training {number} of {len(missing)}") if progress is not None else None
        known[key] = _row_of(point, out / _WORK / key[:16], device, told)
        _store(out, key, known[key])
        shutil.rmtree(out / _WORK, ignore_errors=True)
    return rows_of(trainings, known)


def rows_of(trainings: Trainings, known: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return the rows of all points, in their order."""
    return [
        {"panel": p.panel, "value": p.value, "case": p.case, "seed": p.seed, "row": known[p.id]}
        for p in points_of(trainings)
    ]


def _row_of(point: Point, folder: Path, device: str, progress: Progress | None) -> dict[str, float]:
    model = initialised(point.card, point.recipe, point.base)
    log: Log = trained_log(model, point.recipe, folder, device, True, progress)[0]
    return log[-1]


def _stored(out: Path) -> dict[str, dict[str, float]]:
    """Return the last rows of finished trainings by id; an incomplete last line is removed from the file."""
    path = out / ROWS
    lines = complete_lines(path)
    try:
        return {each["id"]: each["row"] for each in map(json.loads, lines)}
    except (ValueError, KeyError, TypeError) as error:
        step = "Move the file away: what it lacks is trained again."
        raise InputError(str(path), f"a line that cannot be read ({error})", "one JSON object a line", step) from error


def _store(out: Path, key: str, row: dict[str, float]) -> None:
    append(out / ROWS, (json.dumps({"id": key, "row": row}) + "\n").encode())
