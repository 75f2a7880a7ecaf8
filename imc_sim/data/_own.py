"""Images and labels of the user: an .npz file, a pair of .npy files, or a function that returns a torch Dataset.

Names: `FILE.npz`; `IMAGES.npy,LABELS.npy`; `FILE.py:FUNCTION`, called with the name of the split. `{split}` in a path
stands for the name of the split. Paths are relative to the working directory.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from imc_sim._compressed import UNREADABLE, load_arrays
from imc_sim._errors import InputError, MissingDataError, nearest, reason_of
from imc_sim._files import file_facts
from imc_sim.config import FUNCTION, load_function, place_of_error, split_code, user_path
from imc_sim.data._registry import choose_split
from imc_sim.data._sets import LabelledImages

SPLITS = ("train", "test")
_SHAPES = "[n, H, W], [n, H, W, 3] or [n, numbers], or of floating-point numbers [n, channels, H, W]"


def own_files(name: str, split: str) -> tuple[Path, ...]:
    """Return the files that name the images and labels of a split: one, or those of images and of labels.

    Args:
        name: of the data set.
        split: "train" or "test".

    Raises:
        InputError: the name is not of the form of own data.
        MissingDataError: a file does not exist.
    """
    text = name.replace("{split}", split)
    names = [split_code(text, "dataset", FUNCTION)[0]] if re.search(r"\.py:\w+$", text) else text.split(",")
    pair = len(names) == 2 and all(each.endswith(".npy") for each in names)
    if not pair and (len(names) > 1 or names[0].endswith(".npy")):
        step = "Name the file of the images, a comma, and the file of the labels."
        raise InputError("dataset", repr(name), "IMAGES.npy,LABELS.npy", step)
    paths = tuple(user_path(each.strip(), "dataset").absolute() for each in names)
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        step = "Fix the path; one that is not absolute begins at the working directory or at the folder of the study."
        raise MissingDataError(name, f"no file {missing}", "a file", step)
    return paths


def own_state(name: str, split: str) -> tuple[object, ...]:
    """Return names, sizes and times of the files of a split.

    Args:
        name: of the data set.
        split: "train" or "test".
    """
    return tuple((str(path), *file_facts(path)) for path in own_files(name, split))


def load_own(name: str, split: str) -> LabelledImages:
    """Load images and labels of the user.

    Args:
        name: see the module.
        split: "train" or "test".

    Returns:
        The images uint8 [n, H, W] or [n, H, W, 3], or float32 [n, channels, H, W] or [n, numbers], and their labels.

    Raises:
        InputError: keys, shapes, types or values that are not those of images with labels.
        MissingDataError: a file does not exist.
    """
    choose_split(name, split, SPLITS)
    return _loaded(name, split, own_state(name, split))


@functools.lru_cache(maxsize=2)
def _loaded(name: str, split: str, _state: object) -> LabelledImages:
    """Read and check the images and labels of a split; equal states of its files mean equal content."""
    paths = own_files(name, split)
    where = ", ".join(path.name for path in paths)
    if paths[0].suffix == ".py":
        images, labels = _made(name.replace("{split}", split), split)
        where = f"{where}, split {split!r}"
    elif paths[0].suffix == ".npz":
        images, labels = _of_npz(paths[0], split, "{split}" in name)
    else:
        if split != "test" and "{split}" not in name:
            step = "Write {split} in both paths, or use split: test."
            raise InputError("dataset", f"split {split!r} of {name!r}", "test", step)
        images, labels = _read(paths[0]), _read(paths[1])
    images, labels = _images(images, f"images of {where}"), _labels(labels, len(images), f"labels of {where}")
    for array in (images, labels):
        array.setflags(write=False)
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    return LabelledImages(name, split, cast("NDArray[np.uint8]", images), labels, classes)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        step = "Write it with numpy.save or numpy.savez, without objects."
        raise InputError(str(path), reason_of(error)[:120], "arrays of numbers", step) from error


def _read(path: Path) -> NDArray[Any]:
    with _readable(path):
        return load_arrays(path)


def _of_npz(path: Path, split: str, of_split: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays of a split: train_images and train_labels, or images and labels of a file of one split."""
    with _readable(path), load_arrays(path) as file:
        known: Mapping[str, Any] = file
        keys = [f"{split}_images", f"{split}_labels"]
        if keys[0] not in known and (split == "test" or of_split):
            keys = ["images", "labels"]
        missing = next((key for key in keys if key not in known), None)
        if missing is None:
            return file[keys[0]], file[keys[1]]
        found = ", ".join(known) or "no arrays"
    step = f"{nearest(missing, list(known))}Write numpy.savez(path, {missing}=...)."
    raise InputError(str(path), f"the keys {found}", f"{keys[0]} and {keys[1]}", step)


def _made(call: str, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays of what a function of the user returns for a split: (images, labels), or a Dataset of pairs."""
    make, file = load_function(call, "dataset")
    try:
        made: Any = make(split)
        if isinstance(made, tuple) and len(made) == 2:
            return np.asarray(made[0]), np.asarray(made[1])
        pairs = [made[index] for index in range(len(made))]
        return np.stack([np.asarray(image) for image, _ in pairs]), np.array([np.asarray(label) for _, label in pairs])
    except Exception as error:
        place = f"dataset, {file}{place_of_error(error, file)}"
        step = "Return a torch Dataset of (image, label), or (images, labels), for the name of a split."
        raise InputError(place, f"{type(error).__name__}: {error}", "images with labels", step) from error


def _images(images: NDArray[Any], where: str) -> NDArray[Any]:
    """Return images as uint8 or float32."""
    floating = images.dtype.kind == "f"
    if images.dtype != np.uint8 and not floating:
        step = "Convert them: levels 0 to 255 with astype('uint8'), or numbers as the network takes them to float32."
        raise InputError(where, f"type {images.dtype}", "uint8 or floating-point numbers", step)
    fits = images.ndim in (2, 3) or (images.ndim == 4 and (floating or images.shape[3] == 3))
    if not fits or 0 in images.shape:
        raise InputError(where, f"shape {images.shape}", _SHAPES, "Reshape them.")
    if not floating and images.ndim > 2:
        return images
    numbers = images.astype(np.float32)
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        step = "Check where they are computed."
        raise InputError(where, f"{bad} NaN or infinite values", "finite numbers", step)
    return numbers[:, None] if images.ndim == 3 else numbers


def _labels(labels: NDArray[Any], count: int, where: str) -> NDArray[np.int64]:
    """Return labels as int64, one per image."""
    if labels.shape != (count,):
        step = "Give one label per image."
        raise InputError(where, f"shape {labels.shape}", f"[{count}], one for each image", step)
    if labels.dtype.kind not in "iu":
        step = "Convert them: labels.astype('int64')."
        raise InputError(where, f"type {labels.dtype}", "whole numbers", step)
    if int(labels.min()) < 0:
        raise InputError(where, f"label {int(labels.min())}", "labels from 0", "Number the classes from 0.")
    return labels.astype(np.int64)
