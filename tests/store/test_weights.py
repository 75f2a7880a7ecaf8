"""Packing: a loaded model stores and computes the same as the saved one, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from imc_sim._errors import CheckpointError
from imc_sim.nn import Conv2d, Linear, ProductLayer
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.store import pack, read_tensors, unpack


def reloaded(module: nn.Module, twin: nn.Module, folder: Path, half: bool = False) -> nn.Module:
    path = folder / "w.safetensors"
    path.write_bytes(pack(module, half))
    state, layers = unpack(path)
    twin.load_state_dict(state)
    for name, entry in layers.items():
        layer = twin.get_submodule(name)
        if isinstance(layer, ProductLayer) and "scale" in entry:
            layer.int8_scale = entry["scale"]
    return twin.eval()


def forms(folder: Path) -> dict[str, str]:
    return {name: entry["form"] for name, entry in unpack(folder / "w.safetensors")[1].items()}


def linear(weight: Tensor, policy: str, scale: str = "absmax") -> Linear:
    layer = Linear(weight.shape[1], weight.shape[0], policy).eval()  # type: ignore[arg-type]
    layer.int8_scale = scale
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def weights_of(module: nn.Module) -> list[Tensor]:
    return [layer.weight_operand() for layer in module.modules() if isinstance(layer, ProductLayer)]


@pytest.mark.parametrize("kind", ["float", "xnor", "xnor_binary_fc"])
def test_a_controller_is_loaded_unchanged_to_the_bit(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = BatmannController(kind, width=16, dim=32).eval()
    twin = reloaded(model, BatmannController(kind, width=16, dim=32), tmp_path)
    x = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(twin), weights_of(model), strict=True))


def test_size_of_a_full_xnor_controller(tmp_path: Path) -> None:
    # 704,512 weights of 1 bit and 1,051,776 of 8 bits.
    expected = 704_512 / 8 + 1_051_776
    data = pack(BatmannController("xnor"))
    assert expected < len(data) < expected + 20_000
    assert len(pack(BatmannController("xnor_binary_fc"))) < 250_000


def test_equal_models_give_equal_bytes() -> None:
    torch.manual_seed(1)
    model = BatmannController("xnor", width=4, dim=8)
    assert pack(model) == pack(model)


def test_packing_leaves_the_module_unchanged() -> None:
    model = linear(torch.randn(4, 9), "xnor")
    before = model.weight.clone()
    pack(model)
    assert torch.equal(model.weight, before)


def test_half_stores_only_the_rest_as_float16(tmp_path: Path) -> None:
    model = BatmannController("xnor", width=4, dim=8)
    path = tmp_path / "w.safetensors"
    path.write_bytes(pack(model, half=True))
    tensors, _ = read_tensors(path)
    assert tensors["features.conv2.alpha"].dtype == torch.float16
    assert tensors["fc1.weight#int8"].dtype == torch.int8
    assert tensors["fc1.weight#max"].dtype == torch.float32
    assert tensors["features.conv2.weight#bits"].dtype == torch.uint8


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), outputs=st.integers(1, 5), inputs=st.integers(2, 19), scale=st.floats(1e-6, 1e6))
def test_any_integers_and_their_step_are_restored(
    seed: int, outputs: int, inputs: int, scale: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("int8")
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) * scale
    for rule in ("absmax", "signed_max"):
        model = linear(weight, "int8", rule)
        twin = reloaded(model, linear(torch.zeros_like(weight), "int8"), folder)
        x = torch.eye(inputs)
        assert torch.equal(twin(x), model(x))
        assert torch.equal(weights_of(twin)[0], weights_of(model)[0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), outputs=st.integers(1, 5), inputs=st.integers(2, 19))
def test_any_signs_are_restored(seed: int, outputs: int, inputs: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    model = linear(weight, "xnor")
    twin = reloaded(model, linear(torch.zeros_like(weight), "xnor"), tmp_path_factory.mktemp("xnor"))
    assert torch.equal(weights_of(twin)[0], weights_of(model)[0])


@pytest.mark.parametrize(
    "row",
    [[0.1] * 7, [-0.1] * 7, [0.0] * 7, [1.0] * 6 + [-1.0], [-1.0] * 6 + [1.0], [0.3] * 6 + [0.3000001]],
    ids=["constant", "negative constant", "zero", "one minus", "one plus", "nearly constant"],
)
def test_filters_of_one_sign_are_restored(row: list[float], tmp_path: Path) -> None:
    model = linear(torch.tensor([row, [1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 0.5]]), "xnor")
    twin = reloaded(model, linear(torch.ones(2, 7), "xnor"), tmp_path)
    assert torch.equal(weights_of(twin)[0], weights_of(model)[0])


def test_weights_that_bits_cannot_hold_are_stored_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imc_sim.nn.store._weights._bits", lambda layer: wrong_bits(layer))
    model = linear(torch.randn(3, 9), "xnor")
    twin = reloaded(model, linear(torch.zeros(3, 9), "xnor"), tmp_path)
    assert forms(tmp_path) == {"": "plain"}
    assert torch.equal(weights_of(twin)[0], weights_of(model)[0])


def wrong_bits(layer: ProductLayer) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Simulate signs that do not survive the standardisation on loading."""
    return {"form": "bits", "shape": list(layer.weight.shape)}, {"#bits": torch.zeros(4, dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("weight", "form"),
    [
        ([1.0, -1.0, 0.3], "int8"),
        ([1.0, -3.0, 0.3], "int16"),
        ([0.0, 0.0, 0.0], "int8"),
        ([1e-6, -9.0, -0.1], "plain"),  # integers near -10^9
    ],
)
def test_integers_beyond_eight_bits_are_stored_in_full(weight: list[float], form: str, tmp_path: Path) -> None:
    model = linear(torch.tensor([weight]), "int8", "signed_max")
    twin = reloaded(model, linear(torch.ones(1, 3), "int8"), tmp_path)
    assert forms(tmp_path) == {"": form}
    assert torch.equal(twin(torch.eye(3)), model(torch.eye(3)))
    assert isinstance(twin, Linear)
    assert twin.int8_scale == "signed_max"


def test_double_precision_and_buffers_are_stored(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(2, 3, 3, "xnor")
            self.norm = nn.BatchNorm2d(3)

    torch.manual_seed(0)
    model = Net().double()
    assert model.norm.num_batches_tracked is not None
    model.norm.num_batches_tracked.fill_(7)
    twin = reloaded(model, Net(), tmp_path)
    assert isinstance(twin, Net)
    assert twin.norm.num_batches_tracked == 7
    assert torch.equal(twin.conv.weight_operand(), model.conv.weight_operand().float())


@pytest.mark.parametrize("policy", ["float", "xnor", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(policy: str, value: float) -> None:
    weight = torch.randn(3, 4)
    weight[1, 2] = value
    with pytest.raises(CheckpointError, match="1 of 12 values of 'weight'"):
        pack(linear(weight, policy))


def test_overflow_of_float16_is_refused() -> None:
    with pytest.raises(CheckpointError, match="float16"):
        pack(linear(torch.full((2, 2), 1e6), "float"), half=True)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"imc_sim": '{"format":"imc_sim-weights-9","layers":{}}'})
    with pytest.raises(CheckpointError, match="weights-9"):
        unpack(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="imc-sim import"):
        unpack(path)
