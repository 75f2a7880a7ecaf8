"""Images of procedurally generated characters."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole, shown_value
from imc_sim._rng import check_seed
from imc_sim.data._cache import Bytes, cached_array, fingerprint
from imc_sim.data._glyph_drawing import CANVAS, DRAWERS, draw_glyph
from imc_sim.data._glyph_shapes import ALPHABET
from imc_sim.data._omniglot import resized

#: version of the drawing; increase it when the images change
VERSION = 1
SEED = 2024
#: most pixels per side
_LARGEST = 4096
#: Characters of each split; train and test share no alphabet.
SPLITS = {"train": range(800), "test": range(800, 1200), "all": range(1200)}


@checked
def make_glyphs(indices: range, size: int, seed: int = SEED) -> Bytes:
    """Generate images of characters, each by 20 simulated drawers.

    Args:
        indices: numbers of the characters, 0 or more; 20 consecutive ones, from a multiple of 20, form an alphabet.
        size: pixels per side; images of another size than 105 are resampled from it (Lanczos).
        seed: seed of the set of characters.

    Returns:
        The images, uint8 [characters, 20 drawers, size, size]; ink is 0 and paper 255.

    Raises:
        InputError: numbers, size or seed are no whole numbers, or too small.
    """
    check_whole(size, "make_glyphs, size", 1, _LARGEST)
    check_seed(seed, "make_glyphs")
    if not isinstance(indices, range) or (len(indices) and min(indices) < 0):
        step = "Set the numbers of the characters, such as range(20)."
        raise InputError("make_glyphs, indices", shown_value(indices), "a range of numbers of 0 or more", step)
    out = np.empty((len(indices), DRAWERS, size, size), np.uint8)
    for row, index in zip(out, indices, strict=True):
        drawn = draw_glyph(seed, index)
        row[:] = drawn if size == CANVAS else np.stack([resized(Image.fromarray(d), size) for d in drawn])
    return out


def glyphs(split: str, size: int, *, cached: bool = True) -> tuple[Bytes, tuple[str, ...]]:
    """Return images and names of the characters of a split; only these characters are drawn."""
    indices = SPLITS[split]
    names = tuple(f"Alphabet{i // ALPHABET:02d}/character{i % ALPHABET + 1:02d}" for i in indices)
    source = fingerprint(["glyphs", VERSION, SEED])
    return cached_array(f"glyphs-{split}-{size}", source, lambda: make_glyphs(indices, size), cached), names
