"""Writing a folder all or nothing."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (name -> content) into `folder` so that no reader ever sees half a file.

    A folder that does not exist appears in one step. In one that does, the files are replaced one by one in
    the order given, so what vouches for the others comes last. On an error nothing is left behind.
    An OSError without a file name (a full disk) gets the one that was being written.
    """
    missing = [p for p in (folder.parent, *folder.parent.parents) if not p.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    try:
        for name, content in files.items():
            _write(draft / name, content, folder / name)
        if not folder.exists():
            draft.rename(folder)
            return
        for name in files:
            (draft / name).replace(folder / name)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in missing:
            _remove_empty(parent)
        raise
    shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, content: bytes, named: Path) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(named)) from error


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
