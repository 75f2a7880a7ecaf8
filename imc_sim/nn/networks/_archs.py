"""Build architectures by name or from a file, as the `arch` of a card states."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imc_sim._errors import InputError, nearest
from imc_sim.config import ARCHS, beside, load_code

_ALLOWED = "a name of `imc-sim list archs`, or FILE.py:CLASS"


def arch_class(arch: str, folder: Path, where: str = "arch") -> type[nn.Module]:
    """Return the class of an architecture.

    Args:
        arch: A name such as `batmann`, or a file and class such as `./my_net.py:Net`; the file is run, as in an import.
        folder: Folder that the path of a file is relative to.
        where: Name of the argument in errors.

    Raises:
        InputError: There is no such architecture, file or class.
    """
    if arch in ARCHS:
        module, _, name = ARCHS[arch].target.partition(":")
        return getattr(importlib.import_module(module), name)
    path, colon, name = arch.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InputError(where, repr(arch), f"{', '.join(ARCHS)}, or FILE.py:CLASS", f"{nearest(arch, ARCHS)}Name one.")
    return _class_in(beside(folder, path, where), name, where)


def build_arch(arch: str, args: Mapping[str, Any], folder: Path, where: str = "arch") -> nn.Module:
    """Return a new, untrained network, in float32 whatever torch's default is.

    Args:
        arch: The architecture, see `arch_class`.
        args: Its keyword arguments.
        folder: Folder that the path of a file is relative to.
        where: Name of the argument in errors.

    Raises:
        InputError: There is no such architecture, or it does not take these arguments.
    """
    kind, default = arch_class(arch, folder, where), torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # as images and stored weights
    try:
        return kind(**args)
    except TypeError as error:
        raise InputError(f"{where}.args", dict(args), f"arguments of {kind.__name__} ({error})", "Fix them.") from error
    finally:
        torch.set_default_dtype(default)


def arch_files(arch: str, folder: Path) -> dict[str, bytes]:
    """Return the file of a user's architecture, name -> content, to be kept next to its card; empty for a named one.

    Args:
        arch: The architecture, see `arch_class`.
        folder: Folder that the path of a file is relative to.
    """
    if arch in ARCHS:
        return {}
    path = beside(folder, arch.rpartition(":")[0], "arch")
    return {path.name: path.read_bytes()}


def size_of(network: nn.Module) -> int | None:
    """Return the pixels a side of a network's images, None where it does not state them."""
    size = getattr(network, "size", None)
    return size if isinstance(size, int) else None


def _class_in(path: Path, name: str, where: str) -> type[nn.Module]:
    """Run a Python file and return a class in it."""
    module = load_code(path, where, _ALLOWED)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        known = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        step = f"{nearest(name, known)}Name a class of that file."
        raise InputError(where, f"{name!r} in {str(path)!r}", ", ".join(known) or "a torch.nn.Module", step)
    return found
