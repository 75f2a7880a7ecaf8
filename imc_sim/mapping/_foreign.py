"""Read checkpoints that other programs wrote, without running any code in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imc_sim._errors import CheckpointError
from imc_sim._quantities import type_of
from imc_sim._tensors import unusual
from imc_sim.nn.store import read_checkpoint, refuse_not_finite

State = Mapping[str, Tensor]
Args = Mapping[str, Any]
#: a state dict under our names, and the arguments of the architecture that it determines
Found = tuple[dict[str, Tensor], dict[str, Any]]
#: tensors of a batch norm
NORM = ("weight", "bias", "running_mean", "running_var")
OWN_ARCH = "Name the architecture that made it, `--arch ./my_net.py:Net`."
#: keys under which training scripts nest the state dict
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "controller", "params", "weights")
#: largest depth of nesting
_LEVELS = 2
_SAVE_AGAIN = "Save it again where it was made: torch.save(model.state_dict(), path), and import that."
_PREFIXES = ("module.", "_orig_mod.")


def read_state(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict in the file at `path`, float32 and finite, and notes on what was changed."""
    notes: list[str] = []
    state = _unwrapped(read_checkpoint(path), path, notes)
    state = _without_prefixes(state, notes)
    for name, tensor in state.items():
        if (found := unusual(tensor)) is not None:
            step = "Save it again where it was made, as dense float32 tensors."
            raise CheckpointError(str(path), f"{name!r}, {found}", "dense tensors of real numbers", step)
    refuse_not_finite(state, str(path))
    return _as_float32(state, notes), notes


def _unwrapped(content: Any, path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Return the state dict in up to two levels of wrapping."""
    for level in range(_LEVELS + 1):
        if not isinstance(content, dict):
            break
        if _is_state(content):
            return dict(content)
        key = next((k for k in _WRAPPERS if isinstance(content.get(k), dict)), None)
        if key is None or level == _LEVELS:
            break
        others = ", ".join(map(str, content.keys() - {key})) or "nothing"
        notes.append(f"taken from the key {key!r}; left out: {others}")
        content = content[key]
    got, step = type_of(content), _SAVE_AGAIN
    if isinstance(content, dict):
        got = f"a mapping with the keys {', '.join(map(str, list(content)[:6]))}"
        found = [key for key, part in content.items() if key not in _WRAPPERS and _is_state(part)]
        step = f"Save one part and import that: torch.load({path.name!r})[{found[0]!r}]." if found else step
    raise CheckpointError(str(path), got, f"a state dict, plain or under {', '.join(_WRAPPERS)}", step)


def _is_state(content: Any) -> bool:
    named = isinstance(content, dict) and bool(content) and all(isinstance(key, str) for key in content)
    return named and all(isinstance(value, Tensor) for value in content.values())


def _without_prefixes(state: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Return the state without prefixes of wrappers, nested in any order."""
    while prefix := next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        notes.append(f"prefix {prefix!r} stripped")
    return state


def _as_float32(state: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Return the state with floating-point tensors in float32; a module casts integers when it loads them."""
    others = {str(v.dtype) for v in state.values() if v.is_floating_point() and v.dtype != torch.float32}
    if others:
        notes.append(f"{', '.join(sorted(others))} converted to torch.float32")
    converted = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    refuse_not_finite(converted, "the checkpoint, in float32")
    return converted


def refuse_zeros(state: State, names: Iterable[str], where: str) -> None:
    """Raise where a binary weight is exactly 0: the original's sign of 0 is 0, and a cell would hold -1."""
    for name in names:
        zeros = int((state[name] == 0).sum())
        if zeros:
            got = f"{zeros} of {state[name].numel()} weights of {name!r} exactly 0, whose sign is 0"
            raise CheckpointError(where, got, "weights above or below 0", "Check that the checkpoint is a trained one.")
