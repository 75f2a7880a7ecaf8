"""t-SNE embeddings of the digital networks of a study: a column per case, a row per combination of axis values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.study._points import points_of
from imc_sim.study._spec import Study, load_study
from imc_sim.study._store import check_data, read_study
from imc_sim.study._trials_file import STUDY

if TYPE_CHECKING:
    from imc_sim.evaluate import Embedding, EmbeddingPanel

#: largest number of rows that fit a page, and of panels that a figure of a stored table shows
_ROWS, _PANELS = 6, 300


@checked
def study_embeddings(
    study: str | Path | Study, classes: int = 10, instances: int = 20, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Embedding]:  # fmt: skip
    """Embed the features of the digital networks of a study in two dimensions (t-SNE), one panel per model and task.

    Panels show the first classes of the whole task, with its attack if it has one. Chips play no part: points that
    differ only in their chips share a panel.

    Args:
        study: name or path of a study, a `Study`, or a results folder.
        classes: number of classes, the first ones of the split.
        instances: number of images per class.
        seed: seed of the embedding.
        progress: called with (panels with features, panels).

    Returns:
        The embeddings of the panels.

    Raises:
        InputError: more rows than fit a page, or more than 300 panels.
        ResultsError: the data changed since the results were computed.
    """
    from imc_sim.evaluate import EmbeddingPanel, embedding_grid

    folder = study if isinstance(study, Path) and study.is_dir() else None
    spec = load_study(study if folder is None else folder / STUDY)
    points = points_of(spec)
    if folder is not None:
        check_data(folder, read_study(folder), {"data": points[0].data})
    panels: dict[tuple[str, str], EmbeddingPanel] = {}
    shown = [k for k, axis in enumerate(spec.axes) if any(p.split(".")[0] in ("task", "model") for p in axis.paths)]
    for point in points:
        row = ", ".join(_named(point.coordinates[k][1], spec.axes[k].label) for k in shown)
        panels.setdefault((row, point.case), EmbeddingPanel(row, point.case, point.model, point.reference().task))
    rows = {row for row, _ in panels}
    if len(rows) > _ROWS:
        step = "Sweep fewer values, for example with --set 'axes.0.values=[0, 0.1]' in a separate run."
        raise InputError(f"study {spec.name!r}, t-SNE", f"{len(rows)} rows", f"at most {_ROWS} rows", step)
    if len(panels) > _PANELS:
        step = "Compare fewer cases in a separate run."
        raise InputError(f"study {spec.name!r}, t-SNE", f"{len(panels)} panels", f"at most {_PANELS} panels", step)
    return embedding_grid(list(panels.values()), classes, instances, seed, progress=progress)


def _named(value: object, label: str) -> str:
    """Return a value as part of the name of a row: a word unchanged, a number with its quantity."""
    return value if isinstance(value, str) else f"{label} {value}".strip()
