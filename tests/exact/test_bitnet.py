"""BitNet: published sizes, steps compared with a loop, training memory, and chips that read in every step."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.analog import AnalogModel
from imc_sim.array import Chip, load_chip
from imc_sim.mapping import map_model
from imc_sim.nn import Linear, product_layers
from imc_sim.nn.networks import (
    BITNET_LAYERS,
    BitNet,
    build_arch,
    firing_rates,
    products_per_step,
    word_line_activations,
)
from imc_sim.nn.spiking import rate_loss


def network(seed: int = 0, gain: float = 3.0, **args: Any) -> BitNet:
    """Return a small network whose layers all fire sometimes: weights are `gain` times their initial values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BitNet(**{"scale": 1 / 8, "size": 12, "channels_in": 1, "steps": 6, **args}).eval()
    with torch.no_grad():
        for layer in product_layers(model):
            layer.weight.mul_(gain)
    return model


@torch.no_grad()
def exact(model: BitNet) -> BitNet:
    """Return the network with weights that eight bits hold exactly and biases of 1/64: no sum is rounded."""
    for layer in product_layers(model):
        step = 2.0 ** math.ceil(math.log2(float(layer.weight.abs().max()) / 127))
        layer.weight.copy_((layer.weight / step).round() * step)
        layer.weight.view(-1)[0] = 127 * step  # the largest weight sets the step of eight bits
        assert layer.bias is not None
        layer.bias.copy_((layer.bias * 64).round() / 64)
    return model


def images(count: int = 5, size: int = 12) -> Tensor:
    """Return images on a grid of 1/8."""
    generator = torch.Generator().manual_seed(count)
    return (torch.randn(count, 1, size, size, generator=generator) * 8).round() / 8


def chip(**settings: object) -> Chip:
    made = load_chip("ideal").replace("policy.float", "crossbar")
    made = made.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 8})
    for path, value in settings.items():
        made = made.replace(path.replace("__", "."), value)
    return made


def loop(model: BitNet, x: Tensor, steps: int, pools: tuple[int, ...]) -> list[list[Tensor]]:
    """Return the spikes of every step and layer by a loop over the published formulas."""
    layers = [model.get_submodule(name) for name in BITNET_LAYERS]
    states: list[Any] = [0.0] * 6
    spikes = []
    for _ in range(steps):
        y, step = x, []
        for i, layer in enumerate(layers):
            w, b = layer.weight, layer.bias
            z = F.linear(y.flatten(1), w, b) if i == 5 else F.conv2d(y, w, b, padding=1)  # type: ignore[arg-type]
            c = states[i] + z.clamp(0, 1)
            y = (c >= 1).float()
            states[i] = c - y
            step.append(y)
            y = F.max_pool2d(y, 2) if i + 1 in pools else y
        spikes.append(step)
    return spikes


# -- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "classes", "parameters"),
    [
        (4, 10, 25_701_130), (4, 100, 28_650_340), (4, 200, 31_927_240), (5, 10, 40_052_170), (5, 100, 43_738_660),
        (1, 10, 1_669_834), (0.25, 10, 120_250),
    ],
)  # fmt: skip
def test_published_networks_have_the_published_number_of_parameters(
    scale: float, classes: int, parameters: int
) -> None:
    forms: list[dict[str, Any]] = [{}, {"version": "6_v101"}, {"size": 64}, {"activation": "clamp"}]
    for args in forms:
        with torch.device("meta"):
            model = BitNet(scale, classes=classes, **args)
        assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("args", "millions"),
    [
        ({}, 2423.3), ({"classes": 100}, 2426.3), ({"version": "6_v101"}, 3329.3), ({"scale": 5}, 3784.1),
        ({"scale": 1}, 152.85), ({"scale": 0.25}, 9.90), ({"size": 64}, 2444.6),
    ],
)  # fmt: skip
def test_a_step_has_the_published_number_of_products(args: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        found = products_per_step(BitNet(**args))
    assert sum(found.values()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert tuple(found) == BITNET_LAYERS


@pytest.mark.parametrize(("size", "inputs"), [(8, 1), (12, 1), (28, 9), (32, 16), (48, 36), (64, 16)])
def test_the_head_fits_the_image(size: int, inputs: int) -> None:
    model = BitNet(1 / 16, size=size, channels_in=2, steps=2).eval()
    assert isinstance(model.fc, Linear)
    assert model.fc.weight.shape == (10, inputs * 32)
    assert model(torch.randn(3, 2, size, size)).shape == (3, 10)


def test_the_architecture_has_a_name(tmp_path: Path) -> None:
    model = build_arch("bitnet", {"scale": 0.25, "size": 28, "channels_in": 1, "steps": 8}, tmp_path)
    assert isinstance(model, BitNet)
    assert (model.size, model.channels_in, model.steps) == (28, 1, 8)


def test_layers_start_as_the_published_ones() -> None:
    model = BitNet(1, classes=100)
    for layer in product_layers(model):
        bound = layer.weight[0].numel() ** -0.5
        for values in (layer.weight, layer.bias):
            assert values is not None
            assert 0.8 * bound < float(values.detach().abs().max()) <= bound


# -- steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "pools"),
    [({}, (2, 3, 5)), ({"version": "6_v101"}, (2, 4, 5)), ({"size": 64, "scale": 1 / 16}, (1, 2, 3, 5))],
)
def test_every_spike_equals_that_of_a_loop(args: dict[str, Any], pools: tuple[int, ...]) -> None:
    model = exact(network(**args))
    x = images(3, model.size)
    with torch.no_grad():
        expected = loop(model, x, 6, pools)
        for found, step in zip(model.responses(x), expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(found, step, strict=True))
        assert all(0 < float(torch.stack(layer).mean()) < 1 for layer in zip(*expected, strict=True))
        assert torch.equal(model(x), torch.stack([step[-1] for step in expected]).mean(0))


@torch.no_grad()
def test_only_counted_steps_count() -> None:
    model, x = exact(network()), images()
    outputs = torch.stack([step[-1] for step in loop(model, x, 9, (2, 3, 5))])
    assert torch.equal(model.with_steps(9)(x), outputs.mean(0))
    assert model.steps == 6
    assert torch.equal(model(x), outputs[:6].mean(0))
    later = exact(network(select_first=False))
    torch.testing.assert_close(later(x), outputs[1:6].mean(0), rtol=0, atol=1e-7)
    assert not torch.equal(later(x), model(x))
    training = exact(network(training_steps=3)).train()
    torch.testing.assert_close(training(x), outputs[:3].mean(0), rtol=0, atol=1e-7)
    torch.testing.assert_close(training.eval()(x), outputs[:6].mean(0), rtol=0, atol=1e-7)


@torch.no_grad()
def test_the_first_layer_is_computed_once() -> None:
    model, again, x = network(), network(reread=True), images()
    calls = []
    for each in (model, again):
        each.get_submodule("conv1").register_forward_hook(lambda *_, each=each: calls.append(each))
    assert torch.equal(model(x), again(x))
    assert [calls.count(each) for each in (model, again)] == [1, 6]
    again.train()(x)
    assert calls.count(again) == 7  # its input does not change, and training has no noise to read again


@torch.no_grad()
def test_rates_of_the_first_layer_are_within_a_step_of_its_clamped_current() -> None:
    model, x = exact(network()), images()
    p = model.get_submodule("conv1")(x).clamp(0, 1)
    for steps in (3, 8, 64):
        rate = torch.stack([step[0] for step in model.with_steps(steps).responses(x)]).mean(0)
        assert float((p - rate).min()) >= 0
        assert 0 < float((p - rate).max()) < 1 / steps


@torch.no_grad()
def test_pooling_is_an_or_of_spikes_whose_rate_exceeds_that_of_the_busiest() -> None:
    model, x = exact(network(steps=32)), images()
    spikes = [step[1] for step in model.responses(x)]
    for each in spikes:
        pooled = model.drive(3, each)
        fours = torch.stack([each[:, :, i::2, j::2] for i, j in itertools.product((0, 1), repeat=2)])
        assert torch.equal(pooled, (fours.sum(0) > 0).float())
    rate, of_pooled = torch.stack(spikes).mean(0), torch.stack([model.drive(3, each) for each in spikes]).mean(0)
    busiest, together = F.max_pool2d(rate, 2), (4 * F.avg_pool2d(rate, 2)).clamp_max(1)
    assert bool((busiest <= of_pooled).all())
    assert bool((of_pooled <= together + 1e-6).all())
    assert float((of_pooled > busiest).float().mean()) > 0.05  # so the clamped network is not the limit


@torch.no_grad()
def test_ties_are_broken_by_the_first_class_or_by_the_larger_state() -> None:
    x = images(40)
    plainly, fuller = exact(network(steps=3)), exact(network(steps=3, tie_break="residual"))
    counts, scores = plainly(x) * 3, fuller(x) * 3
    states: Any = 0.0
    for step in fuller.responses(x):
        z = fuller.fc(fuller.drive(6, step[4]))
        states = states + z.clamp(0, 1) - step[5]
    torch.testing.assert_close(scores - counts, states / 256, rtol=0, atol=1e-6)
    best = counts == counts.max(1, keepdim=True).values
    tied = best.sum(1) > 1
    assert int(tied.sum()) > 5
    assert torch.equal(counts.argmax(1), best.float().argmax(1))
    assert torch.equal(scores.argmax(1), torch.where(best, states, -1.0).argmax(1))
    assert bool((scores.argmax(1) != counts.argmax(1))[tied].any())
    assert torch.equal(fuller.train()(x), plainly.train()(x))  # the loss sees counts


# -- the same network without spikes -------------------------------------------------------------------------------


@torch.no_grad()
def test_clamped_and_rectified_networks_have_the_same_shape() -> None:
    clamp, relu, x = network(activation="clamp"), network(activation="relu"), images()
    found = {}
    for model, act in ((clamp, lambda z: z.clamp(0, 1)), (relu, F.relu)):
        y = x
        for i, layer in enumerate(product_layers(model), 1):
            y = layer(y.flatten(1) if i == 6 else y)
            y = act(y) if i < 6 or model is clamp else y
            y = F.max_pool2d(y, 2) if i in (2, 3, 5) else y
        found[model] = y
        assert torch.equal(model(x), y)
        assert len(list(model.responses(x))) == 1
    assert float(found[relu].min()) < 0


def test_weights_of_the_clamped_network_load_into_the_spiking_one_unchanged() -> None:
    clamp, spiking, x = network(1, activation="clamp"), network(2, steps=400), images()
    assert list(clamp.state_dict()) == list(spiking.state_dict())
    spiking.load_state_dict(clamp.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(clamp.parameters(), spiking.parameters(), strict=True))
    with torch.no_grad():
        first = torch.stack([step[0] for step in spiking.responses(x)]).mean(0)
        assert float((first - next(clamp.responses(x))[0]).abs().max()) < 1 / 400 + 1e-5
        assert not torch.equal(spiking(x), network(2, steps=400)(x))


# -- training ------------------------------------------------------------------------------------------------------


def gradients(model: BitNet, precision: torch.dtype = torch.float32) -> tuple[Tensor, list[Tensor]]:
    x = images().requires_grad_()
    labels = torch.arange(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        rates = model.train()(x)
    found = torch.autograd.grad(rate_loss(rates, labels), [x, *model.parameters()])
    return rates.detach(), list(found)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("args", [{}, {"gradient": "window"}, {"select_first": False, "leak": 0.0}])
def test_recomputed_steps_have_the_same_gradient(args: dict[str, Any], precision: torch.dtype) -> None:
    kept, again = (gradients(network(memory=m, **args), precision) for m in ("steps", "recompute"))
    assert torch.equal(kept[0], again[0])
    one_step = gradients(network(training_steps=2, **args), precision)
    tolerance = 1e-6 if precision == torch.float32 else 1e-2  # sums of bfloat16 in another order
    for a, b in zip(kept[1], again[1], strict=True):
        scale = float(a.abs().max())
        assert scale > 1e-4
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=tolerance)
    assert not torch.allclose(kept[1][2], one_step[1][2], atol=1e-3 * float(kept[1][2].abs().max()))


def test_frozen_layers_get_no_gradient_and_do_not_stop_the_others() -> None:
    kept, again = (network(memory=m).train() for m in ("steps", "recompute"))
    for model in (kept, again):
        for name in ("conv1", "conv3"):
            model.get_submodule(name).requires_grad_(False)
        rate_loss(model(images()), torch.arange(5)).backward()
    for a, b in zip(kept.parameters(), again.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)
    assert sum(p.grad is None for p in again.parameters()) == 4


@contextmanager
def held_bytes() -> Iterator[dict[str, int]]:
    """Count the bytes that are kept for a backward pass, without weights: now, and at the peak."""
    count = {"now": 0, "peak": 0}

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            self.size = 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
            count["now"] += self.size
            count["peak"] = max(count["peak"], count["now"])

        def __del__(self) -> None:
            count["now"] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        yield count


def peak(memory: str, steps: int) -> int:
    """Return the peak of a whole gradient step."""
    model = network(memory=memory, training_steps=steps).train()
    with held_bytes() as count:
        rate_loss(model(images()), torch.arange(5)).backward()
    return count["peak"]


def test_recomputed_steps_need_the_memory_of_one() -> None:
    steps, again = ({t: peak(memory, t) for t in (2, 8, 32)} for memory in ("steps", "recompute"))
    assert 3.5 < steps[32] / steps[8] < 4.5
    assert again[32] == again[8] == again[2]
    assert again[32] < 1.5 * peak("steps", 1)


def test_training_on_spikes_learns() -> None:
    """Four corners of an image, distinguished by where the light is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 4
    x = torch.randn(64, 1, 8, 8, generator=generator) * 0.3
    for image, label in zip(x, labels.tolist(), strict=True):
        i, j = divmod(label, 2)
        image[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] += 1.0
    model = network(size=8, classes=4, gain=2.0, memory="recompute", steps=8).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    before = float(rate_loss(model(x), labels).detach())
    for _ in range(30):
        optimizer.zero_grad()
        rate_loss(model(x), labels).backward()
        optimizer.step()
    after = model.eval()(x)
    assert float(rate_loss(after, labels).detach()) < 0.25 * before
    assert float((after.argmax(1) == labels).float().mean()) > 0.95


# -- rates and energy ----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_firing_rates_and_word_lines_are_counted() -> None:
    model, x = exact(network()), images()
    steps = loop(model, x, 6, (2, 3, 5))
    rows = firing_rates(model, x)
    assert [row.layer for row in rows] == list(BITNET_LAYERS)
    lines = word_line_activations(model, x)
    for i, row in enumerate(rows):
        spikes = torch.stack([step[i] for step in steps])
        assert row.rate == pytest.approx(float(spikes.mean()), rel=1e-6)
        assert row.zeros == pytest.approx(1 - row.rate, abs=1e-9)
        inputs = torch.stack([step[i - 1] for step in steps]).flatten(0, 1) if i else x
        inputs = F.max_pool2d(inputs, 2) if i in (2, 3, 5) else inputs
        assert row.active_inputs == pytest.approx(float((inputs != 0).float().mean()), rel=1e-6)
        on = (inputs != 0).float()
        driven = on.sum() if i == 5 else F.unfold(on, 3, padding=1).sum()
        assert lines[row.layer] == pytest.approx(float(driven) / 5, rel=1e-6)
    assert word_line_activations(exact(network(reread=True)), x)["conv1"] == pytest.approx(6 * lines["conv1"])
    assert model.training is False
    assert firing_rates(model.train(), x) == rows
    assert model.training is True
    clamped = firing_rates(exact(network(activation="clamp")), x)[1]
    assert 0 < clamped.rate < 1 - clamped.zeros


# -- chips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, 1e-30])
@pytest.mark.parametrize("args", [{}, {"version": "6_v101", "tie_break": "residual"}, {"reread": True, "events": True}])
def test_an_ideal_chip_spikes_as_the_digital_network(args: dict[str, Any], sigma: float) -> None:
    """The second sigma is too small to matter, and sends every product through the tile-by-tile path."""
    model, x = exact(network(**args)), images()
    analog = map_model(model, chip(device__read__sigma=sigma), chips=2)
    with torch.no_grad():
        assert torch.equal(analog(x), model(x).expand(2, -1, -1))
        assert len(model(x).unique()) > 3
    assert {row.layer for row in analog.report.layers if row.place == "crossbar"} == set(BITNET_LAYERS)


def noisy(**settings: object) -> AnalogModel:
    model = exact(network(steps=5))
    return map_model(model, chip(policy__layers={"conv1": "digital"}, **settings), chips=2, seed=3)


def test_every_step_reads_again_and_no_batch_changes_a_bit() -> None:
    x = images(7)
    analog = noisy(device__read__sigma=0.2)
    whole = analog(x)
    assert not torch.equal(whole, noisy()(x))
    assert not torch.equal(whole[0], whole[1])
    again = noisy(device__read__sigma=0.2)
    assert torch.equal(whole, torch.cat([again(x[:1]), again(x[1:4]), again(x[4:])], dim=1))
    assert not torch.equal(whole, analog(x))  # later reads of the same cells


class Twice(nn.Module):
    """The same layer in two steps of one pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.layer(x), self.layer(x)], 1)


def test_a_layer_used_twice_has_the_same_cells_and_other_noise() -> None:
    model, x = Twice().eval(), torch.ones(4, 20)
    varied = map_model(model, chip(device__programming={"kind": "relative", "sigma": 0.3, "sigma_hrs": 0.3}))(x)[0]
    assert torch.equal(varied[:, 0], varied[:, 1])
    with torch.no_grad():
        assert not torch.allclose(varied, model(x), atol=1e-2)
    noise = map_model(model, chip(device__read__sigma=0.3))(x)[0]
    assert not bool((noise[:, 0] == noise[:, 1]).any())
    # The first image's second step shares its noise with no read of the second image.
    assert len(noise[:, :, 0].flatten().unique()) == 8


def deviation_of_rates(settings: dict[str, object], steps: int, chips: int, copies: int) -> float:
    """Return the standard deviation of the output rates of one image over chips or reads."""
    model = exact(network(5, size=8, steps=steps))
    analog = map_model(model, chip(policy__layers={"conv1": "digital"}, **settings), chips=chips, seed=1)
    rates = analog(images(1, 8).expand(copies, -1, -1, -1))
    return float(rates.flatten(0, 1).std(0).mean())


def test_read_noise_averages_over_the_steps_and_device_variation_does_not() -> None:
    read: dict[str, object] = {"device__read__sigma": 0.5}
    cells: dict[str, object] = {"device__programming": {"kind": "relative", "sigma": 0.3, "sigma_hrs": 0.3}}
    few, many = (deviation_of_rates(read, steps, 1, 40) for steps in (4, 64))
    assert few > 2.5 * many > 0
    few, many = (deviation_of_rates(cells, steps, 40, 1) for steps in (4, 64))
    assert 0 < few < 1.5 * many


def test_calibration_uses_every_step() -> None:
    """Currents are below 1: in the first step nothing drives the layers behind the first one, and later steps do."""
    settings = {"kind": "auto", "bits": 8, "range": "calibrated", "limits": "minmax"}
    converted = chip(converter=settings, inputs={"kind": "levels"})
    x, limits = images() / 8, {}
    for steps in (8, 16, 32):
        model = exact(network(steps=steps))
        with torch.no_grad():
            assert not bool(next(model.responses(x))[0].any())
        analog = map_model(model, converted)
        limits[steps] = analog.calibrate(x)
        assert {layer.input_limit for name, layer in analog.analog_layers.items() if name != "conv1"} == {1.0}
        assert analog(x).shape == (1, 5, 10)
        assert analog.calibrate(x) == limits[steps]
        analog.calibrate(x / 2)  # starts again
        assert analog.analog_layers["conv1"].input_limit == float(x.abs().max()) / 2
    for name in BITNET_LAYERS[1:]:
        low, high = zip(*(limits[steps][name] for steps in (8, 16, 32)), strict=True)
        assert low[0] >= low[1] >= low[2]
        assert high[0] <= high[1] <= high[2]
        assert limits[8][name] != limits[32][name]
    assert limits[8]["conv1"] == limits[32]["conv1"]


def test_calibration_on_zeros_only_is_refused() -> None:
    model = network()
    nn.init.constant_(model.get_submodule("conv1").bias, -9.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"layer 'conv2', input limit.*not all zero"):
        map_model(model, chip(inputs={"kind": "levels"})).calibrate(images())


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"version": "7"}, "6, 6_v101"),
        ({"activation": "spike"}, "Did you mean 'spikes'"),
        ({"tie_break": "first"}, "lowest, residual"),
        ({"memory": "step"}, "Did you mean 'steps'"),
        ({"gradient": "bddi"}, "accumulator, window"),
        ({"scale": 0.01}, "1/64 or more"),
        ({"size": 7}, "8 pixels or more"),
        ({"classes": 0}, "1 or more"),
        ({"steps": 0}, "arch.steps: got 0; allowed: 1 or more"),
        ({"steps": 1, "select_first": False}, "allowed: 2 or more"),
        ({"training_steps": 0}, "got 0; allowed: 1 or more"),
    ],
)
def test_unknown_settings_are_refused_with_the_known_ones(args: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        BitNet(**{"scale": 1 / 16, "size": 8, **args})


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"allowed: \[batch, 1, 12, 12\]"):
        network()(torch.zeros(2, 1, 10, 12))
    with pytest.raises(InputError, match=r"arch.steps: got 0"):
        network().with_steps(0)
