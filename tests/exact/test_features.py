"""Features instead of images: those of the network to the bit, normalised, computed once, identified by content."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim._errors import CheckpointError
from imc_sim.config import build, content_names, write_yaml
from imc_sim.data import LabelledImages, gather_labelled, load_classes, task_images
from imc_sim.evaluate import (
    _features,
    arch_of,
    build_task,
    digital_accuracy,
    evaluate_chips,
    feature_vectors,
    task_identity,
    weights_digest,
)
from imc_sim.evaluate._card import describe
from imc_sim.evaluate._features import last_hidden, normalised
from imc_sim.nn import Norm
from imc_sim.nn.networks import BnnMlp, ConvNet
from imc_sim.nn.store import Arch, ModelCard, load_card, load_model, save_model
from imc_sim.study._point import Point
from imc_sim.study._work import Batch, evaluate_batch
from imc_sim.train import (
    ClassificationRecipe,
    ContinualRecipe,
    ContinualTask,
    ContinualTrainer,
    TrainingSet,
    recipe_of,
    train_model,
)
from imc_sim.train._continual import training_images

WIDTH = 12
ARGS: dict[str, Any] = {"stages": [[5], [8]], "features": WIDTH, "channels_in": 1, "size": 8}
COLOURED = {**ARGS, "channels_in": 3}


def extractor(folder: Path, seed: int = 0, args: dict[str, Any] = ARGS, **recipe: Any) -> str:
    """Return a saved network with weights and running statistics of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConvNet(**args)
        for norm in network.modules():
            if isinstance(norm, Norm):
                norm.running_mean.normal_(0, 0.2)
                norm.running_var.uniform_(0.1, 0.5)
    card = ModelCard(name=folder.name, summary="test", arch=Arch(name="convnet", args=args), recipe=recipe)
    save_model(folder, network, card)
    return str(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a separate cache, and an empty memory."""
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return extractor(tmp_path / "net")


def by_hand(vector: Tensor) -> list[float]:
    """Return (x - mean) / variance, number after number."""
    numbers = [float(x) for x in vector]
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / len(numbers)
    return [(x - mean) / variance for x in numbers]


# -- the network -------------------------------------------------------------------------------------------


def test_the_network_is_blocks_a_mean_and_a_layer() -> None:
    """Compared with the literal formula, with max-pooling between stages only and features of 0 or more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = ConvNet([[4, 5], [6]], 7, 3, 2, 6).eval()
        x = torch.rand(3, 2, 6, 6)
    blocks: list[Any] = list(network.blocks)
    assert [(b.conv.kernel, b.conv.weight.shape[0], b.pool) for b in blocks] == [
        (3, 4, 1), (3, 5, 2), (3, 6, 1), (1, 7, 1)
    ]  # fmt: skip
    y = x
    for block, pad in zip(blocks, (1, 1, 1, 0), strict=True):
        y = nn.functional.conv2d(y, block.conv.weight, padding=pad) / (1 + block.norm.eps) ** 0.5
        y = nn.functional.max_pool2d(y.relu(), block.pool)
    hidden = y.flatten(2).mean(2)
    assert hidden.min() >= 0
    torch.testing.assert_close(network(x), nn.functional.linear(hidden, network.fc.weight, network.fc.bias))
    torch.testing.assert_close(last_hidden(network, x), hidden)


@pytest.mark.parametrize(
    ("args", "match"),
    [({"stages": []}, "stages"), ({"stages": [[4], []]}, "stages"), ({"size": 3, "stages": [[2], [2], [2]]}, "size"),
     ({"features": 0}, "features")],
)  # fmt: skip
def test_impossible_networks_are_refused(args: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ConvNet(**args)
    with pytest.raises(InputError, match=r"allowed: \[batch, 1, 8, 8\]"):
        ConvNet(**ARGS)(torch.zeros(1, 1, 9, 9))


# -- the vectors -------------------------------------------------------------------------------------------


def test_vectors_are_the_inputs_of_the_last_layer_over_their_variance(model: str) -> None:
    data, found = load_classes("digits", "test"), feature_vectors(model, "digits", "test")
    network: Any = load_model(model)
    images = torch.from_numpy(gather_labelled(data, slice(250)))
    with torch.no_grad():
        hidden = network.blocks(images).mean((2, 3))
        assert torch.equal(network.fc(hidden), network(images))
    assert found.images.shape == (len(data.labels), WIDTH)
    assert np.array_equal(found.images[:250], normalised(hidden).float().numpy())
    for vector, own in zip(found.images[:5], hidden[:5], strict=True):
        np.testing.assert_allclose(vector, by_hand(own), rtol=1e-6)
    assert np.array_equal(found.labels, data.labels)
    variances = [float(h.double().var(correction=0)) for h in hidden[:50]]
    np.testing.assert_allclose(found.images[:50].astype(float).std(1), [v**-0.5 for v in variances], rtol=1e-5)


def test_equal_numbers_have_no_variance() -> None:
    vectors = torch.tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 6.0]])
    assert torch.equal(normalised(vectors)[0], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(normalised(vectors)[1], torch.tensor([-2.0, -1.0, 3.0]).double() / (14 / 3))


def test_vectors_are_computed_once_for_their_content(
    model: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = feature_vectors(model, "digits", "test").images
    with monkeypatch.context() as patch:
        patch.setattr(_features, "_computed", None)
        assert np.array_equal(feature_vectors(model, "digits", "test").images, first)
        with pytest.raises(TypeError):
            feature_vectors(model, "digits", "train")
        with pytest.raises(TypeError):
            feature_vectors(model, "digits", "test", scaling="unit")
    assert len(list(cache.glob("features-*"))) == 1
    extractor(Path(model), seed=1)
    assert not np.array_equal(feature_vectors(model, "digits", "test").images, first)
    assert not np.array_equal(feature_vectors(model, "digits", "test", scaling="unit").images, first)
    extractor(Path(model))
    assert np.array_equal(feature_vectors(model, "digits", "test").images, first)
    again = extractor(tmp_path / "twin")
    assert np.array_equal(feature_vectors(again, "digits", "test").images, first)


def test_tasks_choose_and_relabel_vectors(model: str) -> None:
    whole = feature_vectors(model, "digits", "train")
    task = ContinualTask(features=model, classes=(7, 2), labels="renumbered", offset=5)
    recipe = ContinualRecipe(dataset="digits", tasks=(task,), scaling="standard", validation=10)
    made = ContinualTrainer(BnnMlp(WIDTH, (4,), 10, binary_inputs=True), recipe, Path("unused"))._tests[0].source
    kept = np.isin(load_classes("digits", "test").labels, (2, 7))
    assert np.array_equal(made.images, feature_vectors(model, "digits", "test").images[kept])
    some = task_images(whole, task)
    kept = np.isin(whole.labels, (2, 7))
    assert some.labels.tolist() == [5 if label == 7 else 6 for label in whole.labels[kept]]
    assert np.array_equal(gather_labelled(some, slice(4)), whole.images[kept][:4])
    with pytest.raises(InputError, match="feature_vectors"):
        task_images(load_classes("digits", "test"), task)


# -- identity ----------------------------------------------------------------------------------------------


def test_a_network_that_is_trained_again_gives_a_recipe_other_vectors(tmp_path: Path) -> None:
    task = ContinualTask(features=extractor(tmp_path / "net"))
    recipe = ContinualRecipe(dataset="digits", tasks=(task,), scaling="standard", validation=10)
    before = training_images(recipe, 0).source.images
    extractor(tmp_path / "net", seed=1)
    np.testing.assert_array_equal(
        training_images(recipe, 0).source.images, feature_vectors(str(tmp_path / "net"), "digits", "train").images
    )
    assert not np.array_equal(training_images(recipe, 0).source.images, before)


def test_tasks_and_recipes_identify_the_network_by_its_content(model: str, tmp_path: Path) -> None:
    """The name does not count, weights and architecture do; without features digests are those before the key."""
    settings = {"kind": "classification", "dataset": "digits", "split": "test"}
    twin = extractor(tmp_path / "twin")

    def known(name: str) -> tuple[str, ...]:
        tasks, other = (ContinualTask(features=name),), (ContinualTask(),)
        recipes = (
            ContinualRecipe(tasks=tasks, scaling="standard"), ContinualRecipe(tasks=other, features=name),
            ClassificationRecipe(features=name),
        )  # fmt: skip
        task = task_identity(build_task(settings | {"features": name}, "task").to_dict())
        return (*(recipe.training_digest() for recipe in recipes), str(task["features"]))

    first = known(model)
    assert known(twin) == first
    extractor(Path(model), seed=1)
    assert all(one != other for one, other in zip(known(model), first, strict=True))
    extractor(Path(model), args={**ARGS, "classes": 4})
    assert all(one != other for one, other in zip(known(model), first, strict=True))
    assert "features" not in task_identity(build_task(settings, "task").to_dict())
    assert "features net" in describe(build_task(settings | {"features": "net"}, "task").to_dict())
    assert ContinualRecipe(tasks=(ContinualTask(permutation=1),)).training_digest()[:12] == "2c4bd59b86fe"


def test_a_worker_with_another_network_is_refused(model: str, tmp_path: Path) -> None:
    learner = tmp_path / "learner"
    args = {"inputs": WIDTH, "hidden": [4], "binary_inputs": True}
    save_model(learner, BnnMlp(**args), ModelCard(name="learner", summary="test", arch=Arch(name="bnn_mlp", args=args)))
    task = {"kind": "classification", "dataset": "digits", "split": "test", "features": model, "images": 20}
    task = build_task(task, "task").to_dict()
    known = weights_digest(str(learner)), None, task, 0
    trial = Point("a", (), str(learner), *known, arch=arch_of(str(learner))).trial(-1)
    batch = Batch.of([trial], evaluate_chips, "cpu")
    assert evaluate_batch(batch)[0].total == 20
    with pytest.raises(CheckpointError, match="allowed: 000000000000.*IMC_SIM_PATH"):
        evaluate_batch(replace(batch, features="0" * 64))


# -- networks that are trained on them ----------------------------------------------------------------------


def carded(folder: Path, arch: Arch, recipe: dict[str, Any]) -> str:
    """Return an untrained card in a folder."""
    folder.mkdir()
    card = ModelCard(name=folder.name, summary="test", arch=arch, recipe=recipe)
    (folder / "model.yaml").write_text(write_yaml(card.to_dict()))
    return str(folder)


def test_two_tasks_of_features_are_learned_and_evaluated_on_chips(tmp_path: Path) -> None:
    whole = {"kind": "classification", "dataset": "digits", "validation": 60, "epochs": 8, "learning_rate": 0.01}
    args = {"stages": [[16], [24]], "features": 48, "channels_in": 1, "size": 8}
    model = str(train_model(carded(tmp_path / "net", Arch(name="convnet", args=args), whole), tmp_path / "trained"))
    tasks = [{"classes": [0, 1, 2, 3, 4]}, {"classes": [5, 6, 7, 8, 9]}]
    recipe = {"kind": "continual", "dataset": "digits", "scaling": "standard", "validation": 60, "epochs": 6,
              "batch": 20, "m": 3.0, "test_batch": 200, "features": model, "tasks": tasks}  # fmt: skip
    args = {"inputs": 48, "hidden": [60], "binary_inputs": True}
    made = train_model(carded(tmp_path / "card", Arch(name="bnn_mlp", args=args), recipe), tmp_path / "made")
    curve = load_card(made)[0].curve
    assert min(curve["task1"][0], curve["task2"][1]) > 0.7
    second_task = {"kind": "classification", "dataset": "digits", "split": "test", "features": model, **tasks[1]}
    digital = digital_accuracy(str(made), second_task)
    assert digital.mean == pytest.approx(curve["task2"][1], abs=0.1)
    found = evaluate_chips(str(made), imc.load_chip("ideal").to_dict(), second_task, [0], seed=0)
    assert found[0].correct == digital.correct


def test_a_classifier_trains_on_features(model: str) -> None:
    recipe = ClassificationRecipe(dataset="digits", features=model, validation=50, images=100)
    images, labels = TrainingSet.load(recipe, None).batch(np.arange(7), "cpu")
    whole = feature_vectors(model, "digits", "train")
    assert np.array_equal(images.numpy(), whole.images[:7])
    assert labels.tolist() == whole.labels[:7].tolist()


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"pad": 9}, "no permutation"), ({"permutation": 0}, "no permutation"), ({"augment": "flip_crop"}, "augment"),
     ({"memory": "channels"}, "memory")],
)  # fmt: skip
def test_changes_of_pixels_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(ClassificationRecipe, {"features": "net", **settings}, "recipe")
    tasks = [{key: settings.pop(key) for key in ("pad", "permutation") if key in settings}]
    with pytest.raises(InputError, match=match):
        build(ContinualRecipe, {"features": "net", "tasks": tasks, **settings}, "recipe")


def test_images_that_the_network_was_not_trained_on_are_refused(model: str, tmp_path: Path) -> None:
    trained = extractor(tmp_path / "trained", scaling="unit")
    with pytest.raises(InputError, match="Set scaling: unit"):
        feature_vectors(trained, "digits", "test")
    assert len(feature_vectors(trained, "digits", "test", scaling="unit").images)
    coloured = extractor(tmp_path / "coloured", args=COLOURED)
    with pytest.raises(InputError, match="1 channels"):
        feature_vectors(coloured, "digits", "test")
    with pytest.raises(InputError, match="imc_sim.nn"):
        last_hidden(nn.Linear(3, 2), torch.zeros(1, 3))


# -- folders -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of six classes with 20 training and 8 test images of 9 x 8 pixels, each a colour and noise."""
    monkeypatch.setenv("IMC_SIM_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    for number in range(6):
        for split, count in (("train", 20), ("val", 8)):
            where = tmp_path / "things" / split / f"class{number}"
            where.mkdir(parents=True)
            for image in range(count):
                level = np.array([40 * number, 255 - 40 * number, 60 * (number % 3)])
                pixels = np.clip(level + rng.normal(0, 12, (9, 8, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(where / f"{image:02}.png")
    return tmp_path / "things"


def test_the_published_groups_of_a_folder(folder: Path, tmp_path: Path) -> None:
    """The recipe for CIFAR-100 on six classes in two groups, with features of a user's network."""
    own = extractor(tmp_path / "own", args=COLOURED)
    settings = [
        "recipe.dataset=folder:things", f"recipe.features={own}", "recipe.validation=6", "recipe.test_batch=24",
        "recipe.tasks=[{classes: [0, 1, 2]}, {classes: [3, 4, 5]}]", "recipe.epochs=8", "recipe.batch=6",
        "arch.args.hidden=[60, 60]", f"arch.args.inputs={WIDTH}", "arch.args.classes=6",
    ]  # fmt: skip
    made = train_model("metaplastic_cifar100_features", tmp_path / "made", settings=settings)
    card, _ = load_card(made)
    assert card.recipe["scenario"] == "domain"
    assert card.arch.args["norm"] == "instance"
    assert not [name for name in load_model(made).state_dict() if "norm" in name]
    assert card.curve["task1"][0] > 0.6
    assert card.curve["task2"][1] > 0.6


def test_files_that_change_have_other_features(folder: Path, tmp_path: Path) -> None:
    own = extractor(tmp_path / "own", args=COLOURED)
    first = np.array(feature_vectors(own, "folder:things", "test").images)
    Image.new("RGB", (8, 8), (255, 0, 255)).save(folder / "val" / "class0" / "00.png")
    second = feature_vectors(own, "folder:things", "test").images
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[1:], second[1:])


# -- what ships --------------------------------------------------------------------------------------------


def test_the_shipped_network_gives_the_published_number_of_features() -> None:
    network, (card, _) = load_model("cifar10_features"), load_card("cifar10_features")
    assert last_hidden(network, torch.zeros(2, 3, 32, 32)).shape == (2, 512)
    assert card.measured[0].accuracy > 0.8
    for name in ("cifar10", "cifar100"):
        found = [n for n in content_names("model") if n.startswith("metaplastic_") and f"{name}_features" in n]
        assert found
        assert all(load_card(n)[0].arch.args["inputs"] == 512 for n in found)
        assert all(load_card(n)[0].recipe["features"] == "cifar10_features" for n in found)


def test_animals_are_relabelled_as_published() -> None:
    """bird, cat, deer, dog, frog are 0 to 4; airplane, automobile, horse, ship, truck 5 to 9."""
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    recipe = recipe_of(load_card("metaplastic_cifar10_features_m1_8")[0], "card")
    assert isinstance(recipe, ContinualRecipe)
    images = np.arange(10, dtype=np.float32)[:, None]
    data = LabelledImages("cifar10", "test", cast("Any", images), np.arange(10), names)
    task1, task2 = (task_images(data, task.model_copy(update={"features": "any"})) for task in recipe.tasks)
    assert [names[int(x)] for x in task1.images[:, 0]] == ["airplane", "automobile", "horse", "ship", "truck"]
    assert task1.labels.tolist() == [5, 6, 7, 8, 9]
    assert [names[int(x)] for x in task2.images[:, 0]] == ["bird", "cat", "deer", "dog", "frog"]
    assert task2.labels.tolist() == [0, 1, 2, 3, 4]


def test_consolidation_keeps_the_vehicles() -> None:
    """The mean of both tasks is forty points higher than without, and nothing is lost on the second."""
    none, best = (load_card(f"metaplastic_small_cifar10_features_m{m}")[0].curve for m in (0, 25))
    assert best["mean"][-1] > none["mean"][-1] + 0.40
    assert best["task2"][-1] > none["task2"][-1] - 0.01
