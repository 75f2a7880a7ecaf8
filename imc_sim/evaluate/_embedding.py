"""t-SNE of features: clean and attacked, of digital networks and of chips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_positive, check_whole, shown_value
from imc_sim.analog import AnalogModel
from imc_sim.array import Chip, load_chip
from imc_sim.data import gather_images, load_pool
from imc_sim.evaluate._attacked_queries import Target, attack_queries, chip_target
from imc_sim.evaluate._calibration import calibration_keys, programmed
from imc_sim.evaluate._episodes import FewShotData, features_of
from imc_sim.evaluate._memory_keys import Keys, centred_forms
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import FewShotTask, build_task, few_shot

Floats = NDArray[np.float64]

#: images beyond which an exact t-SNE takes minutes
_MOST = 1000


@final
@dataclass(frozen=True)
class Embedding:
    """One panel of a grid: points in the plane with their classes, and how often neighbours share a class.

    Args:
        row: name of the row.
        column: name of the column.
        points: [n, 2].
        classes: [n].
        nearest: fraction of images whose nearest other image, in the space of the features, is of the same class;
            distances in the plane are not reliable.
        nearest_clean: the same fraction with the other image among the clean ones, as in a memory; attacked classes
            can move as a whole.
    """

    row: str
    column: str
    points: Floats
    classes: NDArray[np.int64]
    nearest: float
    nearest_clean: float


@final
class EmbeddingPanel(NamedTuple):
    """A panel of `embedding_grid`: digital features of a model on a task.

    Args:
        row: name of the row.
        column: name of the column.
        model: name or path of a model.
        task: few-shot task as plain data, with an attack or without.
    """

    row: str
    column: str
    model: str
    task: dict[str, Any]


class _Shown(NamedTuple):
    """Features [n, d] in the form of keys, those of the clean images, and the panel that shows them."""

    row: str
    column: str
    features: Floats
    clean: Floats
    classes: NDArray[np.int64]


@checked
@torch.inference_mode(False)  # attacks need gradients
def embedding(
    model: str, chip: Chip | str | dict[str, Any], task: dict[str, Any], classes: int = 10, instances: int = 20,
    number: int = 0, seed: int = 0, perplexity: float = 15.0,
) -> list[Embedding]:  # fmt: skip
    """Embed the digital features of the first classes of a split, and the features of one chip.

    With an attack in the task there are four panels: clean, and attacked through the digital network (or each through
    the chip, if the task says so). Features are in the form of the keys of the memory. Later panels start from the
    points of the first one and are rotated onto them at the end, so that classes stay in place as far as the features
    do.

    Args:
        model: name or path of a model.
        chip: chip description.
        task: few-shot task as plain data.
        classes: number of classes.
        instances: images per class.
        number: number of the chip.
        seed: seed of the chip and of t-SNE.
        perplexity: perplexity of t-SNE.

    Returns:
        The panels.

    Reference: van der Maaten and Hinton, JMLR 9 (2008), computed exactly, with a fixed seed.
    """
    _check_settings(classes, instances, seed, perplexity)
    check_whole(number, "embedding, number")
    session, spec = Session.on("cpu"), load_chip(chip)
    asked, data = _as_one_episode(model, task, classes, instances, perplexity)
    stated = session.sized(few_shot(build_task(task, "task"), "a view of features"), model)
    network, one = session.model(model), SampledChips(spec, range(number, number + 1), seed)
    analog, _ = programmed(session, model, network, stated, one)
    columns: dict[str, Callable[[Tensor], Tensor]] = {"digital": network, f"{spec.name}, chip {number}": analog}
    images = {"clean": data.images}
    if asked.attack is not None:
        known = calibration_keys(session, model, spec, stated)
        images["attacked"] = attack_queries(data, asked, _target(network, analog, data, asked, one, known))
    clean = {column: _features(through, data.images, asked) for column, through in columns.items()}
    shown = [
        _shown(row, column, clean[column] if x is data.images else _features(through, x, asked), clean[column], asked)
        for row, x in images.items()
        for column, through in columns.items()
    ]
    return _arranged(shown, perplexity, seed)


@checked
@torch.inference_mode(False)
def embedding_grid(
    panels: Sequence[EmbeddingPanel], classes: int = 10, instances: int = 20, seed: int = 0, perplexity: float = 15.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Embedding]:  # fmt: skip
    """Embed digital features, one panel each; panels of one column start from its first panel, as in `embedding`.

    An attack uses all images of a panel as the keys of one episode.

    Args:
        panels: contents of the panels.
        classes: number of classes.
        instances: images per class.
        seed: seed of t-SNE.
        perplexity: perplexity of t-SNE.
        progress: called with (panels done, total).

    Returns:
        The panels, row by row.

    Raises:
        InputError: no panels, or settings out of range.
    """
    _check_settings(classes, instances, seed, perplexity)
    panels = tuple(panels)
    if not panels or not all(isinstance(panel, EmbeddingPanel) for panel in panels):
        step = "Give at least one EmbeddingPanel."
        raise InputError("embedding_grid, panels", shown_value(panels), "panels of type EmbeddingPanel", step)
    found: list[Embedding] = []
    for column in dict.fromkeys(panel.column for panel in panels):
        group = []
        for panel in [p for p in panels if p.column == column]:
            group.append(_digital(panel, classes, instances, perplexity))
            if progress is not None:
                progress(len(found) + len(group), len(panels))
        found += _arranged(group, perplexity, seed)
    return sorted(found, key=lambda e: [p.row for p in panels].index(e.row))


def _check_settings(classes: int, instances: int, seed: int, perplexity: float) -> None:
    check_whole(classes, "t-SNE, classes", 1)
    check_whole(instances, "t-SNE, instances", 1)
    check_whole(seed, "t-SNE, seed", most=2**32 - 1)
    check_positive(perplexity, "t-SNE, perplexity")


def tsne(features: Floats, perplexity: float, seed: int, start: Floats | None = None) -> Floats:
    """Return points [n, 2] for features [n, d].

    start: points to start from, scaled to t-SNE's usual small scale; None: principal components.
    """
    from sklearn.manifold import TSNE

    if features.shape[1] < 2:
        step = "Set task.dim to 2 or more, or leave it out."
        raise InputError("t-SNE, features", f"{features.shape[1]} numbers an image", "2 or more", step)
    if (features == features[0]).all():
        got, step = "the same features for every image", "Choose another model, key form or task."
        raise InputError("t-SNE, features", got, "features that differ", step)
    init: Any = "pca" if start is None else (1e-4 * start / start.std()).astype(np.float32)
    plane = TSNE(2, perplexity=perplexity, init=init, method="exact", random_state=seed, learning_rate="auto")
    return plane.fit_transform(features).astype(np.float64)


def turned(points: Floats, onto: Floats) -> Floats:
    """Rotate or mirror points to be as close as possible to others; t-SNE determines only distances.

    Reference: Schoenemann, Psychometrika 31 (1966).
    """
    u, _, vt = np.linalg.svd(points.T @ onto)
    return points @ (u @ vt)


def _as_one_episode(
    model: str, task: dict[str, Any], classes: int, instances: int, perplexity: float
) -> tuple[FewShotTask, FewShotData]:
    """Return the first images of the first classes as one episode in which each is a support and a query."""
    asked = Session.on("cpu").sized(few_shot(build_task(task, "task"), "a view of features"), model)
    pool = load_pool(asked.dataset, asked.split, asked.size)
    classes = min(classes, asked.classes or len(pool.images), len(pool.images))
    instances = min(instances, asked.instances or pool.images.shape[1], pool.images.shape[1])
    if classes * instances > _MOST or classes * instances <= 3 * perplexity:
        allowed = f"more than {3 * perplexity:g} (three times the perplexity) and at most {_MOST}"
        step = "Change classes, instances or perplexity."
        raise InputError("t-SNE, images", classes * instances, allowed, step)
    rows = np.arange(classes * instances).reshape(1, classes, instances)
    labels = np.repeat(np.arange(classes), instances)
    triples = np.stack([labels, np.tile(np.arange(instances), classes), np.zeros_like(labels)], 1)
    images = torch.from_numpy(gather_images(pool, triples, asked.scaling))
    whole = {"way": classes, "shot": instances, "queries": instances, "episodes": 1}
    return asked.model_copy(update=whole), FewShotData(images, rows, rows)


def _target(
    network: Any, analog: AnalogModel, data: FewShotData, task: FewShotTask, one: SampledChips, calibration: Keys | None
) -> Target:
    if task.attack is not None and task.attack.made_on_chips:
        return chip_target(analog, data, task, one, calibration)
    return Target(network, features_of(network, data.images, task.batch))


def _digital(panel: EmbeddingPanel, classes: int, instances: int, perplexity: float) -> _Shown:
    asked, data = _as_one_episode(panel.model, panel.task, classes, instances, perplexity)
    network = Session.on("cpu").model(panel.model)
    clean = features_of(network, data.images, asked.batch)
    images = attack_queries(data, asked, Target(network, clean))
    return _shown(panel.row, panel.column, _features(network, images, asked), clean, asked)


def _features(through: Callable[[Tensor], Tensor], images: Tensor, task: FewShotTask) -> Tensor:
    found = features_of(through, images, task.batch)
    return found if found.ndim == 2 else found[0]


def _shown(row: str, column: str, features: Tensor, clean: Tensor, task: FewShotTask) -> _Shown:
    labels = np.repeat(np.arange(task.way), task.shot)
    formed, among = (centred_forms(each, task).double().numpy() for each in (features, clean))
    return _Shown(row, column, formed, among, labels)


def _arranged(panels: Sequence[_Shown], perplexity: float, seed: int) -> list[Embedding]:
    """Embed all panels; those after the first start from its points and are rotated onto them."""
    first, found = tsne(panels[0].features, perplexity, seed), []
    for number, (row, column, features, clean, classes) in enumerate(panels):
        points = turned(tsne(features, perplexity, seed, start=first), first) if number else first
        own, moved = (_nearest(features, among, classes) for among in (features, clean))
        found.append(Embedding(row, column, points, classes, own, moved))
    return found


def _nearest(features: Floats, among: Floats, classes: NDArray[np.int64]) -> float:
    """Return the share of images whose nearest other image in `among` is of the same class."""
    distance = (features**2).sum(1)[:, None] + (among**2).sum(1) - 2 * features @ among.T
    np.fill_diagonal(distance, np.inf)
    return float((classes[distance.argmin(1)] == classes).mean())
