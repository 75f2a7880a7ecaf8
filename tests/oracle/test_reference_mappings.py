"""Encodings and ADCs compared with vectors of an independent float64 model (IMC_SIM_REFERENCE)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from imc_sim.array import Chip, Converter, Crossbar, load_chip

WINDOWS = {"d0": (5.0, 50.0), "d1": (0.5, 4.0)}
BNN = ["bnn_i", "bnn_ii", "bnn_iii", "bnn_iv", "bnn_v", "bnn_vi"]
TNN = ["tnn_i", "tnn_ii", "tnn_iii", "tnn_iv", "tnn_v"]
CASES = [(e, d, x) for e in BNN + TNN for d in WINDOWS for x in ("tight", "loose")]


def chip_of(encoding: str, device: str, rows: int, **converter: object) -> Chip:
    hrs_uA, lrs_uA = WINDOWS[device]
    return load_chip(
        {
            "device": {"g_lrs_S": lrs_uA / 0.2 * 1e-6, "g_hrs_S": hrs_uA / 0.2 * 1e-6, "read": {"v_read_V": 0.2}},
            "encoding": {"kind": encoding},
            "tile": {"rows": rows, "cols": 128},
            "converter": converter or {"kind": "ideal"},
        }
    )


def weights_and_inputs(reference: Path, encoding: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights [out, in] and inputs [batch, in]."""
    inputs = np.load(reference / "mappings" / "inputs.npz")
    keys = ("WA", "XA") if encoding in BNN else ("TWA", "TXA")
    w, x = (torch.from_numpy(inputs[k]).double() for k in keys)
    return w, x


def vectors_of(reference: Path, encoding: str, device: str, crossbar: str) -> dict[str, np.ndarray]:
    name = encoding[:3].upper() + "_" + encoding[4:].upper()
    with np.load(reference / "mappings" / f"{name}.npz") as archive:
        wanted = [k for k in archive.files if k.startswith((f"A_{device}_{crossbar}__", "A__"))]
        return {k.split("__")[1]: archive[k] for k in wanted}


def passes(currents: torch.Tensor, count: int) -> np.ndarray:
    """[batch, out x terms] in A -> [pass, batch, out] in uA."""
    return currents.unflatten(-1, (-1, count)).permute(2, 0, 1).numpy() * 1e6


def rounding(bar: Crossbar) -> float:
    """Return the largest error of a float64 sum over the rows of all terms: n^2 u for n numbers."""
    count = bar.placement.inputs * bar.encoding.rows * bar.encoding.columns * len(bar.encoding.terms)
    largest = (1.0 + 3.0 * bar.chip.device.floor) * max(abs(f) for f in bar.plan.factors)
    return count**2 * largest * 2.0**-53


@pytest.mark.parametrize(("encoding", "device", "crossbar"), CASES)
def test_mappings_equal_the_reference_vectors(reference: Path, encoding: str, device: str, crossbar: str) -> None:
    w, x = weights_and_inputs(reference, encoding)
    vectors = vectors_of(reference, encoding, device, crossbar)
    rows = int(vectors["N"])
    ideal = Crossbar.program(w, chip_of(encoding, device, rows))
    assert np.abs(ideal.mvm(x)[0].numpy() - vectors["y_inf"]).max() < 1e-9
    # Differences in float32 are on a grid, where every sum is exact; in float64 the HRS currents are rounded.
    assert np.array_equal(Crossbar.program(w.float(), ideal.chip).mvm(x.float())[0].numpy(), vectors["true"])
    assert np.abs(ideal.mvm(x)[0].numpy() - vectors["true"]).max() <= rounding(ideal)
    if "I" in vectors:
        seen = passes(ideal.currents(x)[0, 0], len(ideal.encoding.terms))
        assert np.abs(seen - vectors["I"]).max() < 1e-9 * np.abs(vectors["I"]).max()
    for bits in (4, 6, 8):
        y = (
            Crossbar.program(w, chip_of(encoding, device, rows, kind="auto", bits=bits, accumulator="integer"))
            .mvm(x)[0]
            .numpy()
        )
        clear = ~vectors[f"tie_adc{bits}"] if f"tie_adc{bits}" in vectors else np.ones_like(y, dtype=bool)
        assert clear.any()
        assert np.array_equal(y[clear], vectors[f"y_adc{bits}"][clear])


@pytest.mark.parametrize(("encoding", "device", "crossbar"), CASES)
def test_calibrated_range_equals_the_reference(reference: Path, encoding: str, device: str, crossbar: str) -> None:
    w, x = weights_and_inputs(reference, encoding)
    vectors = vectors_of(reference, encoding, device, crossbar)
    chip = chip_of(
        encoding,
        device,
        int(vectors["N"]),
        kind="auto",
        bits=6,
        range="calibrated",
        limits="minmax",
        accumulator="integer",
    )
    bar = Crossbar.program(w, chip)
    hrs_uA, lrs_uA = WINDOWS[device]
    low, high = vectors["calib_limits"] / (lrs_uA - hrs_uA)
    bar.set_limits(float(low), float(high))
    y = bar.mvm(x)[0].numpy()
    clear = ~vectors["tie_calib6"] if "tie_calib6" in vectors else np.ones_like(y, dtype=bool)
    assert clear.any()
    assert np.array_equal(y[clear], vectors["y_calib6"][clear])


@pytest.mark.parametrize("kind", ["sym", "pos"])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_static_adc_equals_the_reference(reference: Path, kind: str, bits: int) -> None:
    """Every current of the sweep has its code, except at ties."""
    with np.load(reference / "mappings" / "adc.npz") as archive:
        key = f"{kind.upper()}_{bits}"
        current, quantised, (low, high, step) = (archive[f"{key}_{k}"] for k in ("I", "Iq", "lo_hi_step"))
    q = Converter(kind="auto", bits=bits).quantiser(float(low), float(high), signed=kind == "sym")
    assert q.step == pytest.approx(step, rel=1e-12)
    seen = q(torch.from_numpy(current)).numpy()
    tie = np.abs(np.abs((current - q.base) / q.step) % 1.0 - 0.5) < 1e-9
    assert np.abs(seen - quantised)[~tie].max() < 1e-9 * np.abs(quantised).max()
