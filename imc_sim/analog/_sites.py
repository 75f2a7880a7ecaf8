"""Product sites of any network on crossbars: the network runs unchanged, and its product calls go to analog layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog._layers import AnalogLinear
from imc_sim.nn import ProductLayer, WeightKind
from imc_sim.sites import Call, ProductMode, Site


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
        self.weight = nn.Parameter(stored.to(matrix.dtype), requires_grad=False)
        self.register_buffer("scale", (scale if whole else torch.ones_like(scale)).to(matrix.dtype))
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


#: a call of a pass: its site, and the layers of its groups, none for a product that stays digital
SiteCall = tuple[Site, Sequence[nn.Module]]


@final
class SiteNetwork(nn.Module):
    """A network whose product calls go to layers, in the order in which the probe saw them.

    Args:
        network: the network, in eval mode.
        calls: of one pass.
    """

    def __init__(self, network: nn.Module, calls: Sequence[SiteCall]) -> None:
        super().__init__()
        self.network, self._calls = network, list(calls)
        self.layers = nn.ModuleList(layer for _, layers in calls for layer in layers)

    def forward(self, x: Tensor) -> Any:
        run = _Run(self._calls)
        with run.watching(self.network):
            output = self.network(x)
        run.finish()
        return output


@final
class _Run(ProductMode):
    """One pass: sends the product calls to their layers."""

    def __init__(self, calls: Sequence[SiteCall]) -> None:
        super().__init__()
        self.calls, self.done = calls, 0

    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        site, layers = self._expected(call)
        if not layers or site.weight is None:
            return run()
        if not torch.equal(call.factors[site.place], site.weight):
            step = "Map the network as it infers; a weight that changes from call to call cannot be in cells."
            raise InputError(f"site {site.name!r}", "other weights than were mapped", "the same in every call", step)
        return _finished(call, _product(call, site.place, layers))

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
    if call.added is None:
        return y
    channels = call.kind.startswith("conv")
    return y + (call.added.reshape(-1, *[1] * (call.factors[1].ndim - 2)) if channels else call.added)


def _product(call: Call, which: int, layers: Sequence[nn.Module]) -> Tensor:
    """Return the product of the call from its layers, one per group; which: the factor that is the weight."""
    x = call.factors[1 - which]
    if not call.kind.startswith("conv"):
        x = x if which == 1 else x.mT
        single = x.ndim == 1
        rows = x[None] if single else x
        y = layers[0](rows.reshape(len(rows), -1, rows.shape[-1])).reshape(*rows.shape[:-1], -1)
        y = y[0] if single else y
        return y if which == 1 else y.mT
    kernel = call.factors[which].shape[2:]
    single = x.ndim == len(kernel) + 1
    vectors, pixels = patches(x[None] if single else x, kernel, call.settings)
    groups = vectors.chunk(len(layers), dim=-1)
    y = torch.cat([layer(part) for layer, part in zip(layers, groups, strict=True)], dim=-1)
    y = y.transpose(1, 2).unflatten(2, pixels)
    return y[0] if single else y


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
