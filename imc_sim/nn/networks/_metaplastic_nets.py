"""Binarized networks that learn one task after the other, and the norms that they keep for each task.

Source: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), in the authors' code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._binarize import signs
from imc_sim.nn._checks import check_choice
from imc_sim.nn._images import evaluating
from imc_sim.nn._layers import Conv2d, Linear, product_layers
from imc_sim.nn._norm import Norm, Statistics

MlpKind = Literal["binary", "float"]
MLP_KINDS: dict[MlpKind, str] = {"binary": "signs of hidden weights, sign", "float": "float weights, ReLU"}
FeatureNorm = Literal["batch", "instance"]
FEATURE_NORMS: tuple[FeatureNorm, ...] = ("batch", "instance")
_EPS = 1e-5


@final
class GatedSign(nn.Module):
    """Binarize to +-1. Gradient: upstream where |x| <= 1, both ends included, else zero.

    Zero becomes -1, which a word line can encode; the original's sign(0) is 0.
    """

    def forward(self, x: Tensor) -> Tensor:
        return signs(x, x.detach().abs() <= 1.0)


@final
class Bits(nn.Module):
    """Binarize to 1 where x > 0, else 0, without a gradient: the original's sign of grey levels from 0."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


@final
class InstanceNorm(nn.Module):
    """Standardise every sample [batch, features], without scale and shift, equally in any batch."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], eps=_EPS)


@final
class BnnMlp(nn.Module):
    """Classify images or vectors [batch, …] into logits [batch, classes], the outputs of the last norm.

    Each layer is a product without bias, a norm and, except for the last, an activation.

    Args:
        inputs: Numbers per image.
        hidden: Units of the hidden layers.
        classes: Number of classes.
        kind: `binary` (policy `latent`, sign) or `float` (ReLU).
        init_width: Weights start uniform within half of it on both sides of 0.
        binary_inputs: The first layer sees the signs of its inputs.
        norm: `batch`, or `instance`, which has no statistics, scale and shift.
        statistics: Of batch norms at inference, see `Norm`.
        affine: Learn a scale and a shift of batch norms, from 1 and 0.
    """

    def __init__(
        self, inputs: int = 784, hidden: Sequence[int] = (512, 512), classes: int = 10, kind: MlpKind = "binary",
        init_width: float = 0.1, binary_inputs: bool = False, norm: FeatureNorm = "batch",
        statistics: Statistics = "running", affine: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = (inputs, *hidden, classes)
        check_choice("arch.kind", kind, MLP_KINDS)
        check_choice("arch.norm", norm, FEATURE_NORMS)
        if min(sizes) < 1:
            raise InputError("arch.hidden", list(sizes), "sizes of 1 or more", "Use the units of every layer.")
        if binary_inputs and kind == "float":
            step = "Leave binary_inputs out, or set kind: binary."
            raise InputError("arch.binary_inputs", "true with kind 'float'", "kind 'binary'", step)
        self.inputs, self.kind = inputs, kind
        binary = kind == "binary"
        self.entry = GatedSign() if binary_inputs else nn.Identity()
        self.fc = nn.ModuleList(
            Linear(*pair, "latent" if binary else "float", bias=False) for pair in itertools.pairwise(sizes)
        )
        if binary and not binary_inputs:
            product_layers(self)[0].inputs = "real"
        self.norm = nn.ModuleList(
            Norm(size, statistics, affine=affine) if norm == "batch" else InstanceNorm() for size in sizes[1:]
        )
        self.act = nn.ModuleList(GatedSign() if binary else nn.ReLU() for _ in hidden)
        self.act.append(nn.Identity())
        _start(self, init_width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if x.shape[1] != self.inputs:
            step = f"Set arch.args.inputs: {x.shape[1]}."
            raise InputError("inputs", f"{x.shape[1]} numbers each", str(self.inputs), step)
        x = self.entry(x)
        for fc, norm, act in zip(self.fc, self.norm, self.act, strict=True):
            x = act(norm(fc(x)))
        return x


@final
class BnnConv(nn.Module):
    """Classify grey images [batch, channels[0], side, side] into logits; smaller images are centred on zeros.

    Blocks of a convolution (padding 1, no bias), the mean over 2 x 2, a norm and a sign, then a fully connected layer
    and a norm; all weights are signs of hidden ones. Published channels: 1-12-20-30, 1-10-15-20 and 1-6-10-15.

    Args:
        channels: Channels of the images and of every convolution.
        kernels: Side of the kernel of every convolution.
        classes: Number of classes.
        size: Pixels a side.
        init_width: Weights start uniform within half of it on both sides of 0.
        binary_inputs: The first convolution sees 1 where a number is above 0, else 0; grey levels start at 0.
        statistics: Of norms at inference, see `Norm`.
        affine: Learn a scale and a shift of norms.
    """

    def __init__(
        self, channels: Sequence[int] = (1, 12, 20, 30), kernels: Sequence[int] = (4, 4, 4), classes: int = 10,
        size: int = 28, init_width: float = 0.1, binary_inputs: bool = True, statistics: Statistics = "running",
        affine: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        last = _last_side(channels, kernels, size)
        # not `size`, since images of a data set can be smaller
        self.side, self.channels_in = size, channels[0]
        self.entry = Bits() if binary_inputs else nn.Identity()
        pairs = zip(itertools.pairwise(channels), kernels, strict=True)
        self.conv = nn.ModuleList(Conv2d(*pair, k, "latent", bias=False, padding=1) for pair, k in pairs)
        product_layers(self)[0].inputs = "bits" if binary_inputs else "real"
        self.fc = Linear(channels[-1] * last**2, classes, "latent", bias=False)
        sizes = (*channels[1:], classes)
        self.norm = nn.ModuleList(Norm(count, statistics, affine=affine) for count in sizes)
        self.act = GatedSign()
        _start(self, init_width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(_centred(x, self.side))
        *norms, last = self.norm
        for conv, norm in zip(self.conv, norms, strict=True):
            x = self.act(norm(F.avg_pool2d(conv(x), 2)))
        return last(self.fc(x.flatten(1)))


def norm_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of all tensors of a network's norms, under their names in its state dict.

    A task keeps these; the other weights are shared by all tasks.

    Args:
        model: The network.
    """
    return {
        f"{name}.{key}".lstrip("."): value.detach().clone()
        for name, norm in model.named_modules()
        if isinstance(norm, Norm)
        for key, value in norm.state_dict().items()
    }


@torch.no_grad()
def load_norm_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the tensors of norms.

    Args:
        model: The network, which is changed.
        state: Tensors that `norm_state` returned for a network with equal norms.

    Raises:
        InputError: The norms differ.
    """
    wanted = norm_state(model)
    if {key: value.shape for key, value in wanted.items()} != {key: value.shape for key, value in state.items()}:
        got, step = f"{len(state)} tensors of other norms", "Use those that norm_state returned for this architecture."
        raise InputError("norm state", got, ", ".join(wanted) or "nothing: no norms", step)
    model.load_state_dict(dict(state), strict=False)


@torch.no_grad()
def calibrate_norms(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the running statistics of all norms on training images; inference then uses them.

    Norms are measured in the order of the network, each after those before it, so that mean and variance are exactly
    those at inference over all these images, in any batches. They replace running means of a training whose weights
    still changed.

    Args:
        model: The network, which is changed.
        batches: Images in batches, iterated once per norm, such as a list.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, Norm)]
    for norm in norms:
        norm.statistics = "running"
    with evaluating(model):
        for norm in norms:
            mean, variance = _moments(model, norm, batches)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)


def _moments(model: nn.Module, norm: Norm, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and variance [channels], float64, of the inputs of a norm."""
    sums = [torch.zeros_like(norm.running_mean, dtype=torch.float64) for _ in range(2)]
    count = 0

    def add(module: nn.Module, args: tuple[Tensor]) -> None:
        nonlocal count
        x = args[0].transpose(0, 1).flatten(1).double()
        count += x.shape[1]
        sums[0].add_(x.sum(1))
        sums[1].add_(x.square().sum(1))

    handle = norm.register_forward_pre_hook(add)
    try:
        for images in batches:
            model(images)
    finally:
        handle.remove()
    if not count:
        step = "Use a list of batches, which are iterated once for each norm."
        raise InputError("calibrate_norms, batches", "no images", "images in every iteration", step)
    mean = sums[0] / count
    return mean, (sums[1] / count - mean.square()).clamp_min(0.0)


def _start(network: nn.Module, width: float) -> None:
    """Sample initial weights within half of `width` on both sides of 0."""
    if not width > 0:
        raise InputError("arch.init_width", width, "a width above 0", "Use 0.1, as published.")
    for layer in product_layers(network):
        nn.init.uniform_(layer.weight, -width / 2, width / 2)


def _last_side(channels: Sequence[int], kernels: Sequence[int], size: int) -> int:
    """Return the pixels a side after the last block."""
    if len(kernels) != len(channels) - 1 or not kernels:
        got, step = f"{len(channels)} channels, {len(kernels)} kernels", "Name the channels of the images as well."
        raise InputError("arch.kernels", got, "a kernel for each block, one fewer than channels", step)
    side = size
    for kernel in kernels:
        side = (side + 3 - kernel) // 2
    if side < 1:
        raise InputError("arch.size", size, f"pixels enough for {len(kernels)} blocks", "Use larger images.")
    return side


def _centred(x: Tensor, side: int) -> Tensor:
    """Return images [batch, channels, h, w] in the middle of side x side zeros."""
    if x.ndim != 4:
        allowed = f"[batch, channels, height, width] of up to {side} x {side} pixels"
        raise InputError("images", f"shape {tuple(x.shape)}", allowed, "Give images of that shape.")
    height, width = x.shape[2:]
    if max(height, width) > side:
        step = f"Set arch.args.size: {max(height, width)}."
        raise InputError("images", f"{height} x {width} pixels", f"up to {side} x {side}", step)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(x, (left, side - width - left, top, side - height - top))
