"""Digital networks in whole numbers: every bit of torch's outputs, and torch itself wherever a bit could differ."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim.array import why_not_compiled
from imc_sim.evaluate import _whole_numbers as whole
from imc_sim.evaluate import features_of
from imc_sim.evaluate._whole_numbers import WholeNumbers, in_whole_numbers

pytestmark = pytest.mark.skipif(why_not_compiled() is not None, reason="the compiled kernel is missing")
BATCH = 30


def images(count: int = 9 * BATCH + 7) -> Tensor:
    return torch.from_numpy(imc.data.gather_images(imc.data.load_pool("glyphs", "test"), rows(count)))


def rows(count: int):
    return torch.stack([torch.arange(count) % 400, torch.arange(count) // 400, torch.zeros(count).long()], 1).numpy()


def network() -> nn.Module:
    return imc.load_model("batmann_small_xnor").eval()


@pytest.mark.parametrize("faster", [True, False])
def test_features_are_those_of_torch(faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, calls = network(), images(), []
    monkeypatch.setattr(whole, "_timed", lambda compute, batch: (compute(batch), (compute == model) == faster))
    real = WholeNumbers._on_twin
    monkeypatch.setattr(WholeNumbers, "_on_twin", lambda self, batch: calls.append(len(batch)) or real(self, batch))
    with torch.no_grad():
        expected = torch.cat([model(part) for part in x.split(BATCH)])
    assert torch.equal(features_of(model, x, BATCH), expected)
    assert calls == [BATCH] * (9 if faster else 2), "the last batch has another size"


def test_a_twin_with_another_bit_is_not_used() -> None:
    model, x = network(), images()
    forward = in_whole_numbers(model, len(x), BATCH)
    forward.twin.network.eval()
    with torch.no_grad():
        first = next(part for part in forward.twin.network.modules() if isinstance(part, imc.nn.Linear))
        first.weight.add_(torch.randn_like(first.weight))
        for part in x.split(BATCH):
            assert torch.equal(forward(part), model(part))
    assert forward.chosen is model


def test_images_that_are_not_finite_are_refused_late_as_well() -> None:
    x = images()
    x[7 * BATCH] = torch.nan
    with pytest.raises(imc.InputError, match="NaN"):
        features_of(network(), x, BATCH)


def hooked() -> nn.Module:
    model = network()
    model.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (network(), 8 * BATCH - 1),  # too few batches
        (hooked(), 9 * BATCH),
        (network().double(), 9 * BATCH),
        (imc.map_model(network(), "ideal"), 9 * BATCH),
        (imc.load_model("bitnet_digits_clamp"), 9 * BATCH),  # real weights
        (torch.relu, 9 * BATCH),
    ],
)
def test_other_networks_and_few_images_stay_unchanged(model: nn.Module, count: int) -> None:
    assert in_whole_numbers(model, count, BATCH) is model
