"""Follow which tensors are computed from the inputs of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from imc_sim.sites._arguments import leaves

#: functions that use the shape of a tensor, but not its values
_SHAPES = frozenset(
    f"aten::{name}"
    for name in """
        empty_like zeros_like ones_like full_like rand_like randn_like randint_like
        new_empty new_empty_strided new_zeros new_ones new_full _shape_as_tensor
    """.split()  # noqa: SIM905  a list literal would take a line for each
)


@final
class Dependence(TorchDispatchMode):
    """Mark the memory of every tensor that is computed from the inputs, while the mode is entered.

    Memory is marked as a whole: a part of a tensor depends on the inputs if any part does. Values that leave torch, as
    by `item` or `numpy`, are not followed.

    Args:
        inputs: nested value with tensors.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self._marked: dict[int, StorageWeakRef] = {}  # a weak reference keeps the number of freed memory in use
        self._mark(inputs)

    def on(self, x: Tensor) -> bool:
        """Return whether a tensor is computed from the inputs.

        Args:
            x: any tensor.
        """
        memory = _memory(x)
        return memory is not None and memory.cdata in self._marked

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        used = any(self.on(leaf) for leaf in _tensors((args, kwargs)))
        if used and func._schema.name not in _SHAPES:  # type: ignore[attr-defined]
            self._mark(result)
        return result

    def _mark(self, value: Any) -> None:
        for leaf in _tensors(value):
            memory = _memory(leaf)
            if memory is not None:
                self._marked[memory.cdata] = memory


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in leaves(value) if isinstance(leaf, Tensor))


def _memory(x: Tensor) -> StorageWeakRef | None:
    """Return a reference to the memory of a tensor; None without one, as of sparse tensors."""
    try:
        return StorageWeakRef(x.untyped_storage())
    except RuntimeError:
        return None
