"""The made-up characters as a pool."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imc_sim.data._cache import Bytes, cached_array, fingerprint
from imc_sim.data._glyph_drawing import CANVAS, DRAWERS, draw_glyph
from imc_sim.data._glyph_shapes import ALPHABET
from imc_sim.data._omniglot import resized

#: Raise when the drawing changes.
VERSION = 1
SEED = 2024
#: Characters of each split; train and test share no alphabet.
SPLITS = {"train": range(800), "test": range(800, 1200), "all": range(1200)}


def make_glyphs(indices: range, size: int, seed: int = SEED) -> Bytes:
    """Characters `indices` of the set with this seed: [characters, DRAWERS, size, size], ink 0, paper 255."""
    out = np.empty((len(indices), DRAWERS, size, size), np.uint8)
    for row, index in zip(out, indices, strict=True):
        drawn = draw_glyph(seed, index)
        row[:] = drawn if size == CANVAS else np.stack([resized(Image.fromarray(d), size) for d in drawn])
    return out


def glyphs(split: str, size: int, *, cached: bool = True) -> tuple[Bytes, tuple[str, ...]]:
    """Images and names of a split; only what the split needs is drawn."""
    indices = SPLITS[split]
    names = tuple(f"Alphabet{i // ALPHABET:02d}/character{i % ALPHABET + 1:02d}" for i in indices)
    if not cached:
        return make_glyphs(indices, size), names
    source = fingerprint(["glyphs", VERSION, SEED])
    return cached_array(f"glyphs-{split}-{size}", source, lambda: make_glyphs(indices, size)), names
