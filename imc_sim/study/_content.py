"""Find the models and chips that a study names, and copy those of the user and their files into the results folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imc_sim._errors import InputError, ResultsError
from imc_sim._files import read_file, write_inside
from imc_sim.config import (
    FoundCard,
    beside,
    code_of,
    find_card,
    is_code,
    is_held,
    is_onnx,
    read_stored,
    shipped_content,
    stored_file,
    write_yaml,
)
from imc_sim.study._kept_files import KeptFiles
from imc_sim.study._places import FOLDERS, SHIPPED, Content, Kind, place_of
from imc_sim.study._spec import Study


def content_of(study: Study) -> Content:
    """Return the place of each model and chip of the study as seen from its results folder."""
    found: dict[Kind, dict[str, str]] = {"model": {}, "chip": {}}
    taken: dict[str, Path] = {}
    for kind, name in named(study):
        path = None if is_held(name) else _source(study, kind, name)
        if path is None or name in found[kind]:
            continue
        shipped = Path(os.path.normpath(path.absolute())).parent.name if kind == "model" else path.stem
        original = shipped_content(kind, shipped)
        if original is not None and path.resolve() == original.resolve():
            found[kind][name] = f"{SHIPPED}{shipped}"
            continue
        found[kind][name] = _free(f"./{FOLDERS[kind]}/{shipped}", (path.suffix if kind == "chip" else ""), path, taken)
    return Content(**found)


def code_digests(study: Study, content: Content) -> dict[str, str]:
    """Return the SHA-256 of the code of the kept models, by its place in the results folder."""
    found = {}
    for name, place in content.model.items():
        source = _source(study, "model", name)
        card = None if place.startswith(SHIPPED) or source is None else find_card(source)
        arch = "" if card is None else card.data.get("arch", {}).get("name", "")
        if card is not None and is_code(arch):
            files = code_of(arch, card.folder).files
            found |= {f"{place}/{file}": hashlib.sha256(text).hexdigest() for file, text in files.items()}
    return found


def keep_content(folder: Path, study: Study, content: Content) -> None:
    """Copy models and chips that are not shipped into the results folder, including the code of networks."""
    for kind in FOLDERS:
        for name, place in getattr(content, kind).items():
            source = _source(study, kind, name)
            if place.startswith(SHIPPED) or source is None:
                continue
            target = folder / place
            if kind == "chip":
                write_inside(folder, place, read_file(source))
            elif source.parent.resolve() != target.resolve():
                _keep_model(find_card(source), folder, place)
    KeptFiles.of(study).write(folder)


def kept_places(study: Mapping[str, Any]) -> set[str]:
    """Return the places of all content that a resolved study names."""
    content = study.get("content", {})
    return {*content.get("model", {}).values(), *content.get("chip", {}).values(), *content.get("files", {})}


def keep_copies(source: Path, folder: Path, study: Mapping[str, Any]) -> None:
    """Copy the models and chips that the results folder `source` keeps into the results folder `folder`.

    Raises:
        ResultsError: the study names a place outside `source`; runs never write such a place.
    """
    for place in sorted(place for place in kept_places(study) if not place.startswith(SHIPPED)):
        path = source / place
        if not path.resolve().is_relative_to(source.resolve()):
            step = "Use an undamaged copy of the folder: a run keeps models and chips inside it."
            raise ResultsError(str(source), f"content at {place!r}", "a place within the folder", step)
        if path.resolve() == (folder / place).resolve():
            continue
        for file in filter(Path.is_file, path.rglob("*")) if path.is_dir() else [path]:
            write_inside(folder, str(file.relative_to(source)), read_file(file))


def named(study: Study) -> Iterator[tuple[Kind, str]]:
    """Yield the kind and name of every model and chip that the study, its cases and its axes name."""
    settings = [("model", study.model), ("chip", study.chip), ("task", study.task), ("chip_task", study.chip_task)]
    settings += [item for case in study.cases for item in case.set.items()]
    for number, axis in enumerate(study.axes):
        swept = [path for case in study.cases for path in case.sweep or ()] if number == 0 else []
        settings += [(path, value) for path in (*axis.paths, *swept) for value in axis.values]
    for path, value in settings:
        if path in ("task", "chip_task") and isinstance(value, Mapping):
            path, value = f"{path}.features", value.get("features")
        if isinstance(value, str) and path in ("model", "task.features", "chip_task.features"):
            yield "model", value
        if isinstance(value, str) and path == "chip":
            yield "chip", value


def _keep_model(card: FoundCard, folder: Path, place: str) -> None:
    """Copy a card, its weights and the code of its network into `place` of a results folder, with paths as there."""
    kept, files = dict(card.data), {}
    weights = kept.get("weights") or {}
    if "file" in weights or "sha256" in weights:
        path = beside(card.folder, weights.get("file", "weights.safetensors"))
        kept["weights"] = weights | ({"file": path.name} if "file" in weights else {})
        path = stored_file(path)
        files[path.name] = _verified(path, weights.get("sha256"))
    if "inputs" in kept:
        path = beside(card.folder, kept["inputs"].get("file", "inputs.safetensors"))
        files[path.name] = _verified(path, kept["inputs"].get("sha256"))
    arch = kept.get("arch", {}).get("name", "")
    if is_code(arch):
        code = code_of(arch, card.folder)
        files |= code.files
        kept["arch"] = kept["arch"] | {"name": code.arch}
    if is_onnx(arch):
        path = beside(card.folder, arch)
        files[path.name] = read_file(path)
        kept["arch"] = kept["arch"] | {"name": f"./{path.name}"}
    same = card.place.is_file() and kept == card.data
    files["model.yaml"] = read_file(card.place) if same else write_yaml(kept).encode()
    for name, content in files.items():
        write_inside(folder, f"{place}/{name}", content)


def _verified(path: Path, sha256: str | None) -> bytes:
    """Return the bytes of a weights file; reject a file that does not have the SHA-256 of its card."""
    if sha256 is not None and hashlib.sha256(read_stored(path)).hexdigest() != sha256:
        step = "Use an undamaged copy, and do not change models while a study runs."
        raise ResultsError(str(path), "content that differs from its card", f"SHA-256 {sha256}", step)
    return read_file(path)


def _source(study: Study, kind: Kind, name: str) -> Path | None:
    """Return the place of a model or chip, or None if it does not exist: only skipped points may name it."""
    try:
        return place_of(kind, study.content.locate(kind, name))
    except InputError:
        return None


def _free(stem: str, suffix: str, source: Path, taken: dict[str, Path]) -> str:
    """Return the first of stem, stem-2, … that no other content uses."""
    number, place = 1, f"{stem}{suffix}"
    while taken.setdefault(place, source.resolve()) != source.resolve():
        number += 1
        place = f"{stem}-{number}{suffix}"
    return place
