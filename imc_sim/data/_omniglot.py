"""Read Omniglot from its unpacked archives: omniglot-py/<part>/<alphabet>/<character>/<id>_<drawer>.png."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imc_sim._errors import InputError, MissingDataError
from imc_sim._files import Facts, file_facts, regular
from imc_sim.data._cache import Bytes, cached_array, fingerprint
from imc_sim.data._readers import damaged

DRAWERS = 20
NATIVE = 105
#: Number of characters of the two official parts.
PARTS = {"background": 964, "evaluation": 659}
#: Seed of the shuffle of all characters for the pooled splits.
POOLED_SEED = 806
_POOLED = {
    "pooled_train": slice(0, 964),
    "pooled_fit": slice(0, 864),
    "pooled_validation": slice(864, 964),
    "pooled_test": slice(964, None),
}
SPLITS = (*PARTS, *_POOLED)


@dataclass(frozen=True)
class Listing:
    """The characters of one part.

    Attributes:
        folder: folder of the part.
        names: 'alphabet/character', sorted.
        source: fingerprint of names, sizes and times of all files.
        changed_ns: time of the last change of any file, ns since the epoch.
    """

    folder: Path
    names: tuple[str, ...]
    source: str
    changed_ns: int = 0


def _folders(path: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        found = [e for e in entries if e.is_dir() and not e.name.startswith(".")]
    return sorted(found, key=lambda e: e.name)


def _facts(character: os.DirEntry[str]) -> Iterator[tuple[str, Facts]]:
    with os.scandir(character.path) as files:
        for file in files:
            yield file.name, file_facts(file)


def list_part(root: Path, part: str) -> Listing:
    """List the characters of a part and compute a fingerprint of its files (0.2 s for all 32,460 files).

    Raise MissingDataError if the folder of the part does not exist.
    """
    folder = root / "omniglot-py" / f"images_{part}"
    if not folder.is_dir():
        step = "Fetch it with `imc-sim data fetch omniglot`, see `imc-sim data check omniglot`, or set IMC_SIM_DATA."
        raise MissingDataError("omniglot", f"no such folder {folder}", "the unpacked official archive", step)
    facts: list[tuple[str, Facts]] = []
    names: list[str] = []
    for alphabet in _folders(folder):
        for character in _folders(alphabet.path):
            names.append(f"{alphabet.name}/{character.name}")
            facts += [(f"{names[-1]}/{name}", found) for name, found in sorted(_facts(character))]
    return Listing(folder, tuple(sorted(names)), fingerprint(facts), max((f[-1] for _, f in facts), default=0))


def read_part(listing: Listing, size: int) -> Bytes:
    """Decode all images of a part to uint8 [characters, DRAWERS, size, size].

    Images of another size than 105 are resampled (Lanczos). Raise InputError for a damaged or missing file.
    """
    out = np.empty((len(listing.names), DRAWERS, size, size), np.uint8)
    for row, name in zip(out, listing.names, strict=True):
        folder = listing.folder / name
        files = sorted(folder.glob("[!.]*.png"))
        if len(files) != DRAWERS:
            raise damaged(folder, f"{len(files)} PNG files", f"{DRAWERS}, one for each drawer")
        for image, file in zip(row, files, strict=True):
            image[:] = _decode(file, size)
    return out


def _decode(file: Path, size: int) -> NDArray[np.uint8]:
    """Decode a PNG file to grey levels [size, size]; raise InputError if it is damaged or not 105 x 105."""
    try:
        with Image.open(regular(file)) as opened:
            image = opened.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise damaged(file, f"{file.stat().st_size} bytes ({error})", "a whole PNG") from error
    if image.size != (NATIVE, NATIVE):
        raise damaged(file, f"an image of {image.size}", f"an image of {(NATIVE, NATIVE)}")
    return resized(image, size)


def resized(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return a grey image as uint8 [size, size], resampled (Lanczos) if it has another size."""
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS))


def omniglot(split: str, size: int, root: Path, *, cached: bool = True) -> tuple[Bytes, tuple[str, ...]]:
    """Return images [characters, DRAWERS, size, size] and names of a split.

    For the pooled splits, all 1,623 characters are sorted by 'alphabet/character' and shuffled with
    `random.Random(806)`; the first 964 are for training (864 to fit, 100 to validate) and the last 659 for the test.
    """
    loaded = [_part(root, part, size, cached) for part in ([split] if split in PARTS else PARTS)]
    names = tuple(name for part in loaded for name in part[1])
    if split in PARTS:
        return loaded[0][0], names
    chosen = _pooled_order(names)[_POOLED[split]]
    images = np.concatenate([part[0] for part in loaded])[chosen]
    return images, tuple(names[i] for i in chosen)


def _pooled_order(names: tuple[str, ...]) -> list[int]:
    order = sorted(range(len(names)), key=names.__getitem__)
    random.Random(POOLED_SEED).shuffle(order)  # noqa: S311  the published split uses this generator
    return order


def _part(root: Path, part: str, size: int, cached: bool) -> tuple[Bytes, tuple[str, ...]]:
    """Return images and names of an official part, from the cache if allowed; raise InputError if it is incomplete."""
    listing = list_part(root, part)
    if len(listing.names) != PARTS[part]:
        step = "Remove the folder and fetch the set again, or see `imc-sim data check omniglot`."
        raise InputError(str(listing.folder), f"{len(listing.names)} characters", f"{PARTS[part]} characters", step)
    key = f"omniglot-{part}-{size}"
    return cached_array(key, listing.source, lambda: read_part(listing, size), cached), listing.names
