"""Official data: files that are fetched, unpacked, checked and read, each made up and small, and damaged ones."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imc_sim.data import check, data_digest, data_state, fetch, load_classes, load_labelled, load_pool
from imc_sim.data._archives import ARCHIVES, Archive
from imc_sim.data._check import _blank
from imc_sim.data._fetch import _check_pace, _url, fetch_archive
from imc_sim.data._glyph_drawing import draw_glyph
from imc_sim.data._omniglot import _pooled_order, list_part, read_part
from imc_sim.data._readers import read_cifar10, read_idx, read_usps
from imc_sim.data._sets import CharacterPool, as_pool
from tests.recorded.made import folder, parts, tried, without
from tests.recorded.short import short


def idx(array: np.ndarray, dims: int = 0) -> bytes:
    """Return the bytes of an IDX file."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return (0x0800 + (dims or array.ndim)).to_bytes(4, "big") + sizes + array.astype(np.uint8).tobytes()


def usps(labels: np.ndarray, values: np.ndarray, first: int = 1) -> bytes:
    rows = (" ".join(f"{k}:{v:.3f}" for k, v in enumerate(row, first)) for row in values)
    return "".join(f"{label} {row}\n" for label, row in zip(labels, rows, strict=True)).encode()


def written(root: Path) -> None:
    """Write MNIST, USPS and CIFAR-10 with a few images."""
    rng = np.random.default_rng(17)
    for part, count in (("train", 24), ("t10k", 11)):
        labels, images = np.arange(count) % 10, rng.integers(0, 256, (count, 28, 28))
        for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
            save(root / f"MNIST/raw/{part}-{stem}-ubyte.gz", gzip.compress(idx(array), mtime=0))
        values = rng.uniform(-1, 1, (count, 256))
        save(root / f"USPS/usps{'.t' if part == 't10k' else ''}.bz2", bz2.compress(usps(labels + 1, values)))
    for n, name in enumerate(["test_batch", *(f"data_batch_{k}" for k in range(1, 6))]):
        records = rng.integers(0, 256, (3, 3073)).astype(np.uint8)
        records[:, 0] = (n + np.arange(3)) % 10
        save(root / f"cifar-10-batches-bin/{name}.bin", records.tobytes())


def save(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def named(value: Any, at: Path) -> Any:
    """Return a result with one name for the folder, and for numbers that hang on the compression of a file."""
    if isinstance(value, str):
        return re.sub(r"\b[0-9a-f]{32}\b|[0-9]+ bytes \(.*\)", "SOME", without(value, at))
    if isinstance(value, dict):
        return {key: named(part, at) for key, part in value.items()}
    return [named(part, at) for part in value] if isinstance(value, list | tuple) else value


def record_official_files() -> dict[str, Any]:
    """Images, labels, digests and reports of official files, and errors of damaged ones."""
    found: dict[str, Any] = {}
    with folder() as whole:
        at = whole / "data"
        at.mkdir()
        kept, os.environ["IMC_SIM_DATA"] = os.environ.get("IMC_SIM_DATA"), str(at)
        cache, os.environ["IMC_SIM_CACHE"] = os.environ.get("IMC_SIM_CACHE"), str(at / "cache")
        try:
            found["absent"] = named([tried(check, name) for name in ("mnist", "omniglot", "folder:x", "nothing")], at)
            written(at)
            for name in ("mnist", "usps", "cifar10"):
                for split in ("train", "test"):
                    for cached in (True, True, False):
                        data = load_labelled(name, split, cached=cached)
                    pool = tried(load_pool, name, split)
                    found[f"{name} {split}"] = short([
                        data.images, data.labels, data.class_names, pool, data_digest(f"{name} {split}"),
                        len(data_state(f"{name} {split}")), load_classes(name, split).images,
                    ])  # fmt: skip
                found[f"{name} checked"] = named(parts(check(name)), at)
            found["kept"] = sorted(re.sub(r"-[0-9a-f]{16}\.", ".", path.name) for path in (at / "cache").rglob("*.*"))
            found["sized"] = [tried(load_pool, "mnist", "test", 27), list(load_pool("cifar10", "train", 32).shape)]
        finally:
            for name, value in (("IMC_SIM_DATA", kept), ("IMC_SIM_CACHE", cache)):
                os.environ.pop(name)
                os.environ.update({} if value is None else {name: value})
        labels, images = np.arange(3), np.zeros((3, 28, 28))
        files = {
            "magic": (idx(images, 2), idx(labels)), "short": (idx(images)[:-1], idx(labels)), "head": (b"\0", b"\0"),
            "size": (idx(images[:, 1:]), idx(labels)), "none": (idx(images[:0]), idx(labels[:0])),
            "labels": (idx(images), idx(labels[:2])), "label 10": (idx(images), idx(labels + 8)),
        }  # fmt: skip
        for name, pair in files.items():
            paths = tuple(save(at / f"{k}.gz", gzip.compress(each, mtime=0)) for k, each in enumerate(pair))
            found[f"idx, {name}"] = named(tried(read_idx, paths), at)
        found["idx, not packed"] = named(tried(read_idx, (save(at / "0.gz", b"x"), at / "1.gz")), at)
        for size in (0, 3073, 3074):
            found[f"cifar, {size} bytes"] = named(tried(read_cifar10, (save(at / "c.bin", bytes(size)),)), at)
        values = np.zeros((2, 256))
        texts = {
            "whole": usps(labels[1:], values), "label 0": usps(labels[:2], values), "empty": b"", "words": b"1 a:b\n",
            "indices": usps(labels[1:], values, 2), "values": usps(labels[1:], values + 1.01),
            "ends": usps(labels[1:], np.repeat([[-1.0], [1.0]], 256, 1)), "short": usps(labels[1:], values[:, 1:]),
        }  # fmt: skip
        for name, text in texts.items():
            result = tried(read_usps, (save(at / "u.bz2", bz2.compress(text)),))
            found[f"usps, {name}"] = named(result, at) if isinstance(result, str) else short(result)
    return found


def record_characters() -> dict[str, Any]:
    """Glyphs, characters in files, the order of pooled splits, and pools of labelled images."""
    found: dict[str, Any] = {"glyphs": short([draw_glyph(seed, index) for seed, index in ((1, 0), (1, 41), (7, 300))])}
    found["order"] = short(np.array(_pooled_order(tuple(f"a/{(37 * k) % 101}" for k in range(101)))))
    with folder() as at:
        found["no folder"] = named(tried(list_part, at, "background"), at)
        for name in ("b/2", "a/1"):
            for k in range(20):
                file = at / "omniglot-py" / "images_background" / name / f"{k:02}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(255 * (np.random.default_rng(k).random((105, 105)) > 0.2).astype(np.uint8)).save(file)
        listing = list_part(at, "background")
        found["names"] = list(listing.names)
        images = read_part(listing, 105)
        found["images"] = short(images)
        pool = CharacterPool("omniglot", "background", np.where(images > 250, 255, images), listing.names, 0.0, 1.0)
        blank = images.copy()
        blank[1, 3], blank[0, 5] = 128, 127
        found["blank"] = [_blank("p", pool), _blank("p", CharacterPool("o", "b", blank, listing.names, 0.0, 1.0))]
        found["few"] = named(tried(load_pool, "omniglot", "background", 32, at), at)
        (at / "omniglot-py" / "images_background" / "a" / "1" / "03.png").write_bytes(b"x")
        found["damaged"] = named(tried(read_part, listing, 20), at)
        (at / "omniglot-py" / "images_background" / "a" / "1" / "03.png").unlink()
        found["absent"] = named(tried(read_part, listing, 20), at)
    data = load_labelled("digits", "test")
    found["pools"] = [short(parts(as_pool(data, n))) if n != 42 else tried(as_pool, data, n) for n in (None, 3, 42)]
    return found


def packed(kind: str, names: dict[str, bytes]) -> bytes:
    """Return an archive of files."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in names.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, content in names.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def record_fetched_archives() -> dict[str, Any]:
    """Files, progress and errors of fetching from a folder."""
    found: dict[str, Any] = {"archives": {name: [[a.file, a.base, a.md5, a.target] for a in each]
                                         for name, each in ARCHIVES.items()}}  # fmt: skip
    with folder() as at:
        mirror, root = f"file://{at}/m/", at / "sets"
        contents = {
            "a.zip": packed("zip", {"inner/x": b"x" * 9, "other": b"y"}), "c.gz": b"z" * 5,
            "b.tar.gz": packed("tar", {"inner/deep/x": b"x"}), "d.zip": packed("zip", {"outer/x": b"x"}),
        }  # fmt: skip
        for name, content in contents.items():
            save(at / "m" / name, content)
            steps: list[Any] = []
            unpacks = None if name == "c.gz" else "inner"
            archive = Archive(name, mirror, hashlib.md5(content).hexdigest(), f"into-{name[0]}", unpacks)
            told = lambda done, total, to=steps: to.append([done, total])  # noqa: E731
            twice = [named(tried(fetch_archive, "set", archive, root, told), at) for _ in range(2)]
            steps = [[len(steps), steps[-1] == [len(content)] * 2], *twice]
            wrong = Archive(name, mirror, "0" * 32, f"wrong-{name[0]}", unpacks)
            steps.append(named(tried(fetch_archive, "set", wrong, root, None, mirror.rstrip("/")), at))
            found[name] = steps
        (root / "into-c" / "c.gz").write_bytes(b"changed")
        found["changed"] = named(tried(fetch_archive, "set", Archive("c.gz", mirror, "0" * 32, "into-c"), root), at)
        absent = tried(fetch_archive, "set", Archive("n.gz", mirror, "0" * 32, "n"), root)
        found["absent"] = re.sub(r"got .*? from", "got ERROR from", named(absent, at))
        found["files"] = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        found["embedded"] = [path.name for path in (fetch("digits", root), fetch("glyphs", root))]
        found["refused"] = [tried(fetch, "digit", root), tried(fetch, "folder:x", root)]
    archive = Archive("f.gz", "https://a.b/c/", "0", "")
    mirrors = (None, "http://m", "file:///m//", "ftp://m", "m", "http://[")
    found["addresses"] = [tried(_url, archive, mirror) for mirror in mirrors]
    found["pace"] = []
    for done, seconds in ((0, 60.0), (0, 60.1), (60_999, 61.0), (61_000, 61.0), (2 * 10**9, 1.0), (2 * 10**9 + 1, 1.0)):
        try:
            _check_pace(done, seconds)
            found["pace"].append("")
        except OSError as error:
            found["pace"].append(f"{type(error).__name__}: {error}")
    return found
