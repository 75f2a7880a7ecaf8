"""Writing a folder all or nothing."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from imc_sim._files import sync_folder, write_new


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
        sync_folder(draft)
        if not folder.exists():
            draft.rename(folder)
            for each in (folder, *missing):
                sync_folder(each.parent)
            return
        for name in files:
            (draft / name).replace(folder / name)
            sync_folder(folder)  # one by one: what vouches for the others must not reach the disk before them
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in missing:
            _remove_empty(parent)
        raise
    shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, content: bytes, named: Path) -> None:
    try:
        write_new(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(named)) from error


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
