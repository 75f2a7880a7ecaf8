"""Images with a class each out of any data set: labelled ones, and characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.data._glyphs import SPLITS as GLYPH_SPLITS
from imc_sim.data._image_folder import image_classes, load_image_folder
from imc_sim.data._load import load_labelled, load_pool
from imc_sim.data._omniglot import SPLITS as OMNIGLOT_SPLITS
from imc_sim.data._registry import choose_split, dataset_info
from imc_sim.data._sets import LabelledImages

#: a tenth of a character set's images is kept for the test
_TEST = 0.1
_PARTS = ("train", "test")


def load_classes(name: str, split: str, size: int | None = None, root: Path | None = None) -> LabelledImages:
    """The images and labels of a split, for classification.

    Of labelled sets the official splits. Of characters the name of a split of theirs with `_train` or `_test` behind
    it: 90 and 10 % of its images, sampled once for all; each character is a class (`background_train`: 17,352 images of
    964 classes). Of `folder:PATH`, absolute or relative to the data root, the images in PATH/train/CLASS and
    PATH/val/CLASS, in colour, decoded when they are asked for. size: pixels a side of characters (default 32) and of
    folders' images (default 224). Errors as `load_labelled`.
    """
    kind = dataset_info(name).kind
    if kind == "folder":
        return load_image_folder(name, split, size, root)
    if kind == "labelled":
        data = load_labelled(name, split, root)
        own = data.images.shape[1]
        if size not in (None, own):
            raise InputError("size", size, f"{own} pixels, those of {name}", "Leave the size out.")
        return data
    whole, part = _split(name, split)
    pool = load_pool(name, whole, size, root)
    classes, instances = pool.shape
    order = np.argsort(Stream(0, f"{name} {whole}", "test").words(4 * classes * instances, 0).view(np.uint64))
    kept = round(_TEST * len(order))
    rows = np.sort(order[:kept] if part == "test" else order[kept:])
    images = pool.images.reshape(-1, *pool.images.shape[2:])[rows]
    labels = (rows // instances).astype(np.int64)
    for array in (images, labels):
        array.setflags(write=False)
    return LabelledImages(name, split, images, labels, pool.class_names)


def class_count(name: str, split: str) -> int:
    """Classes of a split, without reading its images where it is a labelled one or a folder."""
    kind = dataset_info(name).kind
    if kind == "folder":
        return len(image_classes(name, split))
    if kind == "labelled":
        return 10
    whole, _ = _split(name, split)
    return load_pool(name, whole, 32).shape[0]


def _split(name: str, split: str) -> tuple[str, str]:
    whole, _, part = split.rpartition("_")
    known = OMNIGLOT_SPLITS if name == "omniglot" else tuple(GLYPH_SPLITS)
    choose_split(name, split, tuple(f"{w}_{p}" for w in known for p in _PARTS))
    return whole, part
