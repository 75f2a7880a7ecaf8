"""FGSM and PGD compared with the Adversarial Robustness Toolbox, where it is installed (extra `attacks`)."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.evaluate.attacks.steps import fgsm, gradient_of, pgd

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def toolbox() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("art.attacks.evasion")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.Tanh(), nn.Linear(24, 5)).eval()


def estimator(network: nn.Module) -> Any:
    from art.estimators.classification import PyTorchClassifier  # type: ignore[import-not-found]

    loss = nn.CrossEntropyLoss(reduction="sum")
    return PyTorchClassifier(network, loss, (1, 6, 6), 5, clip_values=(0.0, 1.0), device_type="cpu")


def sampled() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 1, 6, 6), generator=generator).double() / 255
    return pixels, torch.randint(0, 5, (20,), generator=generator)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("steps", [1, 7])
def test_attacks_equal_those_of_the_toolbox(toolbox: Any, network: nn.Module, epsilon: float, steps: int) -> None:
    pixels, labels = sampled()
    gradient = gradient_of(lambda x: F.cross_entropy(network(x.float()), labels, reduction="sum"))
    if steps == 1:
        ours = fgsm(pixels, gradient(pixels).sign(), epsilon)
        attack = toolbox.FastGradientMethod(estimator(network), norm=np.inf, eps=epsilon)
    else:
        ours = pgd(pixels, gradient, epsilon, steps, epsilon / 3)
        settings = {"norm": np.inf, "eps": epsilon, "eps_step": epsilon / 3, "max_iter": steps, "verbose": False}
        attack = toolbox.ProjectedGradientDescent(estimator(network), num_random_init=0, **settings)
    theirs = attack.generate(pixels.float().numpy(), y=labels.numpy())
    assert float((ours.float() - torch.from_numpy(theirs)).abs().max()) < 1e-6
    assert float((ours - pixels).abs().max()) > 0.99 * epsilon
