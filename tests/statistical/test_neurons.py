"""Stochastic neurons fire with their probabilities. Fixed keys; false-alarm rates are stated."""

import pytest
import torch
from scipy import stats

from imc_sim.nn import BinaryActivation
from imc_sim.nn.neurons import Draws, draw_neurons

COUNT = 100_000


@pytest.mark.parametrize("z", [-0.9, -0.3, 0.0, 0.45, 0.99])
def test_a_stochastic_neuron_fires_with_its_probability(z):
    """Binomial test of 100,000 neurons each; false-alarm rate 1e-4 per value, fixed key."""
    neuron = BinaryActivation(stochastic=True).eval()
    draw_neurons([("layer", neuron)], Draws(seed=11))
    fired = int(neuron(torch.full((10, COUNT // 10), z)).sum())
    assert stats.binomtest(fired, COUNT, (z + 1) / 2).pvalue > 1e-4


def test_neurons_of_an_image_and_of_its_neighbour_fire_independently():
    """Correlation of 100,000 pairs; false-alarm rate 1e-4, fixed key."""
    neuron = BinaryActivation(stochastic=True).eval()
    draw_neurons([("layer", neuron)], Draws(seed=12))
    first, second = neuron(torch.zeros(2, COUNT))
    r = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
    assert 2 * stats.norm.sf(abs(r) * COUNT**0.5) > 1e-4
