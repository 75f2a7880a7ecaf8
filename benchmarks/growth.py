"""Growth of time and memory: images, chips, width of a layer, size of a tile, bits of an ADC, wire resistance.

    python benchmarks/growth.py [--rounds 5] [--only images] [--out docs/figures] [--smoke]

Time: median of pairs in turn, each over the product of plain float32 torch of the same shape in the same process, once
for every chip: a level line grows as the digital network does. Memory: highest resident memory of a separate process,
less its memory before it programmed a cell (Linux).
The work at the axes' common point: one layer of 512 x 512 weights, +-1, programmed on 4 chips with 8-bit
ADCs on tiles of 128 rows, then 256 inputs; `compute` is float32, the default. Wires are solved exactly (nodal), a
single chip of 128 x 128 weights. Writes performance_growth.csv and performance_growth.png.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from _common import ratio

import imc_sim as imc

if TYPE_CHECKING:
    from pandas import DataFrame

#: axis -> its values, and its label
AXES: dict[str, tuple[tuple[float, ...], str]] = {
    "images": ((16, 64, 256, 1024, 4096), "inputs"),
    "chips": ((1, 4, 16, 64), "chips"),
    "width": ((128, 256, 512, 1024, 2048), "width of the layer"),
    "rows": ((16, 32, 64, 128, 256, 512), "rows of a tile"),
    "bits": ((4, 6, 8, 10, 12), "bits of the ADCs"),
    "r_ohm": ((0.1, 0.3, 1.0, 3.0, 10.0), "wire resistance (ohm a pitch)"),
}
COMMON: dict[str, float] = {"images": 256, "chips": 4, "width": 512, "rows": 128, "bits": 8, "r_ohm": 0.0}
SMOKE: dict[str, float] = {"images": 4, "chips": 1, "width": 32, "rows": 16, "bits": 8, "r_ohm": 0.0}


def at(axis: str, value: float, common: dict[str, float]) -> dict[str, float]:
    """Return the common point with one value changed; wires at a size that is solved in tenths of a second."""
    point = common | {axis: value}
    return point | ({"width": min(128.0, common["width"]), "chips": 1} if axis == "r_ohm" else {})


def work(point: dict[str, float]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a call that programs chips and multiplies, and one that does the plain product once per chip."""
    images, count, width = (int(point[k]) for k in ("images", "chips", "width"))
    generator = torch.Generator().manual_seed(0)
    w, x = (imc.nn.two_valued(torch.randn(n, width, generator=generator)) for n in (width, images))
    chip = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.1)
    chip = chip.replace("tile", {"rows": int(point["rows"]), "cols": 128})
    chip = chip.replace("converter", {"kind": "auto", "bits": int(point["bits"])})
    if point["r_ohm"]:
        chip = chip.replace("wires", {"kind": "nodal", "r_row_ohm": point["r_ohm"], "r_col_ohm": point["r_ohm"]})

    def ours() -> None:
        imc.Crossbar.program(w, chip, chips=count).mvm(x)

    return ours, lambda: [x @ w.T for _ in range(count)]


def peak_mib(point: dict[str, float]) -> float:
    """Return the increase of the highest resident memory of a new process by programming and one product."""
    argv = [sys.executable, __file__, "--peak", json.dumps(point)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def _print_peak(point: dict[str, float]) -> None:
    # Modules and code compiled at the first use are no cost of this size; small products need less of it.
    work(COMMON | {"width": 128, "chips": 1, "r_ohm": point["r_ohm"]})[0]()
    ours, _ = work(point)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the highest resident memory starts again
    before = _status_mib("VmRSS")
    ours()
    print(_status_mib("VmHWM") - before)


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def plot(table: DataFrame, stem: Path) -> Path:
    """Draw one column of panels per axis: time above, memory below."""
    from imc_sim._files import write_file
    from imc_sim.plotting._figure import LogLabels, new_panels, style

    with style():
        figure, panels = new_panels(2, len(AXES), 7.2, 3.0)
        for column, (axis, (_, label)) in enumerate(AXES.items()):
            rows = table[table.axis == axis]
            top, bottom = panels[column], panels[column + len(AXES)]
            bars = [rows["ratio"] - rows["least"], rows["most"] - rows["ratio"]]
            top.errorbar(rows["value"], rows["ratio"], bars, color="C0", marker="o", elinewidth=0.6)
            bottom.plot(rows["value"], rows["peak_mib"], color="C1", marker="s")
            bottom.set_xlabel(label.replace(" of ", "\nof ").replace(" (", "\n("))
            for panel in (top, bottom):
                base = 10 if axis == "r_ohm" else 2
                panel.set_xscale("log", base=base)
                panel.xaxis.set_major_formatter(LogLabels(base=base))
                panel.xaxis.set_minor_formatter(LogLabels(base=base))
                if axis == "bits":
                    panel.set_xscale("linear")
                panel.set_ylim(0, 1.08 * panel.get_ylim()[1])
        panels[0].set_ylabel("time / plain torch")
        panels[len(AXES)].set_ylabel("memory (MiB)")
        path = stem.with_suffix(".png")
        write_file(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
    return path


def main() -> int:
    """Measure, print, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs a point")
    parser.add_argument("--only", choices=tuple(AXES), action="append", help="one axis; writes nothing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--smoke", action="store_true", help="the first value of every axis at a tiny size, once")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        _print_peak(json.loads(options.peak))
        return 0
    common, rounds = (SMOKE, 1) if options.smoke else (COMMON, options.rounds)
    lines: list[dict[str, Any]] = []
    print(f"{'axis':<8}{'value':>8}{'ratio':>9}{'least':>9}{'most':>9}{'MiB':>9}")
    for axis in options.only or AXES:
        values = AXES[axis][0]
        for value in values[:1] if options.smoke else values:
            point = at(axis, value, common)
            found = ratio(*work(point), rounds)
            lines.append({"axis": axis, "value": value, **dict(zip(("ratio", "least", "most"), found, strict=True))})
            quick = options.smoke and axis not in ("images", "r_ohm")  # cells without wires, and with them
            lines[-1]["peak_mib"] = math.nan if quick else peak_mib(point)
            print(f"{axis:<8}{value:>8g}" + "".join(f"{x:>9.2f}" for x in (*found, lines[-1]["peak_mib"])), flush=True)
    if not options.only:
        from pandas import DataFrame

        from imc_sim.plotting._figure import save_table

        options.out.mkdir(parents=True, exist_ok=True)
        table, stem = DataFrame(lines), options.out / "performance_growth"
        save_table(table.round({"ratio": 3, "least": 3, "most": 3, "peak_mib": 1}), stem)
        plot(table, stem)
    return 0


if __name__ == "__main__":
    with torch.no_grad():
        raise SystemExit(main())
