"""Binary activations: what fires, which gradient passes, and the comparator that they fold into."""

import itertools

import pytest
import torch
from torch import nn

import imc_sim as imc
from imc_sim.nn import BinaryActivation, Linear, Norm, comparator_of, fold_comparators
from imc_sim.nn.networks import BinaryActivationNet, Conv4
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of, set_slope, take_score
from imc_sim.train import ScoreFunction

Z = torch.tensor([[-2.0, -1.0, -0.25, 0.0, 1e-30, 0.5, 1.0, 3.0]])


def test_a_deterministic_neuron_fires_above_zero_and_passes_half_the_slope_inside():
    neuron = BinaryActivation().train()
    neuron.slope = 2.0
    z = Z.clone().requires_grad_()
    fired = neuron(z)
    fired.backward(torch.arange(1.0, 9.0)[None])
    assert fired.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert z.grad is not None
    # |2 z| < 1 holds for -0.25, 0 and 1e-30; 0.5 is at the edge, which is outside
    assert z.grad.tolist() == [[0, 0, 3, 4, 5, 0, 0, 0]]


@pytest.mark.parametrize("estimator", ["reinforce", "frozen"])
def test_only_straight_through_estimators_pass_a_gradient(estimator):
    below, neuron = Linear(4, 3), BinaryActivation(estimator, stochastic=True).train()
    out = nn.Linear(3, 2)
    out(neuron(below(torch.ones(5, 4)))).sum().backward()
    assert below.weight.grad is None
    assert out.weight.grad is not None


def test_the_slope_acts_in_training_only():
    z, neuron = torch.full((1, 20_000), 0.5), BinaryActivation(stochastic=True)
    network = nn.Sequential(neuron)
    set_slope(network, 4.0)
    assert neuron.train()(z).mean() == 1.0  # p = clip(4 x 0.5) = 1
    assert 0.7 < float(neuron.eval()(z).mean()) < 0.8  # p = 0.75


def test_samples_are_addressed_by_seed_chip_layer_and_image():
    z, neuron = torch.zeros(6, 3, 5), BinaryActivation(stochastic=True).eval()

    def fired(part: torch.Tensor, name: str = "a", seed: int = 0, chip: int = -1, first: int = 0) -> torch.Tensor:
        draw_neurons([(name, neuron)], Draws(seed, chip, first))
        return neuron(part)

    whole = fired(z)
    assert torch.equal(torch.cat([fired(z[:2]), fired(z[2:], first=2)]), whole)
    assert torch.equal(fired(z), whole)
    for other in (fired(z, seed=1), fired(z, chip=0), fired(z, first=7), fired(z, name="b")):
        assert not torch.equal(other, whole)
    assert not torch.equal(fired(z, chip=0), fired(z, chip=1))


def test_the_score_function_is_unbiased_over_all_patterns():
    """Summed with their probabilities over all 8 patterns, the estimates are the gradient of the expected loss."""
    torch.manual_seed(0)
    z0 = torch.tensor([[-0.6, 0.1, 0.7]], dtype=torch.float64)
    loss_of = {b: float(i * i - 5) for i, b in enumerate(itertools.product((0.0, 1.0), repeat=3))}

    z = z0.clone().requires_grad_()
    p = (z[0] + 1) / 2
    each = [loss * torch.stack([p[i] if b[i] else 1 - p[i] for i in range(3)]).prod() for b, loss in loss_of.items()]
    expected = torch.stack(each).sum()
    (truth,) = torch.autograd.grad(expected, z)

    for baseline in (0.0, 11.0):
        total = torch.zeros_like(z0)
        for b, loss in loss_of.items():
            z = z0.clone().requires_grad_()
            neuron = BinaryActivation("reinforce").train()
            neuron._uniform = lambda z, b=b: torch.where(torch.tensor(b) > 0, 0.0, 1.0).double()[None]
            fired = neuron(z)
            assert fired[0].tolist() == list(b)
            score = take_score(neurons_of(nn.Sequential(neuron)))
            estimate = ScoreFunction(0.9, mean=baseline).added(torch.tensor([loss]).double(), score)
            (gradient,) = torch.autograd.grad(estimate, z)
            probability = torch.stack([(z0[0, i] + 1) / 2 if b[i] else (1 - z0[0, i]) / 2 for i in range(3)]).prod()
            total += probability * gradient
        torch.testing.assert_close(total, truth, rtol=1e-12, atol=1e-12)


def test_the_baseline_is_a_running_mean_of_the_loss():
    score = torch.zeros(2, requires_grad=True)
    function = ScoreFunction(0.75)
    for losses, mean in (([2.0, 4.0], 3.0), ([5.0, 5.0], 3.5)):
        function.added(torch.tensor(losses), score)
        assert function.mean == mean
    (gradient,) = torch.autograd.grad(function.added(torch.tensor([6.0, 10.0]), score), score)
    assert gradient.tolist() == [1.25, 3.25]  # (L - 3.5) / 2 images
    none = ScoreFunction(1.0)
    (gradient,) = torch.autograd.grad(none.added(torch.tensor([6.0, 10.0]), score), score)
    assert gradient.tolist() == [3.0, 5.0]


def test_a_reinforce_neuron_samples_in_training_and_thresholds_at_inference():
    z, neuron = torch.full((1, 1000), 0.2), BinaryActivation("reinforce")
    assert 0.5 < float(neuron.train()(z).mean()) < 0.7
    assert neuron.eval()(z).mean() == 1.0
    assert neuron.take_score() is not None
    assert neuron.take_score() is None


def _rough_norm(channels: int) -> Norm:
    """Return a norm with scales of both signs, tiny, huge and zero."""
    generator = torch.Generator().manual_seed(5)
    norm = Norm(channels).eval()
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            assert values is not None
            values.copy_(
                torch.randn(channels, generator=generator) * 10 ** (torch.randn(channels, generator=generator))
            )
        norm.running_var.copy_(torch.rand(channels, generator=generator) * 10 + 1e-6)
        assert norm.weight is not None
        norm.weight[:4] = torch.tensor([0.0, -0.0, 1e-30, -1e30])
    return norm


def test_a_comparator_fires_exactly_where_the_norm_is_positive():
    """At its limit, and at each of the 50 float32 numbers on either side of it."""
    norm = _rough_norm(400)
    comparator = comparator_of(norm)
    steps = torch.arange(-50, 51)
    finite = comparator.limit.clamp(-3e38, 3e38)
    ordered = finite.view(torch.int32).long()
    ordered = torch.where(ordered < 0, -(ordered & 0x7FFFFFFF), ordered) + steps[:, None]
    bits = torch.where(ordered < 0, -ordered - 2**31, ordered).to(torch.int32)
    x = bits.view(torch.float32) * comparator.sign
    x = torch.cat([x, torch.randn(1000, 400), torch.zeros(1, 400)])
    assert torch.equal(comparator(x), (norm(x) > 0).float())
    assert 0.2 < float(comparator(x[:101]).mean()) < 0.8  # the limit is where the answer changes


@pytest.mark.parametrize("down", ["pool", "stride"])
def test_a_folded_network_is_equal_to_the_bit(down):
    network = BinaryActivationNet("1a", binary=(1, 2), down=down, size=12)
    for norm in [m for m in network.modules() if isinstance(m, Norm)]:
        norm.load_state_dict(_rough_norm(len(norm.running_mean)).state_dict())
    folded = fold_comparators(network.eval())
    x = torch.randn(64, 1, 12, 12)
    assert not [m for m in folded.modules() if isinstance(m, Norm | BinaryActivation)]
    assert torch.equal(folded(x), network(x))


def test_a_network_that_samples_is_not_folded():
    network = fold_comparators(BinaryActivationNet("1a", binary=(1, 2), stochastic=True))
    assert len(neurons_of(network)) == 2


def test_binary_blocks_give_keys_of_bits():
    features = Conv4(binary=[4]).eval()(torch.randn(10, 1, 28, 28))
    assert features.shape == (10, 64)
    assert set(features.unique().tolist()) == {0.0, 1.0}
    assert len(neurons_of(Conv4(binary=[1, 3], stochastic=True))) == 2


@pytest.mark.parametrize(
    ("args", "parameters"),
    [
        ({"layout": "1a"}, 29_034),
        ({"layout": "1b"}, 11_790),
        ({"layout": "1b", "down": "pool"}, 11_790),
        ({"layout": "1b", "bias": False}, 11_760),
        ({"layout": "1b", "mixt": True}, 10_890),
        ({"layout": "2a"}, 5_203_287),
        ({"layout": "2b"}, 44_120_535),
    ],
)
def test_published_networks_have_the_published_number_of_parameters(args, parameters):
    with torch.device("meta"):
        network = BinaryActivationNet(**args)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"layout": "1c"}, "1a, 1b, 2a, 2b"),
        ({"binary": [3]}, "1 to 2"),
        ({"binary": [1, 1]}, "1 to 2"),
        ({"estimator": "straight"}, "straight_through"),
        ({"down": "skip"}, "pool, stride"),
        ({"size": 3}, "halvings"),
    ],
)
def test_unknown_settings_are_refused_with_the_known_ones(args, told):
    with pytest.raises(imc.InputError, match=told):
        BinaryActivationNet(**args)
