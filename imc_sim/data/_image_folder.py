"""Folders of images as labelled sets, laid out as ImageNet usually is: PATH/train/CLASS/* and PATH/val/CLASS/*."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imc_sim._errors import InputError, MissingDataError
from imc_sim._files import file_facts, regular
from imc_sim.config import user_path
from imc_sim.data._folders import data_root
from imc_sim.data._registry import FOLDER, GREY, choose_split
from imc_sim.data._sets import LabelledImages

#: split -> possible names of its folder; the first that exists is used
SPLITS = {"train": ("train",), "test": ("val", "test")}
_ENDINGS = (".png", ".jpg", ".jpeg")
#: default pixels per side, the usual input of networks for ImageNet
_SIZE = 224
#: EXIF tag of the orientation, and the operation that makes an image with each of its values upright
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_LAYOUT = "train/CLASS/ and val/CLASS/ with PNG or JPEG files"


@final
@dataclass(frozen=True, eq=False)
class FolderImages:
    """Images of a folder that are decoded when they are indexed; used as `LabelledImages.images`.

    `images[rows]` accepts an index of the first axis of an array (a number, a slice, or an array of numbers or of
    flags) and returns a new uint8 array [rows, size, size, 3], or [rows, size, size] in grey. Only file names are kept
    in memory. Indexing raises InputError for a damaged file and for a file that has changed since it was listed.

    The orientation tag of an image is applied, and its transparent parts become white; colour profiles are not applied.
    The image is then scaled to `size` pixels on its short side (bilinear, antialiased) and cropped to the square in its
    middle.

    Attributes:
        folder: folder of the split.
        files: paths relative to the folder, "CLASS/FILE".
        size: pixels per side of the decoded images.
        facts: int64 [files, 4]; size in bytes, inode, and times (ns) of the last change of content and of inode of each
            file when it was listed.
        grey: whether images are converted to grey levels.
    """

    folder: Path
    files: tuple[str, ...]
    size: int
    facts: NDArray[np.int64]
    grey: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of all images together."""
        return (len(self.files), self.size, self.size, *(() if self.grey else (3,)))

    @property
    def ndim(self) -> int:
        """Return the number of dimensions."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Return the type of the values."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        chosen = np.asarray(np.arange(len(self.files))[rows])
        out = np.empty((chosen.size, *self.shape[1:]), np.uint8)
        for image, number in zip(out, chosen.ravel().tolist(), strict=True):
            file = self.folder / self.files[number]
            _check_unchanged(file, self.facts[number])
            image[:] = decoded(file, self.size, self.grey)
        return out.reshape(*chosen.shape, *self.shape[1:])


def load_image_folder(
    name: str, split: str, size: int | None = None, root: Path | None = None, *, same_classes: bool = True
) -> LabelledImages:
    """Load the images and labels of a folder of images.

    Args:
        name: `folder:PATH`, or `grey_folder:PATH` for images in grey, with a path that is absolute or relative to the
            data root.
        split: "train" or "test"; the folder of "test" is `val` or, if that does not exist, `test`.
        size: pixels per side, 4 to 512; None: 224.
        root: folder that holds the data sets; None: see `data_root`.
        same_classes: whether both splits must have the same classes, as for classification; those of few-shot tasks
            usually differ.

    Returns:
        The images and labels; labels follow the sorted names of the class folders. Images are decoded when they are
        indexed; see `FolderImages`.

    Raises:
        InputError: the size or split is not allowed, a folder is empty, or both splits have different classes.
        MissingDataError: the folder or that of the split does not exist.
    """
    side = _SIZE if size is None else size
    if not 4 <= side <= 512:
        raise InputError("size", side, "4 to 512 pixels", "Choose the side that the network takes, such as 224.")
    choose_split(name, split, tuple(SPLITS))
    folder = _split_folder(name, split, root)
    classes = image_classes(name, split, root) if same_classes else _class_folders(folder)
    files = [_images(folder / each) for each in classes]
    paths = tuple(f"{each}/{file}" for each, found in zip(classes, files, strict=True) for file in found)
    facts = np.array([file_facts(folder / path) for path in paths], np.int64)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(each) for each in files])
    labels.setflags(write=False)
    # FolderImages is no array, but users of LabelledImages.images only index rows and read shape, ndim and dtype.
    return LabelledImages(
        name,
        split,
        cast("NDArray[np.uint8]", FolderImages(folder, paths, side, facts, name.startswith(GREY))),
        labels,
        classes,
    )


def image_classes(name: str, split: str, root: Path | None = None) -> tuple[str, ...]:
    """Return the sorted class names of `folder:PATH`; raise InputError if both splits have different classes."""
    choose_split(name, split, tuple(SPLITS))
    folder = _split_folder(name, split, root)
    classes = _class_folders(folder)
    for each in SPLITS:
        other = _find(_base(name, root), each)
        if other is not None and (names := _class_folders(other)) != classes:
            step = "Give both splits the same class folders."
            raise InputError(str(other), _difference(classes, names), f"the classes of {folder}", step)
    return classes


def _check_unchanged(file: Path, listed: NDArray[np.int64]) -> None:
    try:
        same = file_facts(file) == tuple(listed.tolist())
    except FileNotFoundError:
        same = False
    if not same:
        step = "Leave the images alone while they are used, and start again."
        raise InputError(str(file), "a file that was changed or removed", "the file as it was listed", step)


def decoded(file: Path, size: int, grey: bool = False) -> NDArray[np.uint8]:
    """Decode one image to uint8 [size, size, 3], or [size, size] in grey.

    Its orientation tag is applied, and its transparent parts become white. Grey levels, palettes and other colour
    spaces of 8 bits become red, green and blue.
    """
    try:
        with Image.open(regular(file)) as opened:
            opened.load()
            mode, image = opened.mode, _as_shown(opened)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise _damaged(file, error) from error
    # Pillow clips levels of more than 8 bits, which leaves an image white.
    if mode[0] in "IF":
        raise _damaged(file, f"an image of mode {mode}")
    image = image.convert("L") if grey else image
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=_square(image.size, size)))


def _as_shown(image: Image.Image) -> Image.Image:
    """Return the image in red, green and blue, with its orientation tag applied and without transparency."""
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        colours = image.convert("RGBA")
        shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
    else:
        shown = image.convert("RGB")
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return shown if turn is None else shown.transpose(turn)


def _damaged(file: Path, got: object) -> InputError:
    step = "The file is damaged or of another kind: remove it, or put a whole one in its place."
    return InputError(str(file), got, "a whole PNG or JPEG with 8 bits a channel", step)


def _square(sides: tuple[int, int], size: int) -> tuple[float, float, float, float]:
    """Return the central square (left, upper, right, lower) of an image of `sides`, in pixels of that image.

    Its edges are at whole pixels of the image resized to `size` pixels on its short side, which is not computed.
    """
    resized = tuple(size * side // min(sides) for side in sides)
    start = tuple(round((new - size) / 2) for new in resized)
    low, high = (
        tuple((first + far) * side / new for first, side, new in zip(start, sides, resized, strict=True))
        for far in (0, size)
    )
    return low[0], low[1], high[0], high[1]


def _base(name: str, root: Path | None) -> Path:
    """Return the folder of `folder:PATH` or `grey_folder:PATH`."""
    return data_root(root) / user_path(name.removeprefix(GREY).removeprefix(FOLDER), "dataset")


def _find(base: Path, split: str) -> Path | None:
    return next((base / each for each in SPLITS[split] if (base / each).is_dir()), None)


def _split_folder(name: str, split: str, root: Path | None) -> Path:
    """Return the folder of a split; raise MissingDataError if it does not exist."""
    base = _base(name, root)
    if not base.is_dir():
        step = "Correct the path; one that is not absolute begins at $IMC_SIM_DATA."
        raise MissingDataError(name, f"no such folder {base}", f"a folder with {_LAYOUT}", step)
    found = _find(base, split)
    if found is None:
        wanted = " or ".join(SPLITS[split])
        raise MissingDataError(
            f"split of {name}", f"no {wanted} in {base}", _LAYOUT, "Name the folder of the split so."
        )
    return found


def _class_folders(folder: Path) -> tuple[str, ...]:
    names = _names(folder, os.DirEntry.is_dir)
    if not names:
        raise InputError(str(folder), "no folder of a class", _LAYOUT, "Put the images into folders of classes.")
    return names


def _images(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the image files of one class."""
    found = tuple(each for each in _names(folder, os.DirEntry.is_file) if each.lower().endswith(_ENDINGS))
    if not found:
        step = "Remove the folder, in both splits, or put images into it."
        raise InputError(str(folder), "no image", f"files that end in {', '.join(_ENDINGS)}", step)
    return found


def _names(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if not e.name.startswith(".") and wanted(e)))


def _difference(classes: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Describe the difference between two lists of classes, with up to three names each."""
    parts = (("without", set(classes) - set(names)), ("with", set(names) - set(classes)))
    return " and ".join(f"{what} {', '.join(sorted(which)[:3])}" for what, which in parts if which)
