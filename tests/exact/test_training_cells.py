"""Hidden weights stored in cells: each effect on a step by hand, equality without effects, resume."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.nn import Linear, product_layers
from imc_sim.nn.networks import BnnMlp
from imc_sim.train import CellArray, Cells, ContinualRecipe, ContinualTask, ContinualTrainer, MetaplasticAdam, f_meta
from tests.exact.networks import equal, seeded

TASKS = tuple(ContinualTask(permutation=seed) for seed in range(2))
RECIPE = ContinualRecipe(dataset="digits", tasks=TASKS, epochs=2, batch=50, validation=47, images=300, seed=1)


def network() -> BnnMlp:
    return seeded(BnnMlp, 64, (20,), 10)


def trained(folder: Path, **changes: Any) -> BnnMlp:
    model = network()
    ContinualTrainer(model, RECIPE.model_copy(update=changes), folder).run()
    return model


def stepped(cells: Cells, w: Tensor, step: Tensor, steps: int = 1, seed: int = 0) -> Tensor:
    """Return weights [out, in] after equal steps of an optimizer."""
    layer = Linear(w.shape[1], w.shape[0], "latent", bias=False)
    layer.weight.data = w.clone()
    model, optimizer = nn.Sequential(layer), torch.optim.SGD(layer.parameters(), 1.0)
    array = CellArray(model, cells, seed)
    array.program()
    array.attach(optimizer)
    for _ in range(steps):
        layer.weight.grad = -step
        optimizer.step()
    return layer.weight.detach()


def some(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# -- one effect at a time ----------------------------------------------------------------------------------


def test_cells_without_effects_train_the_same_bits(tmp_path: Path) -> None:
    plain, held = trained(tmp_path / "a", m=3.0), trained(tmp_path / "b", m=3.0, cells=Cells(window=50.0))
    assert max(float(layer.weight.detach().abs().max()) for layer in product_layers(plain)) < 50
    assert equal(plain, held)
    assert not equal(plain, trained(tmp_path / "c", m=3.0, cells=Cells(window=0.1)))


def test_the_window_bounds_weights() -> None:
    w, step = some(0, 9, 11) * 0.6, some(1, 9, 11)
    assert torch.equal(stepped(Cells(window=0.5), w, step), (w.clamp(-0.5, 0.5) + step).clamp(-0.5, 0.5))


@pytest.mark.parametrize("n", [-4.0, -0.5, 0.7, 5.0])
def test_nonlinear_cells_follow_the_pulse_model(n: float) -> None:
    """1,000 pulses up from the lower bound: g(P) = B (1 - exp(-n P / 1000)), B = 1 / (1 - exp(-n)); and back down."""
    cells, pulse = Cells(window=2.0, nonlinearity=n), torch.full((1, 1), 4.0 / 1000)
    for count in (1, 250, 700, 999):
        wanted = (1 - math.exp(-n * count / 1000)) / (1 - math.exp(-n))
        up = stepped(cells, torch.full((1, 1), -2.0), pulse, count)
        down = stepped(cells, torch.full((1, 1), 2.0), -pulse, count)
        assert float(up + 2) / 4 == pytest.approx(wanted, abs=0.01)
        assert float(2 - down) / 4 == pytest.approx(wanted, abs=0.01)
    assert abs(float(stepped(cells, torch.full((1, 1), -2.0), pulse, 500)) - 0.0) > 0.05


def test_asymmetric_and_metaplastic_steps_equal_their_formulas() -> None:
    w, step = some(2, 30, 40) * 0.9, some(3, 30, 40) * 0.01
    skewed = stepped(Cells(asymmetry=-0.4), w, step)
    torch.testing.assert_close(skewed - w, step * torch.where(step > 0, 0.6, 1.4), rtol=0, atol=2e-7)
    meta = stepped(Cells(metaplasticity=2.5), w, step)
    inward = w * step < 0
    torch.testing.assert_close((meta - w)[~inward], step[~inward], rtol=0, atol=2e-7)
    torch.testing.assert_close((meta - w)[inward], (step * f_meta(w, 2.5))[inward], rtol=0, atol=2e-7)


def test_the_rule_of_a_cell_equals_the_metaplastic_optimizer(tmp_path: Path) -> None:
    """One step from equal states, by Adam with m and by Adam without it on cells with m."""
    found = []
    for m, own in ((4.0, 0.0), (0.0, 4.0)):
        layer = Linear(30, 20, "latent", bias=False)
        layer.weight.data = some(4, 20, 30)
        optimizer = MetaplasticAdam(layer.parameters(), lr=0.05, m=m)
        CellArray(nn.Sequential(layer), Cells(window=9.0, metaplasticity=own), 0).attach(optimizer)
        for seed in range(5, 9):
            layer.weight.grad = some(seed, 20, 30)
            optimizer.step()
        found.append(layer.weight.detach())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
    assert float((found[0] - some(4, 20, 30)).abs().max()) > 0.05


def test_levels_are_kept_and_steps_between_them_keep_their_mean() -> None:
    """Of 40,000 weights at one level a quarter of a distance up: 25 % move (five standard errors: 1.1 %)."""
    cells = Cells(levels=9)
    w = torch.full((200, 200), 0.26)
    found = stepped(cells, w, torch.full_like(w, 0.0625))
    assert sorted(set(found.flatten().tolist())) == [0.25, 0.5]
    assert float((found == 0.5).double().mean()) == pytest.approx(0.25, abs=0.011)
    assert torch.equal(stepped(cells, w, torch.zeros_like(w), 3), torch.full_like(w, 0.25))
    down = stepped(cells, w, torch.full_like(w, -0.25 * 1.5))
    assert sorted(set(down.flatten().tolist())) == [-0.25, 0.0]
    assert set(stepped(cells, some(5, 50, 50), some(6, 50, 50) * 3).flatten().tolist()) <= {k / 4 for k in range(-4, 5)}


# -- statistics: fixed keys, false alarms under 1e-3 ---------------------------------------------------------


def test_noise_is_normal_new_in_every_step_and_proportional() -> None:
    w, step = torch.zeros(150, 200), torch.full((150, 200), 0.01)
    cells = Cells(window=9.0, noise=0.3)
    first, both = stepped(cells, w, step), stepped(cells, w, step, 2)
    relative = [first / 0.01 - 1, (both - first) / 0.01 - 1]
    for each in relative:
        assert kstest((each / 0.3).flatten().numpy(), norm.cdf).pvalue > 1e-3
    assert abs(float(np.corrcoef([each.flatten().numpy() for each in relative])[0, 1])) < 0.02
    assert not torch.equal(first, stepped(cells, w, step, seed=1))


def test_variation_is_log_normal_constant_and_separate_for_each_direction() -> None:
    w, step = torch.zeros(150, 200), torch.full((150, 200), 0.01)
    cells = Cells(window=9.0, spread=0.5)
    up, twice, down = stepped(cells, w, step), stepped(cells, w, step, 2), stepped(cells, w, -step)
    torch.testing.assert_close(twice, 2 * up)
    logs = [torch.log(up / 0.01), torch.log(-down / 0.01)]
    for each in logs:
        assert kstest((each / 0.5).flatten().numpy(), norm.cdf).pvalue > 1e-3
    assert abs(float(np.corrcoef([each.flatten().numpy() for each in logs])[0, 1])) < 0.02


# -- in the trainer ----------------------------------------------------------------------------------------

ACTS: list[dict[str, Any]] = [
    {}, {"window": 0.08}, {"levels": 21}, {"nonlinearity": 2.0}, {"metaplasticity": 5.0}, {"asymmetry": 0.2},
    {"spread": 0.3}, {"noise": 0.5},
]  # fmt: skip


def test_every_property_of_cells_changes_what_is_learned(tmp_path: Path) -> None:
    found = [trained(tmp_path / str(n), cells=Cells(**act)).state_dict() for n, act in enumerate(ACTS)]
    for n, one in enumerate(found):
        assert not any(torch.equal(one["fc.0.weight"], other["fc.0.weight"]) for other in found[:n])
    assert set(torch.unique(found[2]["fc.0.weight"] * 10).round(decimals=4).tolist()) <= set(range(-10, 11))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_stopped_and_resumed_run_samples_the_same(tmp_path: Path, fresh: bool) -> None:
    changes = {"cells": Cells(noise=0.5, levels=41, spread=0.3), "fresh_optimizer": fresh, "method": "si"}
    recipe = RECIPE.model_copy(update=changes)
    whole = trained(tmp_path / "whole", **changes)

    def halt(done: int, total: int, row: dict[str, float]) -> None:
        if done == 21:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ContinualTrainer(network(), recipe, tmp_path / "parts").run(progress=halt)
    resumed = network()
    ContinualTrainer(resumed, recipe, tmp_path / "parts").run(resume=True)
    assert equal(whole, resumed)


def test_without_cells_the_digest_of_training_is_unchanged() -> None:
    assert "cells" not in RECIPE.model_copy(update={"cells": None}).training_digest()
    assert RECIPE.training_digest() != RECIPE.model_copy(update={"cells": Cells()}).training_digest()


def test_layers_without_hidden_weights_are_refused() -> None:
    with pytest.raises(InputError, match="recipe.cells"):
        CellArray(nn.Sequential(Linear(4, 3, "xnor")), Cells(), 0)
