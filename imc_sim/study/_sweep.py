"""Sweeps of networks and functions of a Python session, run as studies."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imc_sim._arguments import checked
from imc_sim._errors import InputError, ResultsWarning, check_whole, shown_value
from imc_sim._files import write_file
from imc_sim.config import Held, held_name, holding_objects
from imc_sim.study._runner import Progress, run

if TYPE_CHECKING:
    import os

    from pandas import DataFrame
    from torch import nn

    from imc_sim.array import Chip

#: columns of the table of a study that a sweep leaves out: it has one case
_HIDDEN = ["case"]


@checked
def sweep(
    network: nn.Module, chip: Chip | str | os.PathLike[str] | Mapping[str, Any],
    axes: Mapping[str | tuple[str, ...], Sequence[Any]], score: Callable[[Any, int | None], Any], *,
    inputs: Any = None, chips: int = 30, out: str | os.PathLike[str] | None = None, workers: int | None = None,
    seed: int = 0, metric: str = "score", unit: str = "", better: str = "higher", version: str = "",
    conductances: str | os.PathLike[str] | None = None, progress: bool = True,
) -> DataFrame:  # fmt: skip
    """Score a network on sampled chips at every combination of settings, and return a table.

    The results folder is that of a study: `imc-sim report FOLDER` makes figures and a page. A second call with the
    same arguments reuses the trials that it holds; the network, the function with what it uses, and the inputs are
    identified by their content. Do not change them during the call.

    Args:
        network: any torch module.
        chip: a chip, or the name, path or data of one.
        axes: path of a setting of the chip, such as `device.programming.sigma`, or a tuple of paths that are set
            together -> its values. All combinations are evaluated.
        score: called with the network on a chip (called like the network itself) and the number of the chip, None for
            the digital network; returns a number, or numbers by name. See `FunctionTask`.
        inputs: some real inputs [batch, ...] of a network of any modules, or a tuple or dict of several. On them its
            products are found, and ADCs are calibrated.
        chips: number of chips per combination.
        out: results folder; None: results/NAME with a digest of the arguments.
        workers: number of worker processes; None: this process alone.
        seed: of the chips.
        metric: name of the score; of several scores, the one in the table.
        unit: of the score.
        better: `higher` or `lower`, for the report.
        version: text that identifies objects used by `score` whose content cannot be read, such as open files.
        conductances: .npz file of measured conductances of the layers, whose chips are evaluated; None: cells are
            simulated. See `AnalogModel.to_npz`.
        progress: whether to show progress on stderr.

    Returns:
        One row per combination: a column per axis, `chips`, `mean`, `half_width` (half width of the 95 % t interval of
        the mean), `median`, `p05`, `p95` and `digital`. attrs: `folder`, `digest` and `failed`, the number of failed
        trials.

    Raises:
        InputError: settings that are not valid, or objects that cannot be identified or sent to workers.
        ResultsError: the folder holds other results.
    """
    from imc_sim.array import load_chip
    from imc_sim.evaluate import object_digest

    if workers is not None:
        check_whole(workers, "workers", 1)
    model = Held(network, object_digest(network, "sweep, network", version))
    function = Held(score, object_digest(score, "sweep, score", version))
    given = Held(inputs, object_digest(inputs, "sweep, inputs", version))
    stems = (type(network).__name__, getattr(score, "__name__", "score"), "inputs")
    parts = (model, function, given)
    names = [held_name(stem, part.sha256) for stem, part in zip(stems, parts, strict=True)]
    task = {"kind": "function", "call": names[1], "metric": metric, "unit": unit, "better": better, "seed": seed}
    study = {
        "name": "sweep", "model": names[0], "chip": load_chip(chip).to_dict(), "seed": seed,
        "task": task | ({} if inputs is None else {"inputs": names[2]}), "chips": {"min": chips},
        "axes": [_axis(path, values) for path, values in axes.items()],
        "conductances": None if conductances is None else str(conductances),
    }  # fmt: skip
    folder = Path("results") / names[0] if out is None else Path(out)
    executor = "process" if workers is not None and workers > 1 else "inline"
    with _held(dict(zip(names, parts, strict=True)), executor == "process"), _shown(progress) as show:
        results = run(study, folder, executor, workers if executor == "process" else None, show)
    if results.failed:
        warnings.warn(results.failure, ResultsWarning, stacklevel=2)
    columns = {f"chip.{path}": path for path in (each if isinstance(each, str) else each[0] for each in axes)}
    table = results.table.drop(columns=_HIDDEN).rename(columns=columns)
    table.attrs = {"folder": str(folder), "digest": results.digest, "failed": results.failed}
    return table


def _axis(path: str | tuple[str, ...], values: Sequence[Any]) -> dict[str, Any]:
    """Return the axis of a study for a path of the chip, or paths that are set together."""
    paths = (path,) if isinstance(path, str) else path
    if not isinstance(paths, tuple | list) or not paths or not all(isinstance(each, str) for each in paths):
        step = "Name a setting such as device.programming.sigma, or several in a tuple."
        raise InputError("sweep, axes", shown_value(path), "paths of the chip's settings", step)
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"sweep, axes, {paths[0]}", shown_value(values), "a list of values", "Give a list.")
    first, *also = paths
    plain = [value.item() if hasattr(value, "item") else value for value in values]  # numbers of NumPy and torch
    return {"path": f"chip.{first}", "also": [f"chip.{each}" for each in also], "values": plain}


@contextlib.contextmanager
def _held(objects: Mapping[str, Held], workers: bool) -> Iterator[None]:
    """Hold the objects of a sweep, for workers in files of a private folder."""
    if not workers:
        with holding_objects(objects):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="imc_sim_") as folder:
        for name, each in objects.items():
            write_file(Path(folder) / f"{name}.pkl", _pickled(each, name))
        with holding_objects(objects, Path(folder)):
            yield


def _pickled(value: Held, name: str) -> bytes:
    """Return the bytes of an object, with the code of what a notebook or a script defines where that is possible."""
    writer: Any = pickle
    for module in ("cloudpickle", "joblib.externals.cloudpickle"):
        with contextlib.suppress(ImportError):
            writer = importlib.import_module(module)
            break
    try:
        return writer.dumps(value)
    except Exception as error:
        got = f"{name}, which cannot be sent to workers ({type(error).__name__}: {error})"
        step = "Leave workers out, or put classes and functions into a file and install cloudpickle."
        raise InputError("sweep, workers", got, "objects that can be pickled", step) from error


@contextlib.contextmanager
def _shown(wanted: bool) -> Iterator[Callable[[Progress], None]]:
    """Show progress on stderr: one line that is written again in terminals and notebooks, elsewhere every tenth."""
    again = sys.stderr.isatty() or "ipykernel" in sys.modules
    shown = -1

    def show(progress: Progress) -> None:
        """Write the number of trials that are done."""
        nonlocal shown
        tenth = 10 * progress.done // max(1, progress.total)
        if not wanted or not (again or tenth > shown):
            return
        shown = tenth
        failed = f", {progress.failed} failed" if progress.failed else ""
        text = f"sweep: {progress.done} of {progress.total} trials{failed}"
        sys.stderr.write(f"\r{text}" if again else f"{text}\n")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if wanted and again and shown >= 0:
            sys.stderr.write("\n")
