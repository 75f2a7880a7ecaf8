"""Binarized networks that learn one task after the other, and the norms that they keep for each.

Source: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), in the authors' code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim.nn._binarize import two_valued
from imc_sim.nn._layers import Conv2d, Linear, product_layers
from imc_sim.nn._norm import Norm, Statistics

MlpKind = Literal["binary", "float"]
MLP_KINDS: dict[MlpKind, str] = {"binary": "signs of hidden weights, sign", "float": "float weights, ReLU"}
FeatureNorm = Literal["batch", "instance"]
FEATURE_NORMS: tuple[FeatureNorm, ...] = ("batch", "instance")
_EPS = 1e-5


class _GatedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs() <= 1.0)
        return two_valued(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return grad[0] * inside


@final
class GatedSign(nn.Module):
    """+-1 of x, any shape. Gradient: upstream where |x| <= 1, both ends included, else zero.

    Zero becomes -1, which a cell can be driven with; the original's sign(0) is 0.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _GatedSign.apply(x)


@final
class Bits(nn.Module):
    """1 where x > 0, else 0: the original's sign of grey levels, which are never below 0. No gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


@final
class InstanceNorm(nn.Module):
    """Every sample [batch, features] less its mean over its deviation; no scale, no shift, the same in any batch."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], eps=_EPS)


@final
class BnnMlp(nn.Module):
    """Images or vectors with `inputs` numbers each [batch, …] -> logits [batch, classes], those of the last norm.

    Each layer is a product without bias, a norm and, but for the last, an activation. hidden: units of the layers
    between. kind: `binary` (policy `latent`, sign) or `float` (ReLU). init_width: hidden weights start uniform within
    half of it on both sides of 0. binary_inputs: the first layer sees the signs of its inputs, else the inputs.
    norm: `batch`, with the given `statistics` at inference and, if `affine`, a scale and a shift; `instance`, which has
    none of these. Scale 1 and shift 0 are what training starts from.
    """

    def __init__(
        self, inputs: int = 784, hidden: Sequence[int] = (512, 512), classes: int = 10, kind: MlpKind = "binary",
        init_width: float = 0.1, binary_inputs: bool = False, norm: FeatureNorm = "batch",
        statistics: Statistics = "running", affine: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = (inputs, *hidden, classes)
        _check_mlp(sizes, kind, norm, binary_inputs)
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
    """Grey images [batch, channels[0], side, side] -> logits [batch, classes]; smaller ones are centred on zeros.

    Blocks of a convolution (`kernels`, padding 1, no bias), the mean over 2 x 2, a norm and a sign; a fully connected
    layer and a norm end it; all weights are signs of hidden ones. binary_inputs: the first convolution sees 1 where a
    number is above 0, else 0 (grey levels therefore scaled from 0), or the images as they are. size: of a side;
    init_width, statistics and affine as for `BnnMlp`. Published sizes: channels 1-12-20-30, 1-10-15-20, 1-6-10-15.
    """

    def __init__(
        self, channels: Sequence[int] = (1, 12, 20, 30), kernels: Sequence[int] = (4, 4, 4), classes: int = 10,
        size: int = 28, init_width: float = 0.1, binary_inputs: bool = True, statistics: Statistics = "running",
        affine: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        last = _last_side(channels, kernels, size)
        # Not `size`: images that a data set has smaller are welcome.
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
    """Copies of all that the norms of `model` learned and measured, under their names in its state dict.

    What a task keeps of its own, where the other weights are shared by all tasks.
    """
    return {
        f"{name}.{key}".lstrip("."): value.detach().clone()
        for name, norm in model.named_modules()
        if isinstance(norm, Norm)
        for key, value in norm.state_dict().items()
    }


@torch.no_grad()
def load_norm_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what `norm_state` gave, of this model or of one with equal norms."""
    wanted = norm_state(model)
    if {key: value.shape for key, value in wanted.items()} != {key: value.shape for key, value in state.items()}:
        got, step = f"{len(state)} tensors of other norms", "Take those that norm_state gave of this architecture."
        raise InputError("norm state", got, ", ".join(wanted) or "nothing: no norms", step)
    model.load_state_dict(dict(state), strict=False)


@torch.no_grad()
def calibrate_norms(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the running statistics of all norms anew, on training images; inference then uses them.

    Norm after norm, in the order of the network, and each behind those that are already measured: mean and variance
    are exactly those that it meets at inference over all these images, whatever the batches. They replace running
    means of a training whose weights still changed. batches: gone over once a norm, so a list or the like.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, Norm)]
    was = model.training
    model.eval()
    for norm in norms:
        norm.statistics = "running"
    for norm in norms:
        mean, variance = _moments(model, norm, batches)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    model.train(was)


def _moments(model: nn.Module, norm: Norm, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance [channels], float64, of what reaches a norm."""
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
        step = "Give a list of batches: they are gone over once for each norm."
        raise InputError("calibrate_norms, batches", "no images", "images, and each time anew", step)
    mean = sums[0] / count
    return mean, (sums[1] / count - mean.square()).clamp_min(0.0)


def _start(network: nn.Module, width: float) -> None:
    if not width > 0:
        raise InputError("arch.init_width", width, "a width above 0", "Take 0.1, as published.")
    for layer in product_layers(network):
        nn.init.uniform_(layer.weight, -width / 2, width / 2)


def _check_mlp(sizes: Sequence[int], kind: str, norm: str, binary_inputs: bool) -> None:
    if kind not in MLP_KINDS:
        raise InputError("arch.kind", repr(kind), ", ".join(MLP_KINDS), f"{nearest(kind, MLP_KINDS)}Choose a kind.")
    if norm not in FEATURE_NORMS:
        raise InputError("arch.norm", repr(norm), ", ".join(FEATURE_NORMS), "Choose one of them.")
    if min(sizes) < 1:
        raise InputError("arch.hidden", list(sizes), "sizes of 1 or more", "Give the units of every layer.")
    if binary_inputs and kind == "float":
        step = "Leave binary_inputs out, or set kind: binary."
        raise InputError("arch.binary_inputs", "true with kind 'float'", "kind 'binary'", step)


def _last_side(channels: Sequence[int], kernels: Sequence[int], size: int) -> int:
    """Pixels a side after the last block."""
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
    """Images [batch, channels, h, w] in the middle of side x side zeros."""
    height, width = x.shape[2:]
    if max(height, width) > side:
        step = f"Set arch.args.size: {max(height, width)}."
        raise InputError("images", f"{height} x {width} pixels", f"up to {side} x {side}", step)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(x, (left, side - width - left, top, side - height - top))
