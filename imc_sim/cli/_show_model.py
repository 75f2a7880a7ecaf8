"""`imc-sim show converters`, `confusion`, `sensitivity` and `tsne`: one model on one chip."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ChipName, ModelName

#: what a figure is measured on: embedded, quick, and few enough classes to be told apart
TASK = {"dataset": "glyphs", "split": "test", "rotations": False, "episodes": 100, "classes": 20}
Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Chips = Annotated[int, typer.Option(min=1, help="Number of chips.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the chips.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="task.key=value or chip.path=value, for example chip.converter.bits=4."),
]
_OUT = Path("results/figures")
Draw = Callable[[str, dict[str, Any], dict[str, Any], int, int, Path], list[Path]]


def converters(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw what the ADCs of every layer convert.

    Histograms of the partial sums with the levels of the ADC. The task is one on embedded characters unless --set
    gives another. Prints the files written: PNG, SVG and CSV.

    Examples:
      imc-sim show converters batmann_small_xnor rram_hfo2_1t1r --set chip.converter.kind=auto
    """
    _show("converters", _converters, model, chip, out, chips, seed, settings)


def confusion(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw which class is taken for which.

    Counts over all chips. The task is one on embedded characters unless --set gives another. Prints the files
    written: PNG, SVG and CSV.

    Examples:
      imc-sim show confusion batmann_small_xnor rram_hfo2_1t1r --chips 4
    """
    _show("confusion", _confusion, model, chip, out, chips, seed, settings)


def sensitivity(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw the accuracy with one layer analog at a time.

    Shows which layer a chip affects most. The task is one on embedded characters unless --set gives another. Prints
    the table and the files written: PNG, SVG and CSV.

    Examples:
      imc-sim show sensitivity batmann_small_xnor rram_hfo2_1t1r --set chip.device.programming.sigma=0.5
    """
    _show("sensitivity", _sensitivity, model, chip, out, chips, seed, settings)


def tsne(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw features in the plane, digital and on a chip.

    A t-SNE of the features of each class. The task is one on embedded characters unless --set gives another. Prints
    the files written: PNG, SVG and CSV. For the grid of a study see `imc-sim plot --kind tsne`.

    Examples:
      imc-sim show tsne batmann_small_xnor rram_hfo2_1t1r --set task.episodes=20
    """
    _show("tsne", _tsne, model, chip, out, chips, seed, settings)


def _show(
    kind: str, draw: Draw, model: str, chip: str, out: Path, chips: int, seed: int, settings: list[str] | None
) -> None:
    """Check the settings, draw, and print the files; they are named after the model, the chip and the settings."""
    from imc_sim.cli._console import working

    with working(f"reading {chip}"):
        from imc_sim.array import load_chip

        spec, task = load_chip(chip).to_dict(), dict(TASK)
        _set(spec, task, settings or [])
        load_chip(spec)  # a wrong setting is better found before the work than after it
    stem = _stem(model, str(spec["name"]), kind, {"settings": settings or [], "seed": seed, "chips": chips})
    for path in draw(model, spec, task, chips, seed, out / stem):
        print(path)


def _stem(model: str, chip: str, kind: str, asked: dict[str, Any]) -> str:
    """Return the name of the files: model, chip, a digest of settings that differ from the defaults, and kind."""
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
