"""Images and labels for classification from any data set: labelled sets, characters, and data of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imc_sim._arguments import checked
from imc_sim._rng import Stream
from imc_sim.data._image_folder import image_classes, load_image_folder
from imc_sim.data._load import POOL_SPLITS, check_own_size, load_labelled, load_pool
from imc_sim.data._own import load_own
from imc_sim.data._registry import choose_split, dataset_info
from imc_sim.data._sets import LabelledImages

#: a tenth of a character set's images is kept for the test
_TEST = 0.1
_PARTS = ("train", "test")


@checked
def load_classes(name: str, split: str, size: int | None = None, root: Path | None = None) -> LabelledImages:
    """Load the images and labels of a split, for classification.

    A pool of characters has no labelled splits. Each of its splits is therefore divided into a fixed random 90 % of
    the images (`_train`) and the other 10 % (`_test`), and each character is a class: `background_train` has 17,352
    images of 964 classes. The division does not depend on `size`.

    Args:
        name: name of the data set, or `folder:PATH` (`grey_folder:PATH` for grey images) with a path that is absolute
            or relative to the data root; its images are in PATH/train/CLASS and in PATH/val/CLASS or PATH/test/CLASS.
            Or arrays of the user: `FILE.npz`, `IMAGES.npy,LABELS.npy` or `FILE.py:FUNCTION` (docs/your_network.md).
        split: "train" or "test"; for characters the name of one of their splits followed by `_train` or `_test`.
        size: pixels per side; None: 32 for characters, 224 for folders, the size of the images for labelled sets,
            which allow no other.
        root: folder that holds the data sets; None: see `data_root`.

    Returns:
        The images and labels. Images of a folder are decoded when they are indexed; see `FolderImages`.

    Raises:
        InputError: the name, split or size is not allowed, or a file is damaged.
        MissingDataError: the data set is not in the data root.
    """
    kind = dataset_info(name).kind
    if kind == "folder":
        return load_image_folder(name, split, size, root)
    if kind in ("labelled", "arrays"):
        data = load_own(name, split) if kind == "arrays" else load_labelled(name, split, root)
        check_own_size(name, size, data.images[0])
        return data
    whole, part = _split(name, split)
    pool = load_pool(name, whole, size, root)
    classes, instances = pool.shape
    order = Stream(0, f"{name} {whole}", "test").order(classes * instances)
    kept = round(_TEST * len(order))
    rows = np.sort(order[:kept] if part == "test" else order[kept:])
    images = pool.images.reshape(-1, *pool.images.shape[2:])[rows]
    labels = (rows // instances).astype(np.int64)
    for array in (images, labels):
        array.setflags(write=False)
    return LabelledImages(name, split, images, labels, pool.class_names)


@checked
def class_count(name: str, split: str) -> int:
    """Return the number of classes of a split; images are read only for characters and for arrays of the user.

    Args:
        name: name of the data set, as in `load_classes`.
        split: name of the split, as in `load_classes`.

    Returns:
        The number of classes.

    Raises:
        InputError: the name or split is unknown, or both splits of a folder have different classes.
        MissingDataError: the characters or the folder are not there.
    """
    kind = dataset_info(name).kind
    if kind == "folder":
        return len(image_classes(name, split))
    if kind == "arrays":
        return len(load_own(name, split).class_names)
    if kind == "labelled":
        return 10
    whole, _ = _split(name, split)
    return load_pool(name, whole, 32).shape[0]


def _split(name: str, split: str) -> tuple[str, str]:
    whole, _, part = split.rpartition("_")
    choose_split(name, split, tuple(f"{w}_{p}" for w in POOL_SPLITS[name] for p in _PARTS))
    return whole, part
