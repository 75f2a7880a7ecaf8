"""Modules as people write them: norms of weights, hooks, views, subclasses, memory formats, train mode, gradients."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

import imc_sim as imc
from imc_sim import InputError
from imc_sim.analog import straight_through
from imc_sim.array import Chip
from imc_sim.config import build

CHIP = build(
    Chip, {"device": {"g_lrs_S": 1e-4, "g_hrs_S": 0.0, "levels": "continuous"},
           "policy": {"int8": "crossbar", "float": "crossbar"}, "encoding_multibit": {"kind": "differential"}}, "chip",
)  # fmt: skip


class Viewed(nn.Module):
    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(channels, 3, 3), nn.Linear(3 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x).view(len(x), -1))


class OwnLinear(imc.nn.Linear):  # type: ignore[misc]  # final, which nothing enforces
    """A layer of the package with another forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * F.linear(x, self.weight)


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    network[0].register_forward_hook(lambda _module, _inputs, y: y.relu())
    network[1].register_forward_pre_hook(lambda _module, inputs: (inputs[0] + 1.0,))
    return network


def normed() -> nn.Module:
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)), nn.ReLU(),
                            parametrizations.spectral_norm(nn.Linear(5, 4)))  # fmt: skip
    network(torch.randn(3, 6))  # spectral norm iterates in training
    return network


class Keeping(nn.Module):
    """Keeps a tensor that a pass has computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.kept = nn.Parameter(torch.randn(4, 6)), {}

    def forward(self, x: Tensor) -> Tensor:
        self.kept["last"] = [self.weight * 2]
        return nn.functional.linear(x, self.kept["last"][0])


def passed(network: nn.Module) -> nn.Module:
    network(torch.randn(3, 6)).sum().backward()
    return network


def hooked_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return passed(nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 5)), nn.ReLU()))


class Centred(nn.Module):
    """Centres its weights in place in every pass, which rounds their scale otherwise every time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data += 1e-7 * torch.randn(5, 1)
        return F.linear(x, self.weight.sign() * self.weight.abs().mean(1, keepdim=True))


class Quantised:
    """Values with a scale, no tensor of torch, as in libraries for quantisation."""

    def __init__(self, whole: Tensor, scale: float) -> None:
        self.whole, self.scale = whole, scale

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Tensor], types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Tensor:
        return func(*[x.whole * x.scale if isinstance(x, Quantised) else x for x in args], **(kwargs or {}))


class OfQuantised(nn.Linear):
    """A layer whose weight is no tensor of torch."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  named as in the base class
        return F.linear(input, Quantised((self.weight * 10).round(), 0.1), self.bias)  # type: ignore[arg-type]


class Resolving(type):
    """A class of a dependency injector: it raises another error for names that it does not have."""

    def __getattr__(cls, name: str) -> None:
        raise LookupError(name)


class Injected(nn.Linear):
    """A layer that keeps such a class, as quantised layers of Brevitas do."""

    def __init__(self) -> None:
        super().__init__(6, 4)
        self.quantiser = Resolving("Quantiser", (), {})


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "view": (Viewed, (3, 2, 6, 6)),
    "view after images of one channel": (lambda: Viewed(1), (3, 1, 6, 6)),
    "subclass of a layer of the package": (lambda: nn.Sequential(OwnLinear(6, 4)), (3, 6)),
    "layer of the package": (lambda: nn.Sequential(imc.nn.Conv2d(2, 3, 3, "int8"), nn.Flatten()), (3, 2, 5, 5)),
    "hooks": (hooked, (3, 6)),
    "norms of weights": (normed, (3, 6)),
    "weight norm by a hook": (hooked_norm, (3, 6)),
    "a tensor kept from a pass": (lambda: passed(Keeping()), (3, 6)),
    "a class that resolves its names": (Injected, (3, 6)),
    "weights centred in every pass": (Centred, (3, 6)),
    "weights of another class": (lambda: OfQuantised(6, 4), (3, 6)),
    "instance norm": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.InstanceNorm2d(3)), (3, 2, 6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules_map_unchanged(name: str) -> None:
    torch.manual_seed(0)
    build_network, shape = MODULES[name]
    network, x = build_network(), torch.randn(shape)
    state = copy.deepcopy(network.state_dict())
    analog = imc.map_model(network, CHIP, inputs=x)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())
    assert network.training
    assert len(analog.report.placed) >= 1
    assert torch.allclose(analog(x)[0], network.eval()(x), rtol=2e-6, atol=2e-6)


def test_a_buffer_of_one_element_may_have_no_stride() -> None:
    """As numpy makes some of them; torch does not view such a tensor as bytes."""
    network = nn.Sequential(nn.Linear(6, 5))
    network.register_buffer("gain", torch.tensor([3.0]).as_strided((1,), (0,)))
    x = torch.randn(4, 6)
    torch.testing.assert_close(imc.map_model(network, CHIP, inputs=x)(x)[0], network(x), rtol=1e-5, atol=1e-6)


def test_a_subclass_of_a_layer_is_refused_without_inputs() -> None:
    with pytest.raises(InputError, match=r"layer '0': got OwnLinear.*Give inputs"):
        imc.map_model(nn.Sequential(OwnLinear(6, 4)), CHIP)


@pytest.mark.parametrize("padding", [0, 1])
def test_a_site_with_the_products_of_a_layer_gives_the_same_bits(padding: int) -> None:
    """Same name, same cells: with device variation, read noise and ADCs."""

    class Signs(nn.Module):
        def __init__(self, weight: Tensor) -> None:
            super().__init__()
            self.weight = nn.Parameter(weight)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight, padding=padding)

    torch.manual_seed(0)
    layer, x = imc.nn.Conv2d(8, 6, 3, "latent", bias=False, padding=padding), torch.randn(4, 8, 6, 6).sign()
    layer.weight.data.sign_()
    chip = CHIP.replace("device.programming.sigma", 0.2).replace("device.read.sigma", 0.1)
    chip = chip.replace("converter", {"kind": "auto", "bits": 6})
    sites = imc.map_model(nn.Sequential(Signs(layer.weight.data)), chip, chips=2, inputs=x)
    layers = imc.map_model(nn.Sequential(layer), chip, chips=2)
    assert torch.equal(sites(x), layers(x))
    assert torch.equal(sites(x), layers(x))  # another read


@pytest.mark.parametrize("kind", ["conv", "batch norm"])
def test_a_memory_format_is_kept(kind: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 8, 3, padding=1)] + ([nn.BatchNorm2d(8)] if kind == "batch norm" else [])
    network = nn.Sequential(*layers).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    analog = imc.map_model(network, CHIP, inputs=x)
    y = analog.on_chip(0, x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(y, network(x), rtol=2e-6, atol=2e-6)


def test_products_that_were_not_seen_are_named() -> None:
    class Hidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.mm(x, x.mT, out=x.new_empty(len(x), len(x)))

    network, x = nn.Sequential(nn.Linear(6, 5), nn.Sequential(Hidden())), torch.randn(4, 6)
    analog = imc.map_model(network, CHIP.replace("policy.layers", {"1.0": "digital"}), inputs=x)
    products = analog.report.products
    assert products is not None
    assert products.unseen == ("1.0",)
    assert "% are in functions of '1.0' that were not seen, and digital" in analog.report.to_text().splitlines()[-1]


def test_products_of_weights_alone_are_named() -> None:
    class Regularised(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002  named as in the base class
            return F.linear(input, self.weight) + (self.weight @ self.weight.mT).sum()

    analog = imc.map_model(Regularised(6, 5), CHIP, inputs=torch.randn(4, 6))
    last = analog.report.to_text().splitlines()[-1]
    assert last.endswith("; 1 product that is the same for all inputs stays digital")


def test_parameters_and_inputs_that_need_a_gradient_are_inputs_of_modules() -> None:
    class Tokens(nn.Module):
        """A learned token that goes through a layer before it meets the input."""

        def __init__(self) -> None:
            super().__init__()
            self.token, self.norm, self.inner = nn.Parameter(torch.randn(1, 6)), nn.LayerNorm(6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x + self.norm(self.token))

    torch.manual_seed(0)
    network, x = Tokens().eval(), torch.randn(3, 6, requires_grad=True)
    analog = imc.map_model(network, CHIP, inputs=x)
    assert torch.allclose(analog(x)[0], network(x), rtol=2e-6, atol=2e-6)
    assert analog.sites is not None
    assert all(weight.requires_grad for weight in [*network.parameters(), *analog.sites.network.parameters()])


def test_a_learned_query_may_be_computed_for_every_sample() -> None:
    """Its rounding depends on the batch, which chips in one pass enlarge."""

    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.project = nn.Parameter(torch.randn(1, 2, 96)), nn.Linear(96, 96)

        def forward(self, x: Tensor) -> Tensor:
            q = self.project(self.query.expand(len(x), -1, -1))
            return F.scaled_dot_product_attention(q, x, x)

    torch.manual_seed(0)
    network, x = Pool().eval(), torch.randn(3, 5, 96)
    analog = imc.map_model(network, CHIP, chips=7, inputs=x)
    assert analog.report.placed
    for batch in (x, x[:1], torch.randn(40, 5, 96)):
        assert torch.allclose(analog(batch), network(batch).expand(7, *network(batch).shape), rtol=1e-4, atol=1e-5)


def test_a_step_of_fgsm_is_that_of_the_network_on_an_ideal_chip() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.Flatten(), nn.Linear(3 * 64, 3),
    ).eval()  # fmt: skip
    x, labels = torch.randn(4, 2, 4, 4), torch.tensor([0, 1, 2, 0])
    noisy = CHIP.replace("device.programming.sigma", 0.1)

    def gradient(forward: Callable[[Tensor], Tensor]) -> Tensor:
        image = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(forward(image), labels), image)[0]

    own = gradient(network)
    analog, varied = imc.map_model(network, CHIP, inputs=x), imc.map_model(network, noisy, inputs=x)
    assert torch.allclose(gradient(lambda image: straight_through(analog, image)), own, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradient(lambda image: straight_through(varied, image)), own, rtol=1e-2)


def test_weights_train_through_the_products_of_a_chip() -> None:
    """The mapped weights stay in the cells; their gradient is that of the network at the inputs on the chip."""
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).eval(), torch.randn(4, 6)
    analog = imc.map_model(network, CHIP, inputs=x)
    analog.on_chip(0, x).square().sum().backward()
    network(x).square().sum().backward()
    assert analog.sites is not None
    for mapped, own in zip(analog.sites.network.parameters(), network.parameters(), strict=True):
        assert own.grad is not None
        assert mapped.grad is not None
        assert torch.allclose(mapped.grad, own.grad, rtol=1e-4, atol=1e-6)
    analog.sites.network[0].weight.data.add_(0.1)  # type: ignore[index,union-attr,operator]
    with pytest.raises(InputError, match="other weights than were mapped"):
        analog(x)


@pytest.mark.parametrize("last", [(False, False), (True, False), (False, True)], ids=["plain", "images", "filters"])
@pytest.mark.parametrize(("channels", "kernel", "size"), [(1, 3, 6), (2, 3, 6), (2, 1, 1), (1, 1, 6), (3, 3, 3)])
def test_a_convolution_has_the_strides_that_torch_gives_it(
    channels: int, kernel: int, size: int, last: tuple[bool, bool]
) -> None:
    """Networks reshape what a convolution returns with `view`, which looks at the strides."""
    formats = [torch.channels_last if each else torch.contiguous_format for each in last]
    x = torch.randn(4, channels, size, size).contiguous(memory_format=formats[0])
    strides: list[tuple[int, ...]] = []

    class Noting(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002  named as in torch
            y = super().forward(input)
            strides.append(y.stride())
            return y

    network = nn.Sequential(Noting(channels, 4, kernel)).to(memory_format=formats[1]).eval()  # type: ignore[call-overload]
    analog = imc.map_model(network, CHIP, inputs=x)
    strides.clear()
    torch.testing.assert_close(analog(x)[0], network(x))
    assert strides[0] == strides[1] or size == kernel  # of one pixel, every stride is right


class Stem(nn.Module):
    """A digital convolution whose output the network may change, before a crossbar."""

    def __init__(self, change: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv, self.out, self.change = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(1024, 3), change

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.change(y)
        return self.out(y.flatten(1))


class Convolutions(TorchDispatchMode):
    """Count convolutions."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("change", "count"), [(Tensor.sum, 1), (Tensor.relu_, 3), (lambda y: y.data.clamp_(-0.1, 0.1), 3)],
    ids=["kept", "changed", "changed as data"],
)  # fmt: skip
def test_digital_products_before_the_first_crossbar_are_computed_once_for_all_chips(
    change: Callable[[Tensor], object], count: int
) -> None:
    torch.manual_seed(0)
    network, x = Stem(change).eval(), torch.randn(130, 1, 16, 16)
    chip = CHIP.replace("policy.layers", {"conv": "digital"}).replace("device.programming.sigma", 0.1)
    analog = imc.map_model(network, chip, chips=3, inputs=x[:4])
    with Convolutions() as made:
        together = analog(x)
    assert made.count == count
    assert torch.equal(together, torch.stack([analog.on_chip(k, x) for k in range(3)]))
    other = torch.randn(130, 1, 16, 16)
    assert torch.equal(analog(other)[1], analog.on_chip(1, other))  # nothing is held from call to call
