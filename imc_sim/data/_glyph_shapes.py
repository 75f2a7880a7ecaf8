"""Shapes of procedurally generated characters (glyphs).

A character is a list of segments. A segment is a curve that is described by the change of its heading (line, arc,
hook, S, corner, loop); the characters of an alphabet share a few such motifs. A segment continues at the end of the
previous one or, after a pen lift, is attached to an earlier one: it starts, ends or crosses there, or is separate. A
bridge ends at a point of an earlier segment and so closes a shape.

Reference:
    The relations between segments are those of Lake, Salakhutdinov and Tenenbaum, Human-level concept learning
    through probabilistic program induction, Science 350, 2015. The generator and its constants are specific to
    this project.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imc_sim._rng import Stream

#: Characters of one alphabet; the alphabet of character c is c // ALPHABET.
ALPHABET = 20
#: Heading steps of one segment.
STEPS = 16
MAX_SEGMENTS = 7
_MOTIFS = 5
_COLUMNS = 16  # uniform numbers kept for one segment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Glyph:
    """A character of n segments, before the variation by drawers; x points to the right and y down.

    Attributes:
        turn: [n, STEPS], change of the heading in each step, radians.
        length: [n], relative lengths.
        heading: [n], absolute headings, radians.
        lift: [n], True if the pen is lifted before the segment.
        bridge: [n], True if the segment ends at its parent instead of using its length and heading.
        parent: [n], number of the segment that the segment is attached to.
        at: [n], position on the parent, 0..1.
        anchor: [n], position on the segment that is placed there, 0..1.
        gap: [n, 2], offset from there, in units of the relative lengths.
        size_px: larger side on the 105-pixel canvas, pixels.
    """

    turn: Floats
    length: Floats
    heading: Floats
    lift: Flags
    bridge: Flags
    parent: Ints
    at: Floats
    anchor: Floats
    gap: Floats
    size_px: float


@dataclass(frozen=True, eq=False)
class _Style:
    """Style that the characters of an alphabet share.

    Attributes:
        motifs: [_MOTIFS, STEPS], change of the heading in each step, radians.
        headings: [8], preferred headings, radians.
        lifts: probability that the pen is lifted before a segment.
        segments: mean number of segments, before rounding and limits.
    """

    motifs: Floats
    headings: Floats
    lifts: float
    segments: float


def glyph(seed: int, index: int) -> Glyph:
    """Return character `index` of the set with this seed; it depends on nothing else."""
    style = _style(seed, index // ALPHABET)
    u = Stream(seed, "glyphs", "character").uniform(_COLUMNS * (MAX_SEGMENTS + 1), chip=index).astype(np.float64)
    n = int(np.clip(round(style.segments + 3.0 * (u[0] - 0.5)), 2, MAX_SEGMENTS))
    v = u[_COLUMNS:].reshape(MAX_SEGMENTS, _COLUMNS)[:n]
    order = np.arange(n)
    bridge, lift = (v[:, 14] < 0.25) & (order > 1), (v[:, 6] < style.lifts) & (order > 0)
    turn, length, heading = _curves(style, v)
    turn[bridge] = 1.2 * (v[bridge, 2:3] - 0.5) / STEPS
    parent = np.minimum((v[:, 9] * order).astype(np.int64), np.where(bridge & ~lift, order - 2, order))
    size_px = float(np.clip(46 + 9 * n**0.5 + 24 * (u[1] - 0.5), 30, 84))
    return Glyph(turn, length, heading, lift, bridge, parent, *_attachments(v), size_px)


def _curves(style: _Style, v: Floats) -> tuple[Floats, Floats, Floats]:
    """Return turn, length and heading of each segment; most headings are to the right and down, as in handwriting."""
    turn = style.motifs[(v[:, 0] * _MOTIFS).astype(int)] * (0.75 + 0.5 * v[:, 1:2])
    turn = (turn + 0.6 * (v[:, 2:3] - 0.5) / STEPS) * np.where(v[:, 3:4] < 0.3, -1, 1)
    length = _pick(v[:, 4], (0.5, 0.32, 0.18), (1.0, 0.7, 0.45)) * (0.85 + 0.3 * v[:, 5])
    heading = _pick(v[:, 7], (0.30, 0.09, 0.30, 0.09, 0.07, 0.04, 0.07, 0.04), style.headings)
    return turn, length, heading + 0.16 * (v[:, 8] - 0.5)


def _attachments(v: Floats) -> tuple[Floats, Floats, Floats]:
    """Return at, anchor and gap of each segment."""
    at = _pick(v[:, 10], (0.3, 0.4, 0.3), (0.0, 0.5, 1.0))
    anchor = _pick(v[:, 11], (0.6, 0.25, 0.15), (0.0, 0.5, 1.0))
    angle = 2 * np.pi * v[:, 13]
    gap = np.where(v[:, 12:13] < 0.3, 0.5, 0.0) * np.stack([np.cos(angle), np.sin(angle)], 1)
    return at, anchor, gap


@functools.lru_cache(maxsize=128)
def _style(seed: int, alphabet: int) -> _Style:
    """Return the style of an alphabet: how curvy, upright, cursive and intricate it is."""
    u = Stream(seed, "glyphs", "alphabet").uniform(64, chip=alphabet).astype(np.float64)
    weights = (1.6 - u[0], 0.3 + u[0], 0.3 + u[0], 0.2 + 0.8 * u[0], 1.2 - u[0], 0.5)
    families = _pick(u[1 : 1 + _MOTIFS], weights, range(6)).astype(int)
    motifs = np.stack([_motif(int(f), u[8 + 3 * i : 11 + 3 * i]) for i, f in enumerate(families)])
    headings = np.pi / 4 * np.arange(8) + 0.16 * (u[31] - 0.5)
    return _Style(motifs, headings, lifts=0.35 + 0.35 * u[32], segments=2.3 + 2.0 * u[33])


def _motif(family: int, u: Floats) -> Floats:
    """Return the change of the heading of a motif, [STEPS] radians; u: uniform numbers (direction, bend, place)."""
    s = (np.arange(STEPS) + 0.5) / STEPS
    place = 0.25 + 0.5 * u[2]
    shape, least, range_ = (
        (np.ones(STEPS), -0.12, 0.25),  # line
        (np.ones(STEPS), 1.2, 2.3),  # arc
        (np.where(s > 0.65, 1 / 0.35, 0.0), 2.2, 1.6),  # hook
        (np.where(s < place, 2.0, -2.0), 1.4, 1.8),  # S
        (STEPS * (np.arange(STEPS) == int(place * STEPS)), 1.2, 1.2),  # corner
        (np.ones(STEPS), 5.6, 1.2),  # loop
    )[family]
    return (1.0 if u[0] < 0.5 else -1.0) * (least + range_ * u[1]) * shape / STEPS


def _pick(u: Floats, weights: tuple[float, ...], values: range | tuple[float, ...] | Floats) -> Floats:
    """Return values sampled with these weights by uniform numbers."""
    edges = np.cumsum(weights) / np.sum(weights)
    return np.asarray(values, dtype=np.float64)[np.minimum(np.searchsorted(edges, u), len(weights) - 1)]
