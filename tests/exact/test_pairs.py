"""Column pairs sampled as differences of their cells: the law of two cells, and refused where single cells matter."""

import numpy as np
import pytest
import torch

from imc_sim import AssociativeMemory, InputError, _rng
from imc_sim._quantiles import PARTS
from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.device import Device, MeasuredVariation, PolynomialVariation, RelativeVariation

LAWS: dict[str, RelativeVariation | PolynomialVariation | MeasuredVariation] = {
    "normal": RelativeVariation(sigma=0.1, sigma_hrs=0.25),
    "log-normal HRS": RelativeVariation(sigma=0.05, sigma_hrs=0.6, law_hrs="log_normal"),
    "wide log-normal": RelativeVariation(sigma=1.0, law="log_normal"),
    "one exact state": RelativeVariation(sigma=0.3, sigma_hrs=0.0),
    "measured": MeasuredVariation(
        targets_S=(2e-5, 1e-4),
        probabilities=(1e-9, 0.2, 0.5, 0.9, 1 - 1e-9),
        quantiles_S=((1.1e-5, 1.4e-5, 2e-5, 3e-5, 5e-5), (8e-5, 9e-5, 1e-4, 1.1e-4, 1.15e-4)),
    ),
    "polynomial": PolynomialVariation(coefficients_S=(2e-6, 8e-6), g_max_S=1e-4),
}


def chip_of(programming: RelativeVariation | PolynomialVariation | MeasuredVariation, levels: int = 2) -> Chip:
    device = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, levels=levels, programming=programming)
    return Chip(device=device, draws="pairs")


def by_cells(chip: Chip) -> Chip:
    return chip.replace("draws", "cells")


def weights(levels: int, *shape: int) -> torch.Tensor:
    """Return every unit of that many levels, and the largest of them."""
    w = torch.randint(1 - levels, levels, shape, generator=torch.Generator().manual_seed(5)).float()
    w[0, 0] = levels - 1
    return w


@pytest.mark.parametrize("law", LAWS)
def test_the_table_has_the_law_of_all_differences(law: str) -> None:
    """Counted over all 65,536 x 65,536 of them, at thresholds from tail to tail."""
    device = chip_of(LAWS[law], levels=3).device
    table, both = device.table(2).numpy()[:, :PARTS], device.pair_table(2).numpy()[:, :PARTS]
    low = np.sort(table[0])
    for k in range(3):
        one, found = np.sort(table[k]), np.sort(both[k])
        for t in np.quantile(found, [1e-5, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999, 1 - 1e-5]):
            exact = np.searchsorted(one, low + t, side="right").mean() / len(one)
            below = np.searchsorted(found, t, side="right") / len(found)
            assert abs(below - exact) < 1e-5  # half a step of the table is 7.6e-6


@pytest.mark.parametrize("law", LAWS)
def test_means_and_standard_deviations_are_those_of_two_cells(law: str) -> None:
    """Exactly those of independent cells: the mean is the difference, the variance the sum."""
    device = chip_of(LAWS[law], levels=3).device
    table, both = device.table(2)[:, :PARTS], device.pair_table(2)[:, :PARTS]
    assert torch.allclose(both.mean(1), table.mean(1) - table[0].mean(), atol=1e-5)
    variance = table.var(1, correction=0) + table[0].var(correction=0)
    assert torch.allclose(both.var(1, correction=0), variance, rtol=5e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_and_uncompiled_samples_are_equal_and_addressed(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip, w = chip_of(LAWS["normal"], levels=4), weights(4, 33, 1030).to(dtype)
    monkeypatch.setattr(_rng, "_LARGE", 1)
    whole = Crossbar.program(w, chip, 3, seed=4)
    one = Crossbar.program(w, chip, range(2, 3), seed=4)
    with monkeypatch.context() as without:
        without.setattr(_rng, "compiled", lambda: False)
        plain = Crossbar.program(w, chip, 3, seed=4)
    for c in range(3):
        assert torch.equal(whole.ideal.matrix(c), plain.ideal.matrix(c))
    assert torch.equal(whole.ideal.matrix(2), one.ideal.matrix(0))
    for other in (
        Crossbar.program(w, chip, 3, seed=5), Crossbar.program(w, chip, 3, seed=4, epoch=1),
        Crossbar.program(w, chip, 3, seed=4, layer="other"), Crossbar.program(w, by_cells(chip), 3, seed=4),
    ):  # fmt: skip
        assert float((whole.ideal.matrix(0) == other.ideal.matrix(0)).double().mean()) < 0.01


def test_without_variation_pairs_equal_cells() -> None:
    chip, w = chip_of(RelativeVariation(), levels=4), weights(4, 20, 30)
    bar = Crossbar.program(w, chip)
    assert torch.equal(bar.ideal.matrix(0), w)
    assert torch.equal(bar.cells(0), Crossbar.program(w, by_cells(chip)).cells(0))


@pytest.mark.parametrize("compute", ["float32", "int16", "int8"])
@pytest.mark.parametrize("bits", [None, 6])
def test_products_use_the_sampled_differences(compute: str, bits: int | None) -> None:
    """Through tiles, ADCs and rounding as for cells: the report gives the distance from the sampled numbers."""
    chip = chip_of(LAWS["normal"]).replace("compute", compute)
    if bits is not None:
        chip = chip.replace("converter", {"kind": "auto", "bits": bits})
    w, x = weights(2, 40, 200).sign(), torch.ones(3, 200)
    bar = Crossbar.program(w, chip)
    sums = x @ torch.cat(bar.readout.weights[0].linear, 1).mT
    if bits is None:
        assert torch.equal(bar.mvm(x)[0], sums)
    else:
        assert torch.allclose(bar.mvm(x)[0], sums, atol=2 * 128 / 2**bits)
    found = bar.rounding()
    assert 0 < found.largest <= found.step / 2 + 2.0**-13  # tables are rounded to a grid of 2^-12 before


def test_a_memory_of_pairs_finds_its_keys_in_separate_cells() -> None:
    keys = torch.randn(40, 256, generator=torch.Generator().manual_seed(2))
    found = []
    for draws in ("pairs", "cells"):
        held = AssociativeMemory(load_chip("rram_hfo2_1t1r").replace("draws", draws), dim=256)
        held.write(keys, torch.arange(40))
        found.append(held.similarity(keys)[0])
        assert torch.equal(held.search(keys)[0].argmax(1), torch.arange(40))
    assert not torch.equal(*found)
    assert torch.allclose(*found, atol=0.05)


def test_single_cells_are_refused() -> None:
    bar = Crossbar.program(weights(2, 4, 4), chip_of(LAWS["normal"]), layer="fc")
    for ask in (lambda: bar.cells(0), lambda: bar.conductance, lambda: bar.currents(torch.ones(1, 4))):
        with pytest.raises(InputError, match=r"layer 'fc', cells.*draws: cells"):
            ask()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("device.faults.stuck_lrs", 0.01, "faults"), ("device.verify", {"tolerance": 0.1, "max_pulses": 3}, "verify"),
        ("device.read.sigma", 0.1, "read noise"), ("device.correlated.chip", 0.1, "after programming"),
        ("wires", {"kind": "columns", "r_col_ohm": 1.0}, "wires"), ("engine", {"kind": "memtorch"}, "engine"),
    ],
)  # fmt: skip
def test_effects_on_single_cells_are_refused_by_name(path: str, value: object, named: str) -> None:
    chip = chip_of(LAWS["normal"])
    assert by_cells(chip).replace(path, value).draws == "cells"
    with pytest.raises(InputError, match=named):
        chip.replace(path, value)


def test_other_encodings_sample_their_cells() -> None:
    chip, w = chip_of(LAWS["normal"]), weights(2, 30, 40).sign()
    for kind in ("bnn_i", "offset", "sliced"):
        other = chip.replace("encoding", {"kind": kind})
        a, b = (Crossbar.program(w.where(w != 0, 1.0), c) for c in (other, by_cells(other)))
        assert torch.equal(a.cells(0), b.cells(0))
        assert not a.plan.by_pairs
