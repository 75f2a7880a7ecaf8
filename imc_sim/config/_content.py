"""Shipped and own content by name: models, chips, studies, trainings that are compared, and training queues.

Looked up in this order: an explicit path, `./<folder>`, each entry of `$IMC_SIM_PATH`, the shipped copy.
"""

from __future__ import annotations

import copy
import functools
import os
import shlex
from pathlib import Path
from typing import Any, Literal

from imc_sim._errors import InputError, nearest
from imc_sim.config._installation import incomplete, missing_files, shipped
from imc_sim.config._yaml import parse_yaml, read_yaml

Kind = Literal["model", "chip", "study", "training", "queue"]
_FOLDERS: dict[Kind, str] = {
    "model": "models", "chip": "device_configs", "study": "studies", "training": "studies/trainings",
    "queue": "studies/queues",
}  # fmt: skip


def search_folders(kind: Kind) -> list[Path]:
    """Folders that hold content of this kind, first match wins."""
    folder = _FOLDERS[kind]
    own = [user_path(p, "IMC_SIM_PATH") / folder for p in os.environ.get("IMC_SIM_PATH", "").split(os.pathsep) if p]
    return [working_folder() / folder, *own, shipped(folder)]


def shipped_content(kind: Kind, name: str) -> Path | None:
    """Return the file of the shipped model, chip or study of that name, whatever a user has by the same name."""
    return _named(shipped(_FOLDERS[kind]), kind, name)


def user_path(text: str | os.PathLike[str], where: str) -> Path:
    """Expand `~` in a path that a user has written; `where` names its source in errors."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        step = "Write the path in full, or set HOME."
        raise InputError(where, f"{str(text)!r} ({error})", "a path whose home folder is known", step) from error


def working_folder() -> Path:
    """The working directory, or an InputError if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        step = "Change to a folder that exists, such as with `cd ~`."
        raise InputError("working directory", "a folder that was deleted", "a folder that exists", step) from error


def content_names(kind: Kind) -> list[str]:
    """Every name that `find_content` resolves, sorted."""
    if kind == "model":
        return sorted({p.parent.name for f in search_folders(kind) for p in f.glob("*/model.yaml")})
    return sorted({p.stem for f in search_folders(kind) for p in f.glob("*.yaml")})


def find_content(kind: Kind, name: str | os.PathLike[str]) -> Path:
    """The YAML file of a model, chip, study, comparison of trainings or training queue, by path or by name."""
    explicit = _explicit(kind, user_path(name, kind))
    if explicit is not None:
        return explicit
    for folder in search_folders(kind):
        path = _named(folder, kind, str(name))
        if path is not None:
            return path
    home = shipped(_FOLDERS[kind])
    lost = next((p for p in missing_files() if p == home or p == _place(home, kind, str(name))), None)
    if lost is not None:
        raise incomplete(lost)
    known = content_names(kind)
    card = Path(name).name
    if kind == "model" and card != str(name) and card in known:
        step = f"Train it there: imc-sim train {shlex.quote(card)} --out {shlex.quote(str(name))}"
        raise InputError(kind, repr(str(name)), "the folder of a trained model", step)
    listed = {"study": "studies", "training": "sweeps"}.get(kind, f"{kind}s")
    step = f"{nearest(str(name), known)}See `imc-sim list {listed}`, or give a path."
    raise InputError(kind, repr(str(name)), ", ".join(known) or "nothing is installed", step)


def read_content(kind: Kind, name: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """Return the YAML file of a model, chip, study, … and what it holds, parsed again once it changes."""
    path = find_content(kind, name)
    try:
        content = path.read_bytes()
    except OSError:
        return path, read_yaml(path)  # which says what is wrong
    return path, copy.deepcopy(_parsed(path, content))


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        return parse_yaml(content.decode(), str(path))
    except UnicodeDecodeError:
        return read_yaml(path)  # which says what is wrong


def _named(folder: Path, kind: Kind, name: str) -> Path | None:
    path = _place(folder, kind, name)
    return path if path.is_file() else None


def _place(folder: Path, kind: Kind, name: str) -> Path:
    """Return where content of that kind and name is in a folder, whether it is there or not."""
    return folder / name / "model.yaml" if kind == "model" else folder / f"{name}.yaml"


def _explicit(kind: Kind, path: Path) -> Path | None:
    if kind == "model" and (path / "model.yaml").is_file():
        return path / "model.yaml"
    return path if path.suffix in {".yaml", ".yml"} and path.is_file() else None
