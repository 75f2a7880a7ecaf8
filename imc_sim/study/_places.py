"""Locate the models and chips that a study names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

from pydantic import Field

from imc_sim._errors import InputError
from imc_sim._files import file_sha256
from imc_sim.config import Spec, find_card, find_content, shipped_content

Kind = Literal["model", "chip"]
SHIPPED = "shipped:"
FOLDERS: dict[Kind, str] = {"model": "models", "chip": "device_configs"}
_COPY = "Copy the results folder as a whole, with its models/, device_configs/ and files/."


@final
class Content(Spec):
    """Places of the models and chips that a study names: `shipped:NAME`, or a path relative to the study file.

    `files` are copies of the user's files, whose content must not change.

    A run writes the places to study.resolved.yaml, so that the results folder can be run again from any working
    directory. Names that are not listed are looked up as usual.
    """

    model: dict[str, str] = Field(default_factory=dict, description="name in the study -> place of the model")
    chip: dict[str, str] = Field(default_factory=dict, description="name in the study -> place of the chip")
    files: dict[str, str] = Field(default_factory=dict, description="place of a copied file -> its SHA-256")

    def relative_to(self, folder: Path) -> Content:
        """Return the places with absolute paths, given the folder that they are relative to."""
        places = {kind: {n: _absolute(p, folder) for n, p in getattr(self, kind).items()} for kind in FOLDERS}
        return Content(**places, files={_absolute(place, folder): sha for place, sha in self.files.items()})

    def check_files(self) -> None:
        """Check that the copied files are those of the run; where one is missing, what needs it says so.

        Raises:
            InputError: a file has another content.
        """
        for place, expected in self.files.items():
            path = Path(place)
            if path.is_file() and (found := file_sha256(path)) != expected:
                step = f"{_COPY} To run other code or data, write a study file that names them."
                raise InputError(
                    f"content.files, {place!r}", f"content {found[:12]}", f"that of the run, {expected[:12]}", step
                )

    def locate(self, kind: Kind, name: str) -> str:
        """Return the name or path that finds a model or chip of the study on this machine."""
        place: str | None = getattr(self, kind).get(name)
        if place is None:
            return name
        where = f"content.{kind}.{name}"
        if place.startswith(SHIPPED):
            return _shipped(kind, place.removeprefix(SHIPPED), where)
        if not (Path(place) / "model.yaml" if kind == "model" else Path(place)).is_file():
            raise InputError(where, f"nothing at {place!r}", f"the {kind} that the run kept there", _COPY)
        return place

    def names(self, kind: Kind) -> dict[str, str]:
        """Return the names in the study by the result of `locate`."""
        return {self.locate(kind, name): name for name in getattr(self, kind)}


def _absolute(place: str, folder: Path) -> str:
    return place if place.startswith(SHIPPED) else str((folder / place).absolute())


def _shipped(kind: Kind, name: str, where: str) -> str:
    """Return the name of shipped content, or its path if the name finds other content on this machine."""
    shipped = shipped_content(kind, name)
    if shipped is None:
        step = "Install the version of imc_sim that computed the results (see their report)."
        raise InputError(where, f"no {kind} {name!r} in this version", f"a shipped {kind}", step)
    return name if place_of(kind, name).resolve() == shipped.resolve() else str(shipped)


def place_of(kind: Kind, name: str) -> Path:
    """Return the file of a chip, or the card of a model, of that name or path."""
    return find_card(name).place if kind == "model" else find_content(kind, name)
