"""Rename the tensors of a checkpoint to the names of a network, as the user states, or where only one prefix fits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from imc_sim._errors import CheckpointError, nearest

_TRACKED = "num_batches_tracked"


def renamed(
    state: dict[str, Tensor], renames: Sequence[tuple[str, str]], prefix: str | None, where: str, notes: list[str]
) -> dict[str, Tensor]:
    """Return a state under other names; notes list the tensors left out.

    Args:
        state: The state.
        renames: (old, new): `old` is a name, or the part of names before a dot. An empty `new` removes the part, or
            leaves out the tensor of that name.
        prefix: Only tensors whose names begin with it are kept, without it.
        where: The file, for errors.
        notes: Gets a sentence about what was left out.

    Raises:
        CheckpointError: No name fits, or two tensors get one name.
    """
    if prefix is not None:
        kept = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not kept:
            starts = sorted({key.partition(".")[0] + "." for key in state})
            step = f"{nearest(prefix, starts)}Choose one of them."
            raise CheckpointError(f"{where}, --prefix", repr(prefix), ", ".join(starts[:8]), step)
        _note_left_out([key for key in state if not key.startswith(prefix)], notes)
        state = kept
    for old, new in renames:
        stem = old.removesuffix(".")
        found = {key: _with(key, stem, new) for key in state if key == old or key.startswith(f"{stem}.")}
        if not found:
            step = f"{nearest(old, state)}Name a tensor of the file, or the part of names before a dot."
            raise CheckpointError(f"{where}, --rename", repr(old), f"one of {len(state)} names", step)
        names = [found.get(key, key) for key in state]
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice is not None:
            step = "Rename one of them otherwise, or leave it out: --rename NAME=."
            raise CheckpointError(f"{where}, --rename {old}={new}", f"two tensors {twice!r}", "one of each", step)
        state = {name: value for name, value in zip(names, state.values(), strict=True) if name}
    return state


def _with(key: str, stem: str, new: str) -> str:
    """Return a name with another beginning."""
    rest = key.removeprefix(stem).removeprefix(".")
    return ".".join(part for part in (new.removesuffix("."), rest) if part)


def fitted(state: dict[str, Tensor], module: nn.Module, notes: list[str]) -> dict[str, Tensor]:
    """Return a state under the names of a network where one prefix gives all; counters of batches may be missing.

    Args:
        state: The state.
        module: The network.
        notes: Gets a sentence about what was changed.
    """
    own = {key: value.shape for key, value in module.state_dict().items()}
    wanted = {key: shape for key, shape in own.items() if not key.endswith(_TRACKED)}
    first = next(iter(wanted), "")
    prefixes = ["", *(key.removesuffix(first) for key in state if first and key.endswith(f".{first}"))]
    fits = [p for p in prefixes if all(p + k in state and state[p + k].shape == wanted[k] for k in wanted)]
    if len(fits) >= 1 and fits[0]:
        if len(fits) > 1:
            return state  # ambiguous: the error about names suggests --prefix
        notes.append(f"prefix {fits[0]!r} stripped")
        _note_left_out([key for key in state if not key.startswith(fits[0])], notes)
        state = {key.removeprefix(fits[0]): value for key, value in state.items() if key.startswith(fits[0])}
    counters = {key: value for key, value in module.state_dict().items() if key not in wanted and key not in state}
    return {key: value for key, value in state.items() if key in own or not key.endswith(_TRACKED)} | counters


def _note_left_out(names: list[str], notes: list[str]) -> None:
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        notes.append(f"left out: {', '.join(names[:4])}{more}")
