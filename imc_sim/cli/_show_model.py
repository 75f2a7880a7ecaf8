"""`imc-sim show converters`, `confusion`, `sensitivity` and `tsne`: figures of one model on one chip."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ChipName, ModelName
from imc_sim.cli._own_network import Trust

#: task of the figures: embedded data, quick, and few enough classes to tell apart
TASK = {"dataset": "glyphs", "split": "test", "rotations": False, "episodes": 100, "classes": 20}
Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Chips = Annotated[int, typer.Option(min=1, help="Number of chips.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the chips.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="task.key=value or chip.path=value, for example chip.converter.bits=4. Repeat it for more."
    ),
]
_OUT = Path("results/figures")
Draw = Callable[[str, dict[str, Any], dict[str, Any], int, int, Path], list[Path]]


def converters(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw the inputs of the ADCs of every layer.

    Histograms of the partial sums, with the levels of the ADC. The images are embedded characters; --set task.… sets
    another few-shot task. Prints the files written: PNG, SVG and CSV.

    Examples:
      imc-sim show converters batmann_small_xnor rram_hfo2_1t1r --set chip.converter.kind=auto
    """
    _show("converters", _converters, model, chip, out, chips, seed, settings)


def confusion(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw the confusion matrix.

    Counts over all chips. The images are embedded characters; --set task.… sets another few-shot task. Prints the
    files written: PNG, SVG and CSV.

    Examples:
      imc-sim show confusion batmann_small_xnor rram_hfo2_1t1r --chips 4
    """
    _show("confusion", _confusion, model, chip, out, chips, seed, settings)


def sensitivity(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw the accuracy with one layer analog at a time.

    Shows which layer a chip affects most. The images are embedded characters; --set task.… sets another task, such as
    task.kind=classification. Prints the table, and the files written: PNG, SVG and CSV.

    Examples:
      imc-sim show sensitivity batmann_small_xnor rram_hfo2_1t1r --set chip.device.programming.sigma=0.5
    """
    _show("sensitivity", _sensitivity, model, chip, out, chips, seed, settings)


def tsne(
    model: ModelName, chip: ChipName, out: Out = _OUT, seed: Seed = 0, settings: Settings = None, chips: Chips = 16,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw a t-SNE of the features, digital and on a chip.

    The images are embedded characters; --set task.… sets another few-shot task. Prints the files written: PNG, SVG and
    CSV. For the grid of a study see `imc-sim plot --kind tsne`.

    Examples:
      imc-sim show tsne batmann_small_xnor rram_hfo2_1t1r --set task.episodes=20
    """
    _show("tsne", _tsne, model, chip, out, chips, seed, settings)


def _show(
    kind: str, draw: Draw, model: str, chip: str, out: Path, chips: int, seed: int, settings: list[str] | None
) -> None:
    """Check the settings, draw, and print the files, whose names hold the model, the chip and the settings."""
    from imc_sim.cli._console import print_paths, working

    with working(f"reading {chip}"):
        from imc_sim.array import load_chip
        from imc_sim.cli._chips import apply_settings, checked, origin_of
        from imc_sim.config import parse_setting
        from imc_sim.evaluate import build_task, check_images

        given = dict(map(parse_setting, settings or ()))
        spec, task = load_chip(chip).to_dict(), dict(TASK)
        if given.get("task.kind", "few_shot") != "few_shot":
            task = {"split": "test"}  # the keys of TASK are those of few-shot tasks
        apply_settings(settings, chip=spec, task=task)
        # Find a wrong setting before the work starts.
        with origin_of(settings).naming("--set"):
            build_task(task, "--set, task")
        checked(chip, spec, settings)
    stem = _stem(model, str(spec["name"]), kind, {"settings": settings or [], "seed": seed, "chips": chips})
    try:
        paths = draw(model, spec, task, chips, seed, out / stem)
    except RuntimeError:  # torch names the shapes, not the images and the model
        check_images(model, task)
        raise
    print_paths(paths)


def _stem(model: str, chip: str, kind: str, options: dict[str, Any]) -> str:
    """Return the name of the files: model, chip, a digest of options that are not the defaults, and kind."""
    from imc_sim.config import digest

    usual = {"settings": [], "seed": 0, "chips": 16}
    other = [] if options == usual else [digest(options)[:8]]
    return re.sub(r"[^\w.-]+", "-", "_".join([Path(model).name, chip, *other, kind]))


def _converters(
    model: str, chip: dict[str, Any], task: dict[str, Any], chips: int, seed: int, stem: Path
) -> list[Path]:
    """Draw the inputs of ADCs, and return the files."""
    from imc_sim.cli._console import working

    with working(f"ADC inputs of {model}"):
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
    """Draw the sensitivity of layers, print it as a table, and return the files."""
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
