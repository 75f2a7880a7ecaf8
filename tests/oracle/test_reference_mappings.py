"""Encodings and converters against vectors of an independent float64 model (IMC_SIM_REFERENCE)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from imc_sim.array import Chip, Crossbar, load_chip

WINDOWS = {"d0": (5.0, 50.0), "d1": (0.5, 4.0)}
CASES = [(e, d, x) for e in ("bnn_i", "bnn_v", "bnn_vi") for d in WINDOWS for x in ("tight", "loose")]


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


@pytest.mark.parametrize(("encoding", "device", "crossbar"), CASES)
def test_vectors(reference: Path, encoding: str, device: str, crossbar: str) -> None:
    inputs = np.load(reference / "mappings" / "inputs.npz")
    w, x = (torch.from_numpy(inputs[k]).double() for k in ("WA", "XA"))
    with np.load(reference / "mappings" / f"{encoding.upper()}.npz") as archive:
        vectors = {k.split("__")[1]: archive[k] for k in archive.files if k.startswith(f"A_{device}_{crossbar}__")}
    rows = int(vectors["N"])
    ideal = Crossbar.program(w, chip_of(encoding, device, rows))
    assert np.abs(ideal.mvm(x)[0].numpy() - vectors["y_inf"]).max() < 1e-9
    if "I" in vectors:
        error = np.abs(ideal.currents(x)[0, 0].numpy() * 1e6 - vectors["I"][0]).max()
        assert error < 1e-9 * np.abs(vectors["I"]).max()
    for bits in (4, 6, 8):
        y = Crossbar.program(w, chip_of(encoding, device, rows, kind="auto", bits=bits)).mvm(x)[0].numpy()
        rounded = np.sign(y) * np.floor(np.abs(y) + 0.5)
        clear = ~vectors[f"tie_adc{bits}"] if f"tie_adc{bits}" in vectors else np.ones_like(y, dtype=bool)
        assert clear.any()
        assert np.array_equal(rounded[clear], vectors[f"y_adc{bits}"][clear])
