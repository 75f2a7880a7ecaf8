"""Names and properties of the data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from imc_sim._errors import InputError, nearest

Kind = Literal["labelled", "pool", "folder", "arrays"]
#: prefixes of the name of a folder of images in colour, and of one whose images are converted to grey
FOLDER, GREY = "folder:", "grey_folder:"
#: names of arrays of the user: an .npz file, a pair of .npy files, or a function in a Python file
_ARRAYS = re.compile(r"\.npz$|\.npy$|\.py:\w+$")
#: constants of the normalisation of the user's images by their channels: those of ImageNet for colours
_OWN = {1: ((0.5,), (0.5,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


@dataclass(frozen=True)
class DatasetInfo:
    """Properties of a data set.

    Attributes:
        name: name of the data set, or that of data of the user.
        kind: "labelled" for images with train and test splits; "pool" for characters, from which episodes are sampled;
            "folder" for a folder of images of the user; "arrays" for files or a function of the user.
        summary: content, number and size of the images.
        licence: licence of the data.
        citation: publication to cite.
        embedded: True if the data are part of an installed package or generated, so that nothing is downloaded.
        mean: constant for each channel that normalisation subtracts from image / 255.
        std: constant for each channel by which normalisation then divides.
    """

    name: str
    kind: Kind
    summary: str
    licence: str
    citation: str
    embedded: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


_ALL = (
    DatasetInfo(
        "omniglot",
        "pool",
        "1,623 handwritten characters of 50 alphabets by 20 drawers, 105 x 105, 1 bit",
        "MIT",
        "Lake, Salakhutdinov and Tenenbaum, Science 350, 1332 (2015)",
        embedded=False,
        mean=(0.92206,),  # of the usual few-shot recipes; the deviation measured at 32 x 32 is 0.241
        std=(0.08426,),
    ),
    DatasetInfo(
        "glyphs",
        "pool",
        "1,200 made-up characters of 60 alphabets by 20 simulated drawers, 105 x 105, generated on demand",
        "MIT (this project)",
        "this project",
        embedded=True,
        mean=(0.9219,),  # measured at 32 x 32 over the 800 training characters
        std=(0.2403,),
    ),
    DatasetInfo(
        "mnist",
        "labelled",
        "handwritten digits, 60,000 + 10,000, 28 x 28",
        "CC BY-SA 3.0",
        "LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86, 2278 (1998)",
        embedded=False,
        mean=(0.1307,),
        std=(0.3081,),
    ),
    DatasetInfo(
        "fashion_mnist",
        "labelled",
        "clothing, 60,000 + 10,000, 28 x 28",
        "MIT",
        "Xiao, Rasul and Vollgraf, arXiv 1708.07747 (2017)",
        embedded=False,
        mean=(0.2860,),
        std=(0.3530,),
    ),
    DatasetInfo(
        "usps",
        "labelled",
        "handwritten digits of postcodes, 7,291 + 2,007, 16 x 16",
        "none stated; cite, do not redistribute",
        "Hull, IEEE Trans. PAMI 16, 550 (1994)",
        embedded=False,
        mean=(0.2545,),  # measured over the training set
        std=(0.3846,),
    ),
    DatasetInfo(
        "cifar10",
        "labelled",
        "photographs of ten kinds of things, 50,000 + 10,000, 32 x 32 in colour",
        "none stated; cite, do not redistribute",
        "Krizhevsky, Learning multiple layers of features from tiny images (2009)",
        embedded=False,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    DatasetInfo(
        "digits",
        "labelled",
        "real handwritten digits that come with scikit-learn, 1,347 + 450, 8 x 8",
        "CC BY 4.0",
        "Alpaydin and Kaynak, UCI Optical recognition of handwritten digits (1998)",
        embedded=True,
        mean=(0.3058,),  # measured over the training set
        std=(0.3754,),
    ),
)

#: Every data set by name.
DATASETS: Mapping[str, DatasetInfo] = MappingProxyType({d.name: d for d in _ALL})


def dataset_info(name: str, kind: Kind | None = None) -> DatasetInfo:
    """Return the properties of a data set, or of data of the user.

    Raise InputError if no data set (of this kind) has the name. Files of the user need not exist.
    """
    own = own_kind(name)
    if own is not None and kind in (None, own):
        return _own_info(name, own)
    known = [d.name for d in _ALL if kind in (None, d.kind)]
    if name not in known:
        allowed = [
            *known,
            *([f"{FOLDER}PATH, {GREY}PATH, FILE.npz, IMAGES.npy,LABELS.npy or FILE.py:FUNCTION"] * (kind is None)),
        ]
        step = f"{nearest(name, known)}See `imc-sim list datasets`."
        raise InputError("data set", repr(name), ", ".join(allowed), step)
    return DATASETS[name]


def own_kind(name: str) -> Literal["folder", "arrays"] | None:
    """Return the kind of data of the user that a name means; None for other names.

    Args:
        name: name of a data set.
    """
    prefix = next((p for p in (FOLDER, GREY) if name.startswith(p)), None)
    if prefix is not None:
        return "folder" if name != prefix else None
    return "arrays" if _ARRAYS.search(name) else None


def own_constants(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation by which images of the user with these channels are normalised."""
    return _OWN[channels]


def stored_name(name: str) -> str:
    """Return what identifies a data set in results: of arrays of the user, which their content identifies, no path.

    Args:
        name: name of a data set.
    """
    return "arrays" if own_kind(name) == "arrays" else name


def _own_info(name: str, kind: Literal["folder", "arrays"]) -> DatasetInfo:
    """Return the properties of images of the user."""
    summary = "images in a folder for each class" if kind == "folder" else "images with labels in arrays"
    mean, std = own_constants(1 if name.startswith(GREY) else 3)
    licence = "that of the images"
    return DatasetInfo(name, kind, summary, licence, licence, embedded=False, mean=mean, std=std)


def choose_split(name: str, split: str, known: tuple[str, ...]) -> None:
    """Raise InputError unless the data set has the split."""
    if split not in known:
        raise InputError(
            f"split of {name}", repr(split), ", ".join(known), f"{nearest(split, known)}Choose one of them."
        )


def published_set(name: str) -> DatasetInfo:
    """Return the properties of a published data set; raise InputError for data of the user."""
    info = dataset_info(name)
    if info.kind in ("folder", "arrays"):
        step = "Use such data in a task: they are checked when they are loaded."
        raise InputError("dataset", repr(name), ", ".join(DATASETS), step)
    return info
