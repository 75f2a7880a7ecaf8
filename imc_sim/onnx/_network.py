"""An ONNX graph as a torch module: each node calls torch functions, so that mapping sees its products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import unquote

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.onnx._node import Node, ints
from imc_sim.onnx._table import OPERATORS


@final
@dataclass(frozen=True)
class Input:
    """One input of a network.

    Attributes:
        name: in the file.
        shape: sizes, None where any size is allowed; None: any shape.
        dtype: type in which it is computed.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: torch.dtype


@final
class Scope(nn.Module):
    """A part of a dotted name: it holds the tensors and parts below it, and computes the node of that name."""

    node: Node | None = None

    def forward(self, *inputs: Tensor | None) -> tuple[Any, ...]:
        """Return the outputs of the node.

        Args:
            *inputs: Its inputs, None where one was left out.

        Raises:
            InputError: The node fails.
        """
        node = self.node
        if node is None:
            raise InputError("network", "a scope without a node", "a node", "This is a bug in imc_sim: report it.")
        try:
            found = OPERATORS[node.kind](node, *inputs)
        except InputError:
            raise
        except Exception as error:
            shapes = ", ".join("-" if x is None else str(tuple(x.shape)) for x in inputs)
            got = f"inputs {shapes} ({type(error).__name__}: {error})"
            step = "Check the inputs, and whether other programs run the file."
            raise InputError(f"node {node.name!r}, {node.kind}", got, "inputs that it can compute", step) from error
        return found if isinstance(found, tuple | list) else (found,)  # type: ignore[return-value]


@final
class OnnxNetwork(nn.Module):
    """A network read from an ONNX file, as a torch module in float32.

    Parameters and buffers have the names of the tensors in the file, and modules those of the nodes; both are also the
    names in mapping reports. Parts that a module cannot hold are percent-encoded, see `file_name`.

    Args:
        nodes: In an order in which each follows those that it needs.
        tensors: Stored tensors by name; those of floats with a dimension become parameters.
        inputs: Of the network.
        outputs: Their names.
        batch: Number of samples that the file is for, None: any.
        where: Name of the file in errors.
    """

    def __init__(
        self, nodes: Sequence[Node], tensors: Mapping[str, Tensor], inputs: Sequence[Input], outputs: Sequence[str],
        batch: int | None, where: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inputs, self.outputs, self.batch, self.where = tuple(inputs), tuple(outputs), batch, where
        self.batches_are_apart = batch is None
        self.nodes, self._steps, self._freed = tuple(nodes), (), _last_uses(nodes, outputs)
        self.keys: dict[str, str] = {}
        self._held: dict[str, tuple[nn.Module, str]] = {}
        for name, tensor in tensors.items():
            self.keys[name], scope, leaf = _place(self, name)
            if tensor.is_floating_point() and tensor.ndim:
                scope.register_parameter(leaf, nn.Parameter(tensor))
            else:
                scope.register_buffer(leaf, tensor)
            self._held[name] = scope, leaf
        self._steps = tuple(self._added(node) for node in nodes)

    def _added(self, node: Node) -> Scope:
        """Return the scope of a node, which is added."""
        _, outer, leaf = _place(self, node.name, for_node=True)
        found = outer._modules.get(leaf)
        scope = found if isinstance(found, Scope) else Scope()
        outer.add_module(leaf, scope)
        scope.node = node
        return scope

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Return the output of the network, or a tuple of several.

        Args:
            *args: Its inputs in the order of the file, batch first.
            **kwargs: Inputs by name.

        Raises:
            InputError: Inputs that the network does not take, or a node that fails.
        """
        given = self._given(args, kwargs)
        size = len(given[0]) if given and given[0].ndim else 0
        if self.batch is None or size == self.batch:
            return self._run(given)
        try:
            found = self._run(given, self.batch)
            if not self.batches_are_apart:
                self._check_batches(given, found, size)
        except InputError as error:
            got = f"{size} samples in a network for {self.batch} ({error.where}: {error.got})"
            step = "Export it for any number: dynamic_axes={'INPUT': {0: 'batch'}}."
            raise InputError(self.where, got, f"{self.batch}, as it was exported", step) from error
        self.batches_are_apart = True
        return found

    def _check_batches(self, given: Sequence[Tensor], found: Any, size: int) -> None:
        """Raise unless each sample has the output that it has in a batch of the size in the file."""
        outputs = found if isinstance(found, tuple) else (found,)
        for start in (0, self.batch or 1):
            rows = (torch.arange(self.batch or 1) + start) % size
            alone = self._run([x[rows] for x in given])
            for a, both in zip(alone if isinstance(alone, tuple) else (alone,), outputs, strict=True):
                same = both.ndim and len(both) == size and both.shape[1:] == a.shape[1:]
                if not same or not _close(a, both[rows]):
                    raise InputError("output", "samples that are mixed", "samples apart", "Export it again.")

    def _run(self, given: Sequence[Tensor], exported_for: int | None = None) -> Any:
        """Return the outputs for checked inputs; `exported_for`: samples in the file, where they are others."""
        values: dict[str, Any] = {each.name: x for each, x in zip(self.inputs, given, strict=True)}

        def value(name: str) -> Any:
            return getattr(*self._held[name]) if name in self._held else values[name]

        for scope, freed in zip(self._steps, self._freed, strict=True):
            node = scope.node
            if node is not None:
                taken = [value(name) if name else None for name in node.inputs]
                if node.follows and exported_for is not None:
                    taken = _followed(node, taken, exported_for, len(given[0]))
                outputs = scope(*taken)
                values.update(zip(node.outputs, outputs, strict=False))
            for name in freed:
                values.pop(name, None)
        found = tuple(value(name) for name in self.outputs)
        return found[0] if len(found) == 1 else found

    def _given(self, args: Sequence[Tensor], kwargs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the inputs in order, in the types of the file."""
        names = [each.name for each in self.inputs]
        left = names[len(args) :]
        if len(args) > len(names) or set(left) != set(kwargs):
            got = f"{len(args)} inputs" + (f" and {', '.join(map(repr, kwargs))}" if kwargs else "")
            raise InputError(self.where, got, f"the inputs {', '.join(map(repr, names))}", "Give these.")
        return [
            _checked(each, x, self.where)
            for each, x in zip(self.inputs, (*args, *(kwargs[name] for name in left)), strict=True)
        ]


def file_name(key: str) -> str:
    """Return the name that a tensor or node has in the file, of its key in the state dict or its module path.

    Args:
        key: The key or path.
    """
    return unquote(key)


def _place(root: nn.Module, name: str, for_node: bool = False) -> tuple[str, nn.Module, str]:
    """Return path, scope and leaf for a name, with new scopes for the parts before dots where they can be."""
    parts = name.replace("%", "%25").split(".")
    hexed = ("".join(f"%{byte:02X}" for byte in name[:k].encode()) for k in range(len(name) + 1))
    flat = ([start + name[k:].replace("%", "%25").replace(".", "%2E")] for k, start in enumerate(hexed))
    for tried in (parts, *flat):
        scope = _scope_at(root, tried[:-1]) if all(tried) else None
        if scope is not None and _free(scope, tried[-1], for_node):
            return ".".join(tried), scope, tried[-1]
    raise InputError("ONNX file", f"two tensors or nodes {name!r}", "names that differ", "Export the network again.")


def _scope_at(root: nn.Module, parts: Sequence[str]) -> nn.Module | None:
    """Return the scope at these parts, made where it is missing; None where another thing has such a name."""
    scope = root
    for part in parts:
        if not hasattr(scope, part):
            scope.add_module(part, Scope())
        inner = scope._modules.get(part)
        if not isinstance(inner, Scope):
            return None
        scope = inner
    return scope


def _free(scope: nn.Module, leaf: str, for_node: bool) -> bool:
    inner = scope._modules.get(leaf)
    return not hasattr(scope, leaf) or (for_node and isinstance(inner, Scope) and inner.node is None)


def _followed(node: Node, taken: Sequence[Any], batch: int, size: int) -> Sequence[Any]:
    """Return the inputs of a Reshape or Concat for another number of samples than the file is for.

    Of a shape, the samples are in the first size that is their number, or that is not that of the tensor, but not in
    the last one; a wrong guess is found by `_check_batches`. A part that is the same for all samples is repeated.
    """
    if node.kind == "Concat":
        rows, first = max(len(x) for x in taken), node.get("axis", 1) == 0
        return [x.expand(rows, *x.shape[1:]) if len(x) == batch == 1 and not first else x for x in taken]
    x, shape = taken
    wanted = [x.shape[k] if n == 0 else n for k, n in enumerate(ints(shape))]
    open_at = wanted.index(-1) if -1 in wanted else len(wanted)
    if open_at == len(wanted) and math.prod(wanted) == x.numel():
        return taken
    places = range(min(open_at, max(len(wanted) - 1, 1)))
    stated = (k for k in places if wanted[k] == batch)
    other = (k for k in places if k < x.ndim and wanted[k] != x.shape[k])
    if places:
        place = next(stated, next(other, None if open_at < len(wanted) else places[-1]))
        wanted = [n * size // batch if k == place else n for k, n in enumerate(wanted)]
    return [x, torch.tensor(wanted)]


def _last_uses(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return for each node the values that no later one needs."""
    seen = set(outputs)
    found: list[tuple[str, ...]] = []
    for node in reversed(nodes):
        found.append(tuple({*node.inputs, *node.outputs} - seen - {""}))
        seen |= {*node.inputs, *node.outputs}
    return tuple(reversed(found))


def _checked(expected: Input, x: Tensor, where: str) -> Tensor:
    """Return an input in its type, or raise where its shape or type is another one."""
    if expected.dtype == torch.float32:
        x = x.float()
    if x.dtype != expected.dtype:
        step = "Convert it."
        raise InputError(f"{where}, input {expected.name!r}", f"{x.dtype}", f"{expected.dtype}", step)
    sizes = expected.shape
    others = () if sizes is None else zip(sizes[1:], x.shape[1:], strict=False)
    if sizes is not None and (len(sizes) != x.ndim or any(a not in (None, b) for a, b in others)):
        allowed = ", ".join(["batch", *("any" if a is None else str(a) for a in sizes[1:])]) if sizes else "a scalar"
        step = "Give inputs of this shape, or export the network with dynamic_axes."
        raise InputError(f"{where}, input {expected.name!r}", f"shape {tuple(x.shape)}", f"({allowed})", step)
    return x


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether two outputs are equal to rounding, and to a rare sign that it flips."""
    a, b = a.double(), b.double()
    return bool((a - b).square().mean() <= 0.05**2 * (a - a.mean()).square().mean() + 1e-5**2 * a.square().mean())


def module_names(names: Sequence[str], kinds: Sequence[str]) -> Iterator[str]:
    """Yield a name for each node: its own without slashes around it, or its operator, numbered where it is taken.

    Args:
        names: of the nodes in the file, which may be empty or equal.
        kinds: their operators.

    Yields:
        The names.
    """
    used: dict[str, int] = {}
    for name, kind in zip(names, kinds, strict=True):
        base = name.strip("/") or kind
        count = used.get(base, 0)
        used[base] = count + 1
        yield base if name.strip("/") and not count else f"{base}_{count}"
