"""Copies of the user's files in a results folder: functions with the files that they import, and measured arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from imc_sim._errors import InputError
from imc_sim._files import file_sha256, read_file, write_inside
from imc_sim.config import function_code, is_code, is_held, user_path
from imc_sim.study._spec import Study
from imc_sim.study._user_files import with_files

#: folder of the copies within a results folder
_FOLDER = "files"
#: size in bytes above which a file of data is not copied
_LARGE = 100 * 10**6


@final
@dataclass
class KeptFiles:
    """The files of the user that a study names, and their places in its results folder.

    Attributes:
        names: normal form of a name in the study -> name in the results folder.
        sources: place in the results folder -> file.
    """

    names: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    _folders: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study) -> KeptFiles:
        """Return the files of a study that exist: only skipped points may name others.

        Args:
            study: the study.
        """
        found, named = cls(), []
        with_files(study, lambda name: named.append(name) or name)
        names = list(dict.fromkeys(_normal(name) for name in named if not is_held(name)))
        for name in sorted(names, key=lambda name: not is_code(name)):  # data next to code is copied next to it
            found._add(name)
        return found

    def renamed(self, study: Study) -> Study:
        """Return the study with the names of the copies.

        Args:
            study: the study.
        """
        return with_files(study, lambda name: name if is_held(name) else self.names.get(_normal(name), name))

    def part(self, name: str) -> str:
        """Return the name of a part of the data, such as `./data.py:make test`, with the name of the copy.

        Args:
            name: name of a data set, and of its split.
        """
        data, _, split = name.rpartition(" ")
        return f"{self.names[data]} {split}" if data in self.names else name

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every copy by its place."""
        return {place: file_sha256(source) for place, source in self.sources.items()}

    def write(self, folder: Path) -> None:
        """Copy the files into a results folder.

        Args:
            folder: the results folder.
        """
        for place, source in self.sources.items():
            write_inside(folder, place, read_file(source))

    def _add(self, name: str) -> None:
        """Add the file of a name, or the files of a function."""
        if is_code(name):
            try:
                code = function_code(name, "study")
            except InputError:
                return
            folder = self._folder(Path(code.entry).stem, code.root)
            self.sources |= {f"{folder}/{file}": code.root / file for file in code.files}
            self.names[name] = f"{folder}/{code.entry}:{code.name}"
            return
        path = Path(name)
        if not path.is_file() or path.stat().st_size > _LARGE:
            return
        home = next((each for each, root in self._folders.items() if path.is_relative_to(root)), None)
        place = f"./{_FOLDER}/{path.name}" if home is None else f"{home}/{path.relative_to(self._folders[home])}"
        while self.sources.setdefault(place, path) != path:
            place = f"./{_FOLDER}/{len(self.sources)}-{path.name}"
        self.names[name] = place

    def _folder(self, stem: str, root: Path) -> str:
        """Return the folder for code below `root`."""
        number, place = 1, f"./{_FOLDER}/{stem}"
        while self._folders.setdefault(place, root) != root:
            number += 1
            place = f"./{_FOLDER}/{stem}-{number}"
        return place


def _normal(name: str) -> str:
    """Return the name of a file or function with its absolute path."""
    return str(user_path(name, "study").absolute())
