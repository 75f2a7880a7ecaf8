"""Details of layers, networks and their files that act at one point only: ties, zeros, types, order and size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
import imc_sim.array
import imc_sim.device
import imc_sim.nn as own
from imc_sim import InputError
from imc_sim._errors import CheckpointError
from imc_sim.analog import instead
from imc_sim.config import parse_yaml
from imc_sim.nn import Conv2d, Linear, Norm, comparator_of, evaluating, fold_comparators
from imc_sim.nn._binarize import clipped_signs, sample_mean
from imc_sim.nn._checks import check_counts, scaled
from imc_sim.nn.events import active_entries
from imc_sim.nn.networks import (
    BatmannController,
    BitNet,
    BnnMlp,
    ContinualNet,
    Conv4,
    GatedSign,
    build_arch,
    with_statistics,
)
from imc_sim.nn.neurons import BinaryActivation, check_blocks
from imc_sim.nn.rotation import alignment, improved_rotation, random_rotation
from imc_sim.nn.similarity import cosine
from imc_sim.nn.spiking import project
from imc_sim.nn.store import Arch, ModelCard, load_model, load_state, pack, save_model, unpack, verify_weights
from imc_sim.nn.store._card import card_text
from imc_sim.nn.store._inputs import pack_inputs, read_inputs, unpack_inputs
from imc_sim.nn.store._weights import _unpack_layer

# -- old names -------------------------------------------------------------------------------------------------

MOVED = {
    "networks": ["BatmannController", "vote", "norm_state"], "store": ["load_model", "Arch"],
    "events": ["active_entries"], "neurons": ["Draws", "set_slope"], "rotation": ["rotated", "alignment"],
    "similarity": ["cosine", "KeyForm"], "spiking": ["project", "rate_loss"],
}  # fmt: skip


def test_names_of_earlier_versions_resolve() -> None:
    for module, names in MOVED.items():
        for name in names:
            assert getattr(own, name) is getattr(getattr(own, module), name)
    assert imc_sim.device.PolynomialSpread is imc_sim.device.PolynomialVariation
    assert imc_sim.device.RelativeSpread is imc_sim.device.RelativeVariation
    assert imc_sim.array.Drives is imc_sim.array.InputBytes
    for package in (own, imc_sim.device, imc_sim):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = package.nothing
    assert dir(imc_sim) == sorted(imc_sim.__all__)


# -- gradients and values --------------------------------------------------------------------------------------

POINTS = [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]


def wide(slope: float) -> nn.Module:
    neuron = BinaryActivation().train()
    neuron.slope = slope
    return neuron


@pytest.mark.parametrize(
    ("function", "gradient"),
    [
        (own.binary_activation, [0, 0, 1, 1, 1, 0, 0]),
        (GatedSign(), [0, 1, 1, 1, 1, 1, 0]),
        (clipped_signs, [0, 1, 1, 1, 1, 1, 0]),
        (own.binary_weight, [1, 1, 1, 1, 1, 1, 1]),
        (wide(1.0), [0, 0, 0.5, 0.5, 0.5, 0, 0]),
        (wide(2.0), [0, 0, 0, 1, 0, 0, 0]),
        (lambda x: project(x, 0.25), [0.25, 0.25, 0.25, 0.25, 1, 0.25, 0.25]),
    ],
)
def test_gradients_at_the_ends_of_their_range(function: Any, gradient: list[float]) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == gradient


def test_the_value_of_a_chip_takes_the_type_of_the_network() -> None:
    digital = torch.zeros(2, 3, requires_grad=True)
    found = instead(digital, torch.arange(6.0, dtype=torch.float64).reshape(3, 2).T.reshape(2, 3))
    assert (found.dtype, found.shape) == (torch.float32, (2, 3))
    found.sum().backward()
    assert torch.equal(digital.grad, torch.ones(2, 3))  # type: ignore[arg-type]


def test_means_of_samples_count_channels_and_pixels() -> None:
    x = torch.arange(2 * 3 * 2 * 5.0).reshape(2, 3, 2, 5)
    assert sample_mean(x).flatten().tolist() == [14.5, 44.5]
    assert sample_mean(x[0]).flatten().tolist() == [4.5, 14.5, 24.5]


def test_features_of_zeros_have_no_similarity() -> None:
    assert cosine(torch.zeros(1, 4), torch.ones(2, 4)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("count", "width", "wanted"), [(3, 0.5, 2), (5, 0.1, 1), (64, 0.25, 16), (1, 0.001, 1)])
def test_widths_are_rounded_and_leave_one(count: int, width: float, wanted: int) -> None:
    assert scaled((count,), width) == [wanted]
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match=r"arch\.width"):
            scaled((count,), bad)


@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_at_least_one(value: int) -> None:
    check_counts(classes=1)
    with pytest.raises(InputError, match=r"arch\.classes"):
        check_counts(size=3, classes=value)


def test_binary_blocks_are_named_once_and_put_in_order() -> None:
    assert check_blocks([3, 1], 4, "frozen") == (1, 3)
    for wrong in ([1, 1], [0], [5]):
        with pytest.raises(InputError, match="numbers of blocks, 1 to 4"):
            check_blocks(wrong, 4, "frozen")


def test_only_inference_multiplies_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Linear(6, 3, "int8"), torch.randn(2, 6)
    types: list[torch.dtype] = []
    multiply = layer.product
    monkeypatch.setattr(layer, "product", lambda a, w: (types.append(a.dtype), multiply(a, w))[1])
    for training, wanted in ((True, torch.float32), (False, torch.float64)):
        layer.train(training)(x)
        assert types.pop() == wanted


def test_disturbed_products_and_scales_of_integers() -> None:
    layer = Conv2d(2, 3, 1, "int8", bias=True)
    nn.init.constant_(layer.bias, 0.5)  # type: ignore[arg-type]
    layer.disturb = lambda w: (torch.zeros_like(w), torch.tensor([1.0, 2.0, 3.0]))
    step = float(layer.integers()[1])
    y = layer.train()(torch.randn(2, 2, 4, 4))
    assert torch.allclose(y[0, :, 0, 0], 0.5 + step * torch.tensor([1.0, 2.0, 3.0]))
    layer.eval()
    assert not torch.allclose(layer(torch.ones(1, 2, 1, 1))[0, :, 0, 0], y[0, :, 0, 0])  # inference has no disturbance
    layer.weight.data.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.25], [-0.5, 0.75]])[:, :, None, None])
    assert float(layer.integers()[1]) == pytest.approx(2 / 127)
    layer.int8_scale = "signed_max"
    assert float(layer.integers()[1]) == pytest.approx(1 / 127)


# -- norms -----------------------------------------------------------------------------------------------------


def test_comparators_of_channels_that_never_or_always_fire() -> None:
    norm = Norm(4).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, 0.0, 1e-30, -1.0]))  # type: ignore[union-attr]
        norm.bias.copy_(torch.tensor([0.5, -0.5, 1e20, 0.25]))  # type: ignore[union-attr]
    x = torch.tensor([[-3e38, -1.0, 0.0, 1.0, 3e38]]).T.expand(5, 4).contiguous()
    found = comparator_of(norm)(x)
    assert torch.equal(found, (norm(x) > 0).float())
    assert found[:, 0].tolist() == [1.0] * 5
    assert found[:, 1].tolist() == [0.0] * 5
    assert found[:, 2].tolist() == [1.0] * 5
    with pytest.raises(InputError, match="statistics 'batch'"):
        comparator_of(Norm(2, "batch"))


def test_the_limit_of_a_comparator_is_the_last_number_that_does_not_fire() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = Norm(200).eval()
    for tensor, size in ((norm.weight, 1.0), (norm.bias, 1e-3), (norm.running_mean, 5.0)):
        tensor.data.copy_(size * torch.randn(200, generator=generator))  # type: ignore[union-attr]
    found = comparator_of(norm)
    last = (found.sign * found.limit)[None]
    beyond = torch.nextafter(last, found.sign[None] * torch.inf)
    assert not bool((norm(last) > 0).any())
    assert bool((norm(beyond) > 0).all())
    assert torch.equal(found(torch.cat([last, beyond])), torch.tensor([[0.0], [1.0]]).expand(2, 200))


def test_folding_leaves_the_network() -> None:
    model = Conv4(width=2, size=20, binary=[1, 2, 3, 4]).train()
    folded = fold_comparators(model)
    assert model.training
    assert isinstance(model.block1.norm, Norm)
    assert not folded.training
    assert not any(isinstance(module, Norm) for module in folded.modules())
    batch = fold_comparators(Conv4(width=2, size=20, binary=[1], statistics="batch"))
    assert sum(isinstance(module, Norm) for module in batch.modules()) == 4


def test_the_epsilon_of_a_norm_acts_in_training_too() -> None:
    x = torch.tensor([[1.0], [3.0]])
    for statistics in ("running", "batch"):
        norm = Norm(1, statistics, eps=3.0)
        assert norm.train()(x).flatten().tolist() == pytest.approx([-0.5, 0.5])
    assert norm.eval()(x).flatten().tolist() == pytest.approx([-0.5, 0.5])
    shifted = Norm(1)
    with torch.no_grad():
        shifted.bias.fill_(7.0)  # type: ignore[union-attr]
    assert shifted.eval()(x).flatten().tolist() == pytest.approx([8.0, 10.0], rel=1e-4)


def test_submodules_keep_their_modes() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout().eval()).train()).train()
    model[1][0].eval()  # type: ignore[index]
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == [True, True, True, False]


# -- rotations -------------------------------------------------------------------------------------------------


def test_random_rotations_have_either_sign() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        signs = [float(random_rotation(1)) for _ in range(40)]
    assert {round(sign) for sign in signs} == {-1, 1}
    assert abs(sum(signs)) < 24


def test_signs_are_aligned_fully() -> None:
    w = torch.tensor([[2.0, -2.0, 2.0, 2.0], [-2.0, 2.0, 2.0, -2.0]])
    one = torch.eye(2)
    assert alignment(w, one, one) == pytest.approx(1.0)
    assert alignment(torch.tensor([[3.0, 0.0, 0.0, 0.0]]), one, one) == pytest.approx(0.5)


def test_an_update_of_rotations_is_three_rounds() -> None:
    """Each round: the signs, then the best first and the best second rotation, by scipy's Procrustes solution."""
    from scipy.linalg import orthogonal_procrustes

    generator = torch.Generator().manual_seed(1)
    w = torch.randn(6, 12, generator=generator)
    a, b = (torch.linalg.qr(torch.randn(n, n, generator=generator))[0] for n in (3, 4))
    x, r, s = w.double().numpy().reshape(6, 3, 4), a.double().numpy(), b.double().numpy()
    for _ in range(3):
        signs = np.where(np.einsum("ji,njk,kl->nil", r, x, s) > 0, 1.0, -1.0)
        r = orthogonal_procrustes(np.hstack(list(x @ s)).T, np.hstack(list(signs)).T)[0]
        s = orthogonal_procrustes(np.vstack(list(r.T @ x)), np.vstack(list(signs)))[0]
    ours = improved_rotation(w, a, b)
    assert np.allclose(ours[0].numpy(), r, atol=1e-5)
    assert np.allclose(ours[1].numpy(), s, atol=1e-5)


# -- events ----------------------------------------------------------------------------------------------------


def test_entries_of_huge_patches_are_counted_in_64_bits() -> None:
    images = torch.zeros(1, 1000, 1000, 1)
    images[0, 7, 9] = 1.0
    entries, offsets = active_entries(images, 50, 600, 0)
    assert entries.dtype == torch.int64
    assert (entries.tolist(), offsets.tolist()) == ([7 * 50 + 9], [0, 1, 1, 1])
    assert active_entries(images[:, :60, :60], 50, 600, 0)[0].dtype == torch.int32


# -- networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "policies"),
    [
        ("float", "float float float"), ("xnor", "int8 xnor int8"), ("xnor_binary_fc", "int8 xnor xnor"),
        ("rbnn", "float rbnn float"), ("rbnn_binary_fc", "float rbnn rbnn"),
    ],
)  # fmt: skip
def test_policies_of_a_controller(kind: str, policies: str) -> None:
    model = BatmannController(kind, width=4, dim=6, rotation="frozen")
    layers = (model.features.conv1, model.features.conv2, model.fc1)
    assert " ".join(layer.policy for layer in layers) == policies
    assert model.features.conv3.policy == model.features.conv4.policy == layers[1].policy
    assert {layer.rotation for layer in own.product_layers(model)} == {"frozen"}


@pytest.mark.parametrize("size", [20, 21, 28, 32, 35, 36])
def test_images_of_any_size_fit_the_last_layer(size: int) -> None:
    model = BatmannController("float", width=2, dim=3, size=size)
    assert model(torch.zeros(1, 1, size, size)).shape == (1, 3)
    for layout in ("padded", "relation"):
        encoder = Conv4(layout, width=2, size=size)
        assert encoder(torch.zeros(1, 1, size, size)).shape == (1, encoder.dim)


def test_networks_are_made_in_float32_and_the_default_stays() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = build_arch("bnn_mlp", {"inputs": 4, "hidden": [3], "classes": 2}, Path())
        assert torch.get_default_dtype() == torch.float64
        with pytest.raises(InputError):
            build_arch("bnn_mlp", {"classes": 0}, Path())
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("arch", ["continual", "ensemble", "nothing"])
def test_stages_are_single_networks(arch: str) -> None:
    with pytest.raises(InputError, match=r"arch\.args\.arch"):
        ContinualNet(arch)


def test_a_copy_with_other_statistics_leaves_the_network() -> None:
    model = BnnMlp(4, (3,), 2)
    made = with_statistics(model, "batch")
    assert {norm.statistics for norm in made.modules() if isinstance(norm, Norm)} == {"batch"}
    assert {norm.statistics for norm in model.modules() if isinstance(norm, Norm)} == {"running"}


# -- files -----------------------------------------------------------------------------------------------------


def test_more_than_ten_inputs_keep_their_order(tmp_path: Path) -> None:
    """In alphabetical order, 10 would be before 2."""
    arrays = [np.full((3, 2), k, np.float32) for k in range(12)]
    np.savez(tmp_path / "x.npz", *arrays)
    found = read_inputs(tmp_path / "x.npz")
    assert [float(x[0, 0]) for x in found] == list(range(12))
    (tmp_path / "x.safetensors").write_bytes(pack_inputs(found))
    again = unpack_inputs(tmp_path / "x.safetensors")
    assert [float(x[0, 0]) for x in again] == list(range(12))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.zeros(4, np.float32), "two or more samples"),
        (np.zeros((1, 4), np.float32), "two or more samples"),
        (np.zeros((2, 3, 3), np.uint8), "images of bytes"),
        (np.full((2, 3), np.nan, np.float32), "NaN"),
    ],
)
def test_inputs_that_no_network_takes_are_refused(value: Any, match: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", value)
    with pytest.raises(InputError, match=match):
        read_inputs(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("given", "wanted"), [("uint8", torch.uint8), ("int64", torch.int64), ("float64", torch.float32)]
)
def test_whole_numbers_stay_whole_and_sixteen_samples_are_kept(given: str, wanted: torch.dtype, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(60).reshape(20, 3).astype(given))
    found = read_inputs(tmp_path / "x.npy")
    assert (found.dtype, found.shape) == (wanted, (16, 3))
    np.savez(tmp_path / "x.npz", a=np.zeros((4, 2), np.float32), b=np.zeros((5, 2), np.float32))
    with pytest.raises(InputError, match="a: 4, b: 5"):
        read_inputs(tmp_path / "x.npz")


def test_half_precision_leaves_whole_numbers(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = nn.Buffer(torch.tensor([70000]))
            self.value = nn.Buffer(torch.tensor([0.1]))

    (tmp_path / "w").write_bytes(pack(Counting(), half=True))
    state, _ = unpack(tmp_path / "w")
    assert (state["count"].tolist(), state["count"].dtype) == ([70000], torch.int64)
    assert state["value"].dtype == torch.float16


def test_the_largest_weight_is_stored_exactly() -> None:
    """0.1 / 127 x 127 is another number than 0.1 in float32."""
    largest = torch.tensor(0.1)
    parts = {"w#int8": torch.tensor([127, -127, 1], dtype=torch.int8), "w#max": largest}
    found = _unpack_layer("w", {"form": "int8", "shape": [3]}, parts)
    assert found[:2].tolist() == [float(largest), -float(largest)]
    assert float(found[2]) == float(largest / 127)


def test_tensors_of_another_shape_or_name_are_refused() -> None:
    module = nn.Linear(4, 3)
    state = module.state_dict()
    cases = [
        (state | {"weight": torch.zeros(2, 6)}, r"wrong shape: weight \(2, 6\), not \(3, 4\)"),
        (state | {"other": torch.zeros(1)}, "unexpected other"),
        ({"weight": state["weight"]}, "missing bias"),
    ]
    for wrong, match in cases:
        with pytest.raises(CheckpointError, match=match):
            load_state(module, wrong, {}, "here")


def test_every_digit_of_a_digest_counts_and_empty_keys_are_left_out(tmp_path: Path) -> None:
    card = ModelCard(name="m", summary="s", arch=Arch(name="bnn_mlp", args={"inputs": 3, "hidden": [2]}))
    assert set(parse_yaml(card_text(card))) == {"name", "summary", "arch"}
    stored = save_model(tmp_path / "m", BnnMlp(3, (2,)), card)
    assert stored.weights is not None
    file, digest = tmp_path / "m" / "model.yaml", stored.weights.sha256
    assert verify_weights(stored, tmp_path / "m").is_file()
    last = "0" if digest[-1] != "0" else "1"
    file.write_text(file.read_text().replace(digest, digest[:-1] + last))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(("size", "pooled"), [(32, (2, 3, 5)), (64, (1, 2, 3, 5)), (72, (2, 3, 5))])
def test_images_of_64_pixels_are_pooled_once_more(size: int, pooled: tuple[int, ...]) -> None:
    assert BitNet(scale=1 / 64, size=size, classes=2).pooled == pooled


def test_size_and_channels_of_a_network_of_the_user_say_nothing_about_its_images() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.channels_in, self.size, self.fc = 1, 2, Linear(4, 3, "xnor")

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1))

    analog, x = imc.map_model(Own().eval(), "ideal"), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(analog(x), analog(x.reshape(2, 1, 2, 2)))
