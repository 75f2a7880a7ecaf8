"""Product sites of any network on crossbars: the network runs unchanged, and its product calls go to analog layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog._instead import instead
from imc_sim.analog._layers import AnalogLinear
from imc_sim.nn import ProductLayer, WeightKind
from imc_sim.sites import Arguments, Call, ProductMode, Samples, Site


class _SiteWeights(WeightKind):
    """Weights that a network of someone else made: whole numbers with a scale per output, or real ones."""

    def weight(self, layer: ProductLayer) -> Tensor:
        return layer.weight

    def operand(self, x: Tensor) -> Tensor:
        return x

    def exact(self, layer: ProductLayer) -> bool:
        return isinstance(layer, SiteLinear) and layer.exact


@final
class _Binary(_SiteWeights):
    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "binary"


@final
class _Integer(_SiteWeights):
    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "int8"


@final
class _Real(_SiteWeights):
    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "float"


@final
class SiteLinear(ProductLayer):
    """The product of one site: x [reads, vectors, in] -> [reads, vectors, out].

    Args:
        site: what the probe found.
        matrix: weights [out, in] as the network computes them.
        scale: of each output, [out]; the cells store matrix / scale.
        padded: whether zeros of padding are among the inputs.
    """

    def __init__(self, site: Site, matrix: Tensor, scale: Tensor, padded: bool) -> None:
        super().__init__("float", bias=False, outputs=len(matrix))
        kind: Any = "real" if site.weights is None else site.weights.kind
        self.policy = kind  # as reports show it
        binary, whole = kind == "binary", kind != "real"
        self._kind: WeightKind = _Binary() if binary else _Integer() if whole else _Real()
        unit = torch.where(scale > 0, scale, torch.ones_like(scale))
        stored = (matrix.double() / unit[:, None]).round() if whole else matrix.double()
        if binary:
            stored = torch.where(stored == 0, torch.ones_like(stored), stored)  # rows of zeros have scale 0
        computed = torch.promote_types(matrix.dtype, torch.float32)
        self.weight = nn.Parameter(stored.to(computed), requires_grad=False)
        self.register_buffer("scale", (scale if whole else torch.ones_like(scale)).to(computed))
        exact_inputs = site.inputs.kind in ("binary", "bits") and not padded
        self.whole = whole
        self.exact = binary and exact_inputs
        self.input_scale = float(site.inputs.scale) if self.exact else 1.0
        self.inputs = "bits" if site.inputs.kind == "bits" else "signs"

    scale: Tensor

    @property
    def kind(self) -> WeightKind:
        return self._kind

    def operand(self, x: Tensor) -> Tensor:
        return x if self.input_scale == 1.0 else x / self.input_scale

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return a @ w.mT

    def per_output(self, values: Tensor) -> Tensor:
        return values

    def rescale(self, y: Tensor) -> Tensor:
        return y * (self.scale * self.input_scale).to(y.dtype)


@final
class AnalogSite(AnalogLinear):
    """The product of one site on crossbars: several vectors of each read."""

    def _input_dims(self) -> int:
        return 3

    def _one(self, index: int, x: Tensor, first_read: int) -> Tensor:
        running = self.context.running
        folded = 1 if running is None else running.folded
        single = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        parts = [
            super(AnalogSite, self)._one(index + k, part, first_read) for k, part in enumerate(single.chunk(folded))
        ]
        return (parts[0] if folded == 1 else torch.cat(parts)).to(x.dtype)


#: a call of a pass: its site, and the layers of its groups, none for a product that stays digital
SiteCall = tuple[Site, Sequence[nn.Module]]


@final
class SiteNetwork(nn.Module):
    """A network whose product calls go to layers, in the order in which the probe saw them.

    Args:
        network: the network, in eval mode.
        calls: of one pass.
        outputs: where every leaf of the output holds the samples; None where the network mixes them.
    """

    def __init__(self, network: nn.Module, calls: Sequence[SiteCall], outputs: Sequence[Samples] | None) -> None:
        super().__init__()
        self.network, self._calls, self.outputs = network, list(calls), outputs
        self.layers = nn.ModuleList(layer for _, layers in calls for layer in layers)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = Arguments.of(args, kwargs)
        run = _Run(self._calls, given.batch)
        with run.watching(self.network):
            output = given.run(self.network)
        run.finish()
        return output


@final
class _Run(ProductMode):
    """One pass: sends the product calls to their layers."""

    def __init__(self, calls: Sequence[SiteCall], batch: int) -> None:
        super().__init__()
        self.calls, self.batch, self.done = calls, batch, 0

    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        site, layers = self._expected(call)
        if not layers or site.weight is None:
            return run()
        if not torch.equal(call.factors[site.place], site.weight):
            step = "Map the network as it infers; a weight that changes from call to call cannot be in cells."
            raise InputError(f"site {site.name!r}", "other weights than were mapped", "the same in every call", step)
        with torch.no_grad():
            y = _finished(call, _product(call, site, layers, self.batch))
        # The gradient is that of the network's own call, to its inputs and its weights.
        return instead(run(), y) if torch.is_grad_enabled() else y

    def _expected(self, call: Call) -> SiteCall:
        """Return the next call of the probe, which must be this one."""
        if self.done < len(self.calls):
            found = self.calls[self.done]
            if found[0].path == self.path and found[0].kind == call.kind:
                self.done += 1
                return found
        raise _other_way(f"product in {self.path!r}", f"{call.kind}, call {self.done}")

    def finish(self) -> None:
        """Raise InputError if the pass made fewer products than the probe."""
        if self.done < len(self.calls):
            raise _other_way("network", f"a pass without site {self.calls[self.done][0].name!r}")


def _other_way(where: str, got: str) -> InputError:
    step = "Probe the network with inputs that take the same way through it."
    return InputError(where, got, "the calls of the probe", step)


def _finished(call: Call, y: Tensor) -> Tensor:
    """Return the output of the call: the product with its factor, and what the call adds."""
    y = y if call.alpha == 1.0 else y * call.alpha
    if call.added is not None:
        y = y + (call.added.reshape(-1, *[1] * (call.factors[1].ndim - 2)) if call.convolution else call.added)
    last = (
        call.convolution
        and call.factors[0].ndim == 4
        and call.factors[0].is_contiguous(memory_format=torch.channels_last)
    )
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _product(call: Call, site: Site, layers: Sequence[nn.Module], batch: int) -> Tensor:
    """Return the product of the call from its layers, one per group; batch: samples of the pass."""
    which = site.place
    x = call.driven(1 - which)
    if not call.convolution:
        y = _by_samples(layers[0], x, site, batch)
        y = y[0] if call.factors[1 - which].ndim == 1 else y
        return y if which == 1 else y.mT
    vectors, pixels = patches(x, call.factors[which].shape[2:], call.settings)
    groups = vectors.chunk(len(layers), dim=-1)
    y = torch.cat([_by_samples(layer, part, site, batch) for layer, part in zip(layers, groups, strict=True)], dim=-1)
    y = y.transpose(1, 2).unflatten(2, pixels)
    return y[0] if call.factors[0].ndim == len(pixels) + 1 else y


def _by_samples(layer: nn.Module, x: Tensor, site: Site, batch: int) -> Tensor:
    """Return the outputs [*, out] of a layer for vectors [*, in]; the vectors of a sample are one read.

    A site that mixes samples makes a single read, whose noise then depends on the batch.
    """
    place = site.samples
    if place is None or x.shape[place.dim] % batch:
        return layer(x.reshape(1, -1, x.shape[-1])).reshape(*x.shape[:-1], -1)
    rows = place.first(x, batch)
    return place.back(layer(rows.reshape(batch, -1, x.shape[-1])).reshape(*rows.shape[:-1], -1))


def patches(x: Tensor, kernel: Sequence[int], settings: Any) -> tuple[Tensor, tuple[int, ...]]:
    """Return the vectors that a convolution multiplies its filters with.

    Args:
        x: images [batch, channels, *sizes].
        kernel: sizes of the filters.
        settings: stride, padding and dilation, as torch takes them.

    Returns:
        Vectors [batch, pixels, channels x kernel], and the sizes of the output.
    """
    n = len(kernel)
    stride, dilation = (_each(settings[name], n) for name in ("stride", "dilation"))
    x = F.pad(x, _padding(settings["padding"], kernel, dilation))
    for d in range(n):
        x = x.unfold(2 + d, dilation[d] * (kernel[d] - 1) + 1, stride[d])[..., :: dilation[d]]
    pixels = tuple(x.shape[2 : 2 + n])
    x = x.movedim(1, 1 + n)  # [batch, *pixels, channels, *kernel]
    return x.reshape(len(x), math.prod(pixels), -1), pixels


def _each(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value) if len(value) == n else tuple(value) * n


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the padding of every side in the order of torch's `pad`: the last dimension first."""
    if padding == "valid":
        return []
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(p, p) for p in _each(padding, len(kernel))]
    return [side for pair in reversed(sides) for side in pair]
