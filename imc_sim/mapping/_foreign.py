"""Read checkpoints that other programs wrote, without running any code in them."""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim._tensors import unusual
from imc_sim.mapping._file_kinds import FileKind, kind_of_file
from imc_sim.nn.store import read_tensors, refuse_not_finite

State = Mapping[str, Tensor]
Args = Mapping[str, Any]
#: a state dict under our names, and the arguments of the architecture that it determines
Found = tuple[dict[str, Tensor], dict[str, Any]]
#: tensors of a batch norm
NORM = ("weight", "bias", "running_mean", "running_var")
OWN_ARCH = "Name the architecture that made it, `--arch ./my_net.py:Net`."
#: keys under which training scripts nest the state dict
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "controller", "params", "weights")
#: largest depth of nesting
_LEVELS = 2
_PREFIXES = ("module.", "_orig_mod.")
_ALLOWED = "a .safetensors file, or a torch file that holds only tensors and plain containers"
_SAVE_AGAIN = "Save it again where it was made: torch.save(model.state_dict(), path), and import that."
#: names that are ignored
_UNNAMED = ("torch.", "collections.OrderedDict", "argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar", "_codecs.encode")  # fmt: skip
_SCALAR: Any = np.float64(0).__reduce__()[0]
#: types without code that training scripts store next to the weights, such as a best accuracy or their options
_HARMLESS: list[Any] = [
    argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"),
    (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"),
]  # fmt: skip


def read_state(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict in the file at `path`, float32 and finite, and notes on what was changed."""
    if not path.is_file():
        raise CheckpointError(str(path), "no such file", _ALLOWED, "Check the path.")
    notes: list[str] = []
    found = kind_of_file(path)
    if found.kind == "safetensors":
        state: dict[str, Tensor] = read_tensors(path)[0]
    else:
        state = _unwrapped(_load(path, found), path, notes)
    state = _without_prefixes(state, notes)
    for name, tensor in state.items():
        if (found := unusual(tensor)) is not None:
            step = "Save it again where it was made, as dense float32 tensors."
            raise CheckpointError(str(path), f"{name!r}, {found}", "dense tensors of real numbers", step)
    refuse_not_finite(state, str(path))
    return _as_float32(state, notes), notes


def _load(path: Path, found: FileKind) -> Any:
    """Return the content of a torch file; `weights_only=True` refuses files that call functions.

    Older versions of torch run the code of TorchScript archives nevertheless, so these are refused before.
    """
    if found.kind != "unknown":
        raise CheckpointError(str(path), found.text, _ALLOWED, found.step or _SAVE_AGAIN)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # torch warns about old file formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        called = refused.group(1) if refused else _first_call(path)
        if called is None:
            raise _damaged(path, "no checkpoint in it") from error
        what = "a whole pickled module" if b"_modules" in path.read_bytes() else "a pickle"
        got = f"{what} that would execute code on loading ({called}); nothing of it was run"
        raise CheckpointError(str(path), got, _ALLOWED, _SAVE_AGAIN) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0].strip() or type(error).__name__
        raise _damaged(path, reason) from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    """Return the error for a file that torch cannot read."""
    got = f"{path.stat().st_size} bytes that torch cannot read ({reason})"
    return CheckpointError(str(path), got, _ALLOWED, "Use an undamaged copy.")


def _first_call(path: Path) -> str | None:
    """Return the first function outside torch that a file names, found by reading opcodes, not by running them."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return _first_name(file, pickles=6)  # torch's old format is several pickles in one file
            with zipfile.ZipFile(file) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                return _first_name(io.BytesIO(archive.read(name)), pickles=1)
    except (ValueError, EOFError, OSError, StopIteration, zipfile.BadZipFile):
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


def _unwrapped(content: Any, path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Return the state dict in up to two levels of wrapping."""
    for level in range(_LEVELS + 1):
        if not isinstance(content, dict):
            break
        if content and all(isinstance(v, Tensor) for v in content.values()):
            return dict(content)
        key = next((k for k in _WRAPPERS if isinstance(content.get(k), dict)), None)
        if key is None or level == _LEVELS:
            break
        others = ", ".join(map(str, content.keys() - {key})) or "nothing"
        notes.append(f"taken from the key {key!r}; left out: {others}")
        content = content[key]
    got = f"a {type(content).__name__}"
    if isinstance(content, dict):
        got = f"a mapping with the keys {', '.join(map(str, list(content)[:6]))}"
    raise CheckpointError(str(path), got, f"a state dict, plain or under {', '.join(_WRAPPERS)}", _SAVE_AGAIN)


def _without_prefixes(state: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Return the state without prefixes of wrappers, nested in any order."""
    while prefix := next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        notes.append(f"prefix {prefix!r} stripped")
    return state


def _as_float32(state: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Return the state with floating-point tensors in float32; a module casts integers when it loads them."""
    others = {str(v.dtype) for v in state.values() if v.is_floating_point() and v.dtype != torch.float32}
    if others:
        notes.append(f"{', '.join(sorted(others))} converted to torch.float32")
    converted = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    refuse_not_finite(converted, "the checkpoint, in float32")
    return converted


def refuse_zeros(state: State, names: Iterable[str], where: str) -> None:
    """Raise where a binary weight is exactly 0: the original's sign of 0 is 0, and a cell would hold -1."""
    for name in names:
        zeros = int((state[name] == 0).sum())
        if zeros:
            got = f"{zeros} of {state[name].numel()} weights of {name!r} exactly 0, whose sign is 0"
            raise CheckpointError(where, got, "weights above or below 0", "Check that the checkpoint is a trained one.")
