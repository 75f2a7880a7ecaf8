"""Drawing made-up characters: each by 20 drawers, with a pen of 5 pixels on 105 x 105, as Omniglot is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imc_sim._rng import Stream, normal_quantiles
from imc_sim.data._glyph_shapes import STEPS, Floats, Glyph, Ints, glyph

#: Side of the canvas in pixels.
CANVAS = 105
DRAWERS = 20
_DENSE = 8  # dots for each heading step
_NORMALS = 128  # normal numbers kept for each drawer: 16 for the hand, then _PER_SEGMENT for each segment
_PER_SEGMENT = 12


def draw_glyph(seed: int, index: int) -> NDArray[np.uint8]:
    """Character `index` as its 20 drawers write it: [DRAWERS, CANVAS, CANVAS], ink 0, paper 255.

    The image of drawer d depends on (seed, index, d) alone.
    """
    g = glyph(seed, index)
    n = len(g.length)
    draws = normal_quantiles()[Stream(seed, "glyphs", "drawer").words(DRAWERS * _NORMALS, chip=index)]
    z = draws.reshape(DRAWERS, _NORMALS).astype(np.float64)
    paths = _write(g, z[:, 16 : 16 + _PER_SEGMENT * n].reshape(DRAWERS, n, _PER_SEGMENT))
    pen_px = 5 + (z[:, 6] > 1.6) - (z[:, 6] < -1.6)
    return _ink(_on_canvas(g, paths, z), pen_px.astype(np.int64))


def _write(g: Glyph, z: Floats) -> Floats:
    """Every drawer's segments, joined: [drawers, n, STEPS + 1, 2]; z: [drawers, n, _PER_SEGMENT]."""
    out = np.zeros((len(z), len(g.length), STEPS + 1, 2))
    for i in range(len(g.length)):
        path = _segment(g, i, z[:, i])
        parent = out[:, g.parent[i], round(g.at[i] * STEPS)] + 0.04 * z[:, i, 7:9]
        if g.bridge[i]:
            start = out[:, i - 1, 0 if g.lift[i] else -1]
            path = _stretch(path, parent - start) + start[:, None]
        elif g.lift[i]:
            path += (parent + g.gap[i] - path[:, round(g.anchor[i] * STEPS)])[:, None]
        elif i:
            path += out[:, i - 1, -1:]
        out[:, i] = path
    return out


def _segment(g: Glyph, i: int, z: Floats) -> Floats:
    """Segment i from the origin as each drawer bends it: [drawers, STEPS + 1, 2]; z: [drawers, _PER_SEGMENT]."""
    s = (np.arange(STEPS) + 0.5) / STEPS
    waves = np.stack([np.cos(np.pi * k * s) / (1 + 0.5 * k) for k in range(4)])
    turn = g.turn[i] * (1 + 0.08 * z[:, :1]) + 0.38 / STEPS * (z[:, 1:5, None] * waves).sum(1)
    heading = g.heading[i] + 0.075 * z[:, 5:6] + np.cumsum(turn, 1) - turn / 2
    step = g.length[i] * (1 + 0.10 * z[:, 6:7]) / STEPS
    path = np.zeros((len(z), STEPS + 1, 2))
    path[:, 1:, 0] = np.cumsum(step * np.cos(heading), 1)
    path[:, 1:, 1] = np.cumsum(step * np.sin(heading), 1)
    return path


def _stretch(path: Floats, way: Floats) -> Floats:
    """The path turned and scaled so that it ends at `way`, [drawers, 2]."""
    z = path[..., 0] + 1j * path[..., 1]
    z *= ((way[:, 0] + 1j * way[:, 1]) / z[:, -1])[:, None]
    return np.stack([z.real, z.imag], -1)


def _on_canvas(g: Glyph, paths: Floats, z: Floats) -> Floats:
    """The paths in pixels, with each drawer's size, proportions, slant and position; z: [drawers, 6 or more]."""
    low, high = paths.min((1, 2)), paths.max((1, 2))
    scale = g.size_px / max(float(np.median((high - low).max(1))), 0.2)
    x, y = np.moveaxis(paths - ((low + high) / 2)[:, None, None], -1, 0)
    angle, shear, size, proportion = (z[:, k, None, None] for k in range(4))
    angle, shear, size = 0.07 * angle, 0.10 * shear, scale * np.exp(0.08 * size)
    x = x + shear * y
    across = size * np.exp(0.06 * proportion) * (np.cos(angle) * x - np.sin(angle) * y)
    down = size * np.exp(-0.06 * proportion) * (np.sin(angle) * x + np.cos(angle) * y)
    centre = np.array([CANVAS / 2 - 2, CANVAS / 2 - 3]) + 5.0 * z[:, 4:6]
    return np.stack([across, down], -1) + centre[:, None, None]


def _ink(paths: Floats, pen_px: Ints) -> NDArray[np.uint8]:
    """Paths in pixels [drawers, n, points, 2] drawn with a square pen: [drawers, CANVAS, CANVAS]."""
    t = ((np.arange(_DENSE) + 0.5) / _DENSE)[:, None]
    dots = paths[:, :, :-1, None] + t * np.diff(paths, axis=2)[:, :, :, None]
    at = np.clip(dots, 3, CANVAS - 4).reshape(len(paths), -1, 2).astype(np.int64)
    ink = np.zeros((len(paths), CANVAS, CANVAS), np.bool_)
    ink[np.arange(len(paths))[:, None], at[..., 1], at[..., 0]] = True
    for axis in (1, 2):
        shifts = [(k + 1) // 2 * (1 if k % 2 else -1) for k in range(int(pen_px.max()))]
        wide = [np.roll(ink, by, axis) & (pen_px > k)[:, None, None] for k, by in enumerate(shifts)]
        ink = np.logical_or.reduce(wide)
    return np.where(ink, np.uint8(0), np.uint8(255))
