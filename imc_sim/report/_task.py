"""Describe the task of a study in one sentence."""

from __future__ import annotations

from typing import Any


def task_line(study: dict[str, Any]) -> str:
    """Describe the task that chips are evaluated on, without settings that axes or cases change."""
    changed, task = _changed(study), {**study["task"], **study.get("chip_task", {})}
    fixed = {key: value for key, value in task.items() if not changed & {key, ""}}
    if fixed.get("kind") == "function":
        what, call = fixed.get("metric") or "score", fixed.get("call", "")  # axes and cases may set either
        by = f" by {call.rpartition('/')[2]}" if call else ""
        return f"{what[0].upper()}{what[1:]}{by}."
    form = "".join(f"{fixed[key]}-{key} " for key in ("way", "shot") if key in fixed) + "accuracy"
    split = f" ({fixed['split']})" if "split" in fixed else ""
    on = f" on {fixed['dataset']}{split}" if "dataset" in fixed else ""
    attack = fixed.get("attack")
    met = f", queries attacked ({attack.get('kind', 'fgsm')}, epsilon {attack.get('epsilon', 0):g})" if attack else ""
    lengths = (f", {fixed[key]} {key} a chip" for key in ("episodes", "images") if fixed.get(key))
    return f"{form[0].upper()}{form[1:]}{on}{met}{''.join(lengths)}."


def _changed(study: dict[str, Any]) -> set[str]:
    """Return the keys of the task that axes, cases or derived values set; an empty key is the whole task."""
    paths = [path for axis in study["axes"] for path in (axis["path"], *axis.get("also", ()))]
    paths += [path for case in study["cases"] for path in (*case["set"], *(case.get("sweep") or ()))]
    paths += study.get("derived", {})
    roots = [path.split(".") for path in paths]
    return {next(iter(rest), "") for root, *rest in roots if root in ("task", "chip_task")}
