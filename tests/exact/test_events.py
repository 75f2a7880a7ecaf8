"""Event-driven products compared with dense ones: equal to the bit where sums are exact, and with less work."""

import pytest
import torch
from torch import Tensor

from imc_sim import InputError
from imc_sim.nn import Conv2d, EventProduct, Linear, ProductLayer
from imc_sim.nn.events import active_entries
from imc_sim.nn.networks import BitNet


def spikes(*shape: int, density: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return (torch.rand(*shape, generator=generator) < density).float()


@torch.no_grad()
def exact(layer: ProductLayer) -> ProductLayer:
    """Return the network with weights and biases on a grid of 1/64: no sum is rounded."""
    for values in layer.parameters():
        values.copy_((values * 256).round() / 64)
    return layer


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "shape"),
    [(3, 1, 1, (4, 5, 9, 8)), (3, 1, 0, (2, 7, 6, 9)), (3, 2, 1, (3, 4, 8, 7)), (5, 2, 2, (2, 3, 9, 9)),
     (1, 1, 0, (3, 6, 4, 4)), (3, 1, 1, (2, 3, 2, 1))],
)  # fmt: skip
def test_convolutions_are_equal_to_the_bit(
    kernel: int, stride: int, padding: int, shape: tuple[int, ...], density: float
) -> None:
    layer = exact(Conv2d(shape[1], 11, kernel, stride=stride, padding=padding)).eval()
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(torch.arange(11) / 8)
    x = spikes(*shape, density=density)
    with torch.no_grad():
        dense = layer(x)
    assert torch.equal(EventProduct(layer)(x), dense)
    moved = (dense - layer.bias.detach()[:, None, None]).abs()
    assert (float(moved.max()) > 0) == bool(x.any())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_linear_layers_are_equal_to_the_bit(density: float, bias: bool) -> None:
    layer, x = exact(Linear(300, 17, bias=bias)).eval(), spikes(9, 300, density=density)
    with torch.no_grad():
        assert torch.equal(EventProduct(layer)(x), layer(x))


def test_float_weights_agree_up_to_rounding_for_any_batch() -> None:
    layer, x = Conv2d(32, 24, 3, padding=1).eval(), spikes(6, 32, 10, 10)
    ours = EventProduct(layer)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), layer(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours(x), torch.cat([ours(x[:1]), ours(x[1:])]))


def test_integers_of_eight_bits_keep_their_step() -> None:
    layer, x = Linear(40, 6, "int8").eval(), spikes(3, 40)
    with torch.no_grad():
        torch.testing.assert_close(EventProduct(layer)(x), layer(x), rtol=1e-5, atol=1e-6)


def test_entries_are_the_positions_of_the_ones_in_every_patch() -> None:
    x = spikes(2, 5, 4, 3)
    entries, offsets = active_entries(x, 3, 1, 1)
    unrolled = torch.nn.functional.unfold(x.permute(0, 3, 1, 2), 3, padding=1)  # [batch, channel x place, pixels]
    patches = unrolled.unflatten(1, (3, 9)).permute(0, 3, 2, 1).flatten(2).flatten(0, 1)
    ends = [*offsets.tolist()[1:], len(entries)]
    for patch, start, stop in zip(patches, offsets.tolist(), ends, strict=True):
        assert entries[start:stop].tolist() == patch.nonzero()[:, 0].tolist()


def test_the_work_is_proportional_to_the_events() -> None:
    """One row is added for each active input of each patch, and nothing where no unit fires."""
    few, many = (len(active_entries(spikes(4, 16, 16, 8, density=d), 3, 1, 1)[0]) for d in (0.01, 0.1))
    assert 7 * few < many < 14 * few
    assert len(active_entries(torch.zeros(4, 16, 16, 8), 3, 1, 1)[0]) == 0


@pytest.mark.parametrize("layer", [Conv2d(2, 3, 3, "xnor"), Linear(4, 3, "rbnn"), Conv2d(2, 3, 3, "sign")])
def test_layers_that_change_their_inputs_are_refused(layer: ProductLayer) -> None:
    with pytest.raises(InputError, match="policy float or int8"):
        EventProduct(layer)


def test_a_network_of_events_fires_like_the_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        dense = BitNet(1 / 8, size=12, channels_in=1, steps=9, tie_break="residual").eval()
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc"):
        layer = dense.get_submodule(name)
        assert isinstance(layer, ProductLayer)
        exact(layer)
    events = BitNet(1 / 8, size=12, channels_in=1, steps=9, tie_break="residual", events=True).eval()
    events.load_state_dict(dense.state_dict())
    x = (torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 8).round() / 8
    calls = []
    call = EventProduct.__call__
    monkeypatch.setattr(EventProduct, "__call__", lambda self, x: calls.append(len(x)) or call(self, x))
    with torch.no_grad():
        assert torch.equal(events(x), dense(x))
        assert len(calls) == 9 * 5
        assert len(events(x).unique()) > 5
    # Where a gradient is needed the dense product is used.
    images = x.clone().requires_grad_()
    events(images).sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().max()) > 0
    assert len(calls) == 2 * 9 * 5
