"""Shipped content and content of the user by name: models, chips, studies, training sweeps and queues.

Searched in this order: an explicit path, `./<folder>`, each entry of `$IMC_SIM_PATH`, the shipped copy. A model is a
folder with a card, or a row of a family's file (see docs/models.md).
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from imc_sim._errors import InputError, ShadowedNameWarning, nearest
from imc_sim._quantities import type_of
from imc_sim.config._families import FAMILY, copied, family_card, family_files, family_origin, read_family
from imc_sim.config._held import held, is_held
from imc_sim.config._installation import incomplete, missing_files, shipped
from imc_sim.config._not_a_model import not_a_model
from imc_sim.config._once import once
from imc_sim.config._origin import Origin
from imc_sim.config._yaml import held_yaml

FileKind = Literal["chip", "study", "training", "queue"]
Kind = Literal["model"] | FileKind
CARD = "model.yaml"
_MOST_NAMES = 20  # that an error lists
_LONGEST = 255  # bytes of the name of a file
_MEASUREMENTS = {".npz", ".npy", ".mat", ".csv", ".txt", ".tsv", ".gz", ".xlsx"}  # what laboratories write
#: home folder of a user who has none, by the convention of Debian: it holds no files and cannot be created
_NO_HOME = Path("/nonexistent")
_FOLDERS: dict[Kind, str] = {
    "model": "models", "chip": "device_configs", "study": "studies", "training": "studies/trainings",
    "queue": "studies/queues",
}  # fmt: skip


class FoundCard(NamedTuple):
    """The card of a model.

    Attributes:
        data: the content of the card.
        place: its file; for a model of a family FAMILY/NAME/model.yaml, which need not exist.
        where: the source that errors name.
        origin: the places of its values.
    """

    data: dict[str, Any]
    place: Path
    where: str
    origin: Origin = Origin()

    @property
    def folder(self) -> Path:
        """Return the folder that paths of weights and code are relative to; it need not exist."""
        return self.place.parent


def search_folders(kind: Kind) -> list[Path]:
    """List the folders that are searched for content.

    Args:
        kind: kind of content.

    Returns:
        The folders in order of precedence.
    """
    folder = _FOLDERS[kind]
    own = [user_path(p, "IMC_SIM_PATH") / folder for p in os.environ.get("IMC_SIM_PATH", "").split(os.pathsep) if p]
    return [working_folder() / folder, *own, shipped(folder)]


def shipped_content(kind: Kind, name: str) -> Path | None:
    """Find shipped content, even where the user has content of the same name.

    Args:
        kind: kind of content.
        name: its name.

    Returns:
        Its place, or None.
    """
    home = shipped(_FOLDERS[kind])
    if kind == "model":
        found = _card_in(home, name)
        return None if found is None else found.place
    return _named(home, name)


def warn_if_shadowed(kind: Kind, name: str | os.PathLike[str], place: Path) -> None:
    """Warn if a name means shipped content elsewhere, but the user's content here.

    Args:
        kind: kind of content.
        name: name or path by which it was found.
        place: its file.
    """
    home = shipped_content(kind, str(name)) if Path(name).name == str(name) else None
    if home is not None and home.resolve() != place.resolve():
        text = f"{kind} {str(name)!r} is {place}, not the shipped {kind} of that name"
        warnings.warn(text, ShadowedNameWarning, stacklevel=3)


def user_path(text: str | os.PathLike[str], where: str) -> Path:
    """Expand `~` in a path.

    Args:
        text: the path as the user wrote it.
        where: its source for errors.

    Returns:
        The path.

    Raises:
        InputError: it is no text or path, the home folder is unknown, or no file can have such a path.
    """
    if not isinstance(text, str | os.PathLike):
        raise InputError(where, type_of(text), "a name or a path", "Give its name or path.")
    if any(len(part.encode(errors="replace")) > _LONGEST for part in str(text).split("/")) or "\0" in str(text):
        step = "Check the path."
        raise InputError(where, f"{str(text)[:40]!r}, of {len(str(text))} characters", "a path that can exist", step)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        step = "Write the path in full, or set HOME."
        raise InputError(where, f"{str(text)!r} ({error})", "a path whose home folder is known", step) from error


def user_cache() -> Path:
    """Return the user's cache folder of imc_sim, below `$XDG_CACHE_HOME` or `~/.cache`; it need not exist."""
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (user_path(xdg, "XDG_CACHE_HOME") if xdg else _home() / ".cache") / "imc_sim"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and a user without an entry, as in a container that was started with --user
        return _NO_HOME


def working_folder() -> Path:
    """Return the working directory.

    Returns:
        Its path.

    Raises:
        InputError: it was deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        step = "Change to a folder that exists, such as with `cd ~`."
        raise InputError("working directory", "a folder that was deleted", "a folder that exists", step) from error


def run_folder(model: str) -> Path:
    """Return the folder below ./runs where a model is trained that is given by name or path.

    Args:
        model: name or path; of a path, the last part counts, so that the folder is never elsewhere.
    """
    return Path("runs") / Path(os.path.normpath(Path(model).absolute())).name


def content_names(kind: Kind) -> list[str]:
    """List every name that `find_card` or `find_content` resolves.

    Args:
        kind: kind of content.

    Returns:
        The names, sorted.
    """
    folders = search_folders(kind)
    if kind != "model":
        return sorted({p.stem for f in folders for p in f.glob("*.yaml")})
    own = {p.name for f in folders for p in f.glob("*") if os.path.lexists(p / CARD)}
    return sorted(own.union(*map(_models_of, _families())))


def family_summaries() -> dict[str, tuple[str, list[str]]]:
    """Return the summary and the models of each family that can be read, by its name."""
    found: dict[str, tuple[str, list[str]]] = {}
    for file in _families():
        names = _models_of(file)
        if names and file.parent.name not in found:
            found[file.parent.name] = (str(read_family(file).get("summary", "")), names)
    return found


def unreadable_families() -> list[tuple[str, InputError]]:
    """Return the families that cannot be read, and why."""
    found = []
    for file in _families():
        try:
            read_family(file)
        except InputError as error:
            found.append((file.parent.name, error))
    return found


def find_content(kind: FileKind, name: str | os.PathLike[str]) -> Path:
    """Find the YAML file of a study, training sweep or training queue, or the YAML or .npz file of a chip.

    Args:
        kind: kind of content.
        name: a path or a name.

    Returns:
        The file.

    Raises:
        InputError: there is none.
    """
    path = user_path(name, kind)
    if path.suffix in {".yaml", ".yml", *([".npz"] if kind == "chip" else [])} and path.is_file():
        return path
    for folder in search_folders(kind):
        found = _named(folder, str(name))
        if found is not None:
            return found
    home = shipped(_FOLDERS[kind])
    raise _not_found(kind, name, lambda p: p in (home, home / f"{name}.yaml"))


def find_card(name: str | os.PathLike[str]) -> FoundCard:
    """Find the card of a model. A folder with a card takes precedence over a family that lists the name.

    Args:
        name: path of a folder or file, or a name.

    Returns:
        The card.

    Raises:
        InputError: there is none, or its file cannot be read.
    """
    if is_held(str(name)):
        data = {"name": name, "weights": {"sha256": held(str(name)).sha256}, "arch": {"name": name, "args": {}}}
        return FoundCard(data, Path(str(name)) / CARD, f"network {name}")
    found = once("card", str(name), lambda: _found_card(name))
    return found._replace(data=copied(found.data))


def _found_card(name: str | os.PathLike[str]) -> FoundCard:
    """Return the card that `find_card` copies."""
    path = user_path(name, "model")
    found = _card_at(path)
    for folder in search_folders("model") if found is None else ():
        found = found or _card_in(folder, str(name))
    if found is not None:
        return found
    home = shipped(_FOLDERS["model"])
    lost = (home, home / name / CARD)
    raise _not_found(
        "model", name, lambda p: p in lost or (p.name == FAMILY and path.name.startswith(f"{p.parent.name}_"))
    )


def beside(folder: Path, file: str | os.PathLike[str], where: str = "model") -> Path:
    """Locate a file that a card names.

    Args:
        folder: the folder of the model, which need not exist.
        file: path relative to it.
        where: source for errors.

    Returns:
        The path of the file.
    """
    path = folder / user_path(file, where)
    return path if folder.is_dir() else Path(os.path.normpath(path))


def _card_at(path: Path) -> FoundCard | None:
    """Return the card at a path: a folder, a file, or where a family's model would have them."""
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        if path.name == FAMILY:
            step = "Give the name of one of them."
            raise InputError("model", f"{str(path)!r}, a family", ", ".join(read_family(path)["models"]), step)
        return _own(path)
    folder = path.parent if path.name == CARD else path
    if (folder / CARD).is_file():
        return _own(folder / CARD)
    if len(folder.parts) < 2:
        return None  # a plain name, which is looked up
    file = folder.parent / FAMILY
    found = _listed(file, folder.name) if file.is_file() else None
    return found or _card_in(folder.parent, folder.name)


def _own(file: Path) -> FoundCard:
    return FoundCard(copied(held_yaml(file)), file, str(file), Origin.of(file))


def _card_in(folder: Path, name: str) -> FoundCard | None:
    """Return the card by that name in a folder of models."""
    place = folder / name / CARD
    if place.is_file():
        return _own(place)
    found = [card for file in family_files(folder, name) if (card := _listed(file, name)) is not None]
    if len(found) > 1:
        step = "Remove it from one of them."
        raise InputError(f"model {name!r}", " and ".join(card.where for card in found), "one family", step)
    return found[0] if found else None


def _listed(file: Path, name: str) -> FoundCard | None:
    """Return the card of a model that a family lists; a card in the model's folder replaces it."""
    if name not in read_family(file)["models"]:
        return None
    place = file.parent / name / CARD
    if place.is_file():
        return _own(place)
    return FoundCard(family_card(file, name), place, f"{file}, models.{name}", family_origin(file, name))


def _families() -> list[Path]:
    return [file for folder in search_folders("model") for file in family_files(folder)]


def _models_of(file: Path) -> list[str]:
    """Return the names that a family lists; none of one that cannot be read, which must not hide the others."""
    try:
        return list(read_family(file)["models"])
    except InputError:
        return []


def _not_found(kind: Kind, name: str | os.PathLike[str], is_wanted: Callable[[Path], bool]) -> InputError:
    """Return the error that names missing files of the installation, or the known names."""
    lost = next(filter(is_wanted, missing_files()), None)
    if lost is not None:
        return incomplete(lost)
    if (other := _no_file(kind, name)) is not None:
        return other
    known = content_names(kind)
    card = Path(name).name
    if kind == "model" and card != str(name) and card in known:
        step = f"Train it there: imc-sim train {shlex.quote(card)} --out {shlex.quote(str(name))}"
        return InputError(kind, repr(str(name)), "the folder of a trained model", step)
    if kind == "chip" and Path(name).suffix in _MEASUREMENTS:
        if not user_path(name, kind).is_file():
            step = "Check the path."
            return InputError(kind, f"no file {str(name)!r}", "a name, a YAML file, or an .npz file of a map", step)
        fit = f"imc-sim device fit {shlex.quote(str(name))} --into chip.yaml"
        step = f"Fit a chip: {fit}. Or save the cells with conductance_S and target_S to an .npz file, which is a chip."
        return InputError(kind, f"{str(name)!r}, a file of measurements", "a chip file (YAML)", step)
    if kind == "model" and (other := not_a_model(str(name))) is not None:
        return other
    listed = {"study": "studies", "training": "sweeps"}.get(kind, f"{kind}s")
    if kind != "model" and Path(name).suffix.lower() in {".yaml", ".yml"}:
        step = f"{nearest(Path(name).stem, known)}Check the path, or see `imc-sim list {listed}`."
        return InputError(kind, f"no file {str(name)!r}", f"a YAML file, or one of {len(known)} {listed}", step)
    step = f"{nearest(card, known)}See `imc-sim list {listed}`, or give a path."
    return InputError(kind, repr(str(name)), _allowed_names(known, listed), step)


def _no_file(kind: Kind, name: str | os.PathLike[str]) -> InputError | None:
    """Return the error for something that has the name of the file but is none, such as a folder; None for no such."""
    path, folders = user_path(name, kind), search_folders(kind)
    if kind == "model":
        places = [path / CARD, *(folder / name / CARD for folder in folders)]
    else:
        places = [folder / f"{name}.yaml" for folder in folders]
    if path.suffix in {".yaml", ".yml"} or not path.is_dir():
        places.insert(0, path)
    place = next((each for each in places if os.path.lexists(each) and not each.is_file()), None)
    if place is None:
        return None
    other = "a pipe, socket or device" if place.exists() else "a link that leads nowhere"
    got = "a folder" if place.is_dir() else other
    return InputError(str(place), got, f"the file of a {kind}", "Rename or remove it, or give another name or path.")


def _allowed_names(known: list[str], listed: str) -> str:
    """Return the names for an error; of many, only how many there are, so that the error stays one short line."""
    if len(known) > _MOST_NAMES:
        return f"one of {len(known)} {listed}"
    return ", ".join(known) or "nothing is installed"


def _named(folder: Path, name: str) -> Path | None:
    path = folder / f"{name}.yaml"
    return path if path.is_file() else None
