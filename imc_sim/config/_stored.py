"""How a weights file is stored: unchanged, or shuffled and compressed.

Of the two bytes of a float16 weight, the one with sign and exponent can be compressed, the other cannot.
`NAME.shuffled.xz` holds the bytes of NAME at even places, then those at odd places, as one xz stream. A card always
states size and digest of NAME itself.
"""

from __future__ import annotations

import io
import lzma
from pathlib import Path

from imc_sim._compressed import decompressed
from imc_sim._errors import CheckpointError
from imc_sim._files import read_file

SHUFFLED = ".shuffled.xz"


def stored_file(path: Path) -> Path:
    """Return the path that holds a weights file: its compressed form where there is one.

    Args:
        path: The file that a card names.
    """
    shuffled = path.parent / f"{path.name}{SHUFFLED}"
    return shuffled if shuffled.is_file() else path


def read_stored(path: Path, most: int = -1) -> bytes:
    """Return the content of a weights file, decompressed where its name says so.

    Args:
        path: A result of `stored_file`.
        most: Number of bytes after which decompression stops; -1: those to which a file may decompress.

    Raises:
        CheckpointError: The compressed form is damaged.
        InputError: With `most` -1, it decompresses to more bytes.
    """
    content = read_file(path)
    if not path.name.endswith(SHUFFLED):
        return content
    try:
        if most < 0:
            planes = decompressed(io.BytesIO(content), "xz", str(path))
        else:
            planes = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(content, max_length=most)
    except (lzma.LZMAError, EOFError) as error:
        step = "Use an undamaged copy, or train the model again."
        raise CheckpointError(str(path), f"content that does not decompress ({error})", "an xz stream", step) from error
    joined = bytearray(len(planes))
    joined[0::2], joined[1::2] = planes[: (len(planes) + 1) // 2], planes[(len(planes) + 1) // 2 :]
    return bytes(joined)


def shuffled(content: bytes) -> bytes:
    """Return the compressed form of a weights file.

    Args:
        content: The content of the file.
    """
    # literals without context: the bytes of one plane do not depend on their neighbours
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
    return lzma.compress(content[0::2] + content[1::2], lzma.FORMAT_XZ, filters=filters)
