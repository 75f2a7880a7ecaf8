"""Networks and memories on chips: exact without effects, reproducible with them; errors name what is refused."""

import pytest
import torch
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.analog import AnalogConv2d, AnalogLinear, AssociativeMemory
from imc_sim.array import Chip, load_chip
from imc_sim.mapping import map_model
from imc_sim.mapping._placing import chips_together
from imc_sim.nn import Conv2d, Linear, two_valued
from imc_sim.nn._product_layer import LatentInputs, Policy
from imc_sim.nn.networks import BatmannController
from tests.exact.networks import seeded


def network(kind: str = "xnor") -> nn.Module:
    return seeded(BatmannController, kind, width=12, dim=40, seed=3).eval()


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 1, 32, 32, generator=torch.Generator().manual_seed(count))


def rram(**paths: object) -> Chip:
    chip = load_chip("rram_hfo2_1t1r")
    for path, value in paths.items():
        chip = chip.replace(path.replace("__", "."), value)
    return chip


@pytest.mark.parametrize("encoding", ["differential", "bnn_i", "bnn_v", "bnn_vi"])
@pytest.mark.parametrize("rows", [10, 64, 1000])
@pytest.mark.parametrize("kind", ["xnor", "xnor_binary_fc"])
def test_ideal_chip_is_the_digital_network_to_the_bit(encoding: str, rows: int, kind: str) -> None:
    chip = load_chip("ideal").replace("encoding", {"kind": encoding}).replace("tile.rows", rows)
    model, x = network(kind), images()
    with torch.no_grad():
        assert torch.equal(map_model(model, chip, chips=2)(x), model(x).expand(2, -1, -1))


@pytest.mark.parametrize("encoding", ["differential", "bnn_i", "bnn_v", "bnn_vi"])
def test_the_path_through_tiles_is_exact_too(encoding: str) -> None:
    """A read noise too small to matter sends every product through the tile-by-tile path."""
    chip = load_chip("ideal").replace("encoding", {"kind": encoding}).replace("device.read.sigma", 1e-30)
    model, x = network(), images()
    with torch.no_grad():
        assert torch.equal(map_model(model, chip)(x)[0], model(x))


def test_eight_bit_layers_on_crossbars_are_exact_too() -> None:
    chip = load_chip("ideal").replace("policy.int8", "crossbar")
    model, x = network(), images()
    with torch.no_grad():
        assert torch.equal(map_model(model, chip)(x)[0], model(x))


@pytest.mark.parametrize(
    "chip",
    [
        rram(device__programming__sigma=0.3),
        rram(device__read__sigma=0.1),
        rram(device__programming__sigma=0.3, device__read__sigma=0.1, converter={"kind": "auto", "bits": 5}),
        rram(device__faults__stuck_lrs=0.1, encoding={"kind": "bnn_v"}),
    ],
)
def test_batches_chips_and_memory_limits_change_no_bit(chip: Chip) -> None:
    model, x = network(), images(7)
    whole = map_model(model, chip, chips=4, seed=5)(x)
    assert not torch.equal(whole[0], whole[1])
    analog = map_model(model, chip, chips=range(2, 4), seed=5)
    assert torch.equal(whole[2:], torch.cat([analog(x[:1]), analog(x[1:5]), analog(x[5:])], dim=1))
    assert torch.equal(whole, map_model(model, chip, chips=4, seed=5, memory_limit_bytes=1)(x))
    assert not torch.equal(whole, map_model(model, chip, chips=4, seed=6)(x))
    for limit in (1, 2 * 10**9):
        parts = map_model(model, chip, chips=4, seed=5, memory_limit_bytes=limit)
        parts.batch = 3
        passes: list[int] = []
        parts.network.register_forward_hook(lambda *of: passes.append(len(of[2])))  # noqa: B023
        assert torch.equal(whole, parts(x))
        assert sorted(passes) == [1] * 4 + [3] * 8


@pytest.mark.parametrize(
    ("chips", "limit", "layers", "together"),
    [
        (4, 400, [60, 40], 4),
        (4, 399, [60, 40], 2),  # 100 of one chip, and 60 of a layer that is programmed next to its cells
        (10, 1000, [100, 50], 4),
        (10, 999, [100, 50], 3),
        (4, 10, [60, 40], 1),
    ],
)
def test_as_many_chips_are_held_as_fit_with_one_layer_more(
    chips: int, limit: int, layers: list[int], together: int
) -> None:
    assert chips_together(chips, limit, layers) == together


@pytest.mark.parametrize(
    ("policy", "inputs", "dtype"),
    [
        ("xnor", "signs", torch.float32), ("sign", "signs", torch.float32), ("rbnn", "signs", torch.float32),
        ("latent", "signs", torch.float32), ("latent", "real", torch.float64), ("int8", "signs", torch.float64),
        ("float", "signs", torch.float64),
    ],
)  # fmt: skip
def test_real_inputs_that_decide_a_later_sign_are_multiplied_in_double_precision(
    policy: Policy, inputs: LatentInputs, dtype: torch.dtype
) -> None:
    layer = Linear(6, 4, policy)
    layer.inputs = inputs
    chip = load_chip("ideal").replace("policy", {"int8": "crossbar", "float": "crossbar"})
    chip = chip.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 8})
    (analog,) = map_model(nn.Sequential(layer).eval(), chip).analog_layers.values()
    assert analog.crossbar.plan.dtype == dtype
    assert analog.operand(torch.ones(1, 6)).dtype == dtype


def test_adding_a_layer_changes_no_sample_of_the_others() -> None:
    model = network()
    some = map_model(model, rram(policy__layers={"features.conv4": "digital"}))
    every = map_model(model, rram())
    for name, layer in some.analog_layers.items():
        assert torch.equal(layer.crossbar.cells(0), every.analog_layers[name].crossbar.cells(0))


def test_more_variation_gives_larger_errors() -> None:
    model, x = network(), images()
    with torch.no_grad():
        y = model(x)
    errors = [
        float((map_model(model, rram(device__programming__sigma=s), chips=4)(x) - y).abs().mean())
        for s in (0.05, 0.2, 0.8)
    ]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_convolution_geometry(stride: int, padding: int) -> None:
    layer = Conv2d(3, 5, 3, "xnor", bias=False, stride=stride, padding=padding).eval()
    x = torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    chip = load_chip("ideal").replace("device.read.sigma", 1e-30).replace("tile.rows", 7)
    analog = AnalogConv2d(layer, chip, chip.encoding, range(2), 0, "conv")
    with torch.no_grad():
        expected = layer(x).expand(2, -1, -1, -1, -1)
        assert torch.allclose(analog(x), expected, rtol=0, atol=1e-25)
        assert torch.allclose(analog(x.expand(2, -1, -1, -1, -1)), expected, rtol=0, atol=1e-25)


def test_linear_layer_takes_shared_and_separate_inputs() -> None:
    layer = Linear(30, 4, "xnor").eval()
    x = torch.randn(6, 30, generator=torch.Generator().manual_seed(0))
    chip = rram(device__programming__sigma=0.2)
    analog = AnalogLinear(layer, chip, chip.encoding, range(3), 0, "fc")
    assert torch.equal(analog(x), analog(x.expand(3, -1, -1)))
    assert analog(x).shape == (3, 6, 4)


def test_calibration_narrows_the_range_and_the_error() -> None:
    chip = load_chip("ideal").replace("converter", {"kind": "auto", "bits": 5, "range": "calibrated"})
    model, x = network(), images(20)
    analog = map_model(model, chip)
    with pytest.raises(InputError, match="calibrat"):
        analog(x)
    limits = analog.calibrate(x)
    assert set(limits) == set(analog.analog_layers)
    assert all(0 < high <= 128 for _, high in limits.values())
    with torch.no_grad():
        y = model(x)
    full = map_model(model, chip.replace("converter.range", "max"))(x)[0]
    assert (analog(x)[0] - y).square().mean() < (full - y).square().mean()


def test_layers_that_cannot_be_mapped_are_named() -> None:
    with pytest.raises(InputError, match=r"policy\.layers: \{'features.conv1': digital\}"):
        map_model(network("float"), load_chip("ideal"))
    with pytest.raises(InputError, match=r"layer '1': got Linear"):
        map_model(nn.Sequential(Linear(4, 4, "xnor"), nn.Linear(4, 2)), load_chip("ideal"))
    with pytest.raises(InputError, match="without product layers"):
        map_model(nn.Sequential(nn.ReLU()), load_chip("ideal"))
    padded = nn.Sequential(Conv2d(1, 2, 3, "xnor", padding=1))
    with pytest.raises(InputError, match="padding 1 with encoding bnn_i"):
        map_model(padded, load_chip("ideal").replace("encoding", {"kind": "bnn_i"}))


def test_mapping_leaves_the_model_unchanged_and_reports_it() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    analog = map_model(model, load_chip("ideal"))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    rows = {r.layer: r for r in analog.report.layers}
    assert rows["features.conv1"].place == "digital"
    assert (rows["features.conv2"].cells, rows["features.conv2"].tiles) == (2 * 12 * 12 * 25, 3)
    assert rows["features.conv2"].utilisation == pytest.approx(7200 / (3 * 128 * 128))


class TestMemory:
    keys = two_valued(torch.randn(10, 64, generator=torch.Generator().manual_seed(1)))
    queries = two_valued(torch.randn(7, 64, generator=torch.Generator().manual_seed(2)))
    labels = torch.arange(10) // 2

    @pytest.mark.parametrize("encoding", ["differential", "bnn_i", "bnn_v", "bnn_vi"])
    def test_ideal_search_is_the_dot_product_summed_per_class(self, encoding: str) -> None:
        memory = AssociativeMemory(load_chip("ideal").replace("encoding", {"kind": encoding}), dim=64, chips=3)
        memory.write(self.keys, self.labels)
        dots = self.queries @ self.keys.T / 64
        assert torch.equal(memory.similarity(self.queries), dots.expand(3, -1, -1))
        assert torch.allclose(memory.search(self.queries)[0], dots.reshape(7, 5, 2).sum(-1))

    def test_binary_form_stores_zero_and_one(self) -> None:
        memory = AssociativeMemory("ideal", dim=64, form="binary")
        memory.write(self.keys, self.labels)
        expected = (self.queries > 0).float() @ (self.keys > 0).float().T / 64
        assert torch.equal(memory.similarity(self.queries)[0], expected)

    def test_each_write_samples_again_and_is_reproducible(self) -> None:
        memory = AssociativeMemory(rram(device__programming__sigma=0.3), dim=64, chips=2, seed=4)
        memory.write(self.keys, self.labels)
        first = memory.search(self.queries)
        memory.write(self.keys, self.labels)
        assert not torch.equal(first, memory.search(self.queries))
        memory.write(self.keys, self.labels, epoch=0)
        assert torch.equal(first, memory.search(self.queries))

    def test_a_write_follows_the_epoch_of_the_last(self) -> None:
        found = {}
        for epochs in ((None, None, None), (4, None, None), (5, 2, None), (0, 0, None)):
            memory = AssociativeMemory(rram(device__programming__sigma=0.3), dim=64, chips=1)
            for epoch in epochs:
                memory.write(self.keys, self.labels, epoch=epoch)
            found[epochs] = memory.search(self.queries)
        memory = AssociativeMemory(rram(device__programming__sigma=0.3), dim=64, chips=1)
        for epoch, epochs in zip((2, 6, 3, 1), found, strict=True):
            memory.write(self.keys, self.labels, epoch=epoch)
            assert torch.equal(found[epochs], memory.search(self.queries)), epochs

    @pytest.mark.parametrize("chips", [range(3), range(4, 7)])
    def test_every_chip_keeps_its_own_keys(self, chips: range) -> None:
        chip = rram(device__programming__sigma=0.3)
        shared, own = (AssociativeMemory(chip, dim=64, chips=chips) for _ in range(2))
        shared.write(self.keys, self.labels)
        own.write(self.keys.expand(3, -1, -1), self.labels)
        assert torch.equal(shared.search(self.queries), own.search(self.queries))
        queries = torch.stack([self.queries, -self.queries, self.queries.flip(0)])
        assert torch.equal(shared.search(queries), own.search(queries))
        assert torch.equal(own.search(queries)[0], own.search(self.queries)[0])

    def test_bad_use_is_refused(self) -> None:
        memory = AssociativeMemory("ideal", dim=64)
        with pytest.raises(InputError, match="empty memory"):
            memory.search(self.queries)
        with pytest.raises(InputError, match=r"\[n, 64\]"):
            memory.write(self.keys[:, :5], self.labels)
        with pytest.raises(InputError, match="one label a key"):
            memory.write(self.keys, self.labels[:3])
