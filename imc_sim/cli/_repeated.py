"""Print again what a finished run printed, while all that it read and wrote is as it left it.

Importing the simulator and drawing take seconds; comparing the facts of some hundred files takes milliseconds. A run
notes which files it opens, which folders it lists and which data it relies on (audit events), and keeps their facts
with its text in the user's cache folder. The note is used only if every fact is the same, and nothing is noted that a
repetition could change: failed trials, warnings, code of the user, files younger than two seconds before the run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, final

from imc_sim._files import DEPENDS, make_folder, read_file, write_file
from imc_sim.config import search_folders, user_cache

#: size, inode, and times (ns) of the last change of content and of inode; None: there is no such file
_Facts = list[int] | None
#: in place of the facts of a file that the run itself writes, such as decoded images: they are taken at its end
_MADE: list[int] = []
#: age in ns below which a file can change again and keep the same time of its last change
_OLD_NS = 2 * 10**9
#: notes that are kept, and files of a results folder or of its input that a note may list
_MOST_NOTES, _MOST_FILES = 100, 5_000
_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple({  # a path can name an environment by a symbolic link
    f"{form}{os.sep}" for place in map(Path, (sys.prefix, sys.base_prefix, _PACKAGE))
    for form in (place.absolute(), place.resolve())
})  # fmt: skip
_NO_FILES = ("/proc/", "/dev/", "/sys/")
_CODE = (".py", ".pyc")
_EVENTS = {"open", "os.listdir", "os.scandir", "os.rename", DEPENDS}
_PATHS = (str, bytes, os.PathLike)
_KINDS = ("model", "chip", "study")

#: paths of the run that is being noted, with their facts when they were read
_read: dict[str, _Facts] | None = None


def kept_output(request: Sequence[object]) -> str | None:
    """Return what a run with this request printed if a repetition would print the same, or None.

    Args:
        request: the options of the command that its result depends on.
    """
    try:
        first, _, content = read_file(_note_of(request)).partition(b"\n")
        note = json.loads(content) if hashlib.sha256(content).hexdigest().encode() == first else None
    except (OSError, ValueError):
        return None
    if note is None or note["code"] != _code() or note["searched"] != _searched():
        return None
    return note["text"] if all(_facts(path) == facts for path, facts in note["files"].items()) else None


@contextlib.contextmanager
def keeping_output(request: Sequence[object]) -> Iterator[Callable[[Path], None]]:
    """Note what the run in this context reads and prints; the function that it yields keeps the note.

    Call the function at the end with the results folder, if a repetition need not do anything.
    """
    global _read
    began, stdout, said, shown = time.time_ns(), sys.stdout, list[str](), warnings.showwarning
    copy = _Copy(stdout)

    def show(message: Warning | str, *rest: Any) -> None:
        said.append(str(message))
        shown(message, *rest)

    def keep(folder: Path) -> None:
        """Keep the note, unless a repetition could print something else."""
        found, home = _read, f"{folder.absolute()}{os.sep}"
        if found is None or said:
            return
        read = {path: facts for path, facts in found.items() if not f"{path}{os.sep}".startswith(home)}
        too_young = any(facts and facts[-1] > began - _OLD_NS for facts in read.values())
        written = [str(path) for path in folder.absolute().rglob("*") if path.is_file() and path.name != ".lock"]
        if too_young or len(read) + len(written) > _MOST_FILES or any(path.endswith(_CODE) for path in read):
            return
        files = {path: _facts(path) if facts == _MADE else facts for path, facts in read.items()}
        files |= {path: _facts(path) for path in written}
        _keep(request, {"text": copy.text(), "code": _code(), "searched": _searched(), "files": files})

    _listen()
    _read, sys.stdout, warnings.showwarning = {}, copy, show
    try:
        yield keep
    finally:
        _read, sys.stdout, warnings.showwarning = None, stdout, shown


@final
class _Copy:
    """A text stream that remembers what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._parts = stream, list[str]()

    def write(self, text: str) -> int:
        self._parts.append(text)
        return self._stream.write(text)

    def text(self) -> str:
        return "".join(self._parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@functools.cache
def _listen() -> None:
    """Note the paths of audit events while a run is being noted; a hook stays for the life of the process."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        """Note the facts of a file or folder when it is first read."""
        if _read is None or event not in _EVENTS or not isinstance(args[event == "os.rename"], _PATHS):
            return
        path = str(Path(os.fsdecode(args[event == "os.rename"])).absolute())
        if path.startswith((*_NO_FILES, *_LIBRARIES)) or (event == "open" and Path(path).is_dir()):
            return  # a folder is opened only to sync it
        if event == "os.listdir" and Path(path) in (Path(place).absolute() for place in sys.path):
            return  # imports list the working folder
        if event == "os.rename" or (event == "open" and _writes(*args[1:])):
            _read[path] = _MADE
        elif path not in _read:
            _read[path] = _facts(path)

    sys.addaudithook(hook)


def _writes(mode: str | None, flags: int) -> bool:
    return bool(set("wax+") & set(mode)) if mode else flags & os.O_ACCMODE != os.O_RDONLY


def _facts(path: str) -> _Facts:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def _code() -> str:
    """Return a digest of the facts of all files of the package, and of the names and versions of what is installed."""
    folders = [(folder, names) for folder, _, names in os.walk(_PACKAGE) if not folder.endswith("__pycache__")]
    files = sorted(f"{folder}/{name}" for folder, names in folders for name in names)
    libraries = [sorted(each.name for each in Path(place).glob("*-info")) for place in sys.path]
    facts = [(file, _facts(file)) for file in files]
    return hashlib.sha256(repr((sys.version, libraries, facts)).encode()).hexdigest()


def _searched() -> dict[str, _Facts]:
    """Return the facts of the folders in which content of the user is searched by name, and of those below them.

    A new file changes those of its folder, so that content which comes to shadow what was used is noticed.
    """
    found: dict[str, _Facts] = {}
    for place in (place for kind in _KINDS for place in search_folders(kind)[:-1]):
        found |= {folder: _facts(folder) for folder, _, _ in os.walk(place)} or {str(place): None}
    return found


def _note_of(request: Sequence[object]) -> Path:
    """Return the file of the note of a request in this working directory and environment."""
    ours = sorted(pair for pair in os.environ.items() if pair[0].startswith(("IMC_SIM_", "XDG_", "HOME")))
    key = hashlib.sha256(repr((str(Path.cwd()), [str(each) for each in request], ours)).encode()).hexdigest()
    return user_cache() / "finished" / f"{key[:32]}.json"


def _keep(request: Sequence[object], note: dict[str, Any]) -> None:
    """Write a note, and remove the oldest ones; without a cache folder nothing is kept."""
    content = json.dumps(note, indent=0).encode()
    with contextlib.suppress(OSError):
        path = _note_of(request)
        make_folder(path.parent)
        write_file(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        for old in sorted(path.parent.glob("*.json"), key=lambda each: each.stat().st_mtime_ns)[:-_MOST_NOTES]:
            old.unlink(missing_ok=True)
