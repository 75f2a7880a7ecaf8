"""Classifiers: the images of a task, chips compared with the digital network, training that resumes exactly."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import imc_sim as imc
from imc_sim.config import write_yaml
from imc_sim.data import load_classes
from imc_sim.evaluate import ClassificationData, ClassificationTask, class_accuracy, digital_accuracy, evaluate_chips
from imc_sim.nn import product_layers
from imc_sim.nn.networks import BinaryActivationNet
from imc_sim.nn.neurons import neurons_of
from imc_sim.nn.store import Arch, ModelCard, card_of, save_model
from imc_sim.train import ClassificationRecipe, ClassificationTrainer, train_model
from tests.exact.networks import seeded

TASK = {"kind": "classification", "dataset": "digits", "split": "test", "images": 60, "batch": 16}
RECIPE = ClassificationRecipe(
    dataset="digits", validation=200, images=400, epochs=3, batch=32, learning_rate=0.05, optimizer="sgd", warm_up=0,
    schedule="constant",
)  # fmt: skip
#: 8 x 8 digits, both blocks binary
ARGS = {"layout": "1a", "binary": [1, 2], "size": 8}


def network(**more: object) -> nn.Module:
    return seeded(BinaryActivationNet, seed=3, **{**ARGS, **more})


@torch.no_grad()
def exact_weights(model: nn.Module) -> nn.Module:
    """Return the network with weights that eight bits hold exactly, and biases that leave no sum at its threshold."""
    for layer in product_layers(model):
        step = layer.weight.abs().max() / 127
        layer.weight.copy_((layer.weight / step).round() * step)
        if layer.bias is not None:
            layer.bias.add_(torch.linspace(0.001, 0.01, len(layer.bias)))
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    model = network()
    ClassificationTrainer(model, RECIPE.model_copy(update={"epochs": 10}), tmp_path_factory.mktemp("run")).run()
    return model


@pytest.fixture(scope="module")
def folder(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "digits"
    save_model(
        path,
        exact_weights(copy.deepcopy(trained)),
        ModelCard(name="digits", summary="test", arch=Arch(name="binact", args=ARGS)),
    )
    return str(path)


def chip(**settings: object) -> imc.Chip:
    made = imc.load_chip("ideal").replace("policy.float", "crossbar")
    made = made.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 8})
    for path, value in settings.items():
        made = made.replace(path.replace("__", "."), value)
    return made


def test_images_are_sampled_without_replacement_by_the_seed():
    one, other = (
        ClassificationData.load(ClassificationTask(dataset="digits", images=50, seed=seed)).rows for seed in (0, 1)
    )
    assert len(set(one.tolist())) == 50
    assert one.tolist() == sorted(one.tolist())
    assert one.tolist() != other.tolist()
    whole = ClassificationData.load(ClassificationTask(dataset="digits"))
    assert len(whole.rows) == len(load_classes("digits", "test").labels)


def test_unit_scaling_is_grey_levels_from_0_to_1():
    grey = ClassificationData.load(ClassificationTask(dataset="digits", scaling="unit")).images(0, 50)
    assert (float(grey.min()), float(grey.max())) == (0.0, 1.0)


def test_characters_are_split_into_nine_tenths_and_one():
    train, test = (load_classes("glyphs", f"test_{part}", 32) for part in ("train", "test"))
    assert (len(train.labels), len(test.labels)) == (7200, 800)
    assert set(train.labels) == set(range(400))
    together = {
        image.tobytes() + bytes(str(label), "utf8") for image, label in zip(train.images, train.labels, strict=True)
    }
    held = [image.tobytes() + bytes(str(label), "utf8") for image, label in zip(test.images, test.labels, strict=True)]
    assert sum(one in together for one in held) < 8  # simulated writers seldom write the same
    with pytest.raises(imc.InputError, match="test_train"):
        load_classes("glyphs", "test")


def test_accuracy_and_loss_are_those_of_the_logits(trained: nn.Module):
    task = ClassificationTask(dataset="digits")
    data = ClassificationData.load(task)
    found = class_accuracy(trained, task, data)
    with torch.no_grad():
        logits = trained(data.images(0, len(data.rows)))
    labels = data.labels
    assert found.mean == float((logits.argmax(1) == labels).double().mean()) > 0.8
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits.double(), labels)), rel=1e-6)
    assert found.total == len(labels)
    low, high = found.interval()
    assert low < found.mean < high


def test_samples_of_neurons_depend_on_the_seed_not_on_the_batch():
    model = network(stochastic=True).eval()
    losses = {
        (seed, batch): class_accuracy(model, ClassificationTask(dataset="digits", seed=seed, batch=batch)).loss
        for seed in (0, 1)
        for batch in (7, 60)
    }
    assert losses[0, 7] == pytest.approx(losses[0, 60], rel=1e-6)
    assert losses[0, 7] != pytest.approx(losses[1, 7], rel=1e-6)


def test_an_ideal_chip_answers_like_the_digital_network(folder: str):
    digital = digital_accuracy(folder, TASK)
    results = evaluate_chips(folder, chip().to_dict(), TASK, range(2), 0)
    assert [r.correct for r in results] == [digital.correct] * 2
    assert digital.of == "images"
    (baseline,) = evaluate_chips(folder, None, TASK, [], 0)
    assert (baseline.chip, baseline.correct, baseline.total) == (-1, digital.correct, 60)
    assert baseline.loss == digital.loss


def test_device_variation_costs_accuracy_and_chips_do_not_depend_on_each_other(folder: str):
    varied = chip(device__programming={"kind": "relative", "sigma": 0.6, "sigma_hrs": 0.6}).to_dict()
    three = evaluate_chips(folder, varied, TASK, range(3), 0)
    assert len({r.correct for r in three}) > 1
    assert max(r.accuracy for r in three) < digital_accuracy(folder, TASK).mean
    assert evaluate_chips(folder, varied, TASK, [2], 0)[0].correct == three[2].correct


def test_comparators_fire_by_the_noise_of_the_cells():
    """Without noise they are deterministic; with it they fire at random, and another read fires differently."""
    model = exact_weights(network(stochastic=True)).eval()
    x = ClassificationData.load(ClassificationTask(dataset="digits", images=60)).images(0, 60)
    decided = copy.deepcopy(model)
    for _, neuron in neurons_of(decided):
        neuron.stochastic = False
    with torch.no_grad():
        quiet = imc.map_model(model, chip(neurons="comparator"))(x)[0]
        torch.testing.assert_close(quiet, decided(x), rtol=1e-5, atol=1e-5)
        ideal = imc.map_model(model, chip())(x)[0]
        assert not torch.allclose(ideal, quiet, atol=1e-3)
    noisy = imc.map_model(model, chip(neurons="comparator", device__read={"sigma": 0.3}), chips=1, seed=0)
    first, second = noisy(x), noisy(x)
    assert not torch.equal(first, second)


def _stopped_after(epoch: int, steps: int):
    def stop(done: int, total: int, row: dict[str, float]) -> None:
        if done == epoch * steps + 2:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(("estimator", "memory"), [("straight_through", "channels"), ("reinforce", "images")])
def test_a_stopped_and_resumed_run_is_the_same_to_the_bit(tmp_path: Path, estimator: str, memory: str):
    recipe = RECIPE.model_copy(update={"slope_growth": 1.5, "learning_rate": 0.01, "memory": memory})
    made = {"estimator": estimator, "stochastic": True}
    whole, resumed = network(**made), network(**made)
    log = ClassificationTrainer(whole, recipe, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        ClassificationTrainer(network(**made), recipe, tmp_path / "parts").run(progress=_stopped_after(2, 13))
    assert ClassificationTrainer(resumed, recipe, tmp_path / "parts").run(resume=True) == log
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(imc.InputError, match="--resume"):
        ClassificationTrainer(network(**made), recipe, tmp_path / "parts").run()


def test_dropout_of_a_resumed_training_is_the_same_to_the_bit(tmp_path: Path):
    def dropping() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), imc.nn.Linear(64, 10))

    whole, resumed, other = dropping(), dropping(), dropping()
    ClassificationTrainer(whole, RECIPE, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        ClassificationTrainer(dropping(), RECIPE, tmp_path / "parts").run(progress=_stopped_after(2, 13))
    torch.rand(5)  # other samples of this process do not matter
    ClassificationTrainer(resumed, RECIPE, tmp_path / "parts").run(resume=True)
    assert torch.equal(whole[2].weight, resumed[2].weight)  # type: ignore[arg-type]
    ClassificationTrainer(other, RECIPE, tmp_path / "other", digest="another training").run()
    assert not torch.equal(whole[2].weight, other[2].weight)  # type: ignore[arg-type]


def test_channels_last_is_another_order_in_memory_and_the_same_training(tmp_path: Path):
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    last, seen = copy.deepcopy(first), []
    last[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stride(1)))
    recipe = RECIPE.model_copy(update={"epochs": 1, "learning_rate": 0.01})
    ClassificationTrainer(first, recipe, tmp_path / "first").run()
    ClassificationTrainer(last, recipe.model_copy(update={"memory": "channels"}), tmp_path / "last").run()
    assert set(seen) == {1}
    assert [weight.stride(1) for weight in (first[1].weight, last[1].weight)] == [9, 1]  # type: ignore[operator]
    for a, b in zip(first.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_best_epoch_is_kept_or_the_last(tmp_path: Path):
    recipe = RECIPE.model_copy(update={"learning_rate": 0.5, "epochs": 4})
    best, last = network(), network()
    log = ClassificationTrainer(best, recipe, tmp_path / "best").run()
    ClassificationTrainer(last, recipe.model_copy(update={"keep": "last"}), tmp_path / "last").run()
    rows = [row["validation_loss"] for row in log]
    assert rows.index(min(rows)) < 3  # otherwise the last is the best, and nothing is tested
    assert not torch.equal(best.state_dict()["fc.weight"], last.state_dict()["fc.weight"])


@pytest.mark.parametrize(
    "change", [{"slope_growth": 2.0}, {"batch": 16}, {"images": 300}, {"validation": 100}, {"scaling": "unit"}]
)
def test_every_setting_acts(tmp_path: Path, change: dict[str, object]):
    trained = []
    for number, recipe in enumerate((RECIPE, RECIPE.model_copy(update=change))):
        model = network()
        ClassificationTrainer(model, recipe.model_copy(update={"epochs": 2}), tmp_path / str(number)).run()
        trained.append(model.state_dict()["fc.weight"])
    assert not torch.equal(*trained)


def test_a_card_trains_by_name_and_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    recipe = RECIPE.model_copy(update={"epochs": 1}).to_dict()
    recipe["measure"] = [{"task": {"kind": "classification", "dataset": "digits"}, "published": 0.9}]
    card = ModelCard(name="mine", summary="test", arch=Arch(name="binact", args=ARGS), recipe=recipe)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.yaml").write_text(write_yaml(card.to_dict()))
    done = train_model("mine", tmp_path / "out")
    model = imc.load_model(done)
    stated = card_of(model)
    assert stated is not None
    assert stated.epochs == 1
    assert set(stated.curve) == {"epoch", "loss", "validation_loss", "accuracy"}
    (measured,) = stated.measured
    assert measured.published == 0.9
    assert measured.accuracy == class_accuracy(model, ClassificationTask(dataset="digits")).mean
