"""BENN's network and binary layers compared with the publication: sizes, gradients, packing, chips."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.analog import AnalogConv2d, AnalogLinear
from imc_sim.array import Chip, load_chip
from imc_sim.mapping import bytes_per_chip, map_model
from imc_sim.nn import Conv2d, Linear, ProductLayer, constrain_weights, product_layers
from imc_sim.nn.networks import BinaryNin, SignActivation
from imc_sim.nn.store import ModelCard, load_model, pack, save_model, unpack
from tests.exact.networks import as_if_trained

KINDS = ["sb", "ab"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(9)


def small(kind: str = "ab", size: int = 12, width: float = 0.05) -> BinaryNin:
    return as_if_trained(BinaryNin(kind, width=width, size=size))  # type: ignore[arg-type]


def images(count: int = 4, size: int = 12) -> Tensor:
    return torch.randn(count, 3, size, size)


def signs(*shape: int) -> Tensor:
    return torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)


# -- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count", "binary"), [("sb", 903_850, 884_736), ("ab", 904_240, 901_056)])
def test_parameter_counts_are_the_published_ones(kind: str, count: int, binary: int) -> None:
    model = BinaryNin(kind)  # type: ignore[arg-type]
    assert sum(p.numel() for p in model.parameters()) == count
    layers = product_layers(model)
    assert [x.weight.numel() for x in layers] == [14_400, 18_432, 460_800, 36_864, 331_776, 36_864, 1_920]
    assert sum(x.weight.numel() for x in layers if x.binary) == binary
    assert sum(x.alpha.numel() for x in layers if x.binary) == {"sb": 864, "ab": 1_066}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_multiply_adds_are_the_published_ones(kind: str) -> None:
    model, counts = BinaryNin(kind).eval(), []  # type: ignore[arg-type]

    def count(layer: ProductLayer, inputs: object, y: Tensor) -> None:
        counts.append(y.shape[2] * y.shape[3] * layer.weight.numel())

    for layer in product_layers(model):
        layer.register_forward_hook(count)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    assert [round(c / 1e6, 1) for c in counts] == [14.7, 18.9, 118.0, 9.4, 21.2, 2.4, 0.1]
    assert round(sum(counts) / 1e6, 2) == 184.74


def test_width_classes_and_images_can_be_set() -> None:
    model = BinaryNin("ab", width=0.125, classes=7, channels_in=2, size=9).eval()
    shapes = [tuple(x.weight.shape[:2]) for x in product_layers(model)]
    assert shapes == [(24, 2), (12, 24), (24, 12), (24, 24), (24, 24), (24, 24), (7, 24)]
    assert model(torch.randn(3, 2, 9, 9)).shape == (3, 7)
    assert [len(x.weight) for x in product_layers(BinaryNin(width=1e-3))[:2]] == [2, 2]
    assert [len(x.weight) for x in product_layers(BinaryNin(width=0.07))[:2]] == [13, 7]


def test_weights_start_from_the_published_law_and_without_the_norms_are_sampled_again() -> None:
    model = BinaryNin("sb")
    weight = product_layers(model)[2].weight.detach().clone()
    assert float(weight.std()) == pytest.approx(0.05, rel=0.01)
    assert float(weight.mean()) == pytest.approx(0, abs=5e-4)
    as_if_trained(model)
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    model.redraw()
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]) is (".norm." in name), name
    for layer in product_layers(model):
        assert layer.bias is not None
        assert not layer.bias.any()
        assert float(layer.weight.detach().std()) == pytest.approx(0.05, rel=0.05)
    last = product_layers(model)[5]
    assert torch.allclose(last.alpha[:, 0, 0], last.weight.detach().abs().mean((1, 2, 3)))


# -- the network -------------------------------------------------------------------------------------------


def literal(model: BinaryNin, x: Tensor) -> Tensor:
    """Return the published table, written down once more."""
    state = model.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state.get(f"{name}.norm.{key}") for key in keys)
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-4)

    def conv(x: Tensor, name: str, pad: int, binary: bool) -> Tensor:
        w = state[f"{name}.conv.weight"]
        w = w.sign() * w.abs().mean((1, 2, 3), keepdim=True) if binary else w
        return F.relu(F.conv2d(x, w, state[f"{name}.conv.bias"], padding=pad))

    def block(x: Tensor, name: str, pad: int) -> Tensor:
        return conv(norm(x, name).sign(), name, pad, binary=True)

    if model.kind == "sb":
        w, b = state["block1.conv.weight"], state["block1.conv.bias"]
        x = F.relu(norm(F.conv2d(x, w, b, padding=2), "block1"))
    else:
        x = block(x, "block1", 2)
    x = nn.MaxPool2d(3, 2, 1)(block(x, "block2", 0))
    x = block(block(x, "block3", 2), "block4", 0)
    x = block(block(nn.AvgPool2d(3, 2, 1)(x), "block5", 1), "block6", 0)
    x = conv(norm(x, "block7"), "block7", 0, binary=False) if model.kind == "sb" else block(x, "block7", 0)
    return x.mean((2, 3))


@pytest.mark.parametrize("size", [32, 13])
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_equals_the_published_table(kind: str, size: int) -> None:
    model = as_if_trained(BinaryNin(kind, width=0.1, size=size).double())  # type: ignore[arg-type]
    x = images(5, size).double()
    with torch.no_grad():
        y = model(x)
        assert torch.allclose(y, literal(model, x), atol=1e-12, rtol=1e-10)
    assert y.min() >= 0
    assert y.std(0).max() > 5e-3


def test_dropout_follows_two_signs_and_leaves_the_padding_unchanged() -> None:
    model, seen = BinaryNin("ab", width=0.1, size=12), {}

    def keep(name: str, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[name] = sorted(inputs[0].unique().tolist())

    for name, layer in model.named_modules():
        if isinstance(layer, ProductLayer):
            layer.register_forward_pre_hook(functools.partial(keep, name))
    model(images())
    dropped = {name for name, values in seen.items() if values == [-2.0, 0.0, 2.0]}
    assert dropped == {"block3.conv", "block5.conv"}
    assert all(seen[name] == [-1.0, 1.0] for name in seen.keys() - dropped)
    model.eval()(images())
    assert all(values == [-1.0, 1.0] for values in seen.values())


def test_the_sign_passes_gradients_strictly_inside_one_and_has_no_zero() -> None:
    x = torch.tensor([-1.0, -0.99, 0.0, 0.99, 1.0], requires_grad=True)
    y = SignActivation()(x)
    (y * 3).sum().backward()
    assert y.tolist() == [-1, -1, -1, 1, 1]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 3, 3, 3, 0]


def test_inference_of_the_all_binary_network_does_not_depend_on_the_batch() -> None:
    model, x = small("ab"), images(7)
    with torch.no_grad():
        assert torch.equal(model(x), torch.cat([model(x[:1]), model(x[1:5]), model(x[5:])]))


def test_bad_arguments_are_refused() -> None:
    bad: dict[str, Any]
    for bad, message in (
        ({"kind": "bs"}, "sb, ab"), ({"width": 0}, "arch.width"), ({"size": 0}, "arch.size"),
        ({"dropout": 1.0}, "arch.dropout"), ({"kind": "ab", "channels_in": 1}, "2 inputs"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            BinaryNin(**bad)
    with pytest.raises(InputError, match=r"got shape \(1, 3, 9, 9\); allowed: \[batch, 3, 12, 12\]"):
        small()(images(1, 9))


# -- the binary layers -------------------------------------------------------------------------------------


def conv_layer() -> Conv2d:
    return Conv2d(3, 4, 3, "sign", stride=2, padding=1).double()


def linear_layer() -> Linear:
    return Linear(11, 4, "sign").double()


CASES = [
    (conv_layer, functools.partial(F.conv2d, stride=2, padding=1), (5, 3, 7, 7)),
    (linear_layer, F.linear, (6, 11)),
]


def published_gradient(w: Tensor, g: Tensor) -> Tensor:
    """g' = [m g 1(|W| <= 1) + sign(W) / n sum(sign(W) g)] (1 - 1 / C_in) n, one filter and weight after the other."""
    out = torch.zeros_like(w)
    for f in range(len(w)):
        weights, upstream = w[f].flatten().tolist(), g[f].flatten().tolist()
        n = len(weights)
        m = sum(abs(v) for v in weights) / n
        common = sum((1 if v > 0 else -1) * u for v, u in zip(weights, upstream, strict=True)) / n
        each = [
            (m * u * (abs(v) <= 1) + (1 if v > 0 else -1) * common) * (1 - 1 / w.shape[1]) * n
            for v, u in zip(weights, upstream, strict=True)
        ]
        out[f] = torch.tensor(each).reshape(w[f].shape)
    return out


@pytest.mark.parametrize(("make", "operation", "shape"), CASES, ids=["conv", "linear"])
@pytest.mark.parametrize("deviation", [0.3, 2.0])
def test_forward_and_gradients_equal_the_published_formulas(
    make: Callable[[], ProductLayer], operation: Callable[..., Tensor], shape: tuple[int, ...], deviation: float
) -> None:
    """With weights inside and outside of [-1, 1], in double precision, against W_b = sign(W) mean |W| as one leaf."""
    layer, x = make(), torch.randn(shape).double()
    nn.init.normal_(layer.weight, 0.0, deviation)
    nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    w = layer.weight.detach()
    assert bool((w.abs() > 1).any()) is (deviation > 1)
    m = w.abs().flatten(1).mean(1).reshape(-1, *[1] * (w.ndim - 1))
    together = (w.sign() * m).requires_grad_()
    expected = operation(x, together, layer.bias)
    got = layer(x)
    assert torch.allclose(got, expected, atol=1e-12)
    for y in (expected, got):
        layer.zero_grad()
        (y.square() + y.roll(1, 0).sin()).sum().backward()
    assert together.grad is not None
    assert layer.weight.grad is not None
    assert torch.allclose(layer.weight.grad, published_gradient(w, together.grad), rtol=1e-5, atol=0)


def test_constraining_is_permanent_and_changes_nothing_else() -> None:
    layer, other = Conv2d(5, 4, 3, "sign"), Conv2d(5, 4, 3, "xnor")
    nn.init.normal_(layer.weight, 1.0, 0.8)
    before, kept = layer.weight.detach().clone(), other.weight.detach().clone()
    constrain_weights(nn.Sequential(layer, other))
    for f, row, column in ((0, 0, 0), (3, 2, 1)):
        w = before[f, :, row, column]
        assert torch.allclose(layer.weight[f, :, row, column], (w - w.mean()).clamp(-1, 1), atol=1e-6)
    assert float(layer.weight.detach().abs().max()) == 1
    assert torch.equal(layer.alpha[:, 0, 0], layer.weight.detach().abs().flatten(1).mean(1))
    assert torch.equal(other.weight, kept)
    assert layer.weight.requires_grad


def test_constraining_twice_equals_once_where_nothing_was_clamped() -> None:
    layer = Conv2d(5, 4, 3, "sign").double()
    layer.constrain()
    once = layer.weight.detach().clone()
    layer.constrain()
    assert torch.allclose(layer.weight, once, atol=1e-15)


@pytest.mark.parametrize(("make", "shape"), [(conv_layer, (4, 1, 1)), (linear_layer, (4,))])
def test_alpha_is_stored_by_training_and_used_by_inference(
    make: Callable[[], ProductLayer], shape: tuple[int, ...]
) -> None:
    layer = make()
    assert layer.alpha.shape == shape
    assert "alpha" in layer.state_dict()
    assert "alpha" not in dict(layer.named_parameters())
    nn.init.normal_(layer.weight)
    x = torch.randn(2, *layer.weight.shape[1:]).double()
    old, mean = layer.alpha.clone(), layer.weight.detach().abs().flatten(1).mean(1)
    y = layer.eval()(x)
    assert torch.equal(layer.alpha, old)
    trained = layer.train()(x)
    assert torch.allclose(layer.alpha.flatten(), mean)
    assert not torch.allclose(trained, y)
    with torch.no_grad():
        layer.weight.copy_(layer.weight_operand())
        assert torch.equal(layer.eval()(x), trained)


def test_bias_is_added_after_the_scale_or_before_it_where_the_scale_is_learned() -> None:
    x = signs(3, 8)
    for policy, factor in (("sign", 1.0), ("xnor", 0.25)):
        layer = Linear(8, 2, policy).eval()  # type: ignore[arg-type]
        nn.init.constant_(layer.bias, 2.0)  # type: ignore[arg-type]
        with torch.no_grad():
            layer.alpha.fill_(0.25)
            assert torch.equal(layer(x), 0.25 * layer.product(layer.operand(x), layer.weight_operand()) + 2 * factor)


def test_disturbed_weights_train_through_the_same_scale() -> None:
    layer, x = Conv2d(3, 4, 3, "sign"), signs(2, 3, 6, 6)
    quiet = layer(x)
    layer.disturb = lambda w: (w, torch.zeros(4))
    assert torch.equal(layer(x), quiet)
    layer.disturb = lambda w: (2 * w, torch.ones(4))
    assert layer.bias is not None
    expected = 2 * (quiet - layer.bias.reshape(-1, 1, 1)) + layer.alpha + layer.bias.reshape(-1, 1, 1)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_it_learns() -> None:
    """Four noisy patterns; the gradient reaches every layer of the all-binary network."""
    model, labels = BinaryNin("ab", width=0.1, classes=4, size=8, dropout=0.0), torch.arange(32) % 4
    x = torch.randn(4, 3, 8, 8)[labels] + 0.3 * torch.randn(32, 3, 8, 8)
    start = [p.detach().clone() for p in model.parameters()]
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(40):
        constrain_weights(model)
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), start, strict=True))


# -- packing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_network_computes_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    model, x = small(kind), images()
    args = {"kind": kind, "width": 0.05, "size": 12}
    card = {"name": "m", "summary": "binary", "arch": {"name": "benn", "args": args}}
    save_model(tmp_path / "m", model, ModelCard.model_validate(card))
    forms = {name: entry["form"] for name, entry in unpack(tmp_path / "m" / "weights.safetensors")[1].items()}
    assert forms == {f"block{n}.conv": "bits" for n in (range(1, 8) if kind == "ab" else range(2, 7))}
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m")(x), model(x))


def test_size_of_a_full_network_is_as_computed_by_hand() -> None:
    """One bit per binary weight, four bytes for everything else: 1,066 scales, 1,066 biases, four vectors per norm."""
    rest = 4 * (2 * 1_066 + 2 * (3 + 192 + 96 + 4 * 192) + 2 * (3 + 192 + 96 + 4 * 192))
    data = pack(BinaryNin("ab"))
    assert 901_056 / 8 + rest < len(data) < 901_056 / 8 + rest + 6_000


def test_filters_of_one_sign_are_packed_too(tmp_path: Path) -> None:
    layer = Linear(7, 2, "sign")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1] * 7, [-0.3] * 6 + [0.0]]))
        layer.renew_alpha()
    (tmp_path / "w").write_bytes(pack(layer))
    state, entries = unpack(tmp_path / "w")
    assert entries[""]["form"] == "bits"
    twin = Linear(7, 2, "sign")
    twin.load_state_dict(state)
    x = signs(5, 7)
    assert torch.equal(twin.eval()(x), layer.eval()(x))


# -- chips -------------------------------------------------------------------------------------------------


def ideal(encoding: str, **paths: object) -> Chip:
    chip = load_chip("ideal").replace("policy.float", "digital").replace("encoding", {"kind": encoding})
    for path, value in paths.items():
        chip = chip.replace(path.replace("__", "."), value)
    return chip


@pytest.mark.parametrize("encoding", ["differential", "bnn_i", "bnn_v", "bnn_vi", "tnn_i"])
@pytest.mark.parametrize("sigma", [0.0, 1e-30], ids=["whole", "tile by tile"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_ideal_chip_gives_the_digital_logits_to_the_bit(kind: str, encoding: str, sigma: float) -> None:
    """A read noise too small to matter sends every product through the tile-by-tile path."""
    model, x = small(kind), images()
    analog = map_model(model, ideal(encoding, device__read__sigma=sigma, tile__rows=10), chips=2)
    with torch.no_grad():
        y = model(x)
        assert y.std(0).max() > 1e-3
        assert torch.equal(analog(x), y.expand(2, -1, -1))


@pytest.mark.parametrize("encoding", ["bnn_i", "tnn_i", "differential"])
def test_padded_layers_use_pairs_where_the_encoding_has_no_zero(encoding: str) -> None:
    report = map_model(small("sb"), ideal(encoding)).report
    padded = "differential" if encoding == "bnn_i" else encoding
    assert [row.encoding for row in report.layers] == ["-", encoding, padded, encoding, padded, encoding, "-"]
    assert [row.place for row in report.layers] == ["digital", *["crossbar"] * 5, "digital"]


def test_binary_layers_take_as_much_memory_as_those_of_xnor() -> None:
    layers = [nn.Sequential(Linear(8, 2, policy)) for policy in ("sign", "xnor")]
    assert [bytes_per_chip(layer, ideal("differential")) for layer in layers] == [1088, 1088]


def test_a_dac_of_two_bits_drives_signs_and_padding_exactly_and_needs_no_calibration() -> None:
    model, x = small("ab"), images()
    with torch.no_grad():
        analog = map_model(model, ideal("differential", inputs={"kind": "levels", "bits": 2}))
        assert torch.equal(analog(x)[0], model(x))


def test_noise_on_signs_equals_that_on_the_signs_of_an_xnor_layer() -> None:
    """Same cells, inputs and samples: a policy states the origin of the signs, not the work of a crossbar."""
    chip = load_chip("rram_hfo2_1t1r").replace("device.read.sigma", 0.1).replace("device.programming.sigma", 0.2)
    weight, x = signs(5, 24), signs(6, 24)
    weight[:, :2] = torch.tensor([1.0, -1.0])
    x[:, :2] = torch.tensor([1.0, -1.0])
    found = []
    for policy in ("sign", "xnor"):
        layer = Linear(24, 5, policy, bias=False).eval()
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.alpha.fill_(1.0)
            assert torch.equal(layer(x), x @ weight.T)
        found.append(AnalogLinear(layer, chip, chip.encoding, range(2), 0, "fc")(x))
    assert torch.equal(*found)
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], x @ weight.T)


def test_padding_adds_no_noise() -> None:
    """An image of one pixel under a 3 x 3 kernel: one word line of nine carries a voltage."""
    chip = ideal("differential", device__read__sigma=0.1)
    inner = Conv2d(2, 64, 1, "sign", bias=False).eval()
    outer = Conv2d(2, 64, 3, "sign", bias=False, padding=1).eval()
    with torch.no_grad():
        inner.weight.copy_(outer.weight[..., 1:2, 1:2])
        inner.alpha.fill_(1.0)
        outer.alpha.fill_(1.0)
    x = signs(100, 2, 1, 1)
    deviations = [
        float((AnalogConv2d(layer, chip, chip.encoding, range(1), 0, "c")(x)[0] - layer(x).detach()).std())
        for layer in (inner, outer)
    ]
    assert deviations[0] > 0.01
    assert deviations[0] == pytest.approx(deviations[1], rel=0.1)


def test_inputs_that_are_not_signs_are_refused() -> None:
    layer = Linear(8, 2, "sign").eval()
    for encoding in ("differential", "bnn_i"):
        analog = map_model(nn.Sequential(layer), ideal(encoding))
        assert torch.equal(analog(signs(3, 8))[0].isfinite(), torch.ones(3, 2, dtype=torch.bool))
        with pytest.raises(InputError, match=r"layer '0', inputs: got other values, up to 0.5"):
            analog(0.5 * signs(3, 8))
