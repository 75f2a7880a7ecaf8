"""Files of the package, and the error where one of them is missing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from imc_sim._errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]
#: what to do where a file of the package is missing
REINSTALL = (
    "Install the package again, unpacked: pip install --force-reinstall --no-deps imc-sim. In a checkout, restore the "
    "file."
)
#: folders of content, in a wheel in imc_sim/_shipped and in a checkout next to the package
_CONTENT = ("models", "device_configs", "studies", "studies/trainings", "studies/queues")
_OWN = ("plotting/style.mplstyle", "report/style.css", "report/sort.js")


def package_file(name: str) -> Path:
    """Locate a file of the package.

    Args:
        name: path within the package, such as plotting/style.mplstyle.

    Returns:
        The path of the file.

    Raises:
        InputError: the installation lacks it.
    """
    path = _PACKAGE / name
    if not path.is_file():
        raise incomplete(path)
    return path


def shipped(folder: str) -> Path:
    """Return where the shipped content of a kind is: in the package of a wheel, next to the package in a checkout."""
    checkout = _PACKAGE.parent / folder
    return checkout if (_PACKAGE.parent / "pyproject.toml").is_file() else _PACKAGE / "_shipped" / folder


def is_shipped(path: Path) -> bool:
    """Tell whether a path is in the shipped content.

    Args:
        path: a path.

    Returns:
        True if it is.
    """
    return any(path.resolve().is_relative_to(shipped(folder)) for folder in _CONTENT)


def incomplete(path: Path) -> InputError:
    """Return the error that names what is missing of the package."""
    archive = next((parent for parent in path.parents if parent.is_file()), None)
    got = f"no {path}" if archive is None else f"{path} in an archive, {archive.name}"
    return InputError("installation of imc_sim", got, "all files of the package, in a folder", REINSTALL)


def missing_files() -> list[Path]:
    """Return what the installation lacks: its own files, folders of content, and what pip has recorded of it."""
    wanted = [_PACKAGE / name for name in _OWN] + [shipped(folder) for folder in _CONTENT]
    return [path for path in dict.fromkeys([*wanted, *_recorded()]) if not path.exists()]


def _recorded() -> list[Path]:
    """Return the files of the package that pip installed; none of a checkout."""
    try:
        found = importlib.metadata.distribution("imc-sim")
        files = [Path(str(found.locate_file(file))).resolve() for file in found.files or ()]
    except (importlib.metadata.PackageNotFoundError, OSError):
        return []
    return [path for path in files if path.is_relative_to(_PACKAGE) and path.suffix != ".pyc"]
