"""Print the distance of each mapping from the reference vectors, as a table: `python -m tests.oracle.deviations`.

Needs IMC_SIM_REFERENCE. The tests in this folder check the limits (1e-9, and equal integers); this prints the sizes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from imc_sim.array import Crossbar, Wires
from tests.oracle.test_reference_mappings import BNN, TNN, WINDOWS, chip_of, passes, vectors_of, weights_and_inputs
from tests.oracle.test_reference_wires import exact_currents

Found = dict[str, float]


def deviations(reference: Path, encoding: str) -> Found:
    """Return the largest over devices, sizes, bits and resistances: results, currents (relative), unequal integers."""
    found: Found = {"results": 0.0, "currents": 0.0, "columns": 0.0, "nodal": 0.0, "integers": 0, "unequal": 0}
    w, x = weights_and_inputs(reference, encoding)
    for device in WINDOWS:
        for crossbar in ("tight", "loose"):
            vectors = vectors_of(reference, encoding, device, crossbar)
            rows = int(vectors["N"])
            bar = Crossbar.program(w, chip_of(encoding, device, rows))
            _worst(found, "results", bar.mvm(x)[0].numpy(), vectors["y_inf"])
            if "I" in vectors:
                _worst(found, "currents", passes(bar.currents(x)[0, 0], len(bar.encoding.terms)), vectors["I"])
            for bits in (4, 6, 8):
                chip = chip_of(encoding, device, rows, kind="auto", bits=bits, accumulator="integer")
                _count(found, Crossbar.program(w, chip).mvm(x)[0].numpy(), vectors, f"adc{bits}")
            if crossbar == "tight":
                for ohm in (0.5, 2.0):
                    columns = exact_currents(bar, x, Wires(kind="columns", r_col_ohm=ohm))
                    nodal = exact_currents(bar, x[:2], Wires(kind="nodal", r_row_ohm=ohm, r_col_ohm=ohm))
                    _worst(found, "columns", columns, vectors[f"Ipar_w{ohm}"])
                    _worst(found, "nodal", nodal, vectors[f"Ifull_w{ohm}"])
    return found


def _worst(found: Found, key: str, seen: np.ndarray, expected: np.ndarray) -> None:
    found[key] = max(found[key], float(np.abs(seen - expected).max() / np.abs(expected).max()))


def _count(found: Found, seen: np.ndarray, vectors: dict[str, np.ndarray], key: str) -> None:
    clear = ~vectors[f"tie_{key}"]
    found["integers"] += int(clear.sum())
    found["unequal"] += int((seen != vectors[f"y_{key}"])[clear].sum())


def main() -> None:
    """Print the table in Markdown."""
    reference = Path(os.environ["IMC_SIM_REFERENCE"])
    print("| mapping | results | currents | column wires | rows and columns | ADC codes off |")
    print("|---|---|---|---|---|---|")
    for encoding in BNN + TNN:
        f = deviations(reference, encoding)
        sizes = [f"{f[key]:.0e}" if f[key] else "0" for key in ("results", "currents", "columns", "nodal")]
        name = encoding[:3].upper() + " " + encoding[4:].upper()
        print(f"| {name} | {' | '.join(sizes)} | {f['unequal']:.0f} of {f['integers']:.0f} |")


if __name__ == "__main__":
    main()
