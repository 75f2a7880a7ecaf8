"""Tasks one after the other: their content, how earlier ones are kept, resume to the same bits, learning."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim._rng import Stream
from imc_sim.config import build
from imc_sim.data import load_classes, pixel_order, task_images
from imc_sim.nn import Conv2d, Linear, Norm, product_layers
from imc_sim.nn.networks import BnnConv, BnnMlp, load_norm_state
from imc_sim.train import (
    ContinualRecipe,
    ContinualTask,
    ContinualTrainer,
    Hold,
    MetaplasticAdam,
    calibrated_norms,
    fisher,
    load_norms,
)
from imc_sim.train._continual import _training_set
from tests.exact.networks import equal, seeded

PERMUTED = tuple(ContinualTask(permutation=seed) for seed in range(3))
RECIPE = ContinualRecipe(
    dataset="digits", tasks=PERMUTED[:2], epochs=2, batch=50, validation=47, images=300, weight_decay=1e-7, seed=1
)


def network(hidden: tuple[int, ...] = (20,), seed: int = 0, **more: object) -> BnnMlp:
    return seeded(BnnMlp, 64, hidden, 10, seed=seed, **more)


def trained(folder: Path, model: nn.Module | None = None, **changes: Any) -> tuple[nn.Module, list[dict]]:
    model = network() if model is None else model
    return model, ContinualTrainer(model, RECIPE.model_copy(update=changes), folder).run()


# -- tasks -------------------------------------------------------------------------------------------------


def test_a_permutation_is_one_order_of_the_pixels() -> None:
    data = load_classes("digits", "train")
    first, again, other = (task_images(data, ContinualTask(permutation=seed)).images for seed in (0, 0, 1))
    order = pixel_order(64, 0)
    assert sorted(order.tolist()) == list(range(64))
    assert np.array_equal(first.reshape(-1, 64), data.images.reshape(-1, 64)[:, order])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_classes_labels_and_padding_are_those_of_the_task() -> None:
    data = load_classes("digits", "train")
    made = task_images(data, ContinualTask(classes=(7, 2), labels="renumbered", offset=5, pad=11))
    kept = np.isin(data.labels, (2, 7))
    assert made.labels.tolist() == [5 if label == 7 else 6 for label in data.labels[kept]]
    assert made.images.shape[1:] == (11, 11)
    assert np.array_equal(made.images[:, 1:9, 1:9], data.images[kept])
    assert int(made.images.sum()) == int(data.images[kept].sum())
    colour = task_images(load_classes("digits", "test"), ContinualTask())
    assert np.array_equal(colour.images, load_classes("digits", "test").images)


@pytest.mark.parametrize(("task", "match"), [({"classes": (3, 3)}, "once"), ({"classes": (10,)}, "0 to 9"),
                                             ({"pad": 7}, "their size or more")])  # fmt: skip
def test_impossible_tasks_are_refused(task: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        task_images(load_classes("digits", "test"), ContinualTask(**task))


def test_parts_of_a_task_are_disjoint_and_complete() -> None:
    recipe = RECIPE.model_copy(update={"subsets": 4, "images": 200})
    whole = _training_set(recipe.model_copy(update={"subsets": 1}), 1, 0)
    parts = [_training_set(recipe, 1, part).train for part in range(4)]
    assert [len(part) for part in parts] == [50] * 4
    assert sorted(np.concatenate(parts).tolist()) == sorted(whole.train.tolist())
    assert parts[0].tolist() != sorted(whole.train.tolist())[:50]
    assert not set(whole.train) & set(whole.validation)
    assert recipe.phases == tuple((task, part) for task in range(2) for part in range(4))
    with pytest.raises(InputError, match="at most the 200"):
        _training_set(recipe.model_copy(update={"subsets": 201}), 0, 0)


def test_interleaved_tasks_are_one_set() -> None:
    tasks = (ContinualTask(permutation=3), ContinualTask(classes=(1, 0), offset=8, images=100))
    recipe = RECIPE.model_copy(update={"tasks": tasks, "interleaved": True})
    joined = _training_set(recipe, 0, 0)
    apart = [_training_set(recipe.model_copy(update={"interleaved": False}), number, 0) for number in (0, 1)]
    assert len(joined.train) == 300 + 100
    for what in ("train", "validation"):
        images = np.concatenate([each.source.images[getattr(each, what)] for each in apart])
        labels = np.concatenate([each.source.labels[getattr(each, what)] for each in apart])
        rows = getattr(joined, what)
        assert np.array_equal(joined.source.images[rows], images)
        assert np.array_equal(joined.source.labels[rows], labels)
    assert recipe.phases == ((0, 0),)
    sizes = recipe.model_copy(update={"tasks": (ContinualTask(pad=9), ContinualTask())})
    with pytest.raises(InputError, match="several sizes"):
        _training_set(sizes, 0, 0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"tasks": []}, "tasks"), ({"m": [1.0, -1.0]}, "0 or more"), ({"m": 1.0, "optimizer": "sgd"}, "adam"),
     ({"interleaved": True, "method": "ewc"}, "none"), ({"metho": "ewc"}, "method")],
)  # fmt: skip
def test_impossible_recipes_are_refused(changes: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(ContinualRecipe, {"tasks": [{"permutation": 0}], **changes}, "recipe")


# -- penalties ---------------------------------------------------------------------------------------------


def one_by_one(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Mean over images of the squared gradient of log p(label), a pass and a gradient each; running statistics."""
    model.eval()
    weights = [layer.weight for layer in product_layers(model)]
    total = [torch.zeros_like(w) for w in weights]
    for image, label in zip(images, labels, strict=True):
        likelihood = F.log_softmax(model(image[None]), 1)[0, label]
        for sum_, gradient in zip(total, torch.autograd.grad(likelihood, weights), strict=True):
            sum_ += gradient**2
    return [sum_ / len(images) for sum_ in total]


@pytest.mark.parametrize("kind", ["mlp", "conv", "float", "stride", "batch"])
def test_the_fisher_information_is_that_of_single_images(kind: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        images, labels = torch.rand(23, 1, 8, 8), torch.randint(0, 10, (23,))
        model = BnnConv((1, 4, 5), (3, 4), size=8) if kind == "conv" else network()
        model = network(kind="float") if kind == "float" else model
        model = network(statistics="batch") if kind == "batch" else model
        if kind == "stride":
            convolution = Conv2d(1, 4, 3, "float", stride=2, padding=1)
            model = nn.Sequential(convolution, nn.Flatten(), Linear(64, 10, "float"))
        model(images)  # running statistics other than the initial ones
    norms = [each for each in model.modules() if isinstance(each, Norm)]
    for norm in norms:
        norm.statistics = "running"
    wanted = one_by_one(model, images, labels)
    usual = "batch" if kind == "batch" else "running"
    for norm in norms:
        norm.statistics = usual
    model.train()
    found = fisher(model, [(images[:9], labels[:9]), (images[9:], labels[9:])])
    assert model.training
    assert {norm.statistics for norm in norms} <= {usual}
    for one, other in zip(found.values(), wanted, strict=True):
        assert float(other.max()) > 1e-4
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-9)


def small() -> nn.Module:
    """Return a network of one binary and one float layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        first, second = Linear(64, 6, "latent", bias=False), Linear(6, 10, bias=False)
    first.inputs = "real"
    return nn.Sequential(nn.Flatten(), first, second)


def penalised(model: nn.Module) -> list[Tensor]:
    """Return what the penalties use: signs of the binary layer, weights of the float one."""
    first, second = product_layers(model)
    return [first.weight.detach().sign(), second.weight.detach().clone()]


@pytest.mark.parametrize("method", ["ewc", "random"])
def test_ewc_adds_the_gradient_of_its_penalty(method: str) -> None:
    """lambda / 2 sum over tasks of F (p - p_t)^2, the gradient to p given to the hidden weights; two tasks held."""
    model, data = small(), _training_set(RECIPE, 0, 0)
    hold, optimizer = Hold(model, method, 30.0, seed=4), torch.optim.SGD(model.parameters(), 1.0)  # type: ignore[arg-type]
    hold.attach(optimizer)
    past = []
    for task in (0, 1):
        with torch.no_grad():
            for layer in product_layers(model):
                layer.weight.add_(0.3 * torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(task)))
        rows = data.train[:40] if task else data.train
        part = type(data)(data.source, rows, data.validation, data.recipe)
        hold.finish(optimizer, task, part, 10_000, "cpu")
        importance = one_by_one(model, *data.batch(rows, "cpu"))
        if method == "random":
            names = ("1", "2")
            importance = [shuffled(f, name, task) for f, name in zip(importance, names, strict=True)]
        past.append((importance, penalised(model)))
    with torch.no_grad():
        for layer in product_layers(model):
            layer.weight.neg_()
    leaves = [p.requires_grad_() for p in penalised(model)]
    penalty = sum(30.0 / 2 * (f[n] * (leaves[n] - p[n]) ** 2).sum() for f, p in past for n in (0, 1))
    wanted = torch.autograd.grad(penalty, leaves)  # type: ignore[arg-type]
    before = [layer.weight.detach().clone() for layer in product_layers(model)]
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.25)
    optimizer.step()
    for layer, old, pull in zip(product_layers(model), before, wanted, strict=True):
        assert float(pull.abs().max()) > 1e-2
        torch.testing.assert_close(old - layer.weight.detach(), pull + 0.25, rtol=1e-3, atol=1e-5)


def shuffled(importance: Tensor, name: str, task: int) -> Tensor:
    keys = Stream(4, name, "shuffled importance").words(4 * importance.numel(), 0, task).view(np.uint64)
    return importance.flatten()[torch.from_numpy(np.argsort(keys, kind="stable"))].reshape(importance.shape)


def test_the_fisher_information_of_some_images_and_in_the_trainer(tmp_path: Path) -> None:
    """fisher_images, penalty and the method change what is learned; the first task is the same in all of them."""
    found = {}
    changes = [
        *({"method": method} for method in ("none", "ewc", "random", "si")),
        {"method": "ewc", "penalty": 1.0},
        {"method": "ewc", "fisher_images": 3},
    ]
    for number, change in enumerate(changes):
        _, log = trained(tmp_path / str(number), **change)
        found[str(change)] = (log[0]["task1"], log[1]["loss"])
    assert len({first for first, _ in found.values()}) == 1
    assert len({second for _, second in found.values()}) == len(changes)


def test_si_adds_the_gradient_of_its_penalty() -> None:
    """Compared with a literal sum over the path of every hidden weight, three tasks of three steps."""
    model, strength = small(), 0.7
    hold, optimizer = Hold(model, "si", strength, seed=0), torch.optim.SGD(model.parameters(), 0.4)
    hold.attach(optimizer)
    layers = product_layers(model)
    omega = [torch.zeros_like(layer.weight) for layer in layers]
    anchor = penalised(model)
    for task in range(3):
        start = [layer.weight.detach().clone() for layer in layers]
        path = [torch.zeros_like(w) for w in start]
        for step in range(3):
            leaves = [p.requires_grad_() for p in penalised(model)]
            penalty = sum(strength * (o * (p - a) ** 2).sum() for o, p, a in zip(omega, leaves, anchor, strict=True))
            pulls = torch.autograd.grad(penalty, leaves)  # type: ignore[arg-type]
            before = [layer.weight.detach().clone() for layer in layers]
            total = []
            for n, layer in enumerate(layers):
                g = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(10 * task + 2 * step + n))
                layer.weight.grad = 0.2 * g
                total.append(0.2 * g + pulls[n])
            optimizer.step()
            for n, layer in enumerate(layers):
                torch.testing.assert_close(layer.weight.detach(), before[n] - 0.4 * total[n], rtol=1e-4, atol=1e-6)
                path[n] -= total[n] * (layer.weight.detach() - before[n])
        hold.finish(optimizer, task, _training_set(RECIPE, 0, 0), 1, "cpu")
        for n, layer in enumerate(layers):
            omega[n] = omega[n] + path[n] / ((layer.weight.detach() - start[n]) ** 2 + 0.1)
        anchor = penalised(model)
    assert min(float(o.max()) for o in omega) > 0.1


def test_penalties_need_layers_that_they_know() -> None:
    with pytest.raises(InputError, match="layer '0'"):
        Hold(nn.Sequential(Linear(4, 3, "xnor")), "ewc", 1.0, 0)


# -- training ----------------------------------------------------------------------------------------------


def test_the_log_is_the_matrix_of_accuracies_with_the_norms_of_each_task(tmp_path: Path) -> None:
    model, log = trained(tmp_path, subsets=2)
    assert [(row["task"], row["part"]) for row in log] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    norms, images = load_norms(tmp_path), [task_images(load_classes("digits", "test"), t) for t in RECIPE.tasks]
    assert len(norms) == 2
    for n, (state, data) in enumerate(zip(norms, images, strict=True), 1):
        load_norm_state(model, state)
        x = torch.from_numpy(data.images / np.float32(255))
        with torch.no_grad():
            right = (model(x).argmax(1).numpy() == data.labels).mean()
        assert log[-1][f"task{n}"] == pytest.approx(right, abs=0.005)
    assert log[-1]["mean"] == pytest.approx((log[-1]["task1"] + log[-1]["task2"]) / 2)
    assert log[1]["mean"] == log[1]["task1"]
    rows = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert rows == log
    assert not list(tmp_path.rglob("phase*/checkpoint.pt"))


def test_calibrated_norms_treat_single_images_like_batches(tmp_path: Path) -> None:
    """After the second task the statistics of the first are out of date; measured again they equal those of batches."""
    usual = {"m": 20.0, "epochs": 6, "batch": 20, "images": None}
    model, log = trained(tmp_path, network((60,), statistics="batch"), **usual)
    recipe, stale = RECIPE.model_copy(update=usual), load_norms(tmp_path)
    fresh = calibrated_norms(model, recipe, stale)
    found = []
    for norms in (stale, fresh, calibrated_norms(model, recipe, stale, images=20)):
        load_norm_state(model, norms[0])
        data = task_images(load_classes("digits", "test"), PERMUTED[0])
        x = torch.from_numpy(data.images / np.float32(255))
        with torch.no_grad():
            logits = torch.cat([model.eval()(image[None]) for image in x])
        found.append(float((logits.argmax(1).numpy() == data.labels).mean()))
    assert found[1] > found[0] + 0.02
    assert found[1] == pytest.approx(log[-1]["task1"], abs=0.05)
    assert found[2] != found[1]


def test_norms_are_shared_in_the_domain_scenario(tmp_path: Path) -> None:
    """Weights are equal after every task, but the first is tested with the norms of the second."""
    one, other = (trained(tmp_path / s, scenario=s) for s in ("task", "domain"))
    assert equal(one[0], other[0])
    assert one[1][0] == other[1][0]
    assert one[1][1]["task2"] == other[1][1]["task2"]
    assert one[1][1]["task1"] != other[1][1]["task1"]
    with pytest.raises(InputError, match="scenario: task"):
        load_norms(tmp_path / "domain")


@pytest.mark.parametrize(
    "change",
    [{"m": 5.0}, {"m": (5.0, 0.0)}, {"fresh_optimizer": False}, {"interleaved": True}, {"subsets": 2},
     {"optimizer": "sgd"}, {"weight_decay": 0.1}, {"tasks": PERMUTED[1:]}],
)  # fmt: skip
def test_every_setting_acts(tmp_path: Path, change: dict) -> None:
    assert not equal(trained(tmp_path / "a")[0], trained(tmp_path / "b", **change)[0])


def test_the_best_epoch_of_every_task_is_kept_or_the_last(tmp_path: Path) -> None:
    last, best = (
        trained(tmp_path / keep, keep=keep, tasks=PERMUTED[:1], learning_rate=0.2, epochs=8)[0]
        for keep in ("last", "best")
    )
    rows = [json.loads(line) for line in (tmp_path / "best" / "phase1" / "training.jsonl").read_text().splitlines()]
    losses = [row["validation_loss"] for row in rows]
    assert losses.index(min(losses)) < 7  # otherwise the last is the best, and nothing is tested
    assert not equal(last, best)


def test_tested_tasks_and_batches_can_be_set(tmp_path: Path) -> None:
    made = [trained(tmp_path / str(n), network(statistics="batch"), **change)
            for n, change in enumerate(({}, {"test_batch": 5}, {"test_split": None}))]  # fmt: skip
    assert equal(made[0][0], made[1][0])
    assert equal(made[0][0], made[2][0])
    assert len({log[-1]["task1"] for _, log in made}) == 3
    assert (made[2][1][-1]["task1"] * 47) % 1 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("method", "fresh"), [("none", True), ("ewc", False), ("si", True), ("si", False)])
@pytest.mark.parametrize("stop", [15, 27], ids=["within a task", "at the start of one"])
def test_a_stopped_and_resumed_run_is_the_same_to_the_bit(tmp_path: Path, method: str, fresh: bool, stop: int) -> None:
    """12 steps per task: six in each of two epochs."""
    changes = {"method": method, "fresh_optimizer": fresh, "m": 2.0, "tasks": PERMUTED, "penalty": 0.5}
    recipe = RECIPE.model_copy(update=changes)
    whole, log = trained(tmp_path / "whole", **changes)

    def halt(done: int, total: int, row: dict[str, float]) -> None:
        if done == stop + 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ContinualTrainer(network(), recipe, tmp_path / "parts").run(progress=halt)
    resumed = network()
    assert ContinualTrainer(resumed, recipe, tmp_path / "parts").run(resume=True) == log
    assert equal(whole, resumed)
    first, second = (load_norms(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in a)
    with pytest.raises(InputError, match="--resume"):
        ContinualTrainer(network(), recipe, tmp_path / "parts").run()


def test_adam_is_that_of_metaplasticity() -> None:
    trainer = ContinualTrainer(network(), RECIPE.model_copy(update={"m": (1.0, 2.0)}), Path("unused"))
    assert isinstance(trainer._optimizer, MetaplasticAdam)
    assert [group["m"] for group in trainer._optimizer.param_groups] == [1.0, 2.0, 0.0]
    assert {group["weight_decay"] for group in trainer._optimizer.param_groups} == {1e-7}


def test_metaplastic_weights_retain_earlier_tasks(tmp_path: Path) -> None:
    """Three permutations of real digits in turn: Adam forgets the first, metaplastic weights keep all (fixed seed)."""
    found = {}
    for m in (0.0, 20.0):
        changes = {"tasks": PERMUTED, "m": m, "epochs": 4, "batch": 20, "images": None}
        _, log = trained(tmp_path / str(m), network((200,), statistics="batch"), **changes)
        found[m] = log[-1]
        assert log[0]["task1"] > 0.85
    assert found[0.0]["task1"] < 0.3
    assert found[20.0]["task1"] > 0.6
    assert found[20.0]["mean"] > found[0.0]["mean"] + 0.15
