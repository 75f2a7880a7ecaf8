"""The architectures known by name. Only their addresses stand here, so that listing them loads no torch."""

from __future__ import annotations

from typing import NamedTuple


class ArchEntry(NamedTuple):
    """Where the class of an architecture is, as `module:Class`, and one line on it."""

    target: str
    summary: str


ARCHS: dict[str, ArchEntry] = {
    "batmann": ArchEntry(
        "imc_sim.nn:BatmannController",
        "five-layer CNN that turns a character into a key; kind: float, xnor, rbnn, or with binary_fc",
    ),
    "conv4": ArchEntry(
        "imc_sim.nn:Conv4",
        "four-block few-shot encoder of other projects; layout: padded (matching, prototypical) or relation",
    ),
}
