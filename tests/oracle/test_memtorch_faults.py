"""Faults of MemTorch 1.1.6, each shown on MemTorch. docs/memtorch.md says what the adapter does instead.

Where a test fails, MemTorch has fixed the fault, and the workaround of the adapter can be removed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim.backends.memtorch import MemTorchSettings, Patched, contained, part, why_not

ON, OFF = 1e4, 1e6


@pytest.fixture(autouse=True)
def _memtorch() -> Iterator[None]:
    reason = why_not()
    if reason:
        pytest.skip(f"{reason}: `make memtorch` builds it")
    with contained(1):
        yield


def patch(layer: nn.Module, r_on: Any = ON, r_off: Any = OFF, **options: Any) -> Any:
    """Return the layer as MemTorch patches it by default: VTEAM cells, its own mapping, one transistor per cell."""
    given: dict[str, Any] = {"tile_shape": None, "max_input_voltage": None} | options
    model = part("mn.Module").patch_model(
        nn.Sequential(layer),
        memristor_model=part("bh.memristor").VTEAM,
        memristor_model_params={"r_on": r_on, "r_off": r_off},
        module_parameters_to_patch=[type(layer)],
        transistor=True,
        programming_routine=None,
        verbose=False,
        **given,
    )
    return model[0]


def layer(weights: Tensor) -> nn.Linear:
    found = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    found.weight.data = weights.clone()
    return found.requires_grad_(False)


def signs(out: int = 24, inputs: int = 40) -> Tensor:
    return (torch.rand(out, inputs, generator=torch.Generator().manual_seed(0)) < 0.6).float() * 2 - 1


def stochastic(median: float, sigma: float) -> Any:
    make = part("bh.StochasticParameter").StochasticParameter
    return make(distribution=torch.distributions.LogNormal, loc=math.log(median), scale=sigma)


def test_half_of_the_cells_have_no_variation() -> None:
    """Cells are clipped to their own range from one side only: those beyond it stay at the nominal level."""
    weights = signs()
    g = patch(layer(weights), stochastic(ON, 0.2), stochastic(OFF, 0.2)).crossbars[0].conductance_matrix
    lrs = g[weights.T > 0]
    same = int((lrs == lrs.max()).sum())
    assert 0.1 * len(lrs) < same < 0.9 * len(lrs)
    assert len(lrs.unique()) == len(lrs) - same + 1


def test_a_cell_sampled_with_crossed_states_has_its_hrs_in_either() -> None:
    """A range is clipped from above, then from below, whichever is the larger."""
    module = patch(layer(torch.ones(30, 30)), stochastic(ON, 0.8), stochastic(2 * ON, 0.8),
                   mapping_routine=lambda w, *_, **__: (w * 1e6, w * 0.0))  # fmt: skip
    crossbar = module.crossbars[0]
    on, off = (np.vectorize(lambda cell, k=k: 1 / getattr(cell, k))(crossbar.devices) for k in ("r_on", "r_off"))
    crossed = on < off
    assert 0.1 < crossed.mean() < 0.5
    np.testing.assert_allclose(crossbar.conductance_matrix.numpy(), np.where(crossed, off, on), rtol=1e-5)


def test_the_nominal_levels_of_a_layer_are_one_random_sample() -> None:
    """`reference` is passed in **kwargs, where it is not read: the mapping gets a sample instead of the mean."""
    tops = []
    for seed in range(3):
        with contained(seed):
            g = patch(layer(signs()), stochastic(ON, 0.5), OFF).crossbars[0].conductance_matrix
        tops.append(float(g.max()))
    assert len(set(tops)) == 3
    assert max(tops) / min(tops) > 1.1


def test_given_resistances_are_not_those_of_the_crossbar() -> None:
    """`hasattr` on a dictionary finds no key: a crossbar's means are always the defaults of the class."""
    crossbar = patch(layer(signs())).crossbars[0]
    assert (crossbar.r_on_mean, crossbar.r_off_mean) == (50, 1000)
    assert float(crossbar.conductance_matrix.max()) == pytest.approx(1 / ON)


def test_finite_conductance_states_have_no_effect() -> None:
    """A TypeError is caught by a bare `except`."""
    module = patch(layer(torch.randn(12, 20)))
    before = module.crossbars[0].conductance_matrix.clone()
    part("bh.nonideality.FiniteConductanceStates").apply_finite_conductance_states(module, 4)
    after = module.crossbars[0].conductance_matrix
    torch.testing.assert_close(after, before, rtol=1e-5, atol=0.0)
    assert len(after.unique()) > 50


def test_linear_ion_drift_reads_back_another_conductance() -> None:
    """State 0 is r_on when it is set and r_off when it is read: an error of r_off / r_on at either end."""
    cell = part("bh.memristor").LinearIonDrift()
    cell.set_conductance(1 / cell.r_on)
    read = float(cell.current(0.01)) / 0.01
    assert 1 / cell.r_on / read == pytest.approx(cell.r_off / cell.r_on, rel=1e-3)
    assert cell.r_off / cell.r_on == pytest.approx(160, rel=0.01)


def test_a_single_column_loses_negative_weights() -> None:
    """They are clamped to 0, and the middle of the window is subtracted nevertheless."""
    scheme = part("bh.crossbar.Crossbar").Scheme.SingleColumn
    module = patch(layer(torch.tensor([[-1.0, -0.4, 0.0, 1.0]])), scheme=scheme)
    seen = module(torch.eye(4))[:, 0] / (1 / ON - 1 / OFF)
    torch.testing.assert_close(seen, torch.tensor([-0.5, -0.5, -0.5, 0.5]), rtol=1e-4, atol=1e-5)
    ours = Patched(torch.tensor([[-1.0, -0.4, 0.0, 1.0]]),
                   MemTorchSettings(g_lrs_S=1 / ON, g_hrs_S=1 / OFF, single_column=True), 0)  # fmt: skip
    torch.testing.assert_close(ours(torch.eye(4))[:, 0], torch.tensor([-1.0, -0.4, 0.0, 1.0]), rtol=1e-4, atol=1e-5)


def test_padding_of_a_tile_counts_as_cells() -> None:
    """Faults are sampled among all cells of the tiles, so that the cells in use get fewer or more than requested."""
    found: dict[bool, set[int]] = {True: set(), False: set()}
    for seed in range(4):
        for tiled, stuck in found.items():
            with contained(seed):
                module = patch(layer(torch.ones(3, 5)), tile_shape=(16, 16) if tiled else None)
                part("bh.nonideality.DeviceFaults").apply_device_faults(module, 0.0, 0.5, 0.0)
            g = module.crossbars[0].conductance_matrix
            assert module.crossbars[0].devices.size == (256 if tiled else 15)
            stuck.add(int(torch.isclose(g[0, :5, :3] if tiled else g, torch.tensor(1 / OFF)).sum()))
    assert found[False] == {7}  # 50 % of 15 cells, rounded down
    assert len(found[True]) > 1


def test_the_logarithmic_adc_sets_currents_to_zero() -> None:
    """A current in ampere has a negative logarithm, which its linear quantiser then clips."""
    currents = torch.linspace(-1e-4, 1e-4, 41)
    quantize = part("bh.Quantize").quantize
    linear = quantize(currents, quant=8, quant_method="linear")
    log = quantize(currents, quant=8, quant_method="log")
    assert float((linear - currents).abs().max()) < 2e-6
    assert float((log - currents).abs().max()) > 5e-5


def test_an_adc_without_tiles_has_the_range_of_the_whole_batch() -> None:
    """The result of one input depends on the others; with tiles each input has its own range."""
    x = torch.randn(6, 40)
    x[1] *= 50
    changed = []
    for tile in (None, (64, 32)):
        module = patch(layer(signs()), tile_shape=tile, ADC_resolution=6, quant_method="linear")
        alone, together = module(x[:1]), module(x)[:1]
        changed.append(float((alone - together).abs().max() / alone.abs().max()))
    assert changed[0] > 0.1
    assert changed[1] < 1e-6


def test_inputs_are_scaled_by_the_largest_of_the_batch() -> None:
    """With max_input_voltage the factor is not undone: outputs depend on the other inputs."""
    module, x = patch(layer(signs()), max_input_voltage=0.3), torch.randn(5, 40)
    x[1] *= 10
    alone, together = module(x[:1]), module(x)[:1]
    assert float(alone.norm() / together.norm()) > 2


def test_tuning_by_regression_leaves_an_intercept() -> None:
    """Outputs are fitted to a random batch although one exact factor is known; with an ADC the error is visible."""
    weights = torch.randn(24, 40, generator=torch.Generator().manual_seed(1))
    module = patch(layer(weights), tile_shape=(16, 16), ADC_resolution=5, quant_method="linear")
    module.tune(input_shape=2000)
    exact = float(weights.abs().max()) / (1 / ON - 1 / OFF)
    zero, one = float(module.transform_output(0.0)), float(module.transform_output(1.0))
    assert abs(zero) > 1e-6
    assert abs((one - zero) / exact - 1) > 1e-4


def test_a_convolution_without_a_bias_gets_a_random_one() -> None:
    """The module is built with a bias by default, which is overwritten only if there is one."""
    found = []
    for seed in (0, 1):
        convolution = nn.Conv2d(2, 3, 3, bias=False)
        with contained(seed):
            module = patch(convolution.requires_grad_(False))
        found.append(module(torch.zeros(1, 2, 5, 5))[0, :, 0, 0])
    assert all(bool((bias != 0).all()) for bias in found)
    assert not torch.equal(*found)


def test_a_read_changes_the_error_handling_of_numpy_everywhere() -> None:
    """`np.seterr(all="raise")` at every simulated read; the adapter restores the state of the process."""
    before = np.geterr()
    with contained(0):
        part("bh.memristor").VTEAM().simulate(torch.tensor([0.01]))
        assert set(np.geterr().values()) == {"raise"}
    assert np.geterr() == before


def test_linear_ion_drift_follows_another_window() -> None:
    """(2 - 2 x)^2p instead of the Joglekar window 1 - (2 x - 1)^2p."""
    from memtorch.bh.memristor.window import Jogelkar

    for x in (0.25, 0.5, 0.75):
        assert Jogelkar(x, 1) == pytest.approx((2.0 - 2.0 * x) ** 2)
    assert Jogelkar(0.25, 1) != pytest.approx(1.0 - (2.0 * 0.25 - 1.0) ** 2)
