"""Networks of any modules that a chip refuses: unseen inputs and paths, rounding, digital networks, no place."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip
from imc_sim.device import Device
from imc_sim.sites import find_products
from tests.exact.networks import Distances, on_grid

IDEAL = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = IDEAL.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


def test_inputs_and_weights_that_the_probe_did_not_see_are_refused() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.inner.weight.sign())

    signs = torch.randn(5, 6).sign()
    analog = imc.map_model(Late(), IDEAL, inputs=signs)
    with pytest.raises(InputError, match=r"up to 0\.3"):
        analog(0.3 * signs)
    next(iter(analog.network.parameters())).data.neg_()
    with pytest.raises(InputError, match="site '': got other weights than were mapped"):
        analog(signs)


def test_another_path_through_the_network_is_refused() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)) if x.shape[0] > 2 else self.b(x)

    network, x = on_grid(Branch()), torch.randn(4, 4)
    analog = imc.map_model(network, FLOAT, inputs=x)
    with pytest.raises(InputError, match="site 'a': got other weights"):
        analog(x[:2])


def test_weights_that_cells_would_round_are_refused_with_an_encoding_that_holds_them() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(20, 5), nn.ReLU(), nn.Linear(5, 5)), torch.randn(4, 20)
    chip = IDEAL.replace("encoding_multibit", {"kind": "differential"})
    found = r"differential rounds: '0' by \d+\.\d %, '2' by .* weight_bits: (\d+)\}, .* device.levels (\d+) or"
    with pytest.raises(InputError, match=found) as error:
        imc.map_model(network, chip, inputs=x)
    bits, levels = map(int, re.search(found, str(error.value)).groups())  # type: ignore[union-attr]
    multibit = FLOAT.replace("encoding_multibit.weight_bits", bits)
    for fits in (multibit, chip.replace("device.levels", levels)):
        errors = [row.weight_error for row in imc.map_model(network, fits, inputs=x).report.layers]
        assert 0 < max(errors) <= 0.01
    with pytest.raises(InputError, match="rounds"):
        imc.map_model(network, multibit.replace("encoding_multibit.weight_bits", bits - 1), inputs=x)


def test_rounding_that_the_policy_allows_is_reported() -> None:
    """Of weights 1 and 0.4 on two levels, 1 and 0 are held."""
    network, x = nn.Linear(2, 1, bias=False), torch.randn(4, 2)
    network.weight.data = torch.tensor([[1.0, 0.4]])
    chip = IDEAL.replace("encoding_multibit", {"kind": "differential"}).replace("policy.allow_rounding", True)
    analog = imc.map_model(network, chip, inputs=x)
    assert torch.allclose(analog(x)[0], x[:, :1])
    (row,) = analog.report.layers
    assert row.weight_error == pytest.approx(0.4 / 1.16**0.5)
    assert row.to_dict()["weight_error"] == row.weight_error
    assert "37 %" in analog.report.to_text()


def test_levels_of_a_cell_that_are_not_equally_spaced_are_rounding() -> None:
    """The middle of three levels at 0, 0.9 and 1 of the window holds 0.9 for a weight of 0.5."""
    network, x = nn.Linear(2, 1, bias=False), torch.randn(4, 2)
    network.weight.data = torch.tensor([[1.0, 0.5]])
    device = Device(table_S=(0.0, 0.9e-4, 1e-4))  # type: ignore[call-arg]
    chip = IDEAL.replace("device", device.to_dict()).replace("encoding_multibit", {"kind": "differential"})
    with pytest.raises(InputError, match=r"rounds: '' by 35\.8 %"):
        imc.map_model(network, chip, inputs=x)


def test_a_network_without_products_on_chip_needs_the_key_memory_there() -> None:
    network, x = nn.Sequential(nn.Linear(4, 4)), torch.randn(4, 4)
    chip = IDEAL.replace("policy", {"float": "digital"})
    analog = imc.map_model(network, chip, chips=2, inputs=x)
    assert torch.equal(analog(x), network(x).expand(2, 4, 4))
    assert "on crossbars: 0 % of the weights" in analog.report.to_text()
    with pytest.raises(
        InputError,
        match=r"all products with weights digital \(1\); allowed: one product on crossbars, or a few-shot task",
    ):
        imc.map_model(network, chip.replace("policy.memory", "digital"), inputs=x)


def test_sites_that_cannot_be_mapped_are_named_together() -> None:
    network, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(4, 4)
    with pytest.raises(InputError, match=r"no place for 2 sites: '0' \(real weights\), '2' \(real weights\)"):
        imc.map_model(network, "rram_hfo2_1t1r", inputs=x)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("network", "inputs", "match"),
    [
        (scripted(), torch.randn(2, 3), "a module that runs eagerly"),
        (nn.Linear(3, 2), torch.randn(2, 4), r"RuntimeError.*Run network\(inputs\)"),
        (nn.Linear(3, 2), torch.ones(2, 3), "inputs that differ"),
    ],
)
def test_networks_that_cannot_be_watched_are_refused(network: nn.Module, inputs: Tensor, match: str) -> None:
    with pytest.raises(InputError, match=match):
        find_products(network, inputs)


def test_the_mode_of_every_module_is_restored() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9).eval(), nn.BatchNorm1d(3)).train()
    network[1].eval()
    mean = network[2].running_mean.clone()  # type: ignore[union-attr]
    find_products(network, torch.randn(4, 3))
    assert [module.training for module in network] == [True, False, True]
    assert torch.equal(network[2].running_mean, mean)  # type: ignore[arg-type]


def test_products_that_cannot_be_watched_have_to_be_named_as_digital() -> None:
    network, x = on_grid(Distances()), torch.randn(3, 4)
    with pytest.raises(InputError, match=r"'' \(cdist, whose products cannot be on crossbars\)"):
        imc.map_model(network, FLOAT, inputs=x)
    analog = imc.map_model(network, FLOAT.replace("policy.layers", {"": "digital"}), inputs=x)
    assert [(row.layer, row.policy, row.place) for row in analog.report.layers] == [
        ("inner", "levels", "crossbar"), ("", "cdist", "digital"),
    ]  # fmt: skip
    assert torch.allclose(analog(x)[0], network(x), rtol=1e-5, atol=1e-6)


def test_errors_name_the_way_to_map_any_network() -> None:
    """The first mistakes of a newcomer: no inputs, no place, cells for integers alone, a misspelt path."""
    network, x = nn.Sequential(nn.Linear(4, 3)).eval(), torch.randn(3, 4)
    chip = imc.load_chip("rram_hfo2_1t1r")
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: imc.map_model(network, chip), r"Give inputs="),
        (
            lambda: imc.map_model(network, chip, inputs=x),
            r"Set policy\.float to digital or crossbar \(on crossbars, these real weights also need .*\), or",
        ),
        (
            lambda: imc.map_model(network, chip.replace("policy.float", "crossbar"), inputs=x),
            r"sliced, weight_bits: \d",
        ),
        (lambda: chip.replace("device.programing.sigma", 0.1), "Did you mean 'programming'"),
        (lambda: chip.replace("name.x", 1), "allowed: .*device"),
    ]
    for call, text in cases:
        with pytest.raises(InputError, match=text):
            call()


def test_the_bits_that_an_error_proposes_hold_the_weights() -> None:
    """Normally distributed weights with a value 6 standard deviations out need 9 bits."""
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(400, 120), nn.Linear(120, 3)).eval(), torch.randn(3, 400)
    with torch.no_grad():
        network[0].weight.normal_()[0, 0] = 6.0  # type: ignore[operator]
    chip = imc.load_chip("rram_hfo2_1t1r")
    with pytest.raises(InputError, match=r"these real weights also need encoding_multibit: \{.*weight_bits: 9\}"):
        imc.map_model(network, chip, inputs=x)
    chip = chip.replace("policy.float", "crossbar")
    with pytest.raises(InputError, match=r"Set encoding_multibit: \{kind: sliced, weight_bits: 9\}"):
        imc.map_model(network, chip, inputs=x)
    imc.map_model(network, chip.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 9}), inputs=x)
    with pytest.raises(InputError, match=r"9 bits hold them"):
        imc.map_model(network, chip.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 8}), inputs=x)
