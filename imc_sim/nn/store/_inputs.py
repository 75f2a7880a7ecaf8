"""Inputs that are kept with a network of any modules: mapping runs it on them to find its matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from imc_sim._compressed import load_arrays
from imc_sim._errors import CheckpointError, InputError, reason_of
from imc_sim._tensors import check_finite, check_usual
from imc_sim.nn.store._torch_file import read_checkpoint
from imc_sim.nn.store._weights import read_tensors

#: samples that are kept
KEPT = 16
_ALLOWED = "a .npy or .npz file, a torch file of tensors (.pt, .pth), or .safetensors"


def read_inputs(path: Path) -> Any:
    """Return the first `KEPT` samples of the inputs in a file: a tensor, or a tuple or dict of tensors.

    Args:
        path: .npy of one array; .npz of arrays by the names of arguments, or arr_0, arr_1, … in their order; torch file
            of a tensor, tuple, list or dict; .safetensors by the names of arguments.

    Raises:
        InputError: the file is of another kind, or its numbers are not those of a network's input.
    """
    if not path.is_file():
        raise InputError("--inputs", f"no file {str(path)!r}", _ALLOWED, "Check the path.")
    try:
        found = _read(path)
    except CheckpointError as error:
        step = "Save the inputs again, such as with numpy.save."
        raise InputError("--inputs", f"{str(path)!r}, {error.got}", _ALLOWED, step) from error
    except InputError:
        raise
    except Exception as error:
        got = f"{str(path)!r}, which does not decode ({reason_of(error)})"
        raise InputError("--inputs", got, _ALLOWED, "Save the inputs again, such as with numpy.save.") from error
    checked = {name: _checked(value, f"--inputs {name}".strip()) for name, value in _named(found).items()}
    if len({len(value) for value in checked.values()}) != 1:
        got = ", ".join(f"{name or 'one'}: {len(value)}" for name, value in checked.items())
        raise InputError("--inputs", f"samples {got}", "as many of each", "Put the batch first in every array.")
    return _structured({name: value[:KEPT].clone() for name, value in checked.items()}, found)


def pack_inputs(inputs: Any) -> bytes:
    """Return the bytes of a safetensors file of inputs; equal inputs give equal bytes.

    Args:
        inputs: A tensor, or a tuple, list or dict of tensors.
    """
    kind = "tensor" if isinstance(inputs, Tensor) else "dict" if isinstance(inputs, Mapping) else "tuple"
    tensors = {name or "x": value.contiguous() for name, value in _named(inputs).items()}
    return safetensors.torch.save(tensors, metadata={"kind": kind})


def unpack_inputs(path: Path) -> Any:
    """Return the inputs that `pack_inputs` wrote: a tensor, or a tuple or dict of tensors.

    Args:
        path: The file.
    """
    tensors, metadata = read_tensors(path)
    kind = metadata.get("kind")
    if kind == "tuple":
        return tuple(tensors[str(number)] for number in range(len(tensors)))
    return tensors["x"] if kind == "tensor" else tensors


def _read(path: Path) -> Any:
    """Return what a file holds: an array or tensor, or a tuple or mapping of them."""
    if path.suffix == ".npy":
        return load_arrays(path)
    if path.suffix == ".npz":
        arrays = dict(load_arrays(path))
        numbered = [f"arr_{number}" for number in range(len(arrays))]
        if set(arrays) != set(numbered):
            return arrays
        return arrays["arr_0"] if len(arrays) == 1 else tuple(arrays[name] for name in numbered)
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    if path.suffix in (".pt", ".pth"):
        return read_checkpoint(path)
    raise InputError("--inputs", repr(str(path)), _ALLOWED, "Save the inputs with numpy.save.")


def _named(found: Any) -> dict[str, Any]:
    """Return inputs by name: of a dict its keys, of a tuple the numbers, of a single one the empty name."""
    if isinstance(found, Mapping):
        return {str(name): value for name, value in found.items()}
    return {str(k): value for k, value in enumerate(found)} if isinstance(found, tuple | list) else {"": found}


def _structured(named: dict[str, Tensor], found: Any) -> Any:
    if isinstance(found, Mapping):
        return named
    return tuple(named.values()) if isinstance(found, tuple | list) else named[""]


def _checked(value: Any, where: str) -> Tensor:
    """Return an input as a tensor [batch, …], float32 or whole numbers, finite."""
    x: Any = torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value
    check_usual(x, where)
    if x.dtype == torch.uint8 and x.ndim > 2:
        step = "Save them as the network takes them: float32, scaled as in its training."
        raise InputError(where, "images of bytes (uint8)", "numbers as the network takes them", step)
    if x.ndim < 2 or len(x) < 2:
        raise InputError(where, f"shape {tuple(x.shape)}", "two or more samples [batch, …]", "Give more samples.")
    x = x.float() if x.is_floating_point() else x
    check_finite(x, where)  # 1e300 is infinite by now
    return x
