"""The results folder of a study, and checks that it belongs to the study that is to run."""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from imc_sim._errors import ResultsError
from imc_sim._files import refuse_link
from imc_sim.config import Origin, copied, digest, parse_yaml, read_text, write_yaml
from imc_sim.data import foreign_digests
from imc_sim.runs import MISSING, FolderKind, Row, RowStore, read_rows
from imc_sim.study._costs_file import cost_store_kind, has_costs
from imc_sim.study._point import SCHEMA
from imc_sim.study._points import place_keys
from imc_sim.study._stored_study import check_stored
from imc_sim.study._trials_file import PAYLOAD, STUDY, TRIALS, as_table, rules_of

#: rows whose results are hashed at a time
_BLOCK = 2**14


@final
class ResultStore(RowStore):
    """The results folder of one study, open for writing. Use it as a context manager.

    Args:
        folder: results folder, created if it does not exist.
        resolved: content of study.resolved.yaml; see `imc_sim.study.resolved`.
    """

    def __init__(self, folder: Path, resolved: dict[str, Any]) -> None:
        admit = lambda folder: check_folder(folder, resolved)  # noqa: E731
        content = functools.partial(_content, folder / STUDY, resolved)
        kind = FolderKind("trials", STUDY, TRIALS, content, rules_of(resolved), admit)
        super().__init__(folder, kind)
        self.costs = RowStore(folder, cost_store_kind()) if has_costs(resolved) else None

    def __enter__(self) -> Self:
        super().__enter__()
        if self.costs is not None:
            self.costs.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if self.costs is not None:
                self.costs.__exit__(kind, *error)
        finally:
            super().__exit__(kind, *error)

    def protect(self) -> None:
        if self.costs is not None:
            self.costs.protect()
        super().protect()

    def close(self) -> None:
        if self.costs is not None:
            self.costs.close()
        super().close()


def results_digest(rows: Mapping[str, Row]) -> str:
    """Return the SHA-256 of the results of all finished trials, independent of their order, time and machine."""
    table = as_table(rows)
    table = table.select(table.has("state", "done"))
    ids, correct, total = (table.column(name) for name in ("id", "correct", "total"))
    order, found, before = np.argsort(ids, kind="stable"), hashlib.sha256(b"["), b""
    for start in range(0, len(order), _BLOCK):
        some = order[start : start + _BLOCK]
        hits = list(zip(correct[some].tolist(), total[some].tolist(), strict=True))
        ends = {pair: b'", "done", %d, %d]' % pair for pair in set(hits) if pair[0] != MISSING}
        texts = [
            b'["' + i + ends[pair] if pair in ends else _scores(table.at(number)).encode()
            for number, i, pair in zip(some.tolist(), ids[some].tolist(), hits, strict=True)
        ]
        found.update(before + b", ".join(texts))
        before = b", "
    found.update(b"]")
    return found.hexdigest()


def _scores(row: Row) -> str:
    """Return the result of a trial of a function as JSON."""
    return json.dumps([row["id"], *(row[key] for key in PAYLOAD if key in row)], sort_keys=True)


def _no_results(folder: Path) -> ResultsError:
    """Return the error for a folder without results, which says what the folder is."""
    got, step = f"no {STUDY}", "Name the folder that `imc-sim run` wrote."
    if (folder / "model.yaml").is_file():
        got, step = "a model folder", f"Evaluate it: imc-sim evaluate {shlex.quote(str(folder))}"
    elif (folder / "training.jsonl").is_file():
        got = "a training run that has not ended"
        step = "Its training.jsonl and training.png show the progress; imc-sim train --resume continues it."
    elif (folder / "family.yaml").is_file():
        got, step = "a family of models", f"List its models: imc-sim list models {shlex.quote(folder.resolve().name)}"
    elif not folder.exists():
        got = "no such folder"
    return ResultsError(str(folder), got, "a results folder", step)


def read_study(folder: Path) -> dict[str, Any]:
    """Read the resolved study of a results folder.

    Raises:
        InputError: a value has another type than those that runs write.
        ResultsError: the folder holds no results, results of a newer version, or points that do not fit their digest.
    """
    path = folder / STUDY
    if not path.is_file():
        raise _no_results(folder)
    with Origin.of(path).naming():
        return copied(_checked(path, read_text(path)))


def _content(path: Path, resolved: dict[str, Any]) -> str:
    """Return the content of study.resolved.yaml, unchanged where it says the same: many points take long to write."""
    text = read_text(path) if path.is_file() else ""
    return text if text and _checked(path, text) == resolved else write_yaml(resolved)


@functools.lru_cache(maxsize=1)  # a run reads its own four times
def _checked(path: Path, text: str) -> dict[str, Any]:
    """Return the content of study.resolved.yaml if it is valid."""
    held = parse_yaml(text, str(path))
    schema = held.get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        got, step = f"results of schema {schema}", "Use a newer imc_sim: the version that wrote them, or a later one."
        raise ResultsError(f"{path}: schema", got, f"schema {SCHEMA} or older", step)
    try:
        fits = held["digest"] == digest({"name": held["name"], "points": place_keys(held["points"])})
    except (KeyError, TypeError, AttributeError, ValueError):
        fits = False
    if not fits:
        step = "Remove the file and run the study again: this restores the file if all trials are of that study."
        raise ResultsError(str(path), "points that do not fit its digest", f"{STUDY} as a run wrote it", step)
    return check_stored(held, str(path))


def check_folder(folder: Path, resolved: dict[str, Any]) -> bool:
    """Check that `folder` is empty, or holds results of this study.

    Returns:
        Whether the folder holds trials of this study without study.resolved.yaml, which can then be restored.

    Raises:
        ResultsError: the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultsError(str(folder), "a file", "a folder", "Name a folder with --out.")
    refuse_link(folder / STUDY)
    if not (folder / STUDY).is_file():
        return _can_be_restored(folder, resolved)
    held = read_study(folder)
    if held["schema"] != resolved["schema"]:
        step = "This version computes some numbers differently: run the study into another folder with --out. "
        step += "plot, report, status and combine still read this one."
        got = f"results of version {held['schema']}, made by an earlier imc_sim"
        raise ResultsError(str(folder), got, f"results of version {resolved['schema']}", step)
    check_data(folder, held, resolved)
    if held["digest"] != resolved["digest"]:
        got = f"results of study {held['name']!r} {held['digest'][:12]}"
        allowed = f"study {resolved['name']!r} {resolved['digest'][:12]}"
        raise ResultsError(str(folder), got, allowed, "Choose another folder with --out, or remove this one.")
    return False


def check_data(folder: Path, held: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """Check that the stored trials used the same data as those on this machine.

    Raises:
        ResultsError: they used other data, or it is not known which.
    """
    known, now = held.get("data"), resolved.get("data", {})
    allowed = "the data that the stored trials used"
    if known is None:
        part = next(iter(foreign_digests(now)), None)
        if part is not None:
            step = "Run into another folder with --out; plot, report and status still read this one."
            raise ResultsError(str(folder), f"trials without a record of the files of {part!r}", allowed, step)
        return
    part = next((part for part in now if known.get(part, now[part]) != now[part]), None)
    if part is not None:
        step = "Restore those files, or run into another folder with --out."
        raise ResultsError(str(folder), other_files(part, now[part], known[part]), allowed, step)


def other_files(part: str, found: str, stored: str) -> str:
    """Describe a part of the data whose content changed."""
    return f"other files of {part!r} (content {found[:12]}, stored {stored[:12]})"


def _can_be_restored(folder: Path, resolved: dict[str, Any]) -> bool:
    """Return whether a folder without a study holds trials; raise ResultsError if they are not of this study."""
    found = read_rows(folder / TRIALS, rules_of(resolved))
    if found.damaged:
        got = f"{TRIALS} without {STUDY}, and in {found.damaged[0]}"
        step = "Run the study that wrote it, or use another folder with --out."
        raise ResultsError(str(folder), got, "trials of this study only, or an empty folder", step)
    return bool(found.rows)
