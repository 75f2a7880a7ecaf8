"""The controller compared with its publication: sizes, initial values, gradients, similarities."""

import importlib
import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from imc_sim import InputError
from imc_sim.nn import (
    POLICIES,
    WEIGHT_KINDS,
    Conv2d,
    Linear,
    Policy,
    _binarize,
    binary_activation,
    binary_weight,
    integer_levels,
    standardise,
    two_valued,
)
from imc_sim.nn._binarize import standardised_signs
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.similarity import cosine, key_form, sharpen, training_logits


@pytest.mark.parametrize(
    ("kind", "size", "count"),
    [
        ("float", 32, 1_757_312),
        ("xnor", 32, 1_757_184),
        ("xnor_binary_fc", 32, 1_757_185),
        ("rbnn", 32, 1_758_080),
        ("rbnn_binary_fc", 32, 1_758_593),
    ],
)
def test_parameter_counts_are_the_published_ones(kind: str, size: int, count: int) -> None:
    model = BatmannController(kind, size=size)
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.features.conv2.weight.shape == (128, 128, 5, 5)


def test_mnist_images_give_1152_inputs_to_the_last_layer() -> None:
    model = BatmannController("xnor", size=28)
    assert model.fc1.weight.shape == (512, 1152)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 512)


def test_alpha_starts_from_the_weights_of_torch() -> None:
    model = BatmannController("xnor_binary_fc")
    for layer, expected in ((model.features.conv2, 0.00884), (model.features.conv3, 0.01473), (model.fc1, 0.01105)):
        assert float(layer.alpha.detach().mean()) == pytest.approx(expected, rel=0.02)
    assert model.fc1.bias is not None
    assert torch.equal(model.fc1.bias, torch.ones(512))
    assert float(model.features.conv2.weight.detach().std()) == pytest.approx(math.sqrt(2 / (25 * 128)), rel=0.01)


def test_binary_weight_clips_its_gradient_and_does_not_gate_it() -> None:
    w = torch.tensor([-3.0, -0.2, 0.2, 3.0], requires_grad=True)
    (binary_weight(w) * torch.tensor([5.0, -0.5, 0.5, -7.0])).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [1.0, -0.5, 0.5, -1.0]


def test_binary_activation_passes_its_gradient_inside_one() -> None:
    a = torch.tensor([-1.0, -0.9, 0.9, 1.0], requires_grad=True)
    (binary_activation(a) * 3).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [0.0, 3.0, 3.0, 0.0]


@pytest.mark.parametrize(("shape", "dtype"), [((7, 3, 5, 5), torch.float32), ((3, 90), torch.float64)])
def test_signs_of_mixed_precision_have_the_gradient_of_float32(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_binarize, "_CACHED", 200)  # two samples of 75 together, and one alone
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).add(0.3).relu().requires_grad_()
    up = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    plain, fused = binary_activation(standardise(x)), standardised_signs(x, dtype)
    assert fused.dtype == dtype
    assert torch.equal(fused.float(), plain)
    (wanted,) = torch.autograd.grad(plain, x, up.float())
    (found,) = torch.autograd.grad(fused, x, kept := up.clone())
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()
    assert torch.equal(kept, up), "the gradient of others is unchanged"
    (found,) = torch.autograd.grad(
        standardised_signs(constant := torch.ones(2, 3).requires_grad_(), dtype).sum(), constant
    )
    assert not found.any()
    assert standardised_signs(torch.ones(0, 3).requires_grad_(), dtype).shape == (0, 3)


def test_an_xnor_layer_has_signs_of_mixed_precision_only_there() -> None:
    layer, x = Linear(5, 2, "xnor"), torch.randn(3, 5)
    assert layer.operand(x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.operand(x).dtype == torch.bfloat16
        with torch.no_grad():
            assert torch.equal(layer.operand(x), layer.operand(x.double()).float())


def test_binary_values_have_no_zero() -> None:
    x = torch.tensor([-1e-30, 0.0, 1e-30, -0.0, 5.0])
    assert two_valued(x).tolist() == [-1.0, -1.0, 1.0, -1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_comparison_with_the_mean_gives_the_signs_of_the_differences(dtype: torch.dtype) -> None:
    """To the bit: also for equal numbers, neighbours, and differences of the smallest number that there is."""
    mean = torch.tensor([[0.1], [0.0], [-3.0], [2 * torch.finfo(dtype).smallest_normal]], dtype=torch.float64).to(dtype)
    bits = mean.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[mean.element_size()])
    x = torch.cat([mean, (bits + 1).view(dtype), (bits - 1).abs().view(dtype), -mean, 1.5 * mean, mean + 1], 1)
    assert two_valued(x, above=mean).equal(two_valued(x - mean))
    assert two_valued(x, above=mean)[:, 0].tolist() == [-1.0] * 4
    assert not two_valued(x, above=mean).equal(two_valued(x))


def test_standardise_uses_the_unbiased_deviation_per_slice() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3 + 2
    std, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
    assert torch.allclose(standardise(x), (x - mean) / std, atol=1e-5)
    assert torch.equal(standardise(torch.full((2, 7), 3.0)), torch.zeros(2, 7))


def test_xnor_convolution_is_the_published_formula() -> None:
    layer = Conv2d(4, 6, 3, "xnor", bias=False).eval()
    x = torch.randn(5, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    sign_x = torch.sign(x - x.mean((1, 2, 3), keepdim=True))
    sign_w = torch.sign(layer.weight - layer.weight.mean((1, 2, 3), keepdim=True))
    with torch.no_grad():
        assert torch.equal(layer(x), F.conv2d(sign_x, sign_w) * layer.alpha)


@pytest.mark.parametrize(("channels", "size"), [(1, 9), (3, 8), (6, 16), (8, 9)])
def test_a_strided_convolution_of_few_channels_has_the_exact_gradients(channels: int, size: int) -> None:
    """oneDNN on AVX2 ends the process in the backward pass of such strides."""
    layer, x = Conv2d(channels, 5, 1, stride=2), torch.randn(32, channels, size, size, requires_grad=True)
    exact = [t.detach().double().requires_grad_() for t in (x, layer.weight)]
    wanted = torch.autograd.grad(F.conv2d(*exact, stride=2).square().sum(), exact)
    for _ in range(20):
        found = torch.autograd.grad(layer.product(x, layer.weight).square().sum(), (x, layer.weight))
    assert all(torch.allclose(a.double(), b, rtol=1e-4, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_xnor_linear_scales_its_bias_too() -> None:
    layer = Linear(32, 3, "xnor").eval()
    assert layer.bias is not None
    torch.nn.init.constant_(layer.bias, 2.0)
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        product = layer.operand(x) @ layer.weight_operand().T
        assert torch.equal(layer(x), (product + 2.0) * layer.alpha)


def test_eight_bit_levels_follow_both_scale_rules() -> None:
    w = torch.tensor([-2.0, 0.5, 1.0])
    levels, step = integer_levels(w)
    assert levels.tolist() == [-127.0, 32.0, 64.0]
    assert float(step) == pytest.approx(2 / 127)
    signed, step = integer_levels(w, scale="signed_max")
    assert signed.tolist() == [-254.0, 64.0, 127.0]
    assert float(step) == pytest.approx(1 / 127)


def test_eight_bit_gradient_is_that_of_the_weight() -> None:
    layer = Linear(8, 4, "int8", bias=False)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(3))
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert torch.allclose(layer.weight.grad, x.sum(0).expand(4, -1), atol=1e-5)


@pytest.mark.parametrize("kind", ["xnor", "xnor_binary_fc"])
def test_inference_does_not_depend_on_the_batch_or_on_autograd(kind: str) -> None:
    model = BatmannController(kind, width=16, dim=64).eval()
    x = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        whole = model(x)
        assert torch.equal(whole, torch.cat([model(x[:1]), model(x[1:4]), model(x[4:])]))
    assert torch.equal(whole, model(x).detach())


def test_sharpenings_are_the_published_functions() -> None:
    c = torch.linspace(-1, 1, 21)
    logistic = 1 / (1 + torch.exp(-10 * (c - 0.5))) + 1 / (1 + torch.exp(-10 * (-c - 0.5)))
    assert torch.allclose(sharpen(c, "softabs"), logistic, atol=1e-6)
    cosh = 2 * math.exp(-5) * torch.cosh(10 * c)
    assert torch.allclose(sharpen(c, "softabs_exp"), cosh, rtol=1e-5, atol=0)
    assert torch.allclose(sharpen(c, "softmax"), c.exp())
    with pytest.raises(InputError, match="Did you mean 'softabs'"):
        sharpen(c, "softab")  # type: ignore[arg-type]


def test_training_logits_are_z_scored_over_the_episode() -> None:
    q, k = (torch.randn(6, 16, generator=torch.Generator().manual_seed(s)) for s in (5, 6))
    weights = sharpen(cosine(q, k[:3]), "softabs_exp")
    weights = weights / weights.sum(1, keepdim=True)
    expected = (weights - weights.mean()) / weights.std() @ torch.eye(3)
    assert torch.allclose(training_logits(cosine(q, k[:3]), torch.eye(3), "softabs_exp"), expected, atol=1e-6)


def test_key_forms_are_as_published() -> None:
    f = torch.tensor([-0.3, 0.0, 2.0])
    assert key_form(f, "bipolar").tolist() == [-1.0, -1.0, 1.0]
    assert key_form(f, "binary").tolist() == [0.0, 0.0, 1.0]
    assert key_form(f, "float") is f


def test_names_that_moved_to_a_subpackage_still_resolve() -> None:
    from imc_sim import nn as digital

    for subpackage, names in digital._MOVED.items():
        module = importlib.import_module(f"imc_sim.nn.{subpackage}")
        for name in names.split():
            assert name in module.__all__, name
            assert getattr(digital, name) is getattr(module, name)
    assert not {name for names in digital._MOVED.values() for name in names.split()} & set(digital.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        digital.no_such_name  # noqa: B018


def test_every_policy_has_a_kind_and_a_place_on_a_chip() -> None:
    places = {policy: kind.chip_kind for policy, kind in WEIGHT_KINDS.items()}
    assert tuple(places) == POLICIES == get_args(Policy)
    assert places == dict.fromkeys(("xnor", "rbnn", "sign", "latent"), "binary") | {"int8": "int8", "float": "float"}
    stored = {policy: kind.stored for policy, kind in WEIGHT_KINDS.items()}
    assert stored == dict.fromkeys(("xnor", "rbnn", "sign", "latent"), "bits") | {"int8": "integers", "float": "plain"}
    assert [policy for policy, kind in WEIGHT_KINDS.items() if kind.plain_gradient] == ["float", "latent"]
    assert [policy for policy, kind in WEIGHT_KINDS.items() if kind.makes_inputs] == ["xnor"]
    assert [policy for policy, kind in WEIGHT_KINDS.items() if kind.rotated] == ["rbnn"]
