"""badcrossbar: the exact circuit by a sparse direct solve."""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging

from _worker import Given, Task, serve


def wires(given: Given) -> Task:
    """Output currents alone, which is what is least to ask of it."""
    import badcrossbar

    logging.disable(logging.INFO)
    R, V, r = 1.0 / given["G"], given["V"].T, given.spec["r_ohm"]
    return Task(lambda: badcrossbar.compute(V, R, r_i=r, node_voltages=False, all_currents=False).currents.output)


if __name__ == "__main__":
    serve({"wires": wires}, ["badcrossbar", "scipy"])
