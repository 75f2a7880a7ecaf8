"""Details of training that change weights slightly: where numbers are sampled, what is kept, what starts again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imc_sim.config import write_yaml
from imc_sim.config._trust import check_trusted
from imc_sim.evaluate import Accuracy
from imc_sim.nn import BinaryActivation
from imc_sim.nn.networks import BnnMlp
from imc_sim.nn.neurons import Draws, _log_probability, draw_neurons
from imc_sim.nn.rotation import improved_rotation, random_rotation
from imc_sim.nn.store import load_card
from imc_sim.train import (
    ClassificationRecipe,
    ClassificationTrainer,
    ContinualRecipe,
    ContinualTask,
    ContinualTrainer,
    EpisodicTrainer,
    ScoreFunction,
    _boosting,
    _classification,
    _episodic,
    _train,
)
from imc_sim.train._recipe import Measurement
from tests.exact.networks import seeded
from tests.exact.test_train import RECIPE, controller

IMAGES = ClassificationRecipe(
    dataset="digits", validation=10, images=100, epochs=2, batch=40, learning_rate=1e-30, optimizer="sgd", warm_up=0,
    schedule="constant",
)  # fmt: skip


def mlp() -> BnnMlp:
    return seeded(BnnMlp, 64, (10,), 10)


def test_no_two_images_of_a_training_run_share_samples_of_their_neurons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[int] = []
    monkeypatch.setattr(_classification, "draw_neurons", lambda _, draws: first.append(draws.first))
    trainer = ClassificationTrainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), IMAGES, tmp_path)
    monkeypatch.setattr(trainer, "_validate", lambda *_: None)
    trainer.run()
    # three batches of 40, 40 and 20 images per epoch
    assert np.diff(first).min() >= 40
    assert len(first) == 6


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(tmp_path: Path) -> None:
    """The last batch is smaller; at a tiny learning rate every epoch has the loss of the initial network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = ClassificationTrainer(model, IMAGES, tmp_path)
    log = trainer.run()
    logits, labels = trainer.logits(trainer._data.train)
    wanted = float(nn.functional.cross_entropy(logits, labels))
    assert [row["loss"] for row in log] == pytest.approx([wanted] * 2, rel=1e-5)


def test_a_resumed_training_keeps_the_baseline_of_reinforce(tmp_path: Path) -> None:
    stopped = EpisodicTrainer(controller(), RECIPE, tmp_path)
    stopped._score.mean = 0.75
    stopped._save(2)
    resumed = EpisodicTrainer(controller(), RECIPE, tmp_path)
    resumed._begin(resume=True)
    assert (resumed._score.mean, resumed._start) == (0.75, 2)


def test_the_score_term_has_no_gradient_through_the_loss() -> None:
    """d/dw of mean(L) + mean((L - baseline) S) with L constant in the second term; L = w^2, S = 3 w, baseline 0.5."""
    w = torch.tensor([1.0, -2.0, 4.0, 0.5], dtype=torch.float64, requires_grad=True)
    ScoreFunction(0.9, mean=0.5).added(w**2, 3 * w).backward()
    known = w.detach()
    assert w.grad is not None
    assert torch.equal(w.grad, (2 * known + 3 * (known**2 - 0.5)) / 4)


def test_the_slope_of_a_classifier_starts_at_1_and_grows_with_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slopes: list[float] = []
    monkeypatch.setattr(_classification, "set_slope", lambda _, slope: slopes.append(slope))
    recipe = IMAGES.model_copy(update={"slope_growth": 3.0, "epochs": 3})
    ClassificationTrainer(mlp(), recipe, tmp_path).run()
    assert slopes == [1.0, 3.0, 9.0]


def test_the_slope_grows_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slopes: list[float] = []
    monkeypatch.setattr(_episodic, "set_slope", lambda _, slope: slopes.append(slope))
    recipe = RECIPE.model_copy(update={"slope_growth": 2.0, "slope_every": 3, "validate_every": 6})
    EpisodicTrainer(controller(), recipe, tmp_path).run()
    assert slopes == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def test_measured_intervals_are_fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in ([1.0, 1.0, 1.0, 0.8], [0.0, 0.0, 0.0, 0.2]):
        found = Accuracy(np.array(values), 20, "episodes")
        monkeypatch.setattr(_train, "_accuracy", lambda *_, found=found: found)
        (measured,) = _train._measured(nn.Identity(), [Measurement(task={"kind": "few_shot"})])  # type: ignore[arg-type]
        low, high = measured.interval or (-1, 2)
        assert 0.0 <= low < found.mean < high <= 1.0


@pytest.mark.parametrize(("fresh", "made"), [(True, 3), (False, 1)])
def test_an_optimizer_starts_again_with_a_task_not_with_a_part_of_one(
    fresh: bool, made: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ContinualRecipe(
        dataset="digits", tasks=tuple(ContinualTask(permutation=seed) for seed in range(2)), subsets=2, epochs=1,
        batch=50, validation=10, images=100, fresh_optimizer=fresh,
    )  # fmt: skip
    count: list[int] = []
    monkeypatch.setattr(
        ContinualTrainer, "_fresh", lambda self, f=ContinualTrainer._fresh: (count.append(1), f(self))[1]
    )
    ContinualTrainer(mlp(), recipe, tmp_path).run()
    assert len(count) == made


# -- what is trained ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.002, 0.01, 0.5, 0.99, 0.998])
def test_the_score_is_that_of_the_probability(p: float) -> None:
    """Only probabilities within 1e-3 of 0 or 1 are clamped there."""
    given = torch.tensor([[p, p]], requires_grad=True)
    score = _log_probability(given, torch.tensor([[1.0, 0.0]]))
    score.backward()
    assert float(score.detach()) == pytest.approx(np.log(p) + np.log1p(-p), rel=1e-5)
    assert given.grad is not None
    assert given.grad[0].tolist() == pytest.approx([1 / p, -1 / (1 - p)], rel=1e-4)
    assert float(_log_probability(torch.tensor([[1e-5]]), torch.ones(1, 1))) == pytest.approx(np.log(1e-3), rel=1e-5)


def test_each_rotation_follows_the_present_other_one() -> None:
    """Compared with the alternation in numpy, with rotations that are far from identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        w, r1, r2 = torch.randn(5, 12), random_rotation(3), random_rotation(4)
    x, a, b = w.double().numpy().reshape(5, 3, 4), r1.double().numpy(), r2.double().numpy()

    def nearest(m: np.ndarray) -> np.ndarray:
        u, _, vt = np.linalg.svd(m)
        return u @ vt

    for _ in range(3):
        signs = np.where(a.T @ x @ b > 0, 1.0, -1.0)
        a = nearest((x @ b @ signs.swapaxes(1, 2)).sum(0))
        b = nearest((x.swapaxes(1, 2) @ a @ signs).sum(0))
    found = improved_rotation(w, r1, r2)
    assert np.abs(found[0].numpy() - a).max() < 1e-6
    assert np.abs(found[1].numpy() - b).max() < 1e-6


def test_neurons_sample_by_seed_chip_layer_and_image() -> None:
    """Each part of the address matters, and an image's samples do not depend on the batch that it is in."""
    neuron = BinaryActivation(stochastic=True).eval()

    def fired(name: str = "a", count: int = 4, **where: Any) -> list[list[float]]:
        draw_neurons([(name, neuron)], Draws(**where))
        return neuron(torch.zeros(count, 64)).tolist()

    base = fired(seed=0, chip=0, first=0)
    assert fired(seed=0, chip=0, first=2)[:2] == base[2:]
    assert len({str(row) for row in base}) == 4
    for other in (fired(seed=1, chip=0), fired(seed=0, chip=1), fired("b", seed=0, chip=0), fired(seed=0, chip=-1)):
        assert other[0] != base[0]


def test_a_random_number_at_the_end_of_a_weight_is_of_the_next_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = np.array([0.0, 0.24, 0.25, 0.49, 0.5, 0.999])
    monkeypatch.setattr(_boosting, "_uniform", lambda *_: uniform)
    assert _boosting.draw_rows(np.array([0.0, 1.0, 1.0, 2.0]), 6, 0, 0, 0).tolist() == [1, 1, 2, 2, 3, 3]


def test_own_code_that_was_trained_is_measured_wherever_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"kind": "classification", "dataset": "digits", "epochs": 1, "images": 60, "validation": 10, "warm_up": 0}
    stated = {"task": {"kind": "classification", "dataset": "digits"}, "accuracy": 0.5, "interval": [0.4, 0.6]}
    card = {"name": "tiny", "summary": "s", "arch": {"name": "./net.py:Net"}, "recipe": recipe, "measured": [stated]}
    code = "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
    code += "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(64, 10))\n"
    home = tmp_path / "home" / "models" / "tiny"
    home.mkdir(parents=True)
    (home / "model.yaml").write_text(write_yaml(card))
    (home / "net.py").write_text(code)
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.delenv("IMC_SIM_TRUST", raising=False)
    measured: list[Path] = []

    def measure(folder: Path) -> Path:
        check_trusted(folder, "model")
        assert load_card(folder)[0].measured == (), "those of other weights"
        measured.append(folder)
        return folder

    monkeypatch.setattr(_train, "measure_model", measure)
    assert _train.train_model("tiny", tmp_path / "away") == tmp_path / "away"
    assert measured == [tmp_path / "away"]
    with pytest.raises(ValueError, match="was not run"):
        check_trusted(tmp_path / "away", "model")
