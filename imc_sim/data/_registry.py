"""Names and properties of the data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from imc_sim._errors import InputError, nearest

Kind = Literal["labelled", "pool", "folder"]
#: prefix of the name of a folder of images: folder:PATH
FOLDER = "folder:"


@dataclass(frozen=True)
class DatasetInfo:
    """Properties of a data set.

    Attributes:
        name: name of the data set, or `folder:PATH`.
        kind: "labelled" for images with train and test splits; "pool" for characters, from which episodes are sampled;
            "folder" for a folder of images of the user.
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
    """Return the properties of a data set or of a folder of images `folder:PATH`.

    Raise InputError if no data set (of this kind) has the name. The folder need not exist.
    """
    folders, folder = kind in (None, "folder"), name.startswith(FOLDER)
    if folders and folder and name != FOLDER:
        return _folder_info(name)
    known = [d.name for d in _ALL if kind in (None, d.kind)]
    if name not in known:
        allowed = [*known, f"{FOLDER}PATH"] if folders else known
        hint = "Folders of images are for tasks of kind classification. " if folder and not folders else ""
        step = f"{hint}{nearest(name, known)}See `imc-sim list datasets`."
        raise InputError("data set", repr(name), ", ".join(allowed), step)
    return DATASETS[name]


def _folder_info(name: str) -> DatasetInfo:
    """Return the properties of a folder of images, with the usual constants of ImageNet for the normalisation."""
    return DatasetInfo(
        name,
        "folder",
        "images in a folder for each class",
        "that of the images",
        "that of the images",
        embedded=False,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def choose_split(name: str, split: str, known: tuple[str, ...]) -> str:
    """Return `split` if the data set has it; raise InputError otherwise."""
    if split not in known:
        raise InputError(
            f"split of {name}", repr(split), ", ".join(known), f"{nearest(split, known)}Choose one of them."
        )
    return split


def published_set(name: str) -> DatasetInfo:
    """Return the properties of a published data set; raise InputError for a folder of images."""
    info = dataset_info(name)
    if info.kind == "folder":
        step = "Look at it with your own eyes: its images are taken as they lie there."
        raise InputError("dataset", repr(name), ", ".join(DATASETS), step)
    return info
