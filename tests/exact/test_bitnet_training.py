"""Training on firing rates, from the weights of another model, on images that are mirrored and moved."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import CheckpointError, InputError
from imc_sim._rng import Stream
from imc_sim.config import write_yaml
from imc_sim.evaluate import ClassificationTask, digital_accuracy, evaluate_chips, task_identity
from imc_sim.nn import product_layers
from imc_sim.nn.networks import BitNet
from imc_sim.nn.spiking import rate_loss
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.train import ClassificationRecipe, ClassificationTrainer, EnsembleRecipe, flip_crop, train_model

ARGS: dict[str, Any] = {"scale": 1 / 16, "channels_in": 1, "size": 8, "steps": 4}
#: of the weights, so that untrained networks fire
GAIN = 3.0
RECIPE = ClassificationRecipe(dataset="digits", validation=200, images=100, epochs=2, batch=32, loss="rate", warm_up=0)


def network(seed: int = 0, **more: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BitNet(**{**ARGS, **more})
    for layer in product_layers(model):
        layer.weight.data.mul_(GAIN)
    return model


def trained(folder: Path, model: nn.Module | None = None, **changes: Any) -> Tensor:
    model = model or network()
    ClassificationTrainer(model, RECIPE.model_copy(update=changes), folder).run()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# -- loss ----------------------------------------------------------------------------------------------------------


def test_a_step_follows_the_gradient_of_the_rate_loss(tmp_path: Path) -> None:
    """One step of SGD at rate 1 moves the weights by minus the gradient of the mean square."""
    recipe = RECIPE.model_copy(
        update={"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "schedule": "constant", "epochs": 1}
    ).model_copy(update={"batch": 100, "keep": "last"})
    model, plain = network(activation="clamp"), network(activation="clamp").train()
    trainer = ClassificationTrainer(model, recipe, tmp_path)
    x, labels = trainer._data.batch(trainer._order(0), "cpu")
    loss = (plain(x) - F.one_hot(labels, 10)).square().mean()
    gradients = torch.autograd.grad(loss, list(plain.parameters()))
    (row,) = trainer.run()
    assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    for after, before, gradient in zip(model.parameters(), plain.parameters(), gradients, strict=True):
        torch.testing.assert_close(after, before - gradient, rtol=1e-5, atol=1e-7)
    outputs, wanted = trainer.logits(trainer._data.validation)
    assert row["validation_loss"] == pytest.approx(float(rate_loss(outputs, wanted)), rel=1e-9)


def test_the_loss_of_each_image_has_the_mean_of_all() -> None:
    rates = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    assert rate_loss(rates, torch.tensor([0, 0]), reduction="none").tolist() == [0.15625, 1.0]


@pytest.mark.parametrize("change", [{"loss": "cross_entropy"}, {"augment": "flip_crop"}])
def test_each_option_acts(tmp_path: Path, change: dict[str, Any]) -> None:
    assert not torch.equal(trained(tmp_path / "a"), trained(tmp_path / "b", **change))


def test_digests_of_earlier_training_runs_are_unchanged() -> None:
    assert ClassificationRecipe().training_digest()[:12] == "1df605225bd5"
    assert EnsembleRecipe().training_digest()[:12] == "4ba7d5c1f5af"
    changed = [ClassificationRecipe(**c) for c in ({"loss": "rate"}, {"augment": "flip_crop"})]  # type: ignore[arg-type]
    assert len({r.training_digest() for r in (ClassificationRecipe(), *changed)}) == 3


# -- images mirrored and moved -------------------------------------------------------------------------------------


def test_images_are_mirrored_padded_and_cropped() -> None:
    """Compared with the words of the stream, image by image."""
    images = torch.arange(1.0, 6 * 2 * 5 * 7 + 1).reshape(6, 2, 5, 7)
    found = flip_crop(images, seed=3, epoch=2, first=10)
    flips = 0
    for i, image in enumerate(images):
        down, right, flip = (
            int(w) for w in Stream(3, "augment", "flip_crop").words(16, chip=0, epoch=2, block=10 + i)[:3]
        )
        down, right = down * 9 // 65536, right * 9 // 65536
        flips += flip >= 32768
        padded = F.pad(image, (4, 4, 4, 4))[:, down : down + 5, right : right + 7]
        assert torch.equal(found[i], padded.flip(-1) if flip >= 32768 else padded)
    assert 0 < flips < 6


def test_all_places_are_equally_likely_and_no_batch_changes_a_sample() -> None:
    """20,000 samples of a lit pixel in the middle: 81 places, mirrored or not; chi-square, 161 degrees of freedom."""
    image = torch.zeros(1, 1, 10, 10)
    image[0, 0, 4, 4], image[0, 0, 4, 5] = 1.0, 2.0
    many = image.expand(20_000, -1, -1, -1)
    found = flip_crop(many, seed=0, epoch=0, first=0)
    assert torch.equal(found[300:400], flip_crop(many[:100], seed=0, epoch=0, first=300))
    assert not torch.equal(found[:100], flip_crop(many[:100], seed=0, epoch=1, first=0))
    assert not torch.equal(found[:100], flip_crop(many[:100], seed=1, epoch=0, first=0))
    kinds, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 162
    expected = 20_000 / 162
    # A false alarm in 1,000,000 keys: the quantile of chi-square at 161 degrees of freedom is 259.
    assert float(((counts - expected) ** 2 / expected).sum()) < 259


def test_a_stopped_and_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    def stop(done: int, total: int, row: dict[str, float]) -> None:
        if done == 6:
            raise KeyboardInterrupt

    recipe = RECIPE.model_copy(update={"augment": "flip_crop"})
    whole = trained(tmp_path / "whole", augment="flip_crop")
    with pytest.raises(KeyboardInterrupt):
        ClassificationTrainer(network(), recipe, tmp_path / "parts").run(progress=stop)
    resumed = network(seed=5)
    ClassificationTrainer(resumed, recipe, tmp_path / "parts").run(resume=True)
    assert torch.equal(whole, torch.cat([p.detach().flatten() for p in resumed.parameters()]))


# -- warm-up -------------------------------------------------------------------------------------------------------


def saved(folder: Path, seed: int, **more: Any) -> str:
    args = {**ARGS, **more}
    save_model(
        folder,
        network(seed, **more),
        ModelCard(name=folder.name, summary="test", arch=Arch(name="bitnet", args=args)),
        half=True,
    )
    return str(folder)


def spiking_card(folder: Path, **recipe: Any) -> Path:
    entries = {**RECIPE.to_dict(), "epochs": 1, "learning_rate": 1e-30, **recipe}
    card = ModelCard(name="spiking", summary="test", arch=Arch(name="bitnet", args=ARGS), recipe=entries)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(write_yaml(card.to_dict()))
    return folder


def test_a_spiking_network_starts_from_its_clamp_network(tmp_path: Path) -> None:
    """At a learning rate of 0 the saved weights are those of the start, in half precision."""
    start = saved(tmp_path / "clamp", 7, activation="clamp")
    done = train_model(str(spiking_card(tmp_path / "card", start_from=start)), tmp_path / "out")
    warm, made = imc.load_model(start).state_dict(), imc.load_model(done).state_dict()
    assert all(torch.equal(made[key], value) for key, value in warm.items())
    alone = train_model(str(spiking_card(tmp_path / "card")), tmp_path / "alone")
    assert not torch.equal(imc.load_model(alone).state_dict()["conv1.weight"], warm["conv1.weight"])


def test_the_initial_weights_are_part_of_the_identity_of_a_training_run(tmp_path: Path) -> None:
    one, same, other = (saved(tmp_path / f"m{i}", seed, activation="clamp") for i, seed in enumerate((1, 1, 2)))
    known = [ClassificationRecipe(start_from=start).training_digest() for start in (one, same, other, None)]
    assert known[0] == known[1]
    assert len(set(known)) == 3


def test_weights_that_do_not_fit_or_are_missing_are_refused(tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide", 0, scale=1 / 8)
    with pytest.raises(CheckpointError, match="wrong shape"):
        train_model(str(spiking_card(tmp_path / "card", start_from=wide)), tmp_path / "out")
    untrained = spiking_card(tmp_path / "untrained")
    with pytest.raises((InputError, CheckpointError), match="Train it"):
        train_model(str(spiking_card(tmp_path / "card", start_from=str(untrained))), tmp_path / "out")


# -- steps of a task -----------------------------------------------------------------------------------------------


def test_a_task_sets_the_steps_of_a_spiking_network(tmp_path: Path) -> None:
    """Compared with networks of as many steps, digital and on an ideal chip; without the key identities stay."""
    task = {"kind": "classification", "dataset": "digits", "images": 60}
    losses, counts = [], []
    for steps in (1, 4, 16):
        measured = digital_accuracy(saved(tmp_path / f"m{steps}", 3), task | {"steps": steps})
        own = digital_accuracy(saved(tmp_path / f"s{steps}", 3, steps=steps), task)
        assert measured.loss == own.loss
        losses.append(measured.loss)
        chip = imc.load_chip("ideal").replace("policy.float", "crossbar").replace("encoding_multibit.weight_bits", 8)
        chip = chip.replace("device.read.sigma", 0.3).to_dict()
        (one,) = evaluate_chips(str(tmp_path / f"m{steps}"), chip, task | {"steps": steps}, [0], 0)
        (other,) = evaluate_chips(str(tmp_path / f"s{steps}"), chip, task, [0], 0)
        counts.append(one.correct)
        assert one.correct == other.correct
    assert len(set(losses)) == 3
    assert len(set(counts)) > 1
    assert losses[1] == digital_accuracy(str(tmp_path / "m1"), task).loss
    resolved = ClassificationTask(**task).to_dict()
    assert "steps" not in task_identity(resolved)
    assert task_identity(resolved | {"steps": 16})["steps"] == 16


@pytest.mark.parametrize("more", [{"activation": "clamp"}, {"activation": "relu"}])
def test_networks_without_steps_refuse_them(tmp_path: Path, more: dict[str, Any]) -> None:
    task = {"kind": "classification", "dataset": "digits", "images": 60, "steps": 4}
    with pytest.raises(InputError, match="Leave task.steps out"):
        digital_accuracy(saved(tmp_path / "m", 0, **more), task)
