"""Read files of torch without running code in them."""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from imc_sim._compressed import check_archive
from imc_sim._errors import CheckpointError, reason_of
from imc_sim._file_kinds import kind_of_file
from imc_sim._files import open_regular, read_file, regular
from imc_sim.nn.store._weights import read_tensors

_ALLOWED = "a .safetensors file, or a torch file that holds only tensors and plain containers"
_SAVE_AGAIN = "Save it again where it was made: torch.save(model.state_dict(), path), and import that."
#: most values of a tensor that repeats stored ones
_REPEATED = 10**6
#: names that are ignored
_UNNAMED = ("torch.", "collections.OrderedDict", "argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar", "_codecs.encode")  # fmt: skip
_SCALAR: Any = np.float64(0).__reduce__()[0]
#: types without code that training scripts store next to the weights, such as a best accuracy or their options
_HARMLESS: list[Any] = [
    argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"),
    (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"),
]  # fmt: skip


def read_checkpoint(path: Path) -> Any:
    """Return the content of a torch or safetensors file; `weights_only=True` refuses files that call functions.

    Older versions of torch run the code of TorchScript archives nevertheless, so these are refused before.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is no torch file, is damaged, or would execute code.
    """
    if not path.is_file():
        raise CheckpointError(str(path), "no such file", _ALLOWED, "Check the path.")
    found = kind_of_file(path)
    if found.kind == "safetensors":
        return read_tensors(path)[0]
    if found.kind != "unknown":
        raise CheckpointError(str(path), found.text, _ALLOWED, found.step or _SAVE_AGAIN)
    with open_regular(path) as file:
        check_archive(file, str(path))
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # torch warns about old file formats
            content = torch.load(regular(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        called = refused.group(1) if refused else _first_call(path)
        if called is None:
            raise _damaged(path, "no checkpoint in it") from error
        what = "a whole pickled module" if b"_modules" in read_file(path) else "a pickle"
        got = f"{what} that would execute code on loading ({called}); nothing of it was run"
        raise CheckpointError(str(path), got, _ALLOWED, _SAVE_AGAIN) from error
    except Exception as error:  # damaged opcodes of a pickle raise errors of any type
        reason = reason_of(error).split(". ")[0]
        raise _damaged(path, reason) from error
    _refuse_repeated(content, path, set())
    return content


def _refuse_repeated(content: Any, path: Path, seen: set[int]) -> None:
    """Reject tensors that are much larger than their file holds, because they repeat the values that it holds."""
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, dict | list | tuple):
        for each in content.values() if isinstance(content, dict) else content:
            _refuse_repeated(each, path, seen)
    elif isinstance(content, Tensor) and content.layout == torch.strided and content.device.type == "cpu":
        held = content.untyped_storage().nbytes() // content.element_size()
        if content.numel() > max(held, _REPEATED):
            got = f"a tensor of {content.numel():,} values that repeats {held:,}"
            raise CheckpointError(str(path), got, f"{_REPEATED:,} values, or all of them stored", _SAVE_AGAIN)


def _damaged(path: Path, reason: str) -> CheckpointError:
    """Return the error for a file that torch cannot read."""
    got = f"{path.stat().st_size} bytes that torch cannot read ({reason})"
    return CheckpointError(str(path), got, _ALLOWED, "Use an undamaged copy.")


def _first_call(path: Path) -> str | None:
    """Return the first function outside torch that a file names, found by reading opcodes, not by running them."""
    try:
        with open_regular(path) as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return _first_name(file, pickles=6)  # torch's old format is several pickles in one file
            with zipfile.ZipFile(file) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                return _first_name(io.BytesIO(archive.read(name)), pickles=1)
    except Exception:  # damaged opcodes raise errors of any type, also of memory for a length that they state
        return None


def _first_name(file: IO[bytes], pickles: int) -> str | None:
    """Return the first name outside torch that the next pickles of a file import."""
    for _ in range(pickles):
        texts: list[str] = []
        for opcode, value, _position in pickletools.genops(file):
            if opcode.name in {"GLOBAL", "INST"}:
                name = str(value).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                name = ".".join(texts[-2:])
            else:
                texts += [value] if isinstance(value, str) else []
                continue
            if not name.startswith(_UNNAMED):
                return name
    return None
