"""`imc-sim figure`: a look into one model on one chip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim.cli._console import Quiet

#: what a figure is measured on: embedded, quick, and few enough classes to be told apart
TASK = {"dataset": "glyphs", "split": "test", "rotations": False, "episodes": 100, "classes": 20}


def figure(
    kind: Annotated[str, typer.Argument(help="converters, confusion, sensitivity or tsne.")],
    model: Annotated[str, typer.Argument(help="A model of `imc-sim list models`, or its folder.")],
    chip: Annotated[str, typer.Argument(help="A chip of `imc-sim list chips`, or its YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("results/figures"),
    chips: Annotated[int, typer.Option(min=1, help="Chips to draw for confusion and sensitivity.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the chips.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="task.key=value or chip.path=value, for example chip.converter.bits=4."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Look into a model on a chip.

    converters: what the ADCs of every layer see, with their levels. confusion: which class is taken for which.
    sensitivity: accuracy with one layer analog at a time. tsne: features in the plane, digital and on a chip.
    The task is one on embedded characters unless --set says otherwise. Prints the files written: PNG, SVG and CSV,
    named after the model, the chip and, where they are not as usual, a digest of the settings.
    """
    from imc_sim._errors import InputError, nearest
    from imc_sim.cli._console import working

    if kind not in _KINDS:
        step = f"{nearest(kind, list(_KINDS))}Choose a kind."
        raise InputError("kind of figure", repr(kind), ", ".join(_KINDS), step)
    with working(f"reading {chip}"):
        from imc_sim.array import load_chip

        spec, task = load_chip(chip).to_dict(), dict(TASK)
        _set(spec, task, settings or [])
        load_chip(spec)  # a wrong setting is better found before the work than after it
    stem = _stem(model, str(spec["name"]), kind, {"settings": settings or [], "seed": seed, "chips": chips})
    for path in _KINDS[kind](model, spec, task, chips, seed, out / stem):
        print(path)


def _stem(model: str, chip: str, kind: str, asked: dict[str, Any]) -> str:
    """Return the name of the files: model, chip, a digest of settings that are not as usual, and kind."""
    from imc_sim.config import digest

    usual = {"settings": [], "seed": 0, "chips": 16}
    other = [] if asked == usual else [digest(asked)[:8]]
    return re.sub(r"[^\w.-]+", "-", "_".join([Path(model).name, chip, *other, kind]))


def _set(chip: dict[str, Any], task: dict[str, Any], settings: list[str]) -> None:
    from imc_sim._errors import InputError
    from imc_sim.config import parse_setting, set_path
    from imc_sim.evaluate import build_task

    for path, value in map(parse_setting, settings):
        if path.split(".")[0] not in ("chip", "task") or "." not in path:
            step = "Write for example chip.converter.bits=4 or task.episodes=50."
            raise InputError("--set", repr(path), "chip.… or task.…", step)
        set_path({"chip": chip, "task": task}, path, value, "--set")
    build_task(task, "--set, task")


def _converters(
    model: str, chip: dict[str, Any], task: dict[str, Any], chips: int, seed: int, stem: Path
) -> list[Path]:
    from imc_sim.cli._console import working

    with working(f"what converters of {model} see"):
        from imc_sim.evaluate import converter_inputs
        from imc_sim.plotting import draw_converters

        return draw_converters(converter_inputs(model, chip, task, seed=seed), stem)


def _confusion(model: str, chip: dict[str, Any], task: dict[str, Any], chips: int, seed: int, stem: Path) -> list[Path]:
    from imc_sim.cli._console import progress_bar

    with progress_bar(f"confusions of {model}") as update:
        from imc_sim.evaluate import confusion
        from imc_sim.plotting import draw_confusion

        return draw_confusion(confusion(model, chip, task, chips, seed, update), stem)


def _sensitivity(
    model: str, chip: dict[str, Any], task: dict[str, Any], chips: int, seed: int, stem: Path
) -> list[Path]:
    from imc_sim.cli._console import print_rows, progress_bar

    with progress_bar(f"layers of {model}") as update:
        from imc_sim.evaluate import layer_sensitivity
        from imc_sim.plotting import draw_sensitivity, sensitivity_data

        rows = layer_sensitivity(model, chip, task, chips, seed, update)
        files = draw_sensitivity(rows, stem)
    print_rows(sensitivity_data(rows).to_dict("records"))
    return files


def _tsne(model: str, chip: dict[str, Any], task: dict[str, Any], chips: int, seed: int, stem: Path) -> list[Path]:
    from imc_sim.cli._console import working

    with working(f"t-SNE of {model}"):
        from imc_sim.evaluate import embedding
        from imc_sim.plotting import draw_tsne

        return draw_tsne(embedding(model, chip, task, seed=seed), stem)


_KINDS = {"converters": _converters, "confusion": _confusion, "sensitivity": _sensitivity, "tsne": _tsne}
