"""The binary ResNet-18 of BENN compared with its layout, written down once more; on a chip; trained on a folder."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from imc_sim import InputError, load_chip, map_model
from imc_sim.evaluate import ClassificationTask, class_accuracy
from imc_sim.nn import ProductLayer, constrain_weights, product_layers
from imc_sim.nn.networks import BinaryResNet18, Ensemble
from imc_sim.nn.store import ModelCard, load_card, load_model, save_model
from imc_sim.train import EnsembleRecipe, EnsembleTrainer, build_recipe
from tests.exact.networks import as_if_trained

#: 3, 6, 13 and 26 channels
SMALL: dict[str, Any] = {"width": 0.05, "classes": 3, "size": 16, "stem": "cifar"}
STEMS = ["imagenet", "cifar"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(9)


def binary(model: nn.Module) -> dict[str, ProductLayer]:
    return {n: m for n, m in model.named_modules() if isinstance(m, ProductLayer) and m.binary}


# -- sizes -------------------------------------------------------------------------------------------------


def test_weights_are_those_of_resnet_18() -> None:
    """The well-known 11,689,512 parameters, less those of batch normalisation and the last bias."""
    model = BinaryResNet18()
    layers = product_layers(model)
    assert sum(x.weight.numel() for x in layers) == 11_689_512 - 9_600 - 1_000
    assert sum(x.weight.numel() for x in binary(model).values()) == 11_689_512 - 9_600 - 513_000 - 64 * 3 * 49
    outputs = 64 * 4 + (128 + 256 + 512) * 5
    normalised = 64 * 4 + (64 * 2 + 128 * 3) + (128 * 2 + 256 * 3) + (256 * 2 + 512 * 3)
    rest = 64 + outputs + 1_000 + 2 * normalised
    assert sum(p.numel() for p in model.parameters()) == 11_678_912 + rest == 11_692_392
    for x in layers:
        assert float(x.weight.detach().std()) == pytest.approx(0.05, rel=0.02)
    last = list(binary(model).values())[-1]
    assert torch.allclose(last.alpha.flatten(), last.weight.detach().abs().mean((1, 2, 3)))


def test_all_but_the_first_and_the_last_layer_are_binary() -> None:
    names = [f"stage{s}.{b}.{part}.conv" for s in range(1, 5) for b in range(2) for part in ("first", "second")]
    names += [f"stage{s}.0.shortcut.conv" for s in (2, 3, 4)]
    model = BinaryResNet18(**SMALL)
    assert set(binary(model)) == set(names)
    assert {x.policy for x in product_layers(model)} == {"float", "sign"}
    assert [len(x.weight) for x in product_layers(model)] == [*[3] * 5, *[6] * 5, *[13] * 5, *[26] * 5, 3]
    assert len(BinaryResNet18(width=1e-3).stem.conv.weight) == 2


#: of ResNet-18 at 224 x 224, without the first and the last layer
_BODY = 1_814_073_344 - 3 * 49 * 64 * 112**2 - 512 * 1000


@pytest.mark.parametrize(
    ("stem", "size", "side", "first", "body"),
    [("imagenet", 224, 7, 3 * 49 * 64 * 112**2, _BODY), ("cifar", 32, 4, 3 * 9 * 64 * 32**2, _BODY * 32**2 // 56**2)],
)
def test_multiply_adds_are_those_of_resnet_18(stem: Any, size: int, side: int, first: int, body: int) -> None:
    model, counts, sides = BinaryResNet18(size=size, stem=stem).eval(), [], []

    def count(layer: nn.Module, inputs: object, y: Tensor) -> None:
        assert isinstance(layer, ProductLayer)
        counts.append(layer.weight.numel() * y[0, 0].numel())
        sides.append(y.shape[-1])

    for layer in product_layers(model):
        layer.register_forward_hook(count)
    with torch.no_grad():
        assert model(torch.randn(1, 3, size, size)).shape == (1, 1000)
    assert (counts[0], sum(counts[1:-1]), counts[-1]) == (first, body, 512 * 1000)
    assert sides[-2] == side


# -- the network -------------------------------------------------------------------------------------------


def literal(model: BinaryResNet18, x: Tensor, stem: str) -> Tensor:
    """Return the layout of the docstring, written down once more."""
    state = model.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state.get(f"{name}norm.{key}") for key in keys)
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-4)

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        w = state[f"{name}.conv.weight"]
        scaled = w.sign() * w.abs().mean((1, 2, 3), keepdim=True)
        signs = norm(x, f"{name}.").sign()
        return F.relu(F.conv2d(signs, scaled, state[f"{name}.conv.bias"], stride, w.shape[-1] // 2))

    w, b = state["stem.conv.weight"], state["stem.conv.bias"]
    if stem == "imagenet":
        x = F.relu(norm(F.conv2d(x, w, b, 2, 3), "stem."))
        x = nn.MaxPool2d(3, 2, 1)(x)
    else:
        x = F.relu(norm(F.conv2d(x, w, b, 1, 1), "stem."))
    for stage in range(1, 5):
        for number in range(2):
            name, halved = f"stage{stage}.{number}", stage > 1 and number == 0
            past = block(x, f"{name}.shortcut", 2) if halved else x
            x = past + block(block(x, f"{name}.first", 1 + halved), f"{name}.second", 1)
    return F.linear(norm(x, "").mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize(("stem", "size"), [("imagenet", 64), ("imagenet", 45), ("cifar", 16), ("cifar", 13)])
def test_the_network_equals_the_layout_of_its_docstring(stem: Any, size: int) -> None:
    model = as_if_trained(BinaryResNet18(width=0.1, classes=5, channels_in=2, size=size, stem=stem).double())
    x = torch.randn(4, 2, size, size).double()
    with torch.no_grad():
        y = model(x)
        assert torch.allclose(y, literal(model, x, stem), atol=1e-10, rtol=1e-8)
    assert y.shape == (4, 5)
    assert y.std(0).min() > 1e-3


@pytest.mark.parametrize("stem", STEMS)
def test_gradients_reach_every_parameter_and_the_loss_falls(stem: Any) -> None:
    """Four noisy patterns."""
    model, labels = BinaryResNet18(width=0.1, classes=4, size=16, stem=stem), torch.arange(32) % 4
    x = torch.randn(4, 3, 16, 16)[labels] + 0.3 * torch.randn(32, 3, 16, 16)
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-2), []
    for step in range(20):
        constrain_weights(model)
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            still = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 1e-9)]
            assert still in ([], ["stem.conv.bias"])  # the batch norm after it removes that bias
            assert model.stem.conv.weight.grad is not None
            assert float(model.stem.conv.weight.grad.abs().max()) > 1e-5
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_bad_arguments_are_refused() -> None:
    bad: dict[str, Any]
    for bad, message in (
        ({"stem": "cifer"}, "imagenet, cifar.*Did you mean 'cifar'"), ({"width": 0}, "arch.width"),
        ({"width": float("nan")}, "arch.width"), ({"size": 0}, "arch.size"), ({"classes": 0}, "arch.classes"),
        ({"channels_in": 0}, "arch.channels_in"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            BinaryResNet18(**bad)
    model = BinaryResNet18(**SMALL)
    for shape in ((1, 3, 16, 15), (1, 3, 24, 24), (1, 1, 16, 16)):
        with pytest.raises(InputError, match=rf"{re.escape(str(shape))}; allowed: \[batch, 3, 16, 16\]"):
            model(torch.zeros(shape))


# -- files and chips ---------------------------------------------------------------------------------------


def test_a_stored_network_computes_the_same_to_the_bit(tmp_path: Path) -> None:
    model, x = as_if_trained(BinaryResNet18(**SMALL)), torch.randn(4, 3, 16, 16)
    card = {"name": "m", "summary": "binary", "arch": {"name": "binary_resnet18", "args": SMALL}}
    save_model(tmp_path / "m", model, ModelCard.model_validate(card))
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m")(x), model(x))


@pytest.mark.parametrize("encoding", ["differential", "bnn_i", "tnn_i"])
@pytest.mark.parametrize("stem", STEMS)
def test_an_ideal_chip_gives_the_digital_logits_to_the_bit(stem: Any, encoding: str) -> None:
    model = as_if_trained(BinaryResNet18(width=0.05, classes=5, size=20, stem=stem))
    chip = load_chip("ideal").replace("policy.float", "digital").replace("encoding", {"kind": encoding})
    analog = map_model(model, chip.replace("tile.rows", 10), chips=2)
    assert set(analog.analog_layers) == set(binary(model))
    x = torch.randn(4, 3, 20, 20)
    with torch.no_grad():
        y = model(x)
        assert y.std(0).min() > 1e-3
        assert torch.equal(analog(x), y.expand(2, -1, -1))


def test_chips_with_device_variation_differ() -> None:
    model, x = as_if_trained(BinaryResNet18(**SMALL)), torch.randn(4, 3, 16, 16)
    chip = load_chip("ideal").replace("policy.float", "digital")
    chip = chip.replace("device.programming", {"kind": "relative", "sigma": 0.3, "sigma_hrs": 0.3})
    one, other = map_model(model, chip, chips=2)(x)
    assert not torch.allclose(one, other, atol=1e-2)


# -- training on a folder ----------------------------------------------------------------------------------

ENSEMBLE: dict[str, Any] = {"arch": "binary_resnet18", "args": SMALL, "members": 2}


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    """Return a folder of 3 noisy classes of one colour each, 8 training and 4 test images."""
    draws = np.random.default_rng(5)
    for split, count in (("train", 8), ("val", 4)):
        for channel, name in enumerate(("ant", "bee", "cat")):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 120, (20, 24, 3))
                pixels[..., channel] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return f"folder:{tmp_path / 'pictures'}"


def ensemble() -> Ensemble:
    torch.manual_seed(4)
    return Ensemble(**ENSEMBLE)


def recipe(dataset: str, **changes: Any) -> EnsembleRecipe:
    card = {"epochs": 1, "rule": "D", "start": "independent", "learning_rate": 0.01, "keep": "last", **changes}
    return EnsembleRecipe(dataset=dataset, validation=6, batch=6, warm_up=0, schedule="constant", **card)


def test_an_ensemble_trains_on_a_folder_stopped_and_resumed_to_the_same_bits(pictures: str, tmp_path: Path) -> None:
    start, whole, resumed = ensemble(), ensemble(), ensemble()
    log = EnsembleTrainer(whole, recipe(pictures), tmp_path / "whole").run()
    assert [row["member"] for row in log] == [1, 2]
    assert whole.votes.tolist() == pytest.approx([row["alpha"] for row in log])

    def stop(done: int, total: int, row: dict[str, float]) -> None:
        assert total == 6
        if done == 5:  # within the second member
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EnsembleTrainer(ensemble(), recipe(pictures), tmp_path / "parts").run(progress=stop)
    assert EnsembleTrainer(resumed, recipe(pictures), tmp_path / "parts").run(resume=True) == log
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    for member, before in zip(whole.members, start.members, strict=True):
        stems = [m.state_dict()["stem.conv.weight"] for m in (member, before)]
        assert not torch.equal(*stems)


def test_an_ensemble_is_evaluated_on_the_other_split_of_its_folder(pictures: str, tmp_path: Path) -> None:
    """Compared with the files, read and normalised once more."""
    made = ensemble()
    for member in made.members:
        assert isinstance(member, BinaryResNet18)
        as_if_trained(member)
    task = ClassificationTask(dataset=pictures, size=16, batch=5)
    assert task.chance == pytest.approx(1 / 3)
    seen: list[Tensor] = []
    made.eval().register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    found = class_accuracy(made, task)
    assert [len(x) for x in seen] == [5, 5, 2]
    images = []
    for file in sorted((tmp_path / "pictures" / "val").glob("*/*.png")):
        resized = Image.open(file).resize((19, 16), Image.Resampling.BILINEAR)
        images.append(np.asarray(resized.crop((2, 0, 18, 16))) / 255)
    x = (np.stack(images) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    one_level = 1.01 / 255 / 0.224  # of rounding where a part of the image is resized instead of the whole
    np.testing.assert_allclose(torch.cat(seen).permute(0, 2, 3, 1).numpy(), x, atol=one_level)
    labels = torch.arange(3).repeat_interleave(4)
    with torch.no_grad():
        logits = torch.cat([made(part) for part in list(seen)])
    assert float(logits.std(0).min()) > 0.03
    assert found.total == 12
    assert found.mean == float((logits.argmax(1) == labels).double().mean())
    assert found.loss == pytest.approx(float(F.cross_entropy(logits.double(), labels)), rel=1e-5)


# -- cards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rule", "published"), [("bagging", "bagging", 0.5434), ("boost_d", "D", 0.5583)])
def test_the_cards_hold_the_published_setting(name: str, rule: str, published: float) -> None:
    card, _ = load_card(f"benn_imagenet_{name}_sb_indp")
    found = build_recipe(card.recipe, "recipe")
    assert isinstance(found, EnsembleRecipe)
    assert (found.rule, found.start, found.epochs, found.dataset) == (rule, "independent", 80, "folder:ImageNet")
    assert (found.optimizer, found.learning_rate, found.weight_decay) == ("adam", 1e-3, 1e-5)
    first, together = found.measure[:2]
    assert isinstance(first.task, ClassificationTask)
    assert (first.task.members, first.published, together.published) == (1, 0.4887, published)
    assert (card.arch.args["arch"], card.arch.args["members"], card.weights) == ("binary_resnet18", 3, None)
