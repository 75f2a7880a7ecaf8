"""A network with stages and heads: what each one is, that chips get the requested one, and what tasks set."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.data import load_classes, task_images
from imc_sim.evaluate import ClassificationTask, FewShotTask, build_task, class_accuracy, evaluate_chips
from imc_sim.evaluate._card import describe
from imc_sim.evaluate._classification import configured
from imc_sim.evaluate._tasks import task_identity
from imc_sim.nn import Norm, product_layers
from imc_sim.nn.networks import BnnMlp, ContinualNet, norm_state
from imc_sim.nn.store import Arch, ModelCard, load_model, save_model
from imc_sim.train import ContinualRecipe, ContinualTask, ContinualTrainer, load_norms
from tests.exact.networks import equal, seeded

TASKS = tuple(ContinualTask(permutation=seed) for seed in range(3))
RECIPE = ContinualRecipe(dataset="digits", tasks=TASKS, epochs=2, batch=50, validation=47, m=8.0, seed=1)
ARGS = {"inputs": 64, "hidden": [24], "statistics": "batch"}
CARD = ModelCard(name="past", summary="three tasks", arch=Arch(name="continual", args={"args": ARGS, "tasks": 3}))


def with_past(tasks: int = 3, **more: Any) -> ContinualNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ContinualNet("bnn_mlp", ARGS, tasks, **more)


def without_stages() -> BnnMlp:
    return seeded(BnnMlp, **ARGS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ContinualNet, Path, list[dict[str, float]]]:
    folder, network = tmp_path_factory.mktemp("past"), with_past()
    return network.eval(), folder, ContinualTrainer(network, RECIPE, folder).run()


def images(task: int) -> Tensor:
    data = task_images(load_classes("digits", "train"), TASKS[task - 1])
    return torch.from_numpy(data.images[:, None] / data.images.dtype.type(255)).float()


def signs(network: nn.Module) -> list[Tensor]:
    return [layer.weight_operand() for layer in product_layers(network)]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_stage_is_the_network_after_its_task(trained: Any, tmp_path: Path, stage: int) -> None:
    network, folder, log = trained
    model = without_stages()
    short = RECIPE.model_copy(update={"tasks": TASKS[:stage]})
    own = ContinualTrainer(model, short, tmp_path).run()
    assert own[-1]["task1"] == log[stage - 1]["task1"]
    assert all(torch.equal(a, b) for a, b in zip(signs(network.at(stage)), signs(model), strict=True))
    for head, state in enumerate(load_norms(folder)[:stage], 1):
        held = norm_state(network.at(stage, head))
        assert all(torch.equal(held[key], state[key]) for key in state if not key.partition("running")[1])


@pytest.mark.parametrize(("stage", "head"), [(1, 1), (3, 1), (3, 2), (3, 3)])
def test_a_head_has_the_statistics_of_its_task_under_the_stage_s_weights(trained: Any, stage: int, head: int) -> None:
    """Running statistics represent all images of the task in one batch, normalised together."""
    network, _, _ = trained
    x = images(head)
    with torch.no_grad():
        together = network.at(stage, head, "batch")(x).argmax(1)
        alone = torch.cat([network.at(stage, head)(some) for some in x.split(7)]).argmax(1)
        astray = network.at(stage, head % stage + 1)(x).argmax(1) if stage > 1 else 1 - together
    assert float((together == alone).double().mean()) > 0.97
    assert float((together == astray).double().mean()) < 0.97


def test_later_tasks_have_the_norms_of_the_last(trained: Any) -> None:
    network, _, _ = trained
    last, early = norm_state(network.at()), norm_state(network.at(1, 3))
    assert all(torch.equal(value, norm_state(network.at(3, 3))[key]) for key, value in last.items())
    assert all(torch.equal(value, norm_state(network.at(1))[key]) for key, value in early.items())
    assert any(not torch.equal(value, early[key]) for key, value in last.items())
    assert torch.equal(network(images(1)), network.at()(images(1)))


def test_the_store_restores_every_stage_and_head(trained: Any, tmp_path: Path) -> None:
    network, _, _ = trained
    save_model(tmp_path / "past", network, CARD)
    again = load_model(tmp_path / "past")
    assert isinstance(again, ContinualNet)
    for stage, head in [(1, 1), (2, 1), (3, 2), (3, 3)]:
        assert torch.equal(network.at(stage, head)(images(head)), again.at(stage, head)(images(head)))


@pytest.mark.parametrize("stop", [40, 62])
def test_stages_survive_a_stop(trained: Any, tmp_path: Path, stop: int) -> None:
    def halt(done: int, total: int, row: dict[str, float]) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ContinualTrainer(with_past(), RECIPE, tmp_path).run(progress=halt)
    resumed = with_past()
    ContinualTrainer(resumed, RECIPE, tmp_path).run(resume=True)
    wanted = trained[0].state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in resumed.state_dict().items())


def test_tasks_set_stage_head_statistics_and_images(trained: Any, tmp_path: Path) -> None:
    network, _, log = trained
    task = ClassificationTask(dataset="digits", split="test", scaling="unit", batch=1000, statistics="batch")
    for stage, head in [(1, 1), (3, 1), (3, 3)]:
        asks = task.model_copy(update={"stage": stage, "head": head, "permutation": head - 1})
        assert class_accuracy(configured(network, asks), asks).mean == log[stage - 1][f"task{head}"]
    save_model(tmp_path / "past", network, CARD)
    base = {**task.to_dict(), "stage": 3, "head": 1, "permutation": 0, "statistics": None}
    changes: list[dict[str, Any]] = [
        {}, {"stage": 1}, {"head": 2}, {"permutation": 1}, {"statistics": "batch"}, {"classes": [1, 0]},
        {"classes": [1, 0], "offset": 3},
    ]  # fmt: skip
    for where in (None, imc.load_chip("ideal").to_dict()):
        found = [evaluate_chips(str(tmp_path / "past"), where, base | change, [0], 0)[0] for change in changes]
        assert len({(each.correct, each.total) for each in found}) == len(changes)


def test_a_mapped_network_has_one_stage(trained: Any) -> None:
    network, _, _ = trained
    analog = imc.map_model(network, "ideal")
    assert list(analog.analog_layers) == ["fc.0", "fc.1"]
    assert torch.equal(analog(images(3))[0], network.at()(images(3)))


def test_default_settings_change_no_identity() -> None:
    settings = {"kind": "classification", "dataset": "mnist", "split": "test"}
    new = {"permutation", "classes", "offset", "pad", "stage", "head", "statistics"}
    identity = task_identity(build_task(settings, "task").to_dict())
    assert not new & set(identity)
    asks = build_task(settings | {"permutation": 0, "stage": 1, "head": 1, "offset": 1}, "task")
    assert {"permutation", "stage", "head", "offset"} <= set(task_identity(asks.to_dict()))
    assert "classes" in task_identity(FewShotTask().to_dict())
    assert build_task(settings | {"classes": [0, 4]}, "task").chance == 0.5


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"tasks": TASKS[:2]}, "arch.args.tasks"), ({"interleaved": True}, "interleaved"),
     ({"scenario": "domain"}, "scenario")],
)  # fmt: skip
def test_recipes_that_store_no_stages_are_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ContinualTrainer(with_past(), RECIPE.model_copy(update=changes), tmp_path)


def test_impossible_settings_are_refused(trained: Any) -> None:
    network, _, _ = trained
    for bad in ({"stage": 4}, {"head": 4}, {"stage": 0}, {"head": 0}):
        with pytest.raises(InputError, match="1 to 3"):
            network.at(**bad)
    task = ClassificationTask(stage=1)
    with pytest.raises(InputError, match="continual"):
        configured(without_stages(), task)
    with pytest.raises(InputError, match="batch normalisation"):
        configured(nn.Flatten(), ClassificationTask(statistics="batch"))
    for args in ({"arch": "continual"}, {"tasks": 0}, {"statistics": "none"}):
        with pytest.raises(InputError):
            ContinualNet(**{"args": ARGS, **args})


def test_rows_of_a_card_state_their_task() -> None:
    settings = {"kind": "classification", "dataset": "mnist", "split": "test"}
    assert describe(settings) == "mnist test, classes, all images"
    text = describe(settings | {"head": 2, "permutation": 1, "members": 3})
    assert text == "mnist test, classes, all images, 3 members, permutation 1, head 2"


def test_a_stage_holds_the_norms_that_were_fitted_to_each_task() -> None:
    """The network after training has the running statistics of training, not those of its last task."""
    network, model = with_past(2), seeded(BnnMlp, seed=1, **ARGS)
    fitted = [{key: torch.full_like(value, task + 0.5) for key, value in norm_state(model).items()} for task in (1, 2)]
    network.keep(2, model, fitted)
    for head, state in enumerate(fitted, 1):
        found = norm_state(network.at(2, head))
        assert all(torch.equal(found[key], value) for key, value in state.items())
    assert all(torch.equal(a, b) for a, b in zip(signs(network.at(2)), signs(model), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(signs(network.at(1)), signs(model), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_copies_of_stages_have_the_mode_and_the_statistics_of_the_network(training: bool) -> None:
    network = with_past(2).train(training)
    kinds = lambda made: {norm.statistics for norm in made.modules() if isinstance(norm, Norm)}  # noqa: E731
    made, own = network.at(1), kinds(network.stages[0])
    assert (made.training, kinds(made), own) == (training, {"running"}, {"batch"})
    assert kinds(network.at(2, 1, "batch")) == {"batch"}
    assert kinds(with_past(2, statistics="batch").at(1)) == {"batch"}
    assert kinds(network.stages[0]) == own
    first = network.first()
    assert equal(first, network.stages[0])
    next(first.parameters()).data += 1
    assert not equal(first, network.stages[0])
