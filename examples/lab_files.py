"""Write six made-up files of measurements, shaped like exports of laboratories: python examples/lab_files.py [FOLDER].

levels.csv: a spreadsheet with decimal commas; two states of 2,000 cells, of which some are stuck or overflow.
bake.txt: a tester's report; conductances of 200 LRS cells over a bake of 100 h at two temperatures.
endurance.csv: a tester's log; LRS and HRS resistances of 40 cells over 10^6 cycles.
iv.csv: a parameter analyser's export; double sweeps of 5 cells.
noise.txt: read currents of one cell over a minute, from numpy.savetxt.
map.npz: conductances of an array of 128 x 128 cells in HRS and in LRS, by position.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

LRS_uS, HRS_uS = 60.0, 5.0


def levels(rng: np.random.Generator) -> str:
    """Return LRS and HRS of 2,000 cells: skewed, with 3 % of the cells stuck in either state."""
    n = 2000
    lrs = LRS_uS * (1.03 - 0.03 * rng.gamma(2.0, 1.0, n))  # a tail towards low conductance
    hrs = HRS_uS * np.exp(0.25 * rng.normal(size=n)) + rng.exponential(1.0, n)
    order = rng.permutation(n)
    lrs[order[:60]], hrs[order[60:120]] = hrs[order[:60]], lrs[order[60:120]]
    rows = [f"{k};{a:.3f};{b:.4f}" for k, (a, b) in enumerate(zip(lrs, hrs, strict=True))]
    rows[77] = "77;9.9E37;3.91"  # the range of the meter was too small
    return "\n".join(["Cell;LRS (\u00b5S);HRS (\u00b5S)", *rows]).replace(".", ",") + "\n"


def bake(rng: np.random.Generator) -> str:
    """Return conductances of 100 LRS cells each at 85 and 125 degrees C, which decay by a stretched exponential."""
    lines = ["Retention report", "Operator\tLab 3", "", "Cell\tState\tTime (h)\tTemp (\u00b0C)\tG (uS)"]
    for k in range(200):
        T = (85, 125)[k % 2]
        start = LRS_uS * (1 + 0.04 * rng.normal())
        rate = 2e-3 * np.exp(1.1 / 8.617e-5 * (1 / 358.15 - 1 / (T + 273.15)))  # 1 / h
        for hours in (0.01, 0.1, 1, 3, 10, 30, 100):
            kept = np.exp(-((rate * hours) ** 0.6))
            G = (HRS_uS + (start - HRS_uS) * kept) * (1 + 0.01 * rng.normal())
            lines.append(f"{k}\tON\t{hours:g}\t{T}\t{G:.4f}")
    return "\n".join(lines) + "\n"


def endurance(rng: np.random.Generator) -> str:
    """Return resistances of 40 cells: the window closes with log10 of the cycles; some cells fail."""
    lines = ["Cycle,Cell,R_on (Ohm),R_off (Ohm)"]
    cycles = np.unique(np.logspace(0, 6, 40).astype(int))
    for cell in range(40):
        lrs, hrs = LRS_uS * (1 + 0.05 * rng.normal()), HRS_uS * np.exp(0.2 * rng.normal())
        fails = 2e6 * rng.weibull(1.5)
        for cycle in cycles:
            on = lrs * (1 - 0.02 * np.log10(cycle)) * (1 + 0.03 * rng.normal())
            off = hrs * (1 + 0.1 * np.log10(cycle)) * np.exp(0.15 * rng.normal())
            if cycle > fails:
                off = on * 0.97
            lines.append(f"{cycle},C{cell:02d},{1e6 / on:.1f},{1e6 / off:.1f}")
    return "\n".join(lines) + "\n"


def iv(rng: np.random.Generator) -> str:
    """Return double sweeps from 0 to 1.2 V, back, to -1.4 V and back: sinh currents, set at 0.8 V, reset at -0.9 V."""
    up, down = np.linspace(0, 1.2, 61), np.linspace(0, -1.4, 71)
    voltages = np.concatenate([up, up[-2::-1], down[1:], down[-2::-1]])
    lines = ["SetupTitle, Forming-free 1R", "TestParameter, Channel.UnitType, SMU, SMU", "DataName, Sweep, V1, I1"]
    for sweep in range(5):
        set_V, reset_V = 0.8 + 0.05 * rng.normal(), -0.9 + 0.05 * rng.normal()
        lrs, hrs = LRS_uS * (1 + 0.05 * rng.normal()), HRS_uS * np.exp(0.2 * rng.normal())
        on = False
        for v in voltages:
            on = (on or v >= set_V) and v > reset_V
            G, a = (lrs, 1.0) if on else (hrs, 2.5)
            current = G * 1e-6 * 0.2 * np.sinh(a * v) / np.sinh(a * 0.2) * (1 + 0.005 * rng.normal())
            lines.append(f"DataValue, {sweep}, {v:.3f}, {current:.5e}")
    return "\n".join(lines) + "\n"


def noise(rng: np.random.Generator) -> str:
    """Return a minute of read currents at 0.2 V: 1/f noise of 0.5 % and a trap of 2 %."""
    n, dt = 6000, 0.01
    f = np.fft.rfftfreq(n, dt)
    spectrum = rng.normal(size=len(f)) + 1j * rng.normal(size=len(f))
    slow = np.fft.irfft(spectrum / np.sqrt(np.maximum(f, f[1])), n)
    flips = np.cumsum(rng.random(n) < 0.02) % 2
    current = LRS_uS * 1e-6 * 0.2 * (1 + 0.005 * slow / slow.std() + 0.02 * flips)
    rows = "\n".join(f"{k * dt:.2f} {i:.6e}" for k, i in enumerate(current))
    return f"# time_s current_A\n{rows}\n"


def array_map(rng: np.random.Generator) -> bytes:
    """Return an array in HRS and in LRS, [2, rows, columns]: LRS falls by 15 % along the rows, and a column is open."""
    target = np.stack([np.full((128, 128), HRS_uS), np.full((128, 128), LRS_uS)])
    measured = target * np.exp(np.array([0.3, 0.06])[:, None, None] * rng.normal(size=target.shape))
    measured[1] *= 1.075 - 0.15 * np.linspace(0, 1, 128)[:, None]
    measured[:, :, 17] = 0.0
    file = io.BytesIO()
    np.savez_compressed(file, conductance_uS=measured.round(3), target_uS=target)
    return file.getvalue()


#: name -> what is in the file
FILES = {
    "levels.csv": levels, "bake.txt": bake, "endurance.csv": endurance, "iv.csv": iv, "noise.txt": noise,
    "map.npz": array_map,
}  # fmt: skip


def main(folder: Path) -> None:
    """Write the files; equal for every run."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, make) in enumerate(FILES.items()):
        path = folder / name
        content = make(np.random.Generator(np.random.Philox(number)))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "lab"))
