"""Inputs and outputs of networks of any modules: tuples, dicts, token ids, dataclasses."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.analog import SiteNetwork, straight_through
from imc_sim.array import Chip
from imc_sim.device import Device
from imc_sim.mapping import Probe, bytes_per_chip
from imc_sim.sites import Samples, find_products
from tests.exact.networks import on_grid

IDEAL = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = IDEAL.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


@dataclass
class Result:
    """An output as transformers return it."""

    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: Tensor | None = None


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Tokens(nn.Module):
    """Token ids and a mask as keyword arguments; a dataclass of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, ids: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Result:
        h = self.mix(self.embed(ids)) * scale
        h = h if mask is None else h * mask[..., None]
        return Result(self.out(h), (h, h.mean(1)))


class Two(nn.Module):
    """Two positional inputs; a dict, a list and a named tuple of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 4), nn.Conv1d(2, 4, 3)

    def forward(self, x: Tensor, images: Tensor) -> dict[str, Any]:
        a, b = self.left(x), self.right(images).mean(2)
        return {"sum": a + b, "each": [a, {"b": b}], "pair": Pair(a, b), "name": "two"}


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected.expand_as(found), rtol=2e-6, atol=1e-6)


def test_keyword_arguments_token_ids_and_dataclasses_pass_through() -> None:
    torch.manual_seed(0)
    network = on_grid(Tokens())
    inputs = {"ids": torch.randint(0, 20, (4, 7)), "mask": torch.rand(4, 7).round(), "scale": 0.5}
    analog = imc.map_model(network, FLOAT, chips=3, inputs=inputs)
    assert analog.report.placed == ("mix", "out")  # the embedding multiplies nothing
    found, expected = analog(**inputs), network(**inputs)
    assert isinstance(found, Result)
    assert found.loss is None
    assert found.logits.shape == (3, 4, 7, 3)
    assert close(found.logits, expected.logits)
    assert all(close(a, b) for a, b in zip(found.hidden, expected.hidden, strict=True))
    assert close(analog(inputs["ids"], inputs["mask"], scale=0.5).logits, expected.logits)


def test_positional_arguments_and_nested_outputs_pass_through() -> None:
    torch.manual_seed(0)
    network, inputs = on_grid(Two()), (torch.randn(4, 5), torch.randn(4, 2, 8))
    analog = imc.map_model(network, FLOAT, chips=2, inputs=inputs)
    found, expected = analog(*inputs), network(*inputs)
    assert isinstance(found["pair"], Pair)
    assert found["name"] == "two"
    assert close(found["sum"], expected["sum"])
    assert close(found["each"][1]["b"], expected["each"][1]["b"])
    assert close(found["pair"].second, expected["pair"].second)


def test_a_batch_in_parts_equals_the_whole() -> None:
    torch.manual_seed(0)
    network, inputs = on_grid(Two()), (torch.randn(5, 5), torch.randn(5, 2, 8))
    noisy = FLOAT.replace("device.read.sigma", 0.1)
    whole = imc.map_model(network, noisy, chips=2, inputs=inputs)(*inputs)
    parts = imc.map_model(network, noisy, chips=2, inputs=inputs)
    parts.batch = 2
    assert torch.allclose(parts(*inputs)["sum"], whole["sum"], rtol=1e-5, atol=1e-6)


def test_reads_are_counted_by_samples_in_any_dimension() -> None:
    """Attention has samples in the second dimension, or in the first one after the steps; noise follows them."""
    torch.manual_seed(0)
    network, x = on_grid(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), torch.randn(4, 3, 8)
    assert [site.samples for site in find_products(network, x).sites] == [
        Samples(1), Samples(0), Samples(0, inner=True), Samples(0), Samples(0),
    ]  # fmt: skip
    noisy = FLOAT.replace("device.read.sigma", 0.02)
    whole = imc.map_model(network, noisy, inputs=x)(x)
    parts = imc.map_model(network, noisy, inputs=x)
    assert torch.allclose(torch.cat([parts(x[:1]), parts(x[1:])], 1), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], network(x), atol=1e-3)


class StepsFirst(nn.Module):
    """A network whose input is [steps, batch, features], one sample a step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.GRU(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x)[0].cumsum(0))


@pytest.mark.parametrize("kind", ["several", "attention"])
def test_chips_in_one_pass_are_those_one_after_the_other(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With device variation and read noise, in blocks of chips as well; rounding alone differs."""
    torch.manual_seed(0)
    network = Two() if kind == "several" else nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    inputs = (torch.randn(4, 5), torch.randn(4, 2, 8)) if kind == "several" else (torch.randn(4, 3, 8),)
    chip = FLOAT.replace("device.programming.sigma", 0.05).replace("device.read.sigma", 0.02)

    largest = 4 * (16 if kind == "several" else 48)  # elements of the largest input of a site, of one chip
    runs: list[int] = []
    run = SiteNetwork.run
    monkeypatch.setattr(SiteNetwork, "run", lambda self, given: (runs.append(given.batch // 4), run(self, given))[1])

    def outputs(together: int, chips_of_each_run: list[int], limit: int = 10**9) -> Tensor:
        monkeypatch.setattr("imc_sim.analog._sites._ELEMENTS", together * largest)
        analog = imc.map_model(on_grid(network), chip, chips=5, inputs=inputs, memory_limit_bytes=limit)
        assert "chips run in one pass" in analog.report.to_text()
        runs.clear()
        found = analog(*inputs)
        assert runs == chips_of_each_run
        return found["sum"] if isinstance(found, dict) else found

    alone = outputs(1, [1] * 5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)
    for found in (outputs(100, [5]), outputs(2, [2, 2, 1]), outputs(100, [1] * 5, limit=1)):
        assert torch.allclose(found, alone, rtol=1e-4, atol=1e-5)


def test_a_network_that_mixes_samples_runs_chip_after_chip() -> None:
    torch.manual_seed(0)
    network, x = on_grid(StepsFirst()), torch.randn(6, 3, 5)
    analog = imc.map_model(network, FLOAT, chips=2, inputs=x)
    assert (
        "chips run one after the other: site 'inner:1', site 'inner:2', site 'out', the output"
        in analog.report.to_text()
    )
    assert close(analog(x), network(x))
    analog.batch = 2
    with pytest.raises(InputError, match="None for a network that mixes the samples"):
        analog(x)


def test_half_precision_stays_half_precision() -> None:
    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):
        network = on_grid(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))).to(dtype)
        x = torch.randn(4, 6, dtype=dtype)
        found = imc.map_model(network, FLOAT, inputs=x)(x)[0]
        assert found.dtype == dtype
        assert torch.allclose(found.float(), network(x).float(), rtol=2e-2, atol=1e-2)


def test_gradients_reach_every_input_and_weight() -> None:
    """On an ideal chip gradients equal those of the network."""
    torch.manual_seed(0)
    network, inputs = on_grid(Two()), (torch.randn(4, 5, requires_grad=True), torch.randn(4, 2, 8, requires_grad=True))
    analog = imc.map_model(network, FLOAT, inputs=tuple(x.detach() for x in inputs))
    found = torch.autograd.grad(straight_through(analog, inputs)["sum"].square().sum(), inputs)
    own = torch.autograd.grad(network(*inputs)["sum"].square().sum(), inputs)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(found, own, strict=True))
    analog.on_chip(0, *inputs)["sum"].square().sum().backward()
    network(*inputs)["sum"].square().sum().backward()
    for mapped, weight in zip(analog.network.parameters(), network.parameters(), strict=False):
        assert weight.grad is not None
        assert mapped.grad is None or torch.allclose(mapped.grad, weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ([torch.ones(2, 3)], "a list.*one tensor, a tuple of positional"),
        ({"input": 3.0}, "no tensor with dimensions"),
        (torch.full((2, 3), torch.nan), "NaN"),
        (torch.ones(0, 3), "no samples"),
    ],
)
def test_other_inputs_are_refused(inputs: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        imc.map_model(nn.Linear(3, 2), FLOAT, inputs=inputs)


def test_a_tensor_of_another_shape_on_every_chip_is_refused() -> None:
    class Found(nn.Module):
        """The rows above a threshold, as detectors return them."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 8))

        def forward(self, x: Tensor) -> Tensor:
            y = F.linear(x, self.weight)
            return y[y > 0.5]

    chip = IDEAL.replace("device.programming", {"kind": "relative", "sigma": 0.8, "sigma_hrs": 0.8})
    x = torch.randn(64, 8)
    with pytest.raises(InputError, match="as on the first chip"):
        imc.map_model(Found(), chip, chips=8, inputs=x)(x)


def test_one_probe_serves_every_mapping_of_an_unchanged_network(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x = (
        on_grid(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 2))),
        torch.randn(4, 6),
    )
    varied = FLOAT.replace("device.programming.sigma", 0.1)
    each = [imc.map_model(network, chip, chips=2, inputs=x)(x) for chip in (FLOAT, varied)]
    probe = Probe(network, x)
    monkeypatch.setattr("imc_sim.mapping._any_network.find_products", None)  # nothing is probed again
    assert all(torch.equal(imc.map_model(network, chip, chips=2, inputs=probe)(x), y)
               for chip, y in zip((FLOAT, varied), each, strict=True))  # fmt: skip
    assert bytes_per_chip(network, FLOAT, probe) > 0
    with pytest.raises(InputError, match="a probe of another network"):
        imc.map_model(copy.deepcopy(network), FLOAT, inputs=probe)
    network[2].running_mean.data[1] += 1  # type: ignore[union-attr,operator,index]
    with pytest.raises(InputError, match="a probe of another network"):
        imc.map_model(network, FLOAT, inputs=probe)
