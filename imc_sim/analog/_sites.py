"""Product sites of any network on crossbars: the network runs unchanged, and its product calls go to analog layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog._instead import instead
from imc_sim.analog._layers import AnalogLinear
from imc_sim.analog._site_products import equal_weights, finished, product
from imc_sim.nn import ProductLayer, WeightKind
from imc_sim.sites import Arguments, Call, ProductMode, Products, Site, joined


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
        products: what the probe found.
    """

    def __init__(self, network: nn.Module, calls: Sequence[SiteCall], products: Products) -> None:
        super().__init__()
        self.network, self._calls, self.outputs, self._split = network, list(calls), products.outputs, products.split
        self.layers = nn.ModuleList(layer for _, layers in calls for layer in layers)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = Arguments.of(args, kwargs)
        run = _Run(self._calls, given.batch, self._split)
        with run.watching(self.network):
            output = given.run(self.network)
        run.finish()
        return output

    @property
    def apart(self) -> bool:
        """Return whether several batches can run as one: every mapped site and the output keep samples apart."""
        return self.outputs is not None and all(site.samples is not None for site, layers in self._calls if layers)

    def part(self, output: Any, number: int, parts: int, batch: int) -> Any:
        """Return the output of one of several batches that ran as one.

        Args:
            output: of all batches.
            number: of the batch.
            parts: number of batches.
            batch: number of samples of each.
        """
        places = iter(self.outputs or ())

        def own(leaf: Any) -> Any:
            place = next(places)
            if not isinstance(leaf, Tensor):
                return leaf
            samples = place.first(leaf, parts * batch)
            return place.back(samples[number * batch : (number + 1) * batch])

        return joined(own, output)


@final
class _Run(ProductMode):
    """One pass: sends the product calls to their layers."""

    def __init__(self, calls: Sequence[SiteCall], batch: int, split: frozenset[str]) -> None:
        super().__init__(split)
        self.calls, self.batch, self.done = calls, batch, 0

    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        site, layers = self._expected(call)
        if not layers or site.weight is None:
            return run()
        if not equal_weights(call.factors[site.place], site.weight):
            step = "Map the network as it infers; a weight that changes from call to call cannot be in cells."
            raise InputError(f"site {site.name!r}", "other weights than were mapped", "the same in every call", step)
        with torch.no_grad():
            y = finished(call, product(call, site, layers, self.batch))
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
