"""The code of a user's network: its file and the files next to it that it imports, found without running any of them.

Names are resolved as Python does for a program that is started in the folder of the file; a name that is not found
there is looked up in the folders above it, as far as the base folder.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import final

from imc_sim._errors import InputError
from imc_sim._files import read_file
from imc_sim.config._content import beside
from imc_sim.config._spec import digest

#: names that files next to a network do not replace
_INSTALLED = {*sys.stdlib_module_names, "imc_sim", "numpy", "torch"}
_MOST_FILES = 300


@final
@dataclass(frozen=True)
class Code:
    """The files of a network.

    Attributes:
        root: Folder that holds all of them.
        entry: The file that was named, relative to `root`.
        files: Content of each file, by its path relative to `root`.
        name: Name of the class or function in it.
    """

    root: Path
    entry: str
    files: Mapping[str, bytes]
    name: str

    @property
    def sha256(self) -> str:
        """Return the digest of the code: that of the file, or of the names and digests of all files."""
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(self.files.items())}
        return sums[self.entry] if len(sums) == 1 else digest(sums)

    @property
    def arch(self) -> str:
        """Return the architecture as a card names it when the files are in its folder."""
        return f"./{self.entry}:{self.name}"


def is_code(arch: str) -> bool:
    """Tell whether an architecture is the code of a user, such as `./my_net.py:Net`.

    Args:
        arch: the architecture.

    Returns:
        Whether it is.
    """
    path, colon, _ = arch.rpartition(":")
    return bool(colon) and path.endswith(".py")


def names_code(text: str) -> bool:
    """Tell whether a text names a class or a function in a Python file, such as `./my_net.py:Net`.

    Args:
        text: any text.

    Returns:
        Whether it does.
    """
    return is_code(text) and text.rpartition(":")[2].isidentifier()


def is_onnx(arch: str) -> bool:
    """Tell whether an architecture is an ONNX file, such as `./network.onnx`.

    Args:
        arch: the architecture.

    Returns:
        Whether it is.
    """
    return arch.lower().endswith(".onnx")


def code_of(arch: str, folder: Path, where: str = "arch") -> Code:
    """Return the files of a user's network.

    Args:
        arch: file and name, such as `./my_net.py:Net`.
        folder: base folder, which the path of the file is relative to.
        where: source of the name in errors.

    Returns:
        Its code.

    Raises:
        InputError: the file does not exist, or it imports too many others.
    """
    file, _, name = arch.rpartition(":")
    path = beside(folder, file, where)
    if not path.is_file():
        step = "Put the file next to the card, or fix the path."
        raise InputError(where, f"no file {str(path)!r}", "FILE.py:NAME", step)
    path = path.resolve()
    found: dict[Path, bytes] = {}
    open_files, bases = [path], {path.parent}
    while open_files:
        each = open_files.pop()
        if each not in found:
            found[each] = read_file(each)
            for base, files in _imported(each, found[each], _above(each, folder)):
                bases |= {base, *(file.parent for file in files)}
                open_files += files
        if len(found) > _MOST_FILES:
            step = "Move the network into a folder without the rest of the project."
            raise InputError(where, f"{str(path)!r}, which imports more than {_MOST_FILES} files", "fewer", step)
    root = Path(os.path.commonpath(bases))
    files = {each.relative_to(root).as_posix(): content for each, content in found.items()}
    return Code(root, path.relative_to(root).as_posix(), files, name)


def local_name(files: Mapping[str, bytes], file: str, name: str) -> str | None:
    """Return the dotted path of the folder in which a file finds an imported name; None for an installed package.

    Args:
        files: the files of a network.
        file: the file that imports.
        name: first part of the imported name.
    """
    for folder in PurePosixPath(file).parents:
        prefix = "" if str(folder) == "." else f"{folder}/"
        if name not in _INSTALLED and any(
            each == f"{prefix}{name}.py" or each.startswith(f"{prefix}{name}/") for each in files
        ):
            return prefix.replace("/", ".")
    return None


def _above(file: Path, base: Path) -> list[Path]:
    """Return the folders in which a file finds names: its own, and those above it as far as the base folder."""
    limit = base.resolve()
    return [file.parent, *(each for each in file.parent.parents if each.is_relative_to(limit))]


def _imported(file: Path, source: bytes, above: list[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the files next to a file that each of its imports runs, and the folder that their name begins in."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # running the file reports it
    for node in ast.walk(tree):
        imports: list[tuple[list[str], list[str]]] = []
        folders = above
        if isinstance(node, ast.Import):
            imports = [(alias.name.split("."), []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            imports = [(node.module.split(".") if node.module else [], names)]
            folders = [file.parents[node.level - 1]] if 0 < node.level <= len(file.parents) else above
        for parts, names in imports:
            if folders is not above or parts[0] not in _INSTALLED:
                found = ((each, files) for each in folders if (files := _files(each, parts, names)))
                yield from itertools.islice(found, 1)


def _files(folder: Path, parts: list[str], names: list[str]) -> list[Path]:
    """Return the files that `from folder.parts import names` runs: packages above it, the module, and submodules."""
    wanted = [folder.joinpath(*parts[:n]) for n in range(1 if parts else 0, len(parts) + 1)]
    wanted += [wanted[-1] / name for name in names]
    return [file for each in wanted for file in _module(each)]


def _module(path: Path) -> Iterator[Path]:
    """Yield the file of a module or package."""
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py") if path.name else ()
    yield from [file for file in candidates if file.is_file()][-1:]
