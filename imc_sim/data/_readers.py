"""Readers of the official files of labelled sets: each returns rows of one label byte and the pixels.

A row is [1 + H * W * channels], channels last; the label is the class index.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imc_sim._compressed import decompressed
from imc_sim._errors import InputError
from imc_sim._files import open_regular, regular

Rows = NDArray[np.uint8]
_CIFAR_RECORD = 3073


def damaged(path: Path, got: object, allowed: str) -> InputError:
    """The error for a file that is not what it should be."""
    return InputError(str(path), got, allowed, "The file is damaged or another one: remove it and fetch the set again.")


def _inflate(path: Path) -> bytes:
    """The content of a .gz or .bz2 file."""
    try:
        with open_regular(path) as file:
            return decompressed(file, path.suffix[1:], str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"{path.stat().st_size} bytes ({error})", f"a whole {path.suffix[1:]} file") from error


def _idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes with `dims` axes: magic 0x0000080d, big-endian sizes, then the bytes."""
    data = _inflate(path)
    magic, head = 0x0800 + dims, 4 * (dims + 1)
    if len(data) < head or int.from_bytes(data[:4], "big") != magic:
        raise damaged(path, f"magic 0x{data[:4].hex()}", f"0x{magic:08x} and a header of {head} bytes")
    shape = tuple(np.frombuffer(data[4:head], dtype=">u4").tolist())
    expected = head + int(np.prod(shape))
    if len(data) != expected:
        raise damaged(path, f"{len(data)} bytes", f"{expected} bytes for the shape {shape} in its header")
    return np.frombuffer(data, dtype=np.uint8, offset=head).reshape(shape)


def read_idx(files: tuple[Path, ...]) -> Rows:
    """MNIST and Fashion-MNIST: an image file and a label file, gzipped."""
    images, labels = _idx(files[0], 3), _idx(files[1], 1)
    if images.shape[1:] != (28, 28):
        raise damaged(files[0], f"images of {images.shape[1:]}", "images of (28, 28)")
    if not len(images):
        raise damaged(files[0], "no images", "1 image or more")
    if len(images) != len(labels):
        raise damaged(files[1], f"{len(labels)} labels", f"{len(images)} labels, one for each image")
    return _rows(files[1], labels, images.reshape(len(images), -1))


def read_cifar10(files: tuple[Path, ...]) -> Rows:
    """CIFAR-10, binary version: records of a label byte and the planes R, G, B of 1,024 bytes."""
    return np.concatenate([_cifar_file(path) for path in files])


def _cifar_file(path: Path) -> Rows:
    size = path.stat().st_size
    if size == 0 or size % _CIFAR_RECORD:
        raise damaged(path, f"{size} bytes", f"30730000 bytes: 10,000 records of {_CIFAR_RECORD} bytes")
    records = np.fromfile(regular(path), dtype=np.uint8).reshape(-1, _CIFAR_RECORD)
    planes = records[:, 1:].reshape(-1, 3, 1024)
    return _rows(path, records[:, 0], planes.transpose(0, 2, 1).reshape(-1, 3072))


def read_usps(files: tuple[Path, ...]) -> Rows:
    """USPS as LIBSVM text: label 1..10 (digit + 1), then 256 pairs index:value with values in [-1, 1].

    A value v becomes the grey level round(127.5 (v + 1)), at most half a level off.
    """
    (path,) = files
    text = _inflate(path)
    count = len(text.splitlines())
    try:
        numbers = np.array(text.replace(b":", b" ").split()).astype(np.float32).reshape(count, 513)
    except ValueError as error:
        raise damaged(path, f"{count} lines ({error})", "lines of a label and 256 index:value pairs") from error
    values = numbers[:, 2::2]
    if count == 0 or np.any(numbers[:, 1::2] != np.arange(1, 257)) or np.abs(values).max() > 1:
        raise damaged(path, "other indices or values", "indices 1 to 256 and values in [-1, 1]")
    return _rows(path, numbers[:, 0] - 1, np.rint((values + 1) * 127.5))


def _rows(path: Path, labels: NDArray[np.generic], pixels: NDArray[np.generic]) -> Rows:
    """Labels and pixels side by side; all ten-class sets."""
    rows = np.empty((len(labels), 1 + pixels.shape[1]), np.uint8)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise damaged(path, f"labels {labels.min()} to {labels.max()}", "labels 0 to 9")
    rows[:, 0], rows[:, 1:] = labels, pixels
    return rows


@functools.cache
def read_digits(split: str) -> Rows:
    """The digits that scikit-learn carries: the first 1,347 train, the last 450 test; they are parsed once a process.

    The file is in blocks of writers, so the test digits are by other hands. Grey levels 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    part = slice(0, 1347) if split == "train" else slice(1347, None)
    rows = _rows(Path("digits"), np.asarray(labels)[part], np.rint(np.asarray(pixels)[part] * (255 / 16)))
    rows.setflags(write=False)
    return rows
