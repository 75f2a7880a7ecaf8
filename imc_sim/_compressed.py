"""Read compressed files of users, whose decompressed size is checked before it takes memory."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from imc_sim._errors import InputError, reason_of
from imc_sim._files import open_regular, regular

#: largest decompressed size of a file: so many bytes, or so many times its own size if that is more
MOST, RATIO = 2**32, 16
#: bytes that are decompressed at a time
_BLOCK = 2**20
_OPENED: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    "bz2": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
    "xz": lambda file: cast("IO[bytes]", lzma.LZMAFile(file, format=lzma.FORMAT_XZ)),  # noqa: SIM115  the caller closes it
}
#: how members of zip archives may be compressed
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
#: type of a compressed element of a MATLAB file
_COMPRESSED = 15


def most_bytes(packed: int) -> int:
    """Return the largest number of bytes to which a file may decompress.

    Args:
        packed: its size in bytes.
    """
    return max(MOST, RATIO * packed)


def check_unpacked(size: int, packed: int, where: str) -> None:
    """Refuse a file that decompresses to too many bytes.

    Args:
        size: number of bytes to which it decompresses, or of those until now.
        packed: its size in bytes.
        where: name of the file in errors.

    Raises:
        InputError: they are more than `most_bytes`.
    """
    most = most_bytes(packed)
    if size > most:
        step = "Use an undamaged copy, split it, or store it uncompressed."
        got = f"{packed:,} bytes that decompress to more than {most:,}"
        raise InputError(where, got, f"{most:,} bytes or fewer", step)


def decompressed(file: IO[bytes], kind: str, where: str) -> bytes:
    """Return the content of a compressed file; one of more than `RATIO` times its size is first counted, then read.

    Args:
        file: the open file.
        kind: gz, bz2 or xz.
        where: name of the file in errors.

    Raises:
        InputError: it decompresses to more than `most_bytes`.
        OSError, EOFError, zlib.error, lzma.LZMAError: it is damaged.
    """
    size, packed, kept = 0, file.seek(0, os.SEEK_END), list[bytes]()
    file.seek(0)
    with _OPENED[kind](file) as content:
        while block := content.read(_BLOCK):
            size += len(block)
            check_unpacked(size, packed, where)
            if size <= RATIO * packed:
                kept.append(block)
            else:
                kept.clear()
        if size <= RATIO * packed:
            return b"".join(kept)
        content.seek(0)
        return content.read()


def check_archive(file: IO[bytes], where: str) -> None:
    """Refuse a zip archive, such as an .npz file or a workbook, that Python cannot read or that is too large.

    Args:
        file: the open file; a file that is no archive passes.
        where: name of the file in errors.

    Raises:
        InputError: its members decompress to more than `most_bytes`, are encrypted or compressed by another method, or
            the archive needs a later version of zip.
    """
    members, reason, packed = list[zipfile.ZipInfo](), "", file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except RuntimeError as error:
        reason = reason_of(error)
    except (zipfile.BadZipFile, OSError, ValueError):
        pass  # its reader says what is damaged
    file.seek(0)
    if any(member.flag_bits & 1 for member in members):
        reason = "encrypted members"
    elif unknown := {member.compress_type for member in members} - _METHODS:
        reason = f"compression method {min(unknown)}"
    if reason:
        allowed = "a zip archive without encryption, stored or compressed by deflate, bzip2 or LZMA"
        raise InputError(where, reason, allowed, "Write the file again with another program.")
    check_unpacked(sum(member.file_size for member in members), packed, where)  # no member yields more


def check_matlab(content: bytes, where: str) -> None:
    """Refuse a MATLAB file of version 5 that decompresses to too many bytes.

    Args:
        content: bytes of the file.
        where: name of the file in errors.

    Raises:
        InputError: its elements decompress to more than `most_bytes`.
    """
    size = 0
    for block in _matlab_blocks(content):
        size += len(block)
        check_unpacked(size, len(content), where)


def _matlab_blocks(content: bytes) -> Iterator[bytes]:
    """Yield the decompressed bytes of the compressed elements of a MATLAB file, a block at a time."""
    place, order = 128, ">" if content[126:128] == b"MI" else "<"
    while place + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        place += 8
        unpacker, rest = zlib.decompressobj(), content[place : place + length] if kind == _COMPRESSED else b""
        with contextlib.suppress(zlib.error):  # its reader says what is damaged
            while rest and not unpacker.eof:
                yield unpacker.decompress(rest, _BLOCK)
                rest = unpacker.unconsumed_tail
        place += length


#: what numpy raises where it reads arrays of a damaged file, or of one that holds something else
UNREADABLE = (
    ValueError, OSError, EOFError, MemoryError, RuntimeError, AttributeError, TypeError, KeyError, OverflowError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


def load_arrays(path: Path) -> Any:
    """Return what `numpy.load` returns for an .npy or .npz file, without pickles.

    Args:
        path: the file.

    Raises:
        InputError: it decompresses to more than `most_bytes`.
        Exception: one of `UNREADABLE`, here or when an array of an .npz file is read: it is damaged or holds objects.
    """
    import numpy as np

    with open_regular(path) as file:
        check_archive(file, str(path))
    return np.load(regular(path), allow_pickle=False)
