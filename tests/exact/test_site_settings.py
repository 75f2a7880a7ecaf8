"""Sites with settings, memory formats, samples and weights that one path only sees: as torch computes them."""

from __future__ import annotations

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
from imc_sim.nn import BinaryActivation
from imc_sim.sites import Samples, find_products
from tests.exact.networks import Products, on_grid
from tests.exact.samples import sampled

IDEAL = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = IDEAL.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected.expand_as(found), rtol=5e-6, atol=3e-6)


@pytest.mark.parametrize("kernel", [(3, 3), (3, 2)])
def test_convolutions_of_steps_before_samples_read_by_sample(kernel: tuple[int, int]) -> None:
    """Images [steps x batch, …]: noise follows the sample, and nothing is put in another order."""

    def steps_first(x: Tensor, w: Tensor) -> Tensor:
        y = F.conv2d(x.transpose(0, 1).flatten(0, 1), w)
        return y.unflatten(0, (x.shape[1], -1)).transpose(0, 1)

    network, x = on_grid(Products(sampled(3, 2, *kernel, seed=1), steps_first)), sampled(4, 3, 2, 5, 5)
    assert [site.samples for site in find_products(network, x).sites] == [Samples(0, inner=True)]
    assert close(imc.map_model(network, FLOAT, chips=2, inputs=x)(x), network(x))
    noisy = FLOAT.replace("device.read.sigma", 0.1)
    whole = imc.map_model(network, noisy, inputs=x)(x)
    parts = imc.map_model(network, noisy, inputs=x)
    assert torch.allclose(torch.cat([parts(x[:1]), parts(x[1:])], 1), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], network(x), atol=1e-2)


CONVOLUTIONS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "one stride for both axes": (F.conv2d, (2, 2, 7, 8), (3, 2, 3, 2), {"stride": (2,)}),
    "one padding for both axes": (F.conv2d, (2, 2, 5, 6), (3, 2, 3, 2), {"padding": (1,)}),
    "one dilation for both axes": (F.conv2d, (2, 2, 7, 8), (3, 2, 2, 3), {"dilation": (2,)}),
    "one of each for three axes": (F.conv3d, (2, 1, 5, 6, 5), (2, 1, 2, 2, 2), {"stride": (2,), "padding": (1,)}),
    "one number in a line": (F.conv1d, (2, 2, 9), (3, 2, 3), {"stride": (2,), "padding": (1,), "dilation": (2,)}),
    "another stride for each axis": (F.conv2d, (2, 2, 7, 8), (3, 2, 3, 3), {"stride": (2, 1)}),
    "another padding for each axis": (F.conv2d, (2, 2, 4, 5), (3, 2, 3, 3), {"padding": (2, 0)}),
    "another dilation for each axis": (F.conv2d, (2, 2, 7, 8), (3, 2, 3, 3), {"dilation": (1, 3)}),
    "square and dilated": (F.conv2d, (2, 2, 9, 9), (3, 2, 3, 3), {"dilation": 2, "stride": 2, "padding": 1}),
    "same, of even size": (F.conv2d, (2, 2, 7, 6), (3, 2, 4, 4), {"padding": "same", "dilation": 2}),
    "same, of two sizes": (F.conv2d, (2, 2, 5, 6), (3, 2, 4, 3), {"padding": "same", "dilation": (2, 1)}),
    "valid": (F.conv2d, (2, 2, 5, 6), (3, 2, 3, 3), {"padding": "valid"}),
    "an image without a batch": (lambda x, w, **_: torch.stack([F.conv2d(i, w) for i in x]), (2, 2, 5, 6), (3, 2, 3, 3),
                                 {}),
    "transposed, in groups": (F.conv_transpose2d, (2, 4, 4, 5), (4, 3, 3, 2), {
        "stride": (2,), "padding": (1,), "output_padding": (1,), "groups": 2, "dilation": (2,)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_settings_of_convolutions_are_those_of_torch(case: str) -> None:
    call, shape, weight, settings = CONVOLUTIONS[case]
    network = on_grid(Products(sampled(*weight, seed=1), lambda x, w: call(x, w, **settings)))
    x = sampled(*shape)
    analog = imc.map_model(network, FLOAT, chips=2, inputs=x)
    assert analog.analog_layers
    assert torch.allclose(analog(x), network(x).expand(2, *network(x).shape), rtol=5e-6, atol=3e-6)


@pytest.mark.parametrize("one", ["contiguous", "channels last", "one channel", "spread", "crossed"])
@pytest.mark.parametrize("other", ["contiguous", "channels last"])
def test_outputs_have_the_memory_format_of_torch(one: str, other: str) -> None:
    last = torch.channels_last
    images = {
        "contiguous": sampled(2, 4, 5, 6), "channels last": sampled(2, 4, 5, 6).contiguous(memory_format=last),
        "one channel": sampled(2, 1, 5, 6).contiguous(memory_format=last),
        "spread": sampled(2, 1, 5, 6).expand(2, 4, 5, 6), "crossed": sampled(2, 4, 6, 5).mT,
    }  # fmt: skip
    x = images[one]
    w = sampled(3, x.shape[1], 3, 3, seed=1)
    w = w.contiguous(memory_format=last) if other == "channels last" else w
    wanted = F.conv2d(x, w)
    network = on_grid(Products(w, F.conv2d))
    network.weight.data = network.weight.data.contiguous(memory_format=last) if other == "channels last" else w
    on_grid(network)
    found = imc.map_model(network, FLOAT, inputs=x).on_chip(0, x)
    assert found.stride() == wanted.stride()


def test_a_batch_in_parts_needs_samples_in_the_first_dimension_of_every_output() -> None:
    x = sampled(6, 5)
    for function, parts in ((lambda x, w: x @ w, True), (lambda x, w: (x @ w).T, False)):
        analog = imc.map_model(on_grid(Products(sampled(5, 3, seed=1), function)), FLOAT, inputs=x)
        whole = analog(x)
        analog.batch = 4
        if parts:
            assert torch.equal(analog(x), whole)
            continue
        with pytest.raises(InputError, match="None for a network that mixes the samples"):
            analog(x)


def test_a_weight_that_changes_between_chips_is_refused() -> None:
    network = on_grid(Products(sampled(5, 3, seed=1), lambda x, w: x @ w))
    x = sampled(4, 5)
    analog = imc.map_model(network, FLOAT, chips=2, inputs=x)
    own: Any = analog.sites.network  # type: ignore[union-attr]
    passes: list[int] = []

    def grown(x: Tensor, w: Tensor) -> Tensor:
        passes.append(0)
        with torch.no_grad():
            w.mul_(2.0 if len(passes) > 1 else 1.0)
        return x @ w

    own.function = grown
    with pytest.raises(InputError, match="other weights than were mapped"):
        [analog.on_chip(position, x) for position in (0, 1)]
    passes.clear()
    own.weight.data.copy_(network.weight)
    analog.batch = 2
    with pytest.raises(InputError, match="other weights than were mapped"):
        analog(x)
    assert len(passes) == 2


def test_a_probe_leaves_modes_and_trained_weights_of_a_network() -> None:
    first, middle = nn.Linear(4, 4), nn.Dropout()
    network = nn.Sequential(first, middle, nn.Linear(4, 2)).train()
    middle.eval()
    first.weight.requires_grad_(False)
    before = [p.requires_grad for p in network.parameters()], [m.training for m in network.modules()]
    find_products(network, sampled(3, 4))
    assert ([p.requires_grad for p in network.parameters()], [m.training for m in network.modules()]) == before
    with pytest.raises(InputError, match="a forward pass without an error"):
        find_products(network, sampled(3, 5))
    assert ([p.requires_grad for p in network.parameters()], [m.training for m in network.modules()]) == before


@pytest.mark.parametrize("encoding", ["differential", "bnn_i", "bnn_v", "offset"])
def test_rows_of_zeros_among_signs_stay_zeros(encoding: str) -> None:
    """Encodings of -1 and +1 hold them as +1, with a scale of 0."""
    signs = sampled(4, 12, seed=1).sign() * torch.tensor([[2.0], [0.0], [0.5], [1.0]])
    network = Products(signs, lambda x, w: F.linear(x.sign(), w))
    analog = imc.map_model(network, IDEAL.replace("encoding", {"kind": encoding}), inputs=sampled(9, 12))
    (layer,) = analog.analog_layers.values()
    assert layer.digital.exact_operands
    assert set(layer.matrix().unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(analog(sampled(9, 12))[0], network(sampled(9, 12)))


@pytest.mark.parametrize("together", [1, 10**9])
def test_stochastic_neurons_of_chips_differ(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chips of a network with sampled activations never share a pass, in which they would share their samples."""
    monkeypatch.setattr("imc_sim.analog._sites._ELEMENTS", together)
    network = nn.Sequential(nn.Linear(5, 16), BinaryActivation(stochastic=True), nn.Linear(16, 3))
    x = sampled(4, 5)
    analog = imc.map_model(on_grid(network), FLOAT, chips=3, inputs=x)
    found = analog(x)
    assert len(found.unique(dim=0)) == 3
    again = imc.map_model(network, FLOAT, chips=range(2, 3), inputs=x)(x)
    assert torch.equal(again[0], found[2])
