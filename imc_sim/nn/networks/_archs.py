"""Build architectures by name or from a file, as the `arch` of a card states."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from imc_sim._errors import InputError, nearest
from imc_sim.config import ARCHS, beside, code_of, is_code, is_onnx
from imc_sim.nn.networks._user_networks import default_float32, made_network, maker_in
from imc_sim.onnx import load_onnx


def arch_class(arch: str, folder: Path, where: str = "arch") -> Any:
    """Return the class of an architecture, or the function or network of a user's file.

    Args:
        arch: A name such as `batmann`, or a file and a name in it, such as `./my_net.py:Net`. The file is run, as in an
            import; it may import files next to it.
        folder: Folder that the path of a file is relative to.
        where: Name of the argument in errors.

    Raises:
        InputError: There is no such architecture, file or class.
    """
    if arch in ARCHS:
        module, _, name = ARCHS[arch].target.partition(":")
        return getattr(importlib.import_module(module), name)
    if not is_code(arch):
        raise InputError(where, repr(arch), f"{', '.join(ARCHS)}, or FILE.py:NAME", f"{nearest(arch, ARCHS)}Name one.")
    return maker_in(code_of(arch, folder, where), where)


def build_arch(arch: str, args: Mapping[str, Any], folder: Path, where: str = "arch") -> nn.Module:
    """Return a new, untrained network, in float32 whatever torch's default is.

    Args:
        arch: The architecture, see `arch_class`, or an ONNX file, whose weights are in the weights file of its model.
        args: Its keyword arguments.
        folder: Folder that the path of a file is relative to.
        where: Name of the argument in errors.

    Raises:
        InputError: There is no such architecture, or it does not take these arguments.
    """
    if is_onnx(arch):
        if args:
            raise InputError(f"{where}.args", dict(args), "no arguments of an ONNX file", "Remove them.")
        return load_onnx(beside(folder, arch, where), weights=False)
    with default_float32():
        kind = arch_class(arch, folder, where)
        if is_code(arch):
            return made_network(kind, args, where)
        try:
            return kind(**args)
        except InputError:
            raise
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # of Python or torch
            allowed = f"arguments of {kind.__name__} ({error})"
            raise InputError(f"{where}.args", dict(args), allowed, "Fix them.") from error


def arch_files(arch: str, folder: Path) -> dict[str, bytes]:
    """Return the files of a user's architecture, name -> content, to be kept next to its card; empty for a named one.

    Args:
        arch: The architecture, see `arch_class`.
        folder: Folder that the path of a file is relative to.
    """
    return dict(code_of(arch, folder).files) if is_code(arch) else {}


def size_of(network: nn.Module) -> int | None:
    """Return the pixels a side of a network's images, None where it does not state them."""
    size = getattr(network, "size", None)
    return size if isinstance(size, int) else None
