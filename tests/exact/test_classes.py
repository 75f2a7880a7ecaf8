"""Tasks on some classes of a set: which labels they have, which outputs compete, and labels without an output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import imc_sim as imc
from imc_sim import InputError
from imc_sim.data import load_classes, task_images
from imc_sim.evaluate import (
    ClassificationData,
    ClassificationTask,
    build_task,
    class_accuracy,
    digital_accuracy,
    evaluate_card,
    evaluate_chips,
    task_identity,
)
from imc_sim.evaluate._classification import chip_class_accuracy
from imc_sim.nn.networks import BnnMlp, Ensemble
from imc_sim.nn.store import Arch, ModelCard, load_model, save_model
from imc_sim.study import run
from imc_sim.train import (
    ClassificationRecipe,
    ClassificationTrainer,
    ContinualRecipe,
    ContinualTrainer,
    EnsembleRecipe,
    EnsembleTrainer,
)
from imc_sim.train._continual_recipe import ContinualTask

ARGS: dict[str, Any] = {"inputs": 64, "hidden": [], "classes": 10}
TASK: dict[str, Any] = {"kind": "classification", "dataset": "digits", "split": "test", "scaling": "unit", "batch": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a digit classifier of binary weights: the signs of each class's mean image less the mean of all."""
    data = load_classes("digits", "train")
    x = torch.tensor(data.images[:]).float().flatten(1)
    means = torch.stack([x[data.labels == k].mean(0) for k in range(10)])
    network: Any = BnnMlp(**ARGS)
    with torch.no_grad():
        network.fc[0].weight.copy_(means - x.mean(0) + 1e-3)
        sums = x @ network.fc[0].weight.sign().mT / x.max()
        network.norm[0].running_mean.copy_(sums.mean(0))
        network.norm[0].running_var.copy_(sums.var(0))
    path = tmp_path_factory.mktemp("models") / "digits"
    save_model(path, network, ModelCard(name="digits", summary="test", arch=Arch(name="bnn_mlp", args=ARGS)))
    return str(path)


@pytest.fixture(scope="module")
def logits(folder: str) -> torch.Tensor:
    """Return the outputs for all test images."""
    with torch.no_grad():
        return load_model(folder)(ClassificationData.load(task_of()).images(0, 10_000))


LABELS = load_classes("digits", "test").labels


def task_of(**changes: Any) -> ClassificationTask:
    found = build_task(TASK | changes, "task")
    assert isinstance(found, ClassificationTask)
    return found


def right(folder: str, **changes: Any) -> set[tuple[int, int]]:
    """Return (correct, total) of the digital network and of a chip without effects."""
    task = TASK | changes
    found = [evaluate_chips(folder, chip, task, [0], 0)[0] for chip in (None, imc.load_chip("ideal").to_dict())]
    return {(each.correct, each.total) for each in found}


def test_classes_keep_their_labels_and_outputs_are_restricted_on_request(folder: str, logits: torch.Tensor) -> None:
    kept = torch.from_numpy(np.isin(LABELS, (6, 5)))
    wanted, total = torch.tensor(LABELS)[kept], int(kept.sum())
    among_all = int((logits[kept].argmax(1) == wanted).sum())
    between = int((logits[kept][:, [5, 6]].argmax(1) + 5 == wanted).sum())
    assert total / 2 < among_all < between  # the two readings differ here
    for order in ([5, 6], [6, 5]):
        assert right(folder, classes=order) == {(among_all, total)}
        assert right(folder, classes=order, outputs="task") == {(between, total)}
    shifted = int((logits[kept].argmax(1) == wanted + 3).sum())
    assert right(folder, classes=[5, 6], offset=3) == {(shifted, total)}
    numbered = int((logits[kept].argmax(1) == 6 - wanted + 2).sum())
    assert right(folder, classes=[6, 5], labels="renumbered", offset=2) == {(numbered, total)}
    loss = digital_accuracy(folder, TASK | {"classes": [6, 5], "outputs": "task"}).loss
    two = torch.nn.functional.cross_entropy(logits[kept][:, [5, 6]].double(), wanted - 5)
    assert loss == pytest.approx(float(two), rel=1e-6)


REFUSED = [
    ({"classes": [5, 6], "offset": 40}, r"task\.offset.*40.*0 to 3, for 10 outputs.*labels: renumbered"),
    ({"offset": 40}, r"task\.offset.*40.*allowed: 0, for 10 outputs"),
    ({"classes": [5, 6], "labels": "renumbered", "offset": 9}, r"task\.offset.*9.*0 to 8"),
]


@pytest.mark.parametrize(("changes", "match"), REFUSED)
def test_labels_without_an_output_are_refused_for_every_task(
    folder: str, tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    study = {"name": "s", "model": folder, "chip": "ideal", "task": TASK | changes, "chips": {"min": 1}}
    task = task_of(**changes)
    network, chip = load_model(folder), imc.load_chip("ideal")
    calls = [
        lambda: run(study, tmp_path / "out"),
        lambda: evaluate_card(folder, changes=TASK | changes),
        lambda: digital_accuracy(folder, TASK | changes),
        lambda: evaluate_chips(folder, chip.to_dict(), TASK | changes, [0], 0),
        lambda: class_accuracy(network, task),
        lambda: chip_class_accuracy(imc.map_model(network, chip), task, ClassificationData.load(task)),
    ]
    for call in calls:
        with pytest.raises(InputError, match=match):
            call()
    assert not (tmp_path / "out").exists()


def test_more_classes_than_outputs_are_refused(tmp_path: Path) -> None:
    args: dict[str, Any] = ARGS | {"classes": 4}
    save_model(tmp_path / "m", BnnMlp(**args), ModelCard(name="m", summary="s", arch=Arch(name="bnn_mlp", args=args)))
    with pytest.raises(InputError, match=r"task\.dataset.*labels up to 9.*0 to 3"):
        digital_accuracy(str(tmp_path / "m"), TASK)
    with pytest.raises(InputError, match=r"task\.classes.*labels up to 6.*0 to 3.*renumber"):
        digital_accuracy(str(tmp_path / "m"), TASK | {"classes": [5, 6]})
    assert digital_accuracy(str(tmp_path / "m"), TASK | {"classes": [5, 6], "labels": "renumbered"}).total > 0


def test_impossible_recipes_are_refused_before_they_write_anything(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"dataset": "digits", "validation": 20, "epochs": 1, "scaling": "unit"}
    wrong: dict[str, Any] = {"classes": (5, 6), "offset": 40}
    continual = ContinualRecipe(tasks=(ContinualTask(), ContinualTask(**wrong)), **seen)
    trainers: list[Any] = [
        ClassificationTrainer(BnnMlp(**ARGS), ClassificationRecipe(**seen, **wrong), tmp_path / "a"),
        EnsembleTrainer(Ensemble("bnn_mlp", ARGS, members=2), EnsembleRecipe(**seen, **wrong), tmp_path / "b"),
        ContinualTrainer(BnnMlp(**ARGS), continual, tmp_path / "c"),
    ]
    for trainer, where in zip(trainers, ("recipe.offset", "recipe.offset", r"recipe.tasks.1.offset"), strict=True):
        with pytest.raises(InputError, match=rf"{where}.*0 to 3, for 10 outputs"):
            trainer.run()
    assert not list(tmp_path.iterdir())


def test_labels_are_part_of_the_identity_of_a_task_where_they_act() -> None:
    settings = {
        name: task_identity(task_of(**changes).to_dict())
        for name, changes in {
            "all": {}, "own": {"classes": [5, 6]}, "numbered": {"classes": [5, 6], "labels": "renumbered"},
            "same": {"classes": [0, 1]}, "same numbered": {"classes": [0, 1], "labels": "renumbered"},
            "restricted": {"classes": [5, 6], "outputs": "task"},
        }.items()
    }  # fmt: skip
    assert not {"labels", "outputs"} & {key for name in ("all", "numbered", "same") for key in settings[name]}
    assert settings["same"] == settings["same numbered"]
    assert len({str(settings[name]) for name in ("own", "numbered", "restricted")}) == 3
    with pytest.raises(ValueError, match="renumbered"):
        ClassificationTask(labels="renumbered")


def test_digests_of_recipes_distinguish_labels() -> None:
    def of(**view: Any) -> set[str]:
        whole = ContinualRecipe(tasks=(ContinualTask(**view),)).training_digest()
        return {whole, ClassificationRecipe(dataset="digits", **view).training_digest()}

    own, numbered = of(classes=(5, 6)), of(classes=(5, 6), labels="renumbered")
    assert not own & numbered
    assert of(classes=(0, 1)) == of(classes=(0, 1), labels="renumbered")


def test_images_keep_their_labels() -> None:
    data = load_classes("digits", "test")
    made = task_images(data, ClassificationTask(classes=(6, 5), offset=1))
    assert made.labels.tolist() == [label + 1 for label in LABELS if label in (5, 6)]
