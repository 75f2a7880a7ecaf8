"""Run a network on a few inputs and find every matrix product that it makes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imc_sim._errors import InputError
from imc_sim.sites._arguments import Arguments, joined, leaves
from imc_sim.sites._dependence import Dependence
from imc_sim.sites._records import Record, Watch, classified
from imc_sim.sites._repeatable import check_output, check_repeated, check_watchable, has_nan
from imc_sim.sites._samples import Samples, place_of, projected
from imc_sim.sites._values import Values, weights_of

#: where each factor of a call holds the samples
Places = tuple[Samples | None, Samples | None]


@final
@dataclass(frozen=True)
class Site:
    """A matrix product of a network: a weight, and where it is used.

    Attributes:
        name: path of the module whose code makes the call; a number follows where it makes several.
        path: that path alone.
        kind: torch function.
        weight: as the network computes it; None where no factor is a weight that multiplies activations.
        place: which factor of the call it is.
        shape: of the weight; of the second factor where there is none.
        weights: class of the weight per output channel; None where there is none.
        inputs: class of the inputs.
        uses: calls per pass.
        multiply_adds: of all uses on the inputs of the probe.
        settings: stride, padding, dilation and groups of a convolution.
        constant: whether the product is the same for all inputs.
        samples: where the driven factor holds the samples; None where it mixes them.
        elements: of the driven factor, per sample.
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
    constant: bool = False
    samples: Samples | None = None
    elements: int = 0

    @property
    def dynamic(self) -> bool:
        """Return whether both factors depend on the input, as in attention scores."""
        return self.weight is None and not self.constant

    @property
    def stack(self) -> bool:
        """Return whether the weight is one matrix, or several that meet the same vectors."""
        return bool(self.settings.get("stack", True))


@final
@dataclass(frozen=True)
class Products:
    """All matrix products of a network on some inputs.

    Attributes:
        sites: in the order of their first call.
        order: the site of every call of a pass, as a place in `sites`.
        opaque: (path of the module, function) of calls whose products cannot be watched, such as `bilinear`.
        counted: multiply-adds of the pass as torch counts them, in functions that the probe does not see as well.
        outputs: where every leaf of the output holds the samples; None where a pass of two batches is not each of them
            alone.
        split: paths of modules whose attention is two products, because a factor of it is a weight.
        unseen: paths of modules with multiply-adds that torch counts, but no site makes.
        batch: number of samples of the pass.
    """

    sites: tuple[Site, ...]
    order: tuple[int, ...]
    opaque: tuple[tuple[str, str], ...]
    counted: int
    outputs: tuple[Samples, ...] | None = None
    split: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()
    batch: int = 1

    @property
    def seen(self) -> int:
        """Return the multiply-adds of all sites."""
        return sum(site.multiply_adds for site in self.sites)


@torch.no_grad()
def find_products(network: nn.Module, *args: Any, **kwargs: Any) -> Products:
    """Find the matrix products of a network.

    The network runs unchanged in eval mode, four times: twice on these inputs (a network may change its weights in its
    first pass), once on other ones, to tell weights from activations, and once on both, to see whether samples stay
    apart. It runs twice more if its first two outputs differ, to see whether it repeats them. A weight that still
    changes from pass to pass counts as an activation.

    Args:
        network: any torch module that runs eagerly on the CPU.
        *args: positional arguments of its forward pass: tensors, or tuples, lists and dicts of them, batch first.
        **kwargs: keyword arguments of its forward pass.

    Returns:
        The sites and the multiply-adds that torch counts.

    Raises:
        InputError: a module is scripted or compiled; the network fails on the inputs, changes them, returns NaN or
            other values in every pass, or makes other products for other inputs.
    """
    check_watchable(network)
    detached = joined(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    given = Arguments.of(*detached).checked()
    changed = given.reversed()
    if given.equals(changed):
        step = "Give two or more different samples."
        raise InputError("inputs", "the same values in reverse order", "inputs that differ", step)
    training = [module for module in network.modules() if module.training]
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    network.eval().requires_grad_(False)  # torch cannot count a module that gets a trained parameter as its input
    try:
        unchanged = given.copied()
        once = _run(network, given)
        check_output(network, once, given.equals(unchanged))
        first, other, counted = _two_passes(network, given, changed, frozenset())
        split = _weighted_attention(first, other)
        if split:
            first, other, counted = _two_passes(network, given, changed, split)
        check_repeated(network, once, first.output, lambda: _Pass.of(network, given, split).output)
        outputs, samples = _samples(network, first, other)
    finally:
        for module in training:
            module.training = True
        for weight in trained:
            weight.requires_grad = True
    sites, order = _sites(first.records, other.records, samples, given.batch)
    unseen = _unseen(counted, first.records)
    return Products(sites, order, tuple(dict.fromkeys(first.opaque)), counted[""], outputs, split, unseen, given.batch)


@final
@dataclass(frozen=True)
class _Pass:
    """One pass: its arguments, what was recorded, its output."""

    given: Arguments
    records: Sequence[Record]
    opaque: Sequence[tuple[str, str]]
    output: Any
    split: frozenset[str]

    @classmethod
    def of(
        cls, network: nn.Module, given: Arguments, split: frozenset[str], dependence: Dependence | None = None
    ) -> _Pass:
        watch = Watch(given.batch, split, dependence)
        output = _run(network, given, watch)
        return cls(given, watch.records, watch.opaque, output, split)


def _two_passes(
    network: nn.Module, given: Arguments, changed: Arguments, split: frozenset[str]
) -> tuple[_Pass, _Pass, dict[str, int]]:
    """Return the passes of two inputs, which must make the same calls, and the multiply-adds of modules for torch."""
    with FlopCounterMode(display=False) as counter, Dependence((given.args, given.kwargs)) as dependence:
        first = _Pass.of(network, given, split, dependence)
    other = _Pass.of(network, changed, split)
    if [record.key for record in first.records] != [record.key for record in other.records]:
        step = "Use a network whose calls do not depend on the values of its input."
        raise InputError("network", "other products for other inputs", "the same products in every pass", step)
    counts = {path.partition(".")[2]: sum(each.values()) // 2 for path, each in counter.get_flop_counts().items()}
    return first, other, counts | {"": counter.get_total_flops() // 2}


def _unseen(counted: Mapping[str, int], records: Sequence[Record]) -> tuple[str, ...]:
    """Return the innermost modules in which torch counts more multiply-adds than were recorded."""

    def recorded(path: str) -> int:
        return sum(r.multiply_adds for r in records if not path or r.path == path or r.path.startswith(f"{path}."))

    missing = [path for path, count in counted.items() if count > recorded(path)]
    return tuple(p for p in missing if not any(q != p and (not p or q.startswith(f"{p}.")) for q in missing))


def _weighted_attention(first: _Pass, other: _Pass) -> frozenset[str]:
    """Return the paths of modules with attention of which a factor is a weight, such as learned keys."""
    pairs = [(a, b) for a, b in zip(first.records, other.records, strict=True) if a.call.kind == "attention"]
    return frozenset(a.path for a, b in pairs if a.weights(b))


def _run(network: nn.Module, given: Arguments, watch: Watch | None = None) -> Any:
    """Return the output of the network, and name what it raises as an error of the network."""
    try:
        with contextlib.nullcontext() if watch is None else watch.watching(network):
            return given.run(network)
    except InputError:
        raise
    except Exception as error:
        step = "Run network(inputs) alone first; it must work on the CPU in eval mode."
        if watch is not None:
            step = (
                "It runs alone, but not while its products are watched: use no torch.func and no gradients in forward."
            )
        got = f"{type(error).__name__}: {error}"
        raise InputError(f"network {type(network).__name__}", got, "a forward pass without an error", step) from error


def _samples(network: nn.Module, first: _Pass, other: _Pass) -> tuple[tuple[Samples, ...] | None, list[Places]]:
    """Run two batches together: return where the output and the factors of each call hold samples.

    A pass of both may fail, as where a network is written for one batch size.
    """
    mixed: list[Places] = [(None, None)] * len(first.records)
    second = first.given.batched(lambda x: x.flip(tuple({0, x.ndim - 1})))
    try:
        alone = other if second.equals(other.given) else _Pass.of(network, second, first.split)
        both = _Pass.of(network, first.given.batched(lambda *x: torch.cat(x), second), first.split)
    except InputError:
        return None, mixed
    if not [r.place for r in first.records] == [r.place for r in alone.records] == [r.place for r in both.records]:
        return None, mixed
    records = zip(first.records, alone.records, both.records, strict=True)
    kept: list[Places] = [
        (place_of(*(r.samples[0] for r in each)), place_of(*(r.samples[1] for r in each))) for each in records
    ]
    outputs = [list(leaves(each.output)) for each in (first, alone, both)]
    if len({len(each) for each in outputs}) > 1:
        return None, kept
    found = [_output_samples(first.given.batch, *each) for each in zip(*outputs, strict=True)]
    places = tuple(each for each in found if each is not None)
    return places if len(places) == len(found) else None, kept


def _output_samples(batch: int, first: Any, second: Any, both: Any) -> Samples | None:
    """Return where an output of two passes and of both together holds samples; anywhere for equal constants."""
    if not isinstance(first, Tensor):
        return Samples() if first is None or (isinstance(first, bool | int | float | str) and first == both) else None
    return place_of(*(projected(x, n, x.ndim) for x, n in ((first, batch), (second, batch), (both, 2 * batch))))


def _sites(
    first: Sequence[Record], other: Sequence[Record], samples: Sequence[Places], batch: int
) -> tuple[tuple[Site, ...], tuple[int, ...]]:
    """Join the calls with one weight at one place, and classify what they compute with."""
    static = [sorted({0, 1}.intersection(a.weights(b)), reverse=True) for a, b in zip(first, other, strict=True)]
    weights = [next((k for k in s if r.call.weight in (None, k)), None) for r, s in zip(first, static, strict=True)]
    shared = [None if k is None else (r.path, r.call.kind, r.digests[k]) for r, k in zip(first, weights, strict=True)]
    driven = {key for key, found in zip(shared, static, strict=True) if key is not None and len(found) == 1}
    order = [
        (r.path, r.call.kind, key if key in driven else n) for n, (r, key) in enumerate(zip(first, shared, strict=True))
    ]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(order):
        groups.setdefault(key, []).append(number)
    names = _names([path for path, *_ in groups])
    found = []
    for name, (key, calls) in zip(names, groups.items(), strict=True):
        record = first[calls[0]]
        constant = len(static[calls[0]]) == 2 and key[2] == calls[0]
        weight = None if constant else weights[calls[0]]
        driven_by = 0 if weight is None else 1 - weight
        if weight is not None and any(has_nan(first[n].call.factors[driven_by]) for n in calls):
            step = "Run network(inputs) alone, and check what the inputs of this module are computed from."
            raise InputError(f"network, site {name!r}", "NaN in its inputs", "numbers", step)
        place = 1 if weight is None else weight
        call = record.call if weight is None else record.call.collapsed(weight)
        factor = call.factors[place].detach()
        found.append(Site(
            name=name, path=record.path, kind=record.call.kind, place=place,
            weight=None if weight is None else factor.clone(),  # the network could change its own in place
            shape=tuple(factor.shape), weights=None if weight is None else weights_of(call.matrix(weight)),
            inputs=classified([each[n].values[driven_by] for n in calls for each in (first, other)]), uses=len(calls),
            multiply_adds=sum(first[n].multiply_adds for n in calls), settings=record.call.settings, constant=constant,
            elements=max(record.call.factors[driven_by].numel() // batch, 1),
            samples=next(iter(kept)) if len(kept := {samples[n][driven_by] for n in calls}) == 1 else None,
        ))  # fmt: skip
    places = {key: number for number, key in enumerate(groups)}
    return tuple(found), tuple(places[key] for key in order)


def _names(paths: Sequence[str]) -> list[str]:
    """Return a name for every site: its path, with a number where several have it."""
    seen: dict[str, int] = {}
    found = []
    for path in paths:
        seen[path] = seen.get(path, 0) + 1
        found.append(path if paths.count(path) == 1 else f"{path}:{seen[path]}")
    return found
