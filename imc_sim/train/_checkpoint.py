"""The state of a training in its folder, from which --resume continues."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from imc_sim._errors import CheckpointError, InputError
from imc_sim._files import write_folder

#: called after every step of the progress with (steps done, steps in all, last row of the log)
Progress = Callable[[int, int, dict[str, float]], None]
Log = list[dict[str, float]]
FILE, LOG = "checkpoint.pt", "training.jsonl"
#: seconds of training after which its state is saved, also within an epoch
SAVE_EVERY_S = 300.0


@final
class SaveTimer:
    """Decides by time when the state of a training is saved again."""

    def __init__(self) -> None:
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Return whether `SAVE_EVERY_S` have passed since the last time this was true; the caller then saves."""
        now = time.monotonic()
        if now - self._saved < SAVE_EVERY_S:
            return False
        self._saved = now
        return True


def random_states(device: str) -> list[Tensor]:
    """Return the states of torch's own generators, of the CPU and of the GPU in use."""
    return [torch.get_rng_state(), *([] if device == "cpu" else [torch.cuda.get_rng_state(device)])]


def set_random_states(states: list[Tensor], device: str) -> None:
    """Set torch's own generators to what `random_states` returned on the same kind of device."""
    torch.set_rng_state(states[0])
    if device != "cpu" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


def save_checkpoint(folder: Path, digest: str, log: Log, state: dict[str, Any]) -> None:
    """Write the state (tensors and plain values) and the log; `digest` identifies all that decides the weights."""
    buffer = io.BytesIO()
    torch.save({"recipe": digest, "log": json.dumps(log), **state}, buffer)
    rows = "".join(json.dumps(row) + "\n" for row in log)
    write_folder(folder, {LOG: rows.encode(), FILE: buffer.getvalue()})


def begin(folder: Path, digest: str, resume: bool) -> tuple[dict[str, Any], Log] | None:
    """Return the state and the log to continue from, None to start.

    Raises:
        CheckpointError: another recipe wrote them.
        InputError: they exist, and `resume` is not requested.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    if not resume:
        step = "Go on with --resume, or train into another folder with --out."
        raise InputError(str(folder), "a training already there", f"a folder without {FILE}", step)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != digest:
        step = "Train into another folder, or move this one away."
        raise CheckpointError(str(path), f"recipe {state['recipe'][:12]}", f"recipe {digest[:12]}", step)
    return state, json.loads(state["log"])


def share(progress: Progress | None, part: int, parts: int, log: Log) -> Progress | None:
    """Return the progress of one of `parts` equal parts of a training as that of the whole; log: of the whole."""
    if progress is None:
        return None

    def shown(done: int, total: int, row: dict[str, float]) -> None:
        progress(part * total + done, parts * total, log[-1] if log else {})

    return shown


def diverged(where: str, loss: float) -> CheckpointError:
    """Return the error of a loss that is not finite."""
    step = "Take a smaller learning rate, or, in few-shot training, similarities that stay bounded (cosine)."
    return CheckpointError(where, f"a loss of {loss:g}", "a training that converges", step)
