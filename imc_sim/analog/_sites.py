"""Product sites of any network on crossbars: the network runs unchanged, and its product calls go to analog layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError, reason_of
from imc_sim._memory import is_out_of_memory
from imc_sim.analog._instead import instead
from imc_sim.analog._site_products import SiteCall, equal_weights, finished, product
from imc_sim.sites import Arguments, Call, ProductMode, Products, joined

#: elements of the largest input of a site, of all chips that run in one pass and of one of them: joining larger inputs
#: takes longer than the pass that it saves
_ELEMENTS, _EACH = 2**17, 2**14


@final
class SiteNetwork(nn.Module):
    """A network whose product calls go to layers, in the order in which the probe saw them.

    Args:
        network: the network, in eval mode.
        calls: of one pass.
        products: what the probe found.
        shared: holds digital products of one chip for the next ones; None for one chip.
        form: of the arguments that the probe saw, see `Arguments.form`.
    """

    def __init__(
        self, network: nn.Module, calls: Sequence[SiteCall], products: Products, shared: dict[int, Any] | None,
        form: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self._form, self._taken = form, {form}
        self._shared = shared
        self.network, self._calls, self.outputs, self._split = network, list(calls), products.outputs, products.split
        self.layers = nn.ModuleList(layer for call in calls for layer in call.layers)
        #: number of a call -> address and version of a parameter that was compared with the mapped weight
        self.compared: dict[int, tuple[int, int]] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(Arguments.of(args, kwargs))

    def check(self, given: Arguments) -> None:
        """Check that the network takes arguments of these shapes, by a digital pass for shapes that are new.

        Args:
            given: arguments of the network.

        Raises:
            InputError: the network fails on them.
        """
        if given.form in self._taken:
            return
        try:
            with torch.no_grad():
                given.run(self.network)
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
            if isinstance(error, InputError) or is_out_of_memory(error):
                raise
            got, step = f"{given.form} ({reason_of(error)})", "Give inputs like those of the mapping."
            raise InputError("inputs", got, f"{self._form}, as in the mapping", step) from error
        self._taken.add(given.form)

    def run(self, given: Arguments) -> Any:
        """Return the output for some arguments.

        Args:
            given: arguments of the network.
        """
        run = _Run(self._calls, given.batch, self._split, self.compared, self._shared)
        with run.watching(self.network) if self._split else run:
            output = given.run(self.network)
        run.finish()
        return output

    def together(self, batch: int) -> int:
        """Return how many batches should run as one: several where inputs of sites are small and samples stay apart.

        Args:
            batch: number of samples of each.
        """
        mapped = [call.site for call in self._calls if call.layers]
        if self.outputs is None or any(site.samples is None for site in mapped):
            return 1
        each = batch * max((site.elements for site in mapped), default=1)
        return max(1, _ELEMENTS // each) if each <= _EACH else 1

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

    def __init__(
        self, calls: Sequence[SiteCall], batch: int, split: frozenset[str], compared: dict[int, tuple[int, int]],
        shared: dict[int, Any] | None,
    ) -> None:  # fmt: skip
        super().__init__(split)
        self.calls, self.batch, self.compared, self.shared, self.done = calls, batch, compared, shared, 0
        self.mapped = False

    def product(self, call: Call, run: Callable[[], Any]) -> Any:
        to = self._expected(call)
        site = to.site
        if not to.layers or site.weight is None:
            return self._digital(call, run)
        self.mapped = True
        self._compare(call.factors[site.place], site.weight, site.name)
        if not torch.is_grad_enabled():
            return finished(call, product(call, to, self.batch))
        with torch.no_grad():
            y = finished(call, product(call, to, self.batch))
        return instead(run(), y)  # the gradient is that of the network's own call, to its inputs and its weights

    def _digital(self, call: Call, run: Callable[[], Any]) -> Any:
        """Return a digital product; before the first crossbar, that of the chip before if its tensors are equal."""
        if self.shared is None or self.mapped or call.values is not None or torch.is_grad_enabled():
            return run()
        used = [x for x in (*call.factors, call.added) if x is not None]
        if any(x.is_inference() for x in used):  # such tensors count no changes
            return run()
        before, y, mark = self.shared.get(self.done, ((), None, None))
        # The network may have changed what it got, also through `data`, which counts no version.
        same = y is not None and (y._version, float(y.sum())) == mark and all(map(torch.equal, before, used))
        if not same:
            y = run()
            self.shared[self.done] = [x.clone() for x in used], y, (y._version, float(y.sum()))
        return y

    def _compare(self, found: Tensor, weight: Tensor, name: str) -> None:
        """Raise InputError for another weight than was mapped; parameters are compared once for all chips."""
        own = found if found._base is None else found._base
        version = (found.data_ptr(), found._version) if isinstance(own, nn.Parameter) else None
        if version is not None and self.compared.get(self.done) == version:
            return
        if not equal_weights(found, weight):
            step = "Map the network as it infers, with inputs that follow the same path through it."
            raise InputError(f"site {name!r}", "other weights than were mapped", "the same in every call", step)
        if version is not None:
            self.compared[self.done] = version

    def _expected(self, call: Call) -> SiteCall:
        """Return the next call of the probe, which must be this one."""
        if self.done < len(self.calls):
            found = self.calls[self.done]
            if found.site.kind == call.kind:
                self.done += 1
                return found
        raise _other_way("network", f"{call.kind} as product {self.done}")

    def finish(self) -> None:
        """Raise InputError if the pass made fewer products than the probe."""
        if self.done < len(self.calls):
            raise _other_way("network", f"a pass without site {self.calls[self.done].site.name!r}")


def _other_way(where: str, got: str) -> InputError:
    step = "Probe the network with inputs that follow the same path through it."
    return InputError(where, got, "the calls of the probe", step)
