"""Integrate-and-fire units: their steps, the floor of their sums, and the published gradients."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim import InputError
from imc_sim.nn import IfUnit
from imc_sim.nn.spiking import integrate_and_fire, project, rate_loss


def spikes_of(currents: list[float]) -> tuple[list[float], list[float]]:
    """Return spikes and states of one unit, step by step."""
    u, spikes, states = torch.zeros(1), [], []
    for p in currents:
        s, u = integrate_and_fire(torch.tensor([p]), u)
        spikes.append(float(s))
        states.append(float(u))
    return spikes, states


def dyadic(steps: int, units: int = 500) -> Tensor:
    """Return currents [steps, units] in [0, 1] with exact sums: multiples of 1/64, with many zeros and ones."""
    generator = torch.Generator().manual_seed(steps)
    return (torch.randint(-20, 85, (steps, units), generator=generator) / 64).clamp(0, 1)


@pytest.mark.parametrize(
    ("currents", "spikes", "states"),
    [
        ([1.0] * 4, [1, 1, 1, 1], [0, 0, 0, 0]),
        ([0.5] * 5, [0, 1, 0, 1, 0], [0.5, 0, 0.5, 0, 0.5]),
        ([0.0] * 3, [0, 0, 0], [0, 0, 0]),
        ([0.75] * 4, [0, 1, 1, 1], [0.75, 0.5, 0.25, 0]),
        # The reset subtracts: what is above the threshold is kept.
        ([0.875, 0.875, 0.25, 1.0], [0, 1, 1, 1], [0.875, 0.75, 0, 0]),
    ],
)
def test_steps_of_one_unit_equal_the_table(currents: list[float], spikes: list[float], states: list[float]) -> None:
    assert spikes_of(currents) == (spikes, states)


def test_a_unit_clamps_before_it_integrates() -> None:
    unit, u = IfUnit(), None
    fired = []
    for z in (-3.0, 0.5, -3.0, 0.25, 5.0, 0.25):
        s, u = unit(torch.tensor([z]), u)
        fired.append(float(s))
    # A negative current subtracts nothing, and one above the threshold counts as one.
    assert fired == [0, 0, 0, 0, 1, 1]
    assert u is not None
    assert float(u) == 0.0


@pytest.mark.parametrize("steps", [1, 7, 64])
def test_spikes_sum_to_the_floor_of_the_currents(steps: int) -> None:
    currents = dyadic(steps)
    u, total = torch.zeros(500), torch.zeros(500)
    for t, p in enumerate(currents):
        s, u = integrate_and_fire(p, u)
        total += s
        assert set(s.unique().tolist()) <= {0.0, 1.0}
        assert float(u.min()) >= 0.0
        assert float(u.max()) < 1.0
        assert torch.equal(total, currents[: t + 1].sum(0).floor())
        assert torch.equal(total + u, currents[: t + 1].sum(0))
    assert 0 < float(total.mean()) < steps


def test_the_projection_gates_its_gradient() -> None:
    z = torch.tensor([-2.0, 0.0, 0.25, 0.75, 1.0, 3.0], requires_grad=True)
    for leak, expected in ((0.0, [0, 0, 3, 4, 0, 0]), (0.5, [0.5, 1, 3, 4, 2.5, 3])):
        p = project(z, leak)
        assert p.tolist() == [0, 0, 0.25, 0.75, 1, 1]
        (gradient,) = torch.autograd.grad(p, z, torch.arange(1.0, 7.0))
        assert gradient.tolist() == expected


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_the_gradient_of_summed_spikes_is_that_of_summed_currents(leak: float) -> None:
    """Accumulator: z of a step depends on a weight and on the spikes of that step only."""
    generator = torch.Generator().manual_seed(1)
    x, upstream = torch.randn(12, 40, generator=generator), torch.randn(40, generator=generator)
    w = torch.randn(40, generator=generator).requires_grad_()
    unit, u, spikes = IfUnit(leak=leak), None, torch.zeros(40)
    for each in x:
        s, u = unit(w * each, u)
        spikes = spikes + s
    (ours,) = torch.autograd.grad(spikes, w, upstream)
    (theirs,) = torch.autograd.grad(torch.stack([project(w * each, leak) for each in x]).sum(0), w, upstream)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    z = w.detach() * x
    by_hand = upstream * (x * torch.where((z > 0) & (z < 1), 1.0, leak)).sum(0)
    torch.testing.assert_close(ours, by_hand, rtol=1e-5, atol=1e-5)


def test_no_gradient_passes_from_step_to_step() -> None:
    first, second = (torch.full((1,), v, requires_grad=True) for v in (0.75, 0.5))
    _, u = integrate_and_fire(first, torch.zeros(1))
    assert not u.requires_grad
    s, _ = integrate_and_fire(second, u)
    early, late = torch.autograd.grad(s, [first, second], allow_unused=True)
    assert early is None
    assert late is not None
    assert late.tolist() == [1.0]


def test_the_window_lets_a_gradient_pass_near_the_threshold() -> None:
    p, u = torch.tensor([0.0, 0.25, 0.5, 0.5, 1.0, 1.0], requires_grad=True), torch.tensor([0.0, 0, 0.25, 0.5, 0.5, 0])
    s, _ = integrate_and_fire(p, u, "window")
    (gradient,) = torch.autograd.grad(s, p, torch.full((6,), 4.0))
    # The states before the reset are 0, 0.25, 0.75, 1, 1.5 and 1.
    assert gradient.tolist() == [0, 1, 3, 4, 2, 4]
    assert s.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_states_are_stored_in_float32(kind: torch.dtype) -> None:
    z, u, unit, count = torch.full((1,), 1 / 512, dtype=kind), None, IfUnit(), 0.0
    for _ in range(1024):
        s, u = unit(z, u)
        count += float(s)
    # In half precision the state would stop changing where 1/512 is rounded away.
    assert count == 2.0
    assert u is not None
    assert u.dtype == torch.float32


def test_the_loss_is_the_mean_square_against_one_hot() -> None:
    rates = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    assert float(rate_loss(rates, torch.tensor([0, 0]))) == (0.25 + 0.0625 + 1 + 1) / 4
    assert float(rate_loss(rates, torch.tensor([0, 1]))) == (0.25 + 0.0625) / 4
    torch.testing.assert_close(rate_loss(rates, torch.tensor([1, 1])), F.mse_loss(rates, torch.tensor([[0.0, 1]] * 2)))


@pytest.mark.parametrize(
    ("args", "told"), [({"gradient": "acumulator"}, "Did you mean 'accumulator'"), ({"leak": 1.5}, "0 to 1")]
)
def test_unknown_settings_are_refused(args: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        IfUnit(**args)
