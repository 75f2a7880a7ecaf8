"""t-SNE of the digital networks of a study: a column per case, a row per place on its axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imc_sim._errors import InputError
from imc_sim.study._points import points_of
from imc_sim.study._spec import Study, load_study
from imc_sim.study._store import check_data, read_study
from imc_sim.study._trials_file import STUDY

if TYPE_CHECKING:
    from imc_sim.evaluate import Embedding, EmbeddingPanel

#: rows that still fit a page
_ROWS = 6


def study_embeddings(
    study: str | Path | Study, classes: int = 10, instances: int = 20, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Embedding]:  # fmt: skip
    """Embed the features of the digital networks for the first classes of every point's whole task, attacked where it
    says so.

    Chips play no part; see `embedding` for one. Points that differ only in their chips share a panel.

    Args:
        study: as for `load_study`, or the folder of its results.
        classes: number of classes, the first of the split.
        instances: images per class.
        seed: of the embedding.
        progress: called with (features done, total).

    Raises:
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
        row = ", ".join(_said(point.coordinates[k][1], spec.axes[k].label) for k in shown)
        panels.setdefault((row, point.case), EmbeddingPanel(row, point.case, point.model, point.reference().task))
    rows = {row for row, _ in panels}
    if len(rows) > _ROWS:
        step = "Sweep fewer values, for example --set 'axes.0.values=[0, 0.1]' on a run of its own."
        raise InputError(f"study {spec.name!r}, t-SNE", f"{len(rows)} rows", f"{_ROWS} at most", step)
    return embedding_grid(list(panels.values()), classes, instances, seed, progress=progress)


def _said(value: object, label: str) -> str:
    """Return a value as part of a row's name: words unchanged, numbers with their quantity."""
    return value if isinstance(value, str) else f"{label} {value}".strip()
