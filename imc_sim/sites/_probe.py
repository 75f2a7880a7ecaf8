"""Run a network on a few inputs and record every matrix product that it makes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imc_sim._errors import InputError
from imc_sim.sites._calls import Call
from imc_sim.sites._mode import ProductMode
from imc_sim.sites._values import Values, inputs_of, weights_of

#: distinct values of an input that are kept; more are real
_DISTINCT = 2**10
_CLASSES = (torch.jit.ScriptModule,)


@final
@dataclass(frozen=True)
class Site:
    """A matrix product of a network: a weight, and where it is used.

    Attributes:
        name: path of the module whose code makes the call; a number follows where it makes several.
        path: that path alone.
        kind: torch function.
        weight: as the network computes it; None in a product of two activations.
        place: which factor of the call it is.
        shape: of the weight; of the second factor in a product of two activations.
        weights: class of the weight per output channel; None in a product of two activations.
        inputs: class of the inputs.
        uses: calls per pass.
        multiply_adds: of all uses on the inputs of the probe.
        settings: stride, padding, dilation and groups of a convolution.
    """

    name: str
    path: str
    kind: str
    weight: Tensor | None = field(repr=False)
    place: int
    shape: tuple[int, ...]
    weights: Values | None
    inputs: Values
    uses: int
    multiply_adds: int
    settings: Mapping[str, Any]

    @property
    def dynamic(self) -> bool:
        """Return whether both factors depend on the input, as in attention scores."""
        return self.weights is None


@final
@dataclass(frozen=True)
class Products:
    """All matrix products of a network on some inputs.

    Attributes:
        sites: in the order of their first call.
        order: the site of every call of a pass, as a place in `sites`.
        opaque: (path of the module, function) of calls whose products cannot be watched, such as `lstm`.
        counted: multiply-adds of the pass as torch counts them, in functions that the probe does not see as well.
    """

    sites: tuple[Site, ...]
    order: tuple[int, ...]
    opaque: tuple[tuple[str, str], ...]
    counted: int

    @property
    def seen(self) -> int:
        """Return the multiply-adds of all sites."""
        return sum(site.multiply_adds for site in self.sites)


@torch.no_grad()
def find_products(network: nn.Module, *inputs: Any) -> Products:
    """Find the matrix products of a network.

    The network runs unchanged in eval mode, four times: twice on these inputs (a network may change its weights in its
    first pass), once on other ones, to tell weights from activations, and once to count. A weight that still changes
    from pass to pass counts as an activation.

    Args:
        network: any torch module that runs eagerly on the CPU.
        inputs: positional arguments of its forward pass: tensors, or tuples, lists and dicts of them, batch first.

    Returns:
        The sites and the multiply-adds that torch counts.

    Raises:
        InputError: the network is scripted or compiled, fails on the inputs, or makes other products for other inputs.
    """
    if isinstance(network, _CLASSES) or type(network).__name__ == "OptimizedModule":
        step = "Give the module that it was made from."
        raise InputError("network", f"a {type(network).__name__}", "a module that runs eagerly", step)
    others = _changed(inputs)
    training = [module for module in network.modules() if module.training]
    network.eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one kernel for a whole layer, in which nothing is counted
    try:
        first, other, counter = _Watch(), _Watch(), FlopCounterMode(display=False)
        _run(network, inputs, contextlib.nullcontext())
        _run(network, inputs, first.watching(network))
        _run(network, others, other.watching(network))
        _run(network, inputs, counter)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module in training:
            module.training = True
    if [record.key for record in first.records] != [record.key for record in other.records]:
        step = "Use a network whose calls do not depend on the values of its input."
        raise InputError("network", "other products for other inputs", "the same products in every pass", step)
    opaque = tuple(dict.fromkeys(first.opaque))
    return Products(*_sites(first.records, other.records), opaque, counter.get_total_flops() // 2)


def _run(network: nn.Module, inputs: tuple[Any, ...], mode: contextlib.AbstractContextManager[Any]) -> None:
    """Run the network, and name what it raises as an error of the network."""
    try:
        with mode:
            network(*inputs)
    except InputError:
        raise
    except Exception as error:
        step = "Run network(*inputs) alone first; it must work on the CPU in eval mode."
        got = f"{type(error).__name__}: {error}"
        raise InputError(f"network {type(network).__name__}", got, "a forward pass without an error", step) from error


@final
@dataclass
class _Record:
    """One call of one pass: place, both factors by content, distinct values of both, multiply-adds."""

    path: str
    call: Call
    digests: tuple[bytes, bytes]
    values: tuple[Tensor | None, Tensor | None]
    multiply_adds: int

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what must be equal in every pass."""
        return self.path, self.call.kind, *(tuple(each.shape) for each in self.call.factors)


@final
class _Watch(ProductMode):
    """Records the products of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[_Record] = []
        self.opaque: list[tuple[str, str]] = []

    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        digests, values = (tuple(map(each, call.factors)) for each in (_digest, _distinct))
        result = run()
        record = _Record(self.path, call, digests, values, call.multiply_adds(result))  # type: ignore[arg-type]
        self.records.append(record)
        return result

    def hidden(self, name: str) -> None:
        self.opaque.append((self.path, name))


def _sites(first: list[_Record], other: list[_Record]) -> tuple[tuple[Site, ...], tuple[int, ...]]:
    """Join the calls with one weight at one place, and classify what they compute with."""
    order: list[tuple[Any, ...]] = []
    groups: dict[tuple[Any, ...], list[tuple[_Record, _Record, int | None]]] = {}
    for number, (a, b) in enumerate(zip(first, other, strict=True)):
        static = [k for k in (1, 0) if a.digests[k] == b.digests[k]]
        weight = next((k for k in static if a.call.weight in (None, k)), None)
        key = (a.path, a.call.kind, number if weight is None else a.digests[weight])
        order.append(key)
        groups.setdefault(key, []).append((a, b, weight))
    named: dict[str, int] = {}
    for path, *_ in groups:
        named[path] = named.get(path, 0) + 1
    seen: dict[str, int] = {}
    found = []
    for (path, kind, _), calls in groups.items():
        seen[path] = seen.get(path, 0) + 1
        name = path if named[path] == 1 else f"{path}:{seen[path]}"
        record, _, weight = calls[0]
        driven = 0 if weight is None else 1 - weight
        values = [each.values[driven] for a, b, _ in calls for each in (a, b)]
        weights = None if weight is None else weights_of(record.call.matrix(weight))
        place = 1 if weight is None else weight
        factor = record.call.factors[place].detach()
        total = sum(a.multiply_adds for a, _, _ in calls)
        found.append(
            Site(
                name,
                path,
                kind,
                None if weight is None else factor,
                place,
                tuple(factor.shape),
                weights,
                _inputs(values),
                len(calls),
                total,
                record.call.settings,
            )
        )
    places = {key: number for number, key in enumerate(groups)}
    return tuple(found), tuple(places[key] for key in order)


def _inputs(values: list[Tensor | None]) -> Values:
    """Classify inputs by the distinct values of all calls; None where there are too many."""
    known = [each for each in values if each is not None]
    if len(known) < len(values):
        return Values("real", torch.ones(1, dtype=torch.float64), 0)
    return inputs_of(torch.cat(known).unique())


def _digest(x: Tensor) -> bytes:
    """Return a digest of the content of a tensor."""
    data = x.detach().contiguous().view(torch.uint8 if x.element_size() else x.dtype).numpy().tobytes()
    return hashlib.blake2b(data, digest_size=16).digest()


def _distinct(x: Tensor) -> Tensor | None:
    """Return the distinct values of a tensor, or None if there are many."""
    if x.numel() > 2 * _DISTINCT and len(x.detach().flatten()[: 4 * _DISTINCT].unique()) > _DISTINCT:
        return None
    found = x.detach().double().unique()
    return found if len(found) <= _DISTINCT else None


def _changed(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return other inputs of the same shapes and values: every tensor reversed along its first and last dimension."""
    tensors = list(_tensors(inputs))
    if not tensors:
        raise InputError("inputs", "no tensor", "the arguments of the forward pass", "Give a batch of real inputs.")
    other = _mapped(inputs, lambda x: x.flip(tuple({0, x.ndim - 1})) if x.ndim else x)
    if all(torch.equal(a, b) for a, b in zip(tensors, _tensors(other), strict=True)):
        step = "Give two or more different samples."
        raise InputError("inputs", "the same values in reverse order", "inputs that differ", step)
    return other


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _tensors(each)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(each, change) for key, each in value.items()}
    return type(value)(_mapped(each, change) for each in value) if isinstance(value, list | tuple) else value
