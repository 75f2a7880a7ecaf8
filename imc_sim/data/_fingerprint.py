"""Digests that identify data by the content of the files that a split is read from.

Names, sizes and times of files only decide whether a digest that was computed before is still valid: the time of the
last change of a file's inode cannot be set back by copying or unpacking.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np

from imc_sim._errors import InputError, MissingDataError
from imc_sim._files import open_regular
from imc_sim.data._cache import SETTLED_NS, cached_array, fingerprint, named_facts
from imc_sim.data._folders import data_root
from imc_sim.data._image_folder import FolderImages, load_image_folder
from imc_sim.data._load import LAYOUTS, labelled_files, load_labelled
from imc_sim.data._omniglot import NATIVE, PARTS, Listing, list_part, read_part
from imc_sim.data._own import load_own, own_state
from imc_sim.data._registry import dataset_info, own_kind
from imc_sim.data._sets import LabelledImages

#: SHA-256 of the published data sets after decoding; results on these data sets are identified by the name of the set
OFFICIAL: Mapping[str, str] = MappingProxyType(
    {
        "omniglot background": "8254f82e38eef76ff970de4dce37d3c354e33e4fc453809dfc1f72f452d09dd4",
        "omniglot evaluation": "fe4971952141fef4c9ab9804d6a03682930b3b9b7d1e39f2c8a2b4215d0766b3",
        "mnist train": "c41b322ede5b4fc991fbf5440b21cefc76cb0418e0ebf66b8f78109632b41509",
        "mnist test": "f5147f7baa1787ec4b3cd00068f8ec8a61d969373b74639b6aef5c981fc5a5b2",
        "fashion_mnist train": "c9471586015d65bcd36bd44575c3f83a8bfa8fd40cef404845336f3b15684d87",
        "fashion_mnist test": "6abb7165a4c55f50d4bc6b1bc8255d64b9a5cf1de989e99310039add74923235",
        "usps train": "5b0a1ea08ee1e888fae8bbb6c001fd802e9188c06379e14b4458a1e0580a28bb",
        "usps test": "05405ba02362a118b2c45fa1b2eb9385dcb5fdeabba1c0233aca2cc32811ac8e",
        "cifar10 train": "641ac663d7972f0fa12256f561630657ddf09c0a9d7cf4c723eea69a936063d2",
        "cifar10 test": "a28341b4559418db9d603316dcfe752ba87a030fdbe916dc9b944973bf13b3c1",
    }
)


def data_parts(name: str, split: str) -> tuple[str, ...]:
    """Return the parts of a data set that a split is read from.

    A split of characters can need both official parts, and splits for classification (`_train`, `_test`) need those of
    the split that they divide.

    Args:
        name: name of the data set, also of data of the user.
        split: name of the split, as in `load_classes` or `load_pool`; it is not checked.

    Returns:
        Strings "NAME PART", such as "mnist train"; empty for an embedded data set.

    Raises:
        InputError: the data set is unknown.
    """
    info = dataset_info(name)
    if info.embedded:
        return ()
    if info.kind != "pool":
        return (f"{name} {split}",)
    whole = split.removesuffix("_train").removesuffix("_test")
    return tuple(f"{name} {part}" for part in ([whole] if whole in PARTS else PARTS))


def data_digest(part: str, root: Path | None = None) -> str:
    """Return the SHA-256 of the content of a part of a data set.

    For a folder of images, the digest covers the names and the bytes of all files, for arrays of the user their type,
    shape and values. For the published data sets, it
    covers the decoded images and their labels, because their archives exist in several packings. The digests of
    folders and of omniglot are cached and computed again after a file has changed.

    Args:
        part: one of the strings that `data_parts` returns, "NAME PART".
        root: folder that holds the data sets; None: see `data_root`.

    Returns:
        The digest as 64 hexadecimal digits.

    Raises:
        InputError: a file is damaged.
        MissingDataError: the data are not there.
    """
    name, _, split = part.rpartition(" ")
    folder = data_root(root)
    if name == "omniglot":
        characters = list_part(folder, split)
        return _kept(part, characters.source, characters.changed_ns, lambda: _of_characters(characters))
    if name in LAYOUTS:
        data = load_labelled(name, split, root)
        return _of_labelled(data, data.images.shape)
    if own_kind(name) == "arrays":
        data = load_own(name, split)
        return _of_labelled(data, (data.images.dtype.str, data.images.shape))
    images = cast("FolderImages", load_image_folder(name, split, None, root, same_classes=False).images)
    source = fingerprint([images.folder, *images.files, images.facts.tobytes()])
    return _kept(part, source, int(images.facts[:, -1].max()), lambda: _of_folder(images))


def data_state(part: str, root: Path | None = None) -> str:
    """Return a fingerprint of the location, names, sizes and times of the files of a part of a data set.

    It changes when a file changes. It needs no file to be read, unlike `data_digest`.

    Args:
        part: one of the strings that `data_parts` returns, "NAME PART".
        root: folder that holds the data sets; None: see `data_root`.

    Returns:
        The fingerprint as 16 hexadecimal digits; "" if the files are missing or cannot be listed.
    """
    name, _, split = part.rpartition(" ")
    folder = data_root(root)
    try:
        if name == "omniglot":
            found: object = list_part(folder, split).source
        elif name in LAYOUTS:
            found = named_facts(labelled_files(name, split, root))
        elif own_kind(name) == "arrays":
            found = own_state(name, split)
        else:
            images = cast("FolderImages", load_image_folder(name, split, None, root, same_classes=False).images)
            found = (images.folder, images.files, images.facts.tobytes())
    except (InputError, MissingDataError, KeyError):
        return ""  # reading the data reports what is wrong
    return fingerprint([str(folder), found])


def digests_of(parts: Iterable[str], root: Path | None = None) -> dict[str, str]:
    """Return the `data_digest` of each part that is there, which takes 0.2 s for a part of omniglot.

    Args:
        parts: strings that `data_parts` returns, "NAME PART" each; of equal ones the digest is computed once.
        root: folder that holds the data sets; None: see `data_root`.

    Returns:
        The digests by part; parts whose data are missing are left out.

    Raises:
        InputError: a file is damaged.
    """
    found: dict[str, str] = {}
    for part in dict.fromkeys(parts):
        with contextlib.suppress(MissingDataError):
            found[part] = data_digest(part, root)
    return found


def foreign_digests(digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests that are not those of the published data.

    Args:
        digests: `data_digest` by part.

    Returns:
        The items of `digests` that differ from the published data, or whose part was not published.
    """
    return {part: digest for part, digest in digests.items() if digest != OFFICIAL.get(part)}


def _of_labelled(data: LabelledImages, head: object) -> str:
    digest = hashlib.sha256(repr(head).encode())
    for array in (data.images, data.labels.astype("<i8")):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _of_characters(part: Listing) -> str:
    digest = hashlib.sha256()
    for name in part.names:
        digest.update(f"{name}\n".encode())
        digest.update(read_part(Listing(part.folder, (name,), ""), NATIVE).data)
    return digest.hexdigest()


def _of_folder(images: FolderImages) -> str:
    digest = hashlib.sha256()
    for name in images.files:
        with open_regular(images.folder / name) as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\n{content}\n".encode())
    return digest.hexdigest()


def _kept(part: str, source: str, changed_ns: int, make: Callable[[], str]) -> str:
    """Return a digest from the cache, or from `make` if the files changed since then or in the last two seconds."""
    if time.time_ns() - changed_ns < SETTLED_NS:
        return make()
    key = f"digest-{hashlib.sha256(part.encode()).hexdigest()[:16]}"
    kept = cached_array(key, source, lambda: np.frombuffer(bytes.fromhex(make()), np.uint8).copy())
    return kept.tobytes().hex()
