"""Recognise a file by its first bytes, so that an error can name its kind and say how to import it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

from imc_sim._files import open_regular, regular


class FileKind(NamedTuple):
    """A kind of file.

    Attributes:
        kind: `safetensors`, `unknown` (torch reads it or says why not), or another one, which is no checkpoint.
        text: The kind as a phrase for an error.
        step: The advice for it; empty: to save a state dict.
    """

    kind: str
    text: str = ""
    step: str = ""


_AGAIN = "Download it again; the address of the raw file is needed."
_KERAS = "Convert it to a torch state dict, and name the network with ./my_net.py:NAME."
_NETWORK = "Give the network it was made from: ./my_net.py:NAME with --weights of a state dict."
_ONNX = "Import it as a network: imc-sim import FILE.onnx --out models/NAME."
_ARRAYS = "Save its arrays as a state dict: torch.save({name: torch.from_numpy(array), …}, path)."
#: first bytes -> kind
_BEGINNINGS = {
    b"version https://git-lfs": FileKind("git-lfs", "a git-LFS pointer, not the file", "Fetch it: git lfs pull."),
    b"\x93NUMPY": FileKind("npy", "a NumPy array (.npy)", _ARRAYS),
    b"\x89HDF": FileKind("hdf5", "an HDF5 file, such as Keras writes", _KERAS),
    b"GGUF": FileKind("gguf", "a GGUF file of a language model", _KERAS),
    b"\x1f\x8b": FileKind("gzip", "a gzip archive", "Unpack it, and import a file in it."),
    b"\xfd7zXZ": FileKind("xz", "an xz archive", "Unpack it, and import a file in it."),
    b"7z\xbc\xaf": FileKind("7z", "a 7z archive", "Unpack it, and import a file in it."),
    b"Rar!": FileKind("rar", "a RAR archive", "Unpack it, and import a file in it."),
    b"%PDF": FileKind("pdf", "a PDF document", _AGAIN),
}


def kind_of_file(path: Path) -> FileKind:
    """Return the kind of a file.

    Args:
        path: The file.
    """
    with open_regular(path) as file:
        head = file.read(4096)
    if not head:
        return FileKind("empty", "an empty file", _AGAIN)
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    start = head.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return FileKind("html", "an HTML document, not a checkpoint", _AGAIN)
    if path.suffix == ".safetensors" or _is_safetensors(head):
        return FileKind("safetensors")
    if head.startswith(b"PK"):
        return _kind_of_archive(path)
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and any(maker in head for maker in (b"onnx", b"pytorch"))):
        return FileKind("onnx", "an ONNX network", _ONNX)
    if head[4:8] == b"TFL3":
        return FileKind("tflite", "a TensorFlow Lite network", _KERAS)
    return FileKind("unknown")


def _is_safetensors(head: bytes) -> bool:
    """Tell whether a file begins with the length of a JSON header and the header."""
    return head[8:10] == b'{"' and 0 < int.from_bytes(head[:8], "little") < 10**8


def _kind_of_archive(path: Path) -> FileKind:
    """Return the kind of a zip file: torch files, TorchScript and npz are zip files too."""
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return FileKind("unknown")
    parts = {part for name in names for part in name.split("/")}
    if not parts.isdisjoint({"code", "constants.pkl"}):
        return FileKind("torchscript", "a TorchScript archive, which holds code; nothing of it was run", _NETWORK)
    if "data.pkl" in parts:
        return FileKind("unknown")
    if any(name.startswith(("models/", "archive_format")) or name.endswith("/archive_format") for name in names):
        return FileKind("pt2", "an exported program of torch.export (.pt2)", _NETWORK)
    if names and all(name.endswith(".npy") for name in names):
        return FileKind("npz", "NumPy arrays (.npz)", _ARRAYS)
    return FileKind("zip", "a zip archive that is no torch file", "Unpack it, and import a file in it.")
