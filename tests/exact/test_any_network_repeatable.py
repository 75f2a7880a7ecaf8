"""Networks whose passes cannot be repeated or watched: refused, not mapped with other results chip after chip."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip
from imc_sim.device import Device
from tests.exact.networks import on_grid

IDEAL = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = IDEAL.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Pass(nn.Module):
    """A linear layer in a pass that a function writes."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.passes, self.way = on_grid(nn.Linear(6, 6)), 0, forward

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.way(self, x)


def scripted(module: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def product(x: Tensor, w: Tensor) -> Tensor:
    return torch.matmul(x, w)


SCRIPT = scripted(product)


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (lambda net, x: net.inner(x.mul_(2.0)), "changes its inputs in place"),
        (lambda net, x: F.dropout(net.inner(x), 0.5), "other outputs for the same inputs"),
        (lambda net, x: net.inner(x) + torch.rand(6), "other outputs for the same inputs"),
        (lambda net, x: net.inner(x) * net.passes, "other outputs for the same inputs"),
        (lambda net, x: net.inner(x).log(), "NaN in its output"),
        (lambda net, x: net.inner(net.inner(x).log()).nan_to_num(), "site 'inner': got NaN in its inputs"),
        (lambda net, x: torch.vmap(net.inner)(x), "not while its products are watched"),
        (lambda net, x: SCRIPT(net.inner(x), net.inner.weight), r"'' \(a function that was not seen, whose products"),
        (lambda net, x: torch.ops.aten.mm(net.inner(x), net.inner.weight), r"'' \(a function that was not seen"),
        (lambda net, x: torch.sparse.mm(net.inner.weight.to_sparse(), net.inner(x).T), r"'' \(aten::_sparse_addmm"),
        (lambda net, x: torch.linalg.solve(net.inner.weight, net.inner(x).T), r"'' \(aten::_linalg_solve_ex"),
        (lambda net, x: ((net.inner(x) + 0j) @ (1j * net.inner.weight)).imag, r"'' \(matmul of a complex tensor"),
    ],
)  # fmt: skip
def test_a_pass_is_refused_that(forward: Callable[[Any, Tensor], Tensor], match: str) -> None:
    network, x = Pass(forward), X.clone()
    with pytest.raises(InputError, match=match):
        imc.map_model(network, FLOAT, chips=2, inputs=x)
    assert torch.equal(x, X)


def test_a_function_that_was_not_seen_may_be_digital() -> None:
    network = Pass(lambda net, x: SCRIPT(net.inner(x), net.inner.weight))
    analog = imc.map_model(network, FLOAT.replace("policy.layers", {"": "digital"}), inputs=X)
    assert torch.allclose(analog(X)[0], network(X), rtol=1e-6, atol=1e-6)
    assert "50 % are in functions of '' that were not seen" in analog.report.to_text()


def test_random_numbers_of_an_own_generator_and_weights_of_the_first_pass_are_repeated() -> None:
    def noisy(net: Any, x: Tensor) -> Tensor:
        return net.inner(x) + torch.rand(6, generator=torch.Generator().manual_seed(0)) * min(net.passes, 2)

    network = Pass(noisy)
    _, later = network(X), network(X)
    assert torch.allclose(imc.map_model(network, FLOAT, inputs=X)(X)[0], later, atol=1e-6)


@pytest.mark.parametrize("make", [scripted, lambda layer: torch.compile(layer, backend="eager")])
def test_a_scripted_or_compiled_module_of_a_network_is_named(make: Callable[[nn.Module], nn.Module]) -> None:
    module = make(nn.Linear(6, 6))
    with pytest.raises(InputError, match="network, module '1': got an? .*Give the module that it was made from"):
        imc.map_model(nn.Sequential(nn.ReLU(), module), FLOAT, inputs=X)


def test_an_exported_network_is_refused() -> None:
    exported = torch.export.export(nn.Sequential(nn.Linear(6, 6)), (X,)).module()
    with pytest.raises(InputError, match="an exported module"):
        imc.map_model(exported, FLOAT, inputs=X)


def test_products_of_whole_numbers_are_whole_numbers() -> None:
    """Cells that round weights give 25.9999, which a cast to integers would make 25."""
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randint(-3, 4, (8, 5), generator=generator), torch.randint(-9, 9, (40, 8), generator=generator)
    network = nn.Sequential(nn.Flatten())

    def multiplied(*given: Any) -> Any:
        return given[-1] @ weight

    network[0].register_forward_hook(multiplied)
    chip = IDEAL.replace("device.levels", "continuous").replace("encoding_multibit", {"kind": "differential"})
    assert torch.equal(imc.map_model(network, chip, chips=2, inputs=x)(x), (x @ weight).expand(2, 40, 5))
