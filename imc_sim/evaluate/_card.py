"""Evaluation of all tasks on a model's card, digital and on chips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, final

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._rng import MOST_CHIPS, check_seed
from imc_sim._stats import chip_interval
from imc_sim.config import canonical_json
from imc_sim.data import AS_THEY_ARE
from imc_sim.evaluate._identity import chips_vary
from imc_sim.evaluate._measured_cells import check_measured_chips, measured_chips
from imc_sim.evaluate._run import digital_accuracy, evaluate_chips, with_gradients
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask, build_task, counted

if TYPE_CHECKING:
    from pathlib import Path

    from imc_sim.array import Chip
    from imc_sim.nn.store import ModelCard

#: task of models whose cards state none; needs no data set
EMBEDDED = {"dataset": "glyphs", "split": "test", "rotations": False}

#: architectures whose features are keys of characters
ENCODERS = ("batmann", "binact", "conv4")
#: chips that are sampled where no number is given
_CHIPS = 16
#: called before the first task and after every row with (images done, images in all)
Progress = Callable[[int, int], None]
#: a task, the accuracy that the card states, and the published one
_Wanted = tuple[dict[str, Any], float | None, float | None]


@final
@dataclass(frozen=True)
class CardRow:
    """Accuracy on one task with its 95 % interval, and the accuracy that the card states.

    Args:
        task: description of the task, or of the chip.
        accuracy: as a fraction.
        low: lower end of the interval, for other episodes of the same classes.
        high: upper end of the interval.
        over: number and unit of the samples of the interval: episodes, images or chips.
        stated: accuracy on the card.
        published: accuracy that was published.
        loss: mean negative log-likelihood of a classifier.
        classes: number of classes sampled by a few-shot task.
        classes_low: lower end of the 95 % interval for new classes.
        classes_high: upper end of that interval.
    """

    task: str
    accuracy: float
    low: float
    high: float
    over: str
    stated: float | None
    published: float | None
    loss: float | None = None
    classes: int | None = None
    classes_low: float | None = None
    classes_high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain data, without fields that its kind of task does not have."""
        some = ("loss", "classes", "classes_low", "classes_high")
        return {key: value for key, value in asdict(self).items() if key not in some or value is not None}


@checked
def evaluate_card(
    name: str, chip: Chip | str | None = None, chips: int | None = None, seed: int = 0, episodes: int | None = None,
    progress: Progress | None = None, changes: dict[str, Any] | None = None, conductances: str | None = None,
) -> list[CardRow]:  # fmt: skip
    """Evaluate every task on the card of model `name`, digitally and, with `chip`, on chips as well.

    A card that states no task is evaluated on those of its recipe. A few-shot encoder without them (an imported one) is
    evaluated on embedded characters; for other networks `changes` must name the task.

    Args:
        name: name or path of a model.
        chip: a chip; None: digital only.
        chips: number of chips to sample; None: 16, or all that were measured.
        seed: seed of the chips.
        episodes: number of episodes (of classifiers, images) instead of the card's; stated accuracies are then left
            out.
        progress: called with (images done, total), counted for the network and for each chip.
        changes: keys of the card's tasks with other values; tasks that become equal are evaluated once, and stated
            accuracies are left out.
        conductances: .npz file of measured conductances of the layers; None: cells are simulated.

    Returns:
        A row per task, followed by its row on chips.
    """
    from imc_sim.array import load_chip
    from imc_sim.evaluate._checks import check_images, check_mapping
    from imc_sim.nn.store import load_card, verify_weights

    check_seed(seed, "evaluate_card")
    if chips is not None:
        check_whole(chips, "evaluate_card, chips", 1, MOST_CHIPS)
    if episodes is not None:
        check_whole(episodes, "evaluate_card, episodes", 1)
    card, folder = load_card(name)
    verify_weights(card, folder)
    tasks: list[_Wanted] = [({}, None, None)] if changes and not card.measured else stated_tasks(card, folder)
    wanted = _changed(tasks, changes) if changes else tasks
    for what, *_ in wanted:
        counted(build_task(what, "task"), "the tasks of a card")
        check_images(name, what)
        if chip is not None:
            check_mapping(name, load_chip(chip).to_dict(), None, what, conductances)
    if conductances is not None:
        chips = measured_chips(conductances) if chips is None else chips
        check_measured_chips(conductances, chips, "Evaluate fewer chips: --chips.")
    if episodes is not None:
        wanted = [(_with_length(what, episodes), None, published) for what, _, published in wanted]
    sampled = 0 if chip is None else _CHIPS if chips is None else chips
    rows: list[CardRow] = []
    report = (lambda _: None) if progress is None else _reporter(progress, _work(name, wanted, sampled))
    report(0)
    for what, stated, published in wanted:
        rows.append(_digital(name, what, stated, published))
        report(len(rows))
        if chip is not None:
            rows.append(_on_chips(name, what, load_chip(chip), sampled, seed, conductances))
            report(len(rows))
    return rows


def _with_length(task: dict[str, Any], length: int) -> dict[str, Any]:
    return {**task, "images" if task.get("kind") == "classification" else "episodes": length}


def _reporter(progress: Progress, work: list[int]) -> Callable[[int], None]:
    """Return the function that reports a number of rows as the work that they take."""
    return lambda rows: progress(sum(work[:rows]), sum(work))


@with_gradients
def _work(name: str, tasks: Sequence[_Wanted], chips: int) -> list[int]:
    """Return the number of images that pass a network for each row; the digital network sees equal images once."""
    from imc_sim.evaluate._session import Session, features_key

    session, seen, work = Session.on("cpu"), set[object](), list[int]()
    for what, *_ in tasks:
        task = session.sized(counted(build_task(what, "task"), "the tasks of a card"), name)
        if isinstance(task, FewShotTask):
            images, key = len(session.episodes(task).images), features_key(task) if task.attack is None else task
        else:
            images, key = len(session.images(task).rows), task
        work += [0 if key in seen else images, images * chips] if chips else [0 if key in seen else images]
        seen.add(key)
    return work


def _changed(stated: list[_Wanted], changes: dict[str, Any]) -> list[_Wanted]:
    """Return the tasks with these keys set, each once; a task of another kind starts from the defaults of its kind."""
    found: dict[str, _Wanted] = {}
    for task, _, _ in stated:
        same = changes.get("kind", task.get("kind", "few_shot")) == task.get("kind", "few_shot")
        changed = build_task({**(task if same else {}), **changes}, "--set").to_dict()
        found.setdefault(canonical_json(changed), (changed, None, None))
    return list(found.values())


def stated_tasks(card: ModelCard, folder: Path) -> list[_Wanted]:
    """Return the tasks of a card with the stated and the published accuracy; without any, those that its recipe
    measures, or the embedded task for an encoder of characters.

    Raises:
        InputError: they name code, and the folder of the card is not trusted.
    """
    from imc_sim.nn.store import check_code_of

    check_code_of(card, folder, "measured" if card.measured else "recipe")
    if card.measured:
        return [(dict(m.task), m.accuracy, m.published) for m in card.measured]
    wanted = card.recipe.get("measure")
    if wanted:
        return [(dict(each["task"]), None, None) for each in wanted]
    if card.arch.name not in ENCODERS:
        step = "Name one, such as --set kind=classification --set dataset=mnist, or list it in recipe.measure."
        raise InputError(f"model {card.name!r}", "a card that states no task", "a task", step)
    return [(build_task(EMBEDDED, "task").to_dict(), None, None)]


#: keys of a few-shot task that are reported if they differ from the default
_FEW = ("classes", "instances", "seed", "threshold", "prototypes", "dim", "size", "scaling", "passes")
#: keys of a classification task that are reported if they differ from the default
_SAID = ("scaling", "seed", *AS_THEY_ARE, "outputs", "stage", "head", "statistics")


def describe(task: dict[str, Any]) -> str:
    """Return one line that distinguishes the tasks of a card."""
    t = counted(build_task(task, "task"), "the tasks of a card")
    if isinstance(t, ClassificationTask):
        return _describe_classes(t)
    form = t.keys if t.query_form in (None, t.keys) else f"{t.keys} keys, {t.query_form} queries"
    sharp = "" if t.sharpening == "none" else f" {t.sharpening}"
    more = (f"{key} {getattr(t, key)}" for key in _FEW if getattr(t, key) != type(t).model_fields[key].default)
    said = f"{t.dataset} {t.split}, {t.way}-way {t.shot}-shot, {form}, {t.similarity}{sharp}, {t.episodes} episodes"
    return ", ".join([said, *more])


def _describe_classes(t: ClassificationTask) -> str:
    some = "all images" if t.images is None else f"{t.images} images"
    shown = (t.vote and f"vote {t.vote}", t.members and f"{t.members} members", t.steps and f"{t.steps} steps")
    more = (f"{key} {getattr(t, key)}" for key in _SAID if getattr(t, key) != type(t).model_fields[key].default)
    return ", ".join([f"{t.dataset} {t.split}", "classes", some, *(text for text in shown if text), *more])


def _digital(name: str, task: dict[str, Any], stated: float | None, published: float | None) -> CardRow:
    """Evaluate one task on the digital network."""
    accuracy = digital_accuracy(name, task)
    over, sample = f"{len(accuracy.values)} {accuracy.of}", accuracy.sample
    low, high = accuracy.interval()
    row = CardRow(describe(task), accuracy.mean, low, high, over, stated, published, accuracy.loss)
    ends = None if sample is None else sample.class_interval(accuracy.mean)
    if sample is None or ends is None:
        return row
    return replace(row, classes=sample.classes, classes_low=ends[0], classes_high=ends[1])


def _on_chips(
    name: str, task: dict[str, Any], chip: Chip, chips: int, seed: int, conductances: str | None
) -> CardRow:  # fmt: skip
    """Evaluate one task on chips; the interval is over chips."""
    results = evaluate_chips(name, chip.to_dict(), task, range(chips), seed, conductances=conductances)
    vary = conductances is not None or chips_vary(name, chip)
    mean, low, high = chip_interval([r.accuracy for r in results], vary)
    equal = ", all equal" if chips > 1 and len({r.correct for r in results}) == 1 else ""
    measured = "" if conductances is None else "measured "
    return CardRow(f"  on {chip.name}", mean, low, high, f"{chips} {measured}chips{equal}", None, None)
