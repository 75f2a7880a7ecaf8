"""Load a data set by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import InputError, MissingDataError
from imc_sim.data._cache import Bytes, cached_array, fingerprint, named_facts
from imc_sim.data._folders import data_root
from imc_sim.data._glyphs import SPLITS as GLYPH_SPLITS
from imc_sim.data._glyphs import glyphs
from imc_sim.data._image_folder import load_image_folder
from imc_sim.data._omniglot import SPLITS as OMNIGLOT_SPLITS
from imc_sim.data._omniglot import omniglot
from imc_sim.data._own import load_own
from imc_sim.data._readers import read_cifar10, read_digits, read_idx, read_usps
from imc_sim.data._registry import choose_split, dataset_info
from imc_sim.data._sets import CharacterPool, LabelledImages, as_pool

#: splits of each set of characters
POOL_SPLITS = {"omniglot": OMNIGLOT_SPLITS, "glyphs": tuple(GLYPH_SPLITS)}
_DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Layout:
    """Files of a labelled set and how to read them.

    Attributes:
        files: paths under the data root by split.
        shape: [H, W] or [H, W, channels] of one image.
        read: function that decodes the files of a split to rows of one label byte and the pixels.
        class_names: names of the classes in the order of the labels.
    """

    files: dict[str, tuple[str, ...]]
    shape: tuple[int, ...]
    read: Callable[[tuple[Path, ...]], Bytes]
    class_names: tuple[str, ...]


def _idx_layout(folder: str, class_names: tuple[str, ...]) -> Layout:
    files = {
        split: tuple(f"{folder}/raw/{stem}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
        for split, stem in (("train", "train"), ("test", "t10k"))
    }
    return Layout(files, (28, 28), read_idx, class_names)


_CLOTHES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCHES = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))

LAYOUTS = {
    "mnist": _idx_layout("MNIST", _DIGITS),
    "fashion_mnist": _idx_layout("FashionMNIST", _CLOTHES),
    "usps": Layout({"train": ("USPS/usps.bz2",), "test": ("USPS/usps.t.bz2",)}, (16, 16), read_usps, _DIGITS),
    "cifar10": Layout(
        {"train": _BATCHES, "test": ("cifar-10-batches-bin/test_batch.bin",)},
        (32, 32, 3),
        read_cifar10,
        _THINGS,
    ),
}


@checked
def load_labelled(name: str, split: str = "train", root: Path | None = None, *, cached: bool = True) -> LabelledImages:
    """Load the images and labels of a labelled data set.

    Args:
        name: name of the data set, such as "mnist".
        split: "train" or "test".
        root: folder that holds the data sets; None: see `data_root`.
        cached: use the decoded copy in `cache_folder`, and store it there; False: decode the official files again.

    Returns:
        The images and labels, read-only.

    Raises:
        InputError: the name or split is unknown, or a file is damaged.
        MissingDataError: the data set is not in the data root.
    """
    dataset_info(name, "labelled")
    choose_split(name, split, ("train", "test"))
    if name == "digits":
        return _labelled(name, split, read_digits(split), (8, 8), _DIGITS)
    layout, files = LAYOUTS[name], labelled_files(name, split, root)
    rows = cached_array(f"{name}-{split}", fingerprint(named_facts(files)), lambda: layout.read(files), cached)
    return _labelled(name, split, rows, layout.shape, layout.class_names)


def labelled_files(name: str, split: str, root: Path | None = None) -> tuple[Path, ...]:
    """Return the files of a split of one of LAYOUTS; raise MissingDataError if one does not exist."""
    root, files = data_root(root), LAYOUTS[name].files[split]
    for file in files:
        if not (root / file).is_file():
            step = f"Fetch it with `imc-sim data fetch {name}`, see `imc-sim data check {name}`, or set IMC_SIM_DATA."
            raise MissingDataError(name, f"no {file} in {root}", "the set as its official archive unpacks", step)
    return tuple(root / file for file in files)


def _labelled(name: str, split: str, rows: Bytes, shape: tuple[int, ...], names: tuple[str, ...]) -> LabelledImages:
    images, labels = rows[:, 1:].reshape(len(rows), *shape), rows[:, 0].astype(np.int64)
    for array in (images, labels):
        array.setflags(write=False)
    return LabelledImages(name, split, images, labels, names)


@checked
def load_pool(
    name: str, split: str, size: int | None = None, root: Path | None = None, *, cached: bool = True
) -> CharacterPool:
    """Load a pool of classes from which episodes can be sampled.

    Labelled data sets, such as mnist, and data of the user are pools as well: each class has as many images as the
    smallest class.

    Args:
        name: name of the data set, or of data of the user as in `load_classes`.
        split: for omniglot "background" or "evaluation" (official), "pooled_train" or "pooled_test", or "pooled_fit" or
            "pooled_validation", which divide "pooled_train"; for glyphs "train", "test" or "all"; for labelled sets and
            data of the user "train" or "test".
        size: pixels per side, 4 to 512; characters are resampled from 105 x 105 pixels (Lanczos). None: 32 for
            characters, 224 for folders, the size of the images for labelled sets and arrays, which allow no other.
        root: folder that holds the data sets; None: see `data_root`.
        cached: use the decoded copy in `cache_folder`, and store it there; False: decode the official files again.

    Returns:
        The pool; its images are read-only.

    Raises:
        InputError: the name, split or size is not allowed, or a file is damaged.
        MissingDataError: the data set is not in the data root.
    """
    kind = dataset_info(name).kind
    if kind == "labelled":
        return _sized(as_pool(load_labelled(name, split, root, cached=cached)), size)
    if kind == "folder":
        return as_pool(load_image_folder(name, split, size, root, same_classes=False))
    if kind == "arrays":
        return _sized(as_pool(load_own(name, split)), size)
    info, size = dataset_info(name, "pool"), 32 if size is None else size
    choose_split(name, split, POOL_SPLITS[name])
    if not 4 <= size <= 512:
        raise InputError("size", size, "4 to 512 pixels", "Choose the side that the network takes, such as 32.")
    if name == "omniglot":
        images, names = omniglot(split, size, data_root(root), cached=cached)
    else:
        images, names = glyphs(split, size, cached=cached)
    images.setflags(write=False)
    return CharacterPool(name, split, images, names, info.mean[0], info.std[0])


def _sized(pool: CharacterPool, size: int | None) -> CharacterPool:
    """Return the pool, whose images must have this size."""
    check_own_size(pool.name, size, pool.images[0, 0])
    return pool


def check_own_size(name: str, size: int | None, image: NDArray[Any]) -> None:
    """Raise InputError for a size of the images of a labelled set other than theirs; vectors have none."""
    own = size if image.ndim == 1 else image.shape[-1 if image.dtype == np.float32 else 1]
    if size not in (None, own):
        raise InputError("size", size, f"{own} pixels, those of {name}", "Leave the size out.")
