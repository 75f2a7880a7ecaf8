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
#: functions with products that torch does not count
_UNCOUNTED = frozenset(
    f"aten::{name}"
    for name in """
        _sparse_addmm _sparse_mm _sparse_sparse_matmul hspmm sspaddmm _int_mm _linalg_solve_ex linalg_solve_triangular
        triangular_solve linalg_lstsq linalg_lu_solve cholesky_solve mkldnn_linear mkldnn_convolution
    """.split()  # noqa: SIM905
)


@final
class Dependence(TorchDispatchMode):
    """Mark the memory of every tensor that is computed from the inputs, while the mode is entered.

    Memory is marked as a whole: a part of a tensor depends on the inputs if any part does. Values that leave torch, as
    by `item` or `numpy`, are not followed.

    Args:
        inputs: nested value with tensors.

    Attributes:
        hidden: is called with the name of a function of the inputs that may make products which torch does not count:
            sparse products, solvers, and functions of other libraries, such as quantised layers.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.hidden: Callable[[str], None] = lambda _: None
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
        name = func._schema.name  # type: ignore[attr-defined]
        if used and (name in _UNCOUNTED or not name.startswith(("aten::", "prim"))):
            self.hidden(name)
        if used and name not in _SHAPES:
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
