"""Watch the product calls of a network while it runs."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from imc_sim._tensors import unusual
from imc_sim.sites._calls import OPAQUE, PRODUCTS, Call
from imc_sim.sites._replaced import REPLACED, attention

#: functions that are looked at; all others run unchanged, after one look-up
_WATCHED = frozenset([*PRODUCTS, *REPLACED, *OPAQUE])


class ProductMode(TorchFunctionMode, abc.ABC):
    """A torch function mode that hands every product call of a network to `product`; all other calls run unchanged.

    Args:
        split: paths of modules whose attention is handed on as two products, because a factor of it is a weight.
    """

    def __init__(self, split: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.split = split
        self._paths: list[str] = []
        self._fused: list[bool] = []

    @property
    def path(self) -> str:
        """Return the path of the module whose code runs now."""
        return self._paths[-1] if self._paths else ""

    @abc.abstractmethod
    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        """Return the result of a product call.

        Args:
            call: the product.
            run: makes the call unchanged.
        """

    def hidden(self, name: str) -> None:
        """Record a call whose products cannot be watched.

        Args:
            name: of the function.
        """

    @contextlib.contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Hand the product calls of a network inside the block to `product`, and keep `path`.

        Without `path`, enter the mode alone.

        Args:
            network: runs inside the block.

        Yields:
            Nothing.
        """

        def leave(*_: object) -> None:
            self._paths.pop()

        hooks = []
        for name, module in network.named_modules():
            enter: Callable[..., None] = lambda *_, name=name: self._paths.append(name)  # noqa: E731
            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(leave, always_call=True))
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def __enter__(self) -> Self:
        self._fused.append(torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)  # one kernel for a whole layer, in which nothing is seen
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self._fused.pop())
        super().__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in _WATCHED:
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        for kind in types:  # tensors of another class, such as quantised ones, make the call again with torch's own
            with self:
                found = kind.__torch_function__(func, types, args, kwargs)
            if found is not NotImplemented:
                return found
        replaced = REPLACED.get(func)
        if func is F.scaled_dot_product_attention and self.path in self.split:
            replaced = attention
        if replaced is not None:
            with self:
                found = replaced(*args, **kwargs)
            if found is not None:
                return found
        if func in PRODUCTS and kwargs.get("out") is None:
            call = PRODUCTS[func](*args, **kwargs)
            other = next(filter(None, map(unusual, call.factors)), None)
            if other is None:
                return self.product(call, partial(func, *args, **kwargs))
            self.hidden(f"{call.kind} of {other}")
        elif func in PRODUCTS or func in OPAQUE:
            self.hidden(getattr(func, "__name__", str(func)))
        return func(*args, **kwargs)
