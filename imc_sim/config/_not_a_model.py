"""Say what to do with code, a file or a folder that was given where a model is expected."""

from __future__ import annotations

import shlex
from pathlib import Path

from imc_sim._errors import InputError
from imc_sim._file_kinds import kind_of_file

#: endings of files of networks and weights
_ENDINGS = {".onnx", ".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".npz", ".npy", ".h5", ".py"}


def not_a_model(name: str) -> InputError | None:
    """Return the error for code, a file or a folder instead of a model; None for anything else.

    Args:
        name: what was given.
    """
    path = Path(name).expanduser()
    if name.rpartition(":")[0].endswith(".py"):
        got = "code of a network"
        step = f"Pass its network to imc_sim.map_model, or {_named(shlex.quote(name))}"
    elif path.is_dir():
        got, step = "a folder without model.yaml", f"To write one, {_named('./my_net.py:NAME --weights FILE')}"
    elif path.is_file():
        got, step = _of_file(path)
    elif path.suffix.lower() in _ENDINGS:
        got, step = "no such file", "Check the path."
    else:
        return None
    return InputError("model", f"{name!r}, {got}", "the name or the folder of a model", step)


def _of_file(path: Path) -> tuple[str, str]:
    """Return what a file is and what to do with it."""
    found, quoted = kind_of_file(path), shlex.quote(str(path))
    if found.kind == "onnx":
        return found.text, f"Use imc_sim.load_onnx({str(path)!r}), or {_named(quoted)}"
    if found.text:
        return found.text, found.step
    return "a file of weights", f"With the code of its network, {_named(f'./my_net.py:NAME --weights {quoted}')}"


def _named(options: str) -> str:
    return f"import it as a model: imc-sim import {options} --out models/NAME."
