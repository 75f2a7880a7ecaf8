"""Python code of the user, named as FILE.py:NAME: load it, identify it by its digest, and point to its errors."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from imc_sim._errors import InputError


def split_code(text: str, where: str, allowed: str = "FILE.py:NAME") -> tuple[str, str]:
    """Split the name of code into its file and the name in it.

    Args:
        text: such as `./my_net.py:Net`.
        where: source for errors.
        allowed: what is allowed, for errors.

    Returns:
        The path as written, and the name.

    Raises:
        InputError: the text is not of this form.
    """
    file, _, name = text.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InputError(where, repr(text), allowed, "Write the path of a Python file, a colon and a name in it.")
    return file, name


def load_code(path: Path, where: str, allowed: str) -> ModuleType:
    """Run a Python file of the user as a module. It must not import other files of its folder.

    Args:
        path: the file.
        where: source for errors.
        allowed: what is allowed, for errors.

    Returns:
        The module.

    Raises:
        InputError: there is no such file, or it cannot be run.
    """
    if not path.is_file():
        raise InputError(where, f"no file {str(path)!r}", allowed, "Put the file there, or fix the path.")
    _check_alone(path, where)
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"imc_sim_user_{path.stem}_{key}", path)
    if spec is None or spec.loader is None:
        raise InputError(where, f"{str(path)!r}, not a Python file", allowed, "Name a .py file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look up the module of a class there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        got = f"{type(error).__name__} while running {str(path)!r}{place_of_error(error, str(path))}: {error}"
        raise InputError(where, got, "a Python file that can be imported", "Fix the file.") from error
    return module


def code_digest(path: Path, where: str) -> str:
    """Return the SHA-256 of a Python file, which imports no other file of its folder.

    Args:
        path: the file.
        where: source for errors.

    Raises:
        InputError: there is no such file, or it imports another one of its folder.
    """
    if not path.is_file():
        raise InputError(where, f"no file {str(path)!r}", "a Python file", "Put the file there, or fix the path.")
    _check_alone(path, where)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def place_of_error(error: BaseException, file: str) -> str:
    """Return `, line N (code)` of the innermost frame of a traceback in a file; empty if there is none.

    Args:
        error: what was raised.
        file: path of the file as Python knows it.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {frames[-1].lineno} ({frames[-1].line})" if frames else ""


def _check_alone(path: Path, where: str) -> None:
    """Raise InputError where the file imports another one of its folder, which no id or results folder covers."""
    imported: list[str] = []
    with contextlib.suppress(SyntaxError, ValueError):  # running the file reports them
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported.append("." * node.level + (node.module or ""))
    for name in imported:
        root = name.partition(".")[0]
        found = path.parent / f"{root}.py", path.parent / root / "__init__.py"
        if not root or (root != "imc_sim" and any(file.is_file() for file in found)):
            step = "Move that code into the file, or install it as a package."
            raise InputError(where, f"{str(path)!r}, which imports {name!r} next to it", "a single file", step)
