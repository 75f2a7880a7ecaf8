"""Check that the files of a data set are complete and are the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.data._archives import ARCHIVES, Archive
from imc_sim.data._fetch import md5_of
from imc_sim.data._folders import data_root
from imc_sim.data._load import load_labelled, load_pool
from imc_sim.data._registry import DATASETS, published_set
from imc_sim.data._sets import CharacterPool, LabelledImages


@dataclass(frozen=True)
class CheckReport:
    """Result of a check of a data set.

    Attributes:
        name: name of the data set.
        folder: data root that was searched.
        ok: True if there are no problems.
        facts: measured values as text by their names, such as "train classes" or "md5 usps.bz2".
        problems: one sentence for each difference from the published data set.
    """

    name: str
    folder: Path
    ok: bool
    facts: dict[str, str]
    problems: tuple[str, ...]


#: Images of each class in the training and the test set.
CLASS_COUNTS = {
    "mnist": (
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "fashion_mnist": ((6000,) * 10, (1000,) * 10),
    "usps": (
        (1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644),
        (359, 264, 198, 166, 200, 160, 170, 147, 166, 177),
    ),
    "cifar10": ((5000,) * 10, (1000,) * 10),
    "digits": (
        (135, 136, 134, 136, 133, 137, 134, 134, 133, 135),
        (43, 46, 43, 47, 48, 45, 47, 45, 41, 45),
    ),
}
#: Characters and alphabets of each part of a pool.
PART_COUNTS = {
    "omniglot": {"background": (964, 30), "evaluation": (659, 20)},
    "glyphs": {"train": (800, 40), "test": (400, 20)},
}
#: Sets whose published files are read without unpacking or conversion, so that their MD5 must be the official one.
_BYTE_OFFICIAL = frozenset({"mnist", "fashion_mnist"})


@checked
def check(name: str, root: Path | None = None) -> CheckReport:
    """Read every file of a data set and compare counts, statistics and checksums with the published ones.

    Args:
        name: name of the data set.
        root: folder that holds the data sets; None: see `data_root`.

    Returns:
        The report; missing and damaged files are problems in it, not errors.

    Raises:
        InputError: the data set is unknown, or it is a folder of images, which has no published values.
    """
    check_images = _check_pool if published_set(name).kind == "pool" else _check_labelled
    folder = data_root(root)
    facts: dict[str, str] = {}
    problems: list[str] = []
    try:
        check_images(name, folder, facts, problems)
    except InputError as error:
        problems.append(str(error))
    for archive in ARCHIVES.get(name, ()):
        _check_file(name, archive, folder / archive.target, facts, problems)
    return CheckReport(name, folder, not problems, facts, tuple(problems))


def _check_labelled(name: str, folder: Path, facts: dict[str, str], problems: list[str]) -> None:
    """Compare the images of each class in both splits of a labelled set with the published counts."""
    for split, expected in zip(("train", "test"), CLASS_COUNTS[name], strict=True):
        data = load_labelled(name, split, folder, cached=False)
        counts = tuple(np.bincount(data.labels, minlength=10).tolist())
        facts[split] = f"{len(data.labels)} images of {' x '.join(map(str, data.images.shape[1:]))}"
        facts[f"{split} classes"] = " ".join(map(str, counts))
        if counts != expected:
            problems.append(f"{split} classes are {counts}, expected {expected}.")
        if split == "train":
            _check_levels(name, data, facts, problems)


def _check_levels(name: str, data: LabelledImages, facts: dict[str, str], problems: list[str]) -> None:
    """Compare mean and standard deviation of each channel of the training images with the registry, to four digits."""
    flat = data.images.reshape(-1, data.images.shape[3] if data.images.ndim == 4 else 1)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in flat.T]) / len(flat)
    levels = np.arange(256) / 255
    mean = counts @ levels
    std = np.sqrt(counts @ levels**2 - mean**2)
    facts["train mean"], facts["train std"] = (" ".join(f"{v:.4f}" for v in values) for values in (mean, std))
    info = DATASETS[name]
    if np.abs(np.concatenate([mean - info.mean, std - info.std])).max() > 1e-4:
        expected = f"{info.mean} and {info.std}"
        problems.append(f"train mean and deviation are {mean} and {std}, expected {expected}: other images.")


def _check_pool(name: str, folder: Path, facts: dict[str, str], problems: list[str]) -> None:
    """Compare the characters and alphabets of each part of a pool with the published counts, and find blank images."""
    for part, (characters, alphabets) in PART_COUNTS[name].items():
        pool = load_pool(name, part, 32, folder, cached=False)
        found = len({c.split("/")[0] for c in pool.class_names})
        facts[part] = f"{pool.shape[0]} characters of {found} alphabets by {pool.shape[1]} drawers"
        facts[f"{part} grey"] = f"{pool.images.mean() / 255:.4f} of paper at 32 x 32"
        if (pool.shape[0], found) != (characters, alphabets):
            problems.append(f"{part}: {facts[part]}, expected {characters} of {alphabets}.")
        problems += _blank(part, pool)


def _blank(part: str, pool: CharacterPool) -> list[str]:
    """Return a sentence for each character that has an image without ink."""
    blank = (pool.images.min(axis=(2, 3)) > 127).any(axis=1)
    return [f"{part}: {pool.class_names[i]} has an image without ink." for i in np.flatnonzero(blank)]


def _check_file(name: str, archive: Archive, path: Path, facts: dict[str, str], problems: list[str]) -> None:
    if archive.unpacks is not None or not path.is_file():
        return
    got = md5_of(path)
    same = got == archive.md5
    facts[f"md5 {archive.file}"] = f"{got} ({'official' if same else 'not the official archive'})"
    if not same and name in _BYTE_OFFICIAL:
        problems.append(f"{path}: MD5 {got}, official {archive.md5}.")
