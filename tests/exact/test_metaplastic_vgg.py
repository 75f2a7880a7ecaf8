"""The deep binary network of the CIFAR-10 stream compared with its layout; on a chip; dropout."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import imc_sim as imc
from imc_sim import InputError
from imc_sim.nn import Norm, product_layers
from imc_sim.nn.networks import BnnVgg


def seeded(**args: object) -> BnnVgg:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return BnnVgg(**args)  # type: ignore[arg-type]


def norms_of(model: BnnVgg) -> list[Norm]:
    return [norm for norm in model.norm if isinstance(norm, Norm)]


def literal(model: BnnVgg, x: Tensor) -> Tensor:
    """Return the published layers, one after the other; signs of 0 do not occur."""
    w = [layer.weight.detach().sign() for layer in product_layers(model)]
    norms = iter(norms_of(model))

    def normed(y: Tensor) -> Tensor:
        norm = next(norms)
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    def stage(y: Tensor) -> Tensor:
        return F.hardtanh(normed(y)).sign()

    x = stage(F.conv2d(x, w[0], padding=1))
    x = stage(F.max_pool2d(F.conv2d(x, w[1], padding=1), 2))
    x = stage(F.conv2d(x, w[2], padding=1))
    x = stage(F.max_pool2d(F.conv2d(x, w[3], padding=1), 2))
    x = stage(F.conv2d(x, w[4], padding=1))
    x = stage(F.max_pool2d(F.conv2d(x, w[5]), 2))
    x = stage(x.flatten(1) @ w[6].T)
    x = stage(x @ w[7].T)
    return normed(x @ w[8].T)


def test_layers_equal_the_published_ones() -> None:
    model = seeded(width=0.06).eval()
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(9, 3, 32, 32, generator=generator)
    with torch.no_grad():
        for norm in norms_of(model):
            assert norm.weight is not None
            for values, start in ((norm.running_mean, 0.0), (norm.running_var, 9.0), (norm.weight.data, 0.5)):
                values.copy_(start + torch.rand(values.shape, generator=generator))
        torch.testing.assert_close(model(x), literal(model, x), rtol=1e-4, atol=1e-4)


def test_counts_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = BnnVgg()
    assert sum(layer.weight.numel() for layer in product_layers(model)) == 18_226_560
    assert sum(p.numel() for p in model.parameters()) == 18_238_356


def test_dropout_sets_signs_to_zero_in_training_only() -> None:
    model = seeded(width=0.06, dropout=0.4)
    seen: list[Tensor] = []
    model.fc[1].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    x = torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model.train()(x)
        model.eval()(x)
    assert set(seen[0].unique().tolist()) == {-1.0, 0.0, 1.0}
    assert float((seen[0] == 0).double().mean()) == pytest.approx(0.4, abs=0.02)
    assert set(seen[1].unique().tolist()) == {-1.0, 1.0}


def test_a_chip_without_effects_equals_the_network_to_the_bit() -> None:
    model = seeded(width=0.05).eval()
    x = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(imc.map_model(model, "ideal")(x)[0], model(x))


@pytest.mark.parametrize("args", [{"width": 0.0}, {"dropout": 1.0}, {"size": 15}])
def test_impossible_sizes_are_refused(args: dict) -> None:
    with pytest.raises(InputError, match=r"arch\.(args|width)"):
        BnnVgg(**args)
