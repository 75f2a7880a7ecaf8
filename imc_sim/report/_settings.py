"""Settings that differ from their defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from imc_sim._errors import ImcSimError
from imc_sim.config import Spec

if TYPE_CHECKING:
    from imc_sim.study import Study

#: prose, and settings shown elsewhere on the page
_PROSE = {"name", "source", "validity", "kind"}
_STUDY = ("chips", "seed", "engine", "conductances", "derived", "skip")


#: keys of tasks that name files, which the page shows as in the folder
_FILES = ("call", "inputs", "files")


class Setting(NamedTuple):
    """A setting as text; `default` is empty where a value is required."""

    path: str
    value: str
    default: str
    meaning: str


def differences(spec: Spec, path: str, reference: Spec | None = None) -> Iterator[Setting]:
    """Yield the settings of `spec` that differ from `reference` (None: from the defaults of its class), nested ones by
    path.
    """
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if name in _PROSE:
            continue
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        default = default if reference is None else getattr(reference, name)
        here = f"{path}.{name}"
        if isinstance(value, Spec):
            same = type(value) is type(default)
            if not same and not field.is_required() and "kind" in type(value).model_fields:
                yield Setting(f"{here}.kind", _kind(value), _kind(default), field.description or "")
            yield from differences(value, here, default if same and isinstance(default, Spec) else None)
        elif field.is_required() or value != default:
            yield Setting(here, text(value), "" if field.is_required() else text(default), field.description or "")


def study_settings(study: dict[str, Any]) -> list[Setting]:
    """Return the settings of chip, task and study that differ from their defaults.

    Those of a study that this version can no longer build are all returned, without defaults.
    """
    from imc_sim.array import Chip
    from imc_sim.config import build
    from imc_sim.evaluate import build_task

    try:
        chip, task = build(Chip, study["chip"], "chip"), build_task(study["task"], "task")
        whole = [s._replace(path=s.path[1:]) for s in differences(_study(study), "") if s.path.split(".")[1] in _STUDY]
    except ImcSimError:
        return [Setting(p, text(v), "", "") for part in ("chip", "task") for p, v in _flat(study[part], part)]
    whole = [s._replace(value=text(study.get("conductances"))) if s.path == "conductances" else s for s in whole]
    named = {f"task.{key}": text(value) for key, value in study["task"].items() if key in _FILES}
    of_task = [s._replace(value=named.get(s.path, s.value)) for s in differences(task, "task")]
    own = study.get("engine") in (None, study["chip"].get("engine"))
    whole = [s for s in whole if not (own and s.path.startswith("engine"))]  # the chip states it already
    return [*differences(chip, "chip"), *of_task, *whole]


def variants(study: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of every case and the values of every axis."""
    rows = []
    for case in study["cases"]:
        parts = [f"{path} = {text(value)}" for path, value in case["set"].items()]
        parts += [f"sweeps {', '.join(case['sweep'])}"] if case.get("sweep") else []
        rows.append((f"case {case['name']}", "; ".join(parts) or "as in the study"))
    for axis in study["axes"]:
        shown = axis.get("labels") or axis["values"]
        rows.append((f"axis {axis['path']}", ", ".join(text(v) for v in shown)))
    return rows


def text(value: Any) -> str:
    """Return a value on one line."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    plain = value.to_dict() if isinstance(value, Spec) else value
    return json.dumps(plain, default=lambda v: v.to_dict() if isinstance(v, Spec) else str(v), ensure_ascii=False)


def _study(study: dict[str, Any]) -> Study:
    from imc_sim.study import DERIVED, load_study

    return load_study({key: value for key, value in study.items() if key not in DERIVED})


def _kind(spec: Any) -> str:
    return "none" if spec is None else str(spec.kind)


def _flat(data: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(data, dict) or not data:
        yield path, data
        return
    for key, value in data.items():
        if key not in _PROSE - {"kind"}:
            yield from _flat(value, f"{path}.{key}")
