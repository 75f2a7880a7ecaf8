"""Record every product call of a pass: its factors by content, by distinct values and by samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from imc_sim.sites._calls import Call
from imc_sim.sites._dependence import Dependence
from imc_sim.sites._mode import ProductMode
from imc_sim.sites._samples import Projections, projected
from imc_sim.sites._values import Values, inputs_of, nearly_equal

#: distinct values of an input that are kept; more are real
_DISTINCT = 2**10


@final
@dataclass
class Record:
    """One call of one pass.

    Attributes:
        path: of the module whose code makes it.
        call: the call.
        digests: content of both factors; of attention also of its values.
        values: distinct values of both factors; None where there are many.
        samples: projections of the samples of both factors.
        multiply_adds: of the call.
        computed: which tensors are computed from the inputs: 0 and 1 for the factors, 2 for the values of attention.
    """

    path: str
    call: Call
    digests: tuple[bytes, ...]
    values: tuple[Tensor | None, Tensor | None]
    samples: tuple[Projections, Projections]
    multiply_adds: int
    computed: frozenset[int]

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what must be equal in every pass of as many samples."""
        return *self.place, *(tuple(each.shape) for each in self.call.factors)

    def weights(self, other: Record) -> tuple[int, ...]:
        """Return which tensors are equal in another pass and not computed from the inputs, numbered as in `computed`.

        A network may compute a weight again in every pass, as after centring it in place, and round it differently.

        Args:
            other: the same call of another pass.
        """
        pairs = zip(self.tensors, other.tensors, self.digests, other.digests, strict=True)
        equal = (x == y or (a.data_ptr() != b.data_ptr() and nearly_equal(a, b)) for a, b, x, y in pairs)
        return tuple(k for k, same in enumerate(equal) if same and k not in self.computed)

    @property
    def tensors(self) -> list[Tensor]:
        """Return the factors, and of attention also its values."""
        return [x for x in (*self.call.factors, self.call.values) if x is not None]

    @property
    def place(self) -> tuple[str, str]:
        """Return what must be equal in every pass."""
        return self.path, self.call.kind


@final
class Watch(ProductMode):
    """Record the products of a pass.

    Args:
        batch: number of samples of the pass.
        split: as of `ProductMode`.
        dependence: follows what is computed from the inputs; None: nothing is known to be.
    """

    def __init__(self, batch: int, split: frozenset[str] = frozenset(), dependence: Dependence | None = None) -> None:
        super().__init__(split)
        self.batch, self.dependence = batch, dependence
        self.records: list[Record] = []
        self.opaque: list[tuple[str, str]] = []
        if dependence is not None:
            dependence.hidden = self.hidden

    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        a, b = call.factors
        used = [x for x in (a, b, call.values) if x is not None]
        digests = tuple(digest(x) for x in used)
        values = _distinct(a), _distinct(b)
        driven = call.driven(0), call.driven(1)
        samples = tuple(projected(x, self.batch, 1 if call.convolution else x.ndim - 1) for x in driven)
        follows = self.dependence
        computed = frozenset(k for k, x in enumerate(used) if follows is not None and follows.on(x))
        result = run()
        count = call.multiply_adds(result)
        self.records.append(Record(self.path, call, digests, values, samples, count, computed))  # type: ignore[arg-type]
        return result

    def hidden(self, name: str) -> None:
        self.opaque.append((self.path, name))


def digest(x: Tensor) -> bytes:
    """Return a digest of the content of a tensor.

    Args:
        x: any tensor.
    """
    flat = x.detach().cpu().contiguous()
    flat = flat.as_strided((x.numel(),), (1,))  # a single element may have a stride of 0, which torch does not view
    data = flat.view(torch.uint8).numpy().data
    return hashlib.blake2b(data, digest_size=16).digest()


def classified(values: list[Tensor | None]) -> Values:
    """Classify inputs by the distinct values of all calls; None where there are too many.

    Args:
        values: distinct values of each call.
    """
    known = [each for each in values if each is not None]
    if len(known) < len(values):
        return Values("real", torch.ones(1, dtype=torch.float64), 0)
    return inputs_of(torch.cat(known).unique())


def _distinct(x: Tensor) -> Tensor | None:
    """Return the distinct values of a tensor, or None if there are many."""
    if x.numel() > 2 * _DISTINCT and len(x.detach().flatten()[: 4 * _DISTINCT].unique()) > _DISTINCT:
        return None
    found = x.detach().double().unique()
    return found if len(found) <= _DISTINCT else None
