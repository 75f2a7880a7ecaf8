"""Checkpoints of a training run, from which --resume continues."""

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
from imc_sim._files import regular, write_folder

#: called with (steps done, total steps, last row of the log) as training proceeds
Progress = Callable[[int, int, dict[str, float]], None]
Log = list[dict[str, float]]
FILE, LOG = "checkpoint.pt", "training.jsonl"
#: time between checkpoints in s, also within an epoch
SAVE_EVERY_S = 300.0


@final
class SaveTimer:
    """Decides when to write the next checkpoint."""

    def __init__(self) -> None:
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Return whether `SAVE_EVERY_S` have passed since this last returned True; the caller then saves."""
        now = time.monotonic()
        if now - self._saved < SAVE_EVERY_S:
            return False
        self._saved = now
        return True


def random_states(device: str) -> list[Tensor]:
    """Return the states of torch's global random generators, of the CPU and of the GPU in use."""
    return [torch.get_rng_state(), *([] if device == "cpu" else [torch.cuda.get_rng_state(device)])]


def set_random_states(states: list[Tensor], device: str) -> None:
    """Restore the states that `random_states` returned on the same kind of device."""
    torch.set_rng_state(states[0])
    if device != "cpu" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


def save_checkpoint(folder: Path, digest: str, log: Log, state: dict[str, Any]) -> None:
    """Write the state of a training run and its log.

    Args:
        folder: folder of the training run.
        digest: digest of everything that determines the trained weights.
        log: rows of the log so far.
        state: tensors and plain values.
    """
    buffer = io.BytesIO()
    torch.save({"recipe": digest, "log": json.dumps(log), **state}, buffer)
    rows = "".join(json.dumps(row) + "\n" for row in log)
    write_folder(folder, {LOG: rows.encode(), FILE: buffer.getvalue()})


def begin(folder: Path, digest: str, resume: bool, log: Log) -> dict[str, Any] | None:
    """Return the state to continue from, and add its rows to the log; None if the folder has no checkpoint.

    Raises:
        CheckpointError: another recipe wrote the checkpoint.
        InputError: there is a checkpoint, and `resume` is false.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    if not resume:
        step = "Continue it with --resume, or train into another folder with --out."
        raise InputError(str(folder), "an earlier training run", f"a folder without {FILE}", step)
    state: dict[str, Any] = torch.load(regular(path), map_location="cpu", weights_only=True)
    if state["recipe"] != digest:
        step = "Train into another folder, or move this one away."
        raise CheckpointError(str(path), f"recipe {state['recipe'][:12]}", f"recipe {digest[:12]}", step)
    log += json.loads(state["log"])
    return state


def share(progress: Progress | None, part: int, parts: int, log: Log) -> Progress | None:
    """Return a progress function for part number `part` of `parts` equal parts of a training run.

    Args:
        progress: function for the whole run.
        part: number of the part, from 0.
        parts: number of parts.
        log: log of the whole run.
    """
    if progress is None:
        return None

    def shown(done: int, total: int, row: dict[str, float]) -> None:
        progress(part * total + done, parts * total, log[-1] if log else {})

    return shown
