"""Identities of models and data: by content, not by name."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imc_sim._errors import InputError
from imc_sim._files import read_file
from imc_sim.config import FoundCard, beside, code_of, digest, find_card, is_code, is_onnx, once
from imc_sim.data import data_parts

if TYPE_CHECKING:
    from imc_sim.array import Chip

#: split of an evaluation -> where its network was trained; other splits are training data themselves
_TRAINING = {
    "evaluation": "background", "pooled_test": "pooled_train", "pooled_validation": "pooled_fit", "test": "train",
}  # fmt: skip


def training_split(split: str) -> str:
    """Return the split that a network evaluated on `split` is calibrated on; `whole_train` for `whole_test`."""
    whole, joined, part = split.rpartition("_")
    return _TRAINING.get(split) or (f"{whole}{joined}{_TRAINING[part]}" if part in _TRAINING else split)


def data_of_task(task: dict[str, Any], calibrates: bool) -> tuple[str, ...]:
    """Return the `data_parts` that a resolved task reads, including training data where chips are calibrated.

    Args:
        task: task as plain data.
        calibrates: whether chips are calibrated.
    """
    if task.get("kind") == "function":
        return ()  # the files of its functions are part of the task
    splits = [task["split"]]
    splits += [training_split(task["split"])] if calibrates or task.get("scaling") == "whitened" else []
    return tuple(dict.fromkeys(part for split in splits for part in data_parts(task["dataset"], split)))


def weights_digest(model: str) -> str:
    """Return the SHA-256 of the weights stated on the card of a model; loading checks that the file has it.

    Args:
        model: name or path of a model.
    """
    return once("weights", model, lambda: _stated(find_card(model), model))


def features_digest(model: str) -> str:
    """Return the SHA-256 of what determines the features of a model: its weights and its architecture.

    Args:
        model: name or path of a model.
    """
    found = find_card(model)
    return digest([_stated(found, model), *_arch_of(found).values()])


def network_key(model: str) -> tuple[str, str]:
    """Return the path of a model, and the digest of its card and of the code of a user's own network.

    The card states the SHA-256 of the weights, so that equal keys identify one network.

    Args:
        model: name or path of a model.
    """
    return once("network", model, lambda: _network_key(find_card(model)))


def _network_key(found: FoundCard) -> tuple[str, str]:
    return str(found.place), hashlib.sha256(repr([found.data, _arch_of(found)]).encode()).hexdigest()


def arch_of(model: str) -> dict[str, Any] | None:
    """Return the identity of the architecture of a model; None for a controller, whose packed weights determine it.

    Two cards can have the same weights and differ in their neurons.

    Args:
        model: name or path of a model.
    """
    arch = _architecture(model)
    return None if arch["name"] == "batmann" else arch


def chips_vary(model: str, chip: Chip) -> bool:
    """Return whether two chips can give different results: the chips differ, or the model samples its neurons.

    Args:
        model: name or path of a model.
        chip: chip description.
    """
    return chip.varies or _samples_neurons(_architecture(model))


def _architecture(model: str) -> dict[str, Any]:
    """Return what determines the architecture of a model."""
    return once("architecture", model, lambda: _arch_of(find_card(model)))


def _samples_neurons(arch: Mapping[str, Any]) -> bool:
    """Tell whether an architecture, or one within it, has stochastic neurons."""
    return bool(arch.get("stochastic")) or any(_samples_neurons(v) for v in arch.values() if isinstance(v, Mapping))


def _arch_of(card: FoundCard) -> dict[str, Any]:
    arch, inputs = card.data.get("arch"), card.data.get("inputs")
    found = arch_identity(arch if isinstance(arch, Mapping) else {}, card.folder)
    return found | ({"inputs": inputs.get("sha256")} if isinstance(inputs, Mapping) else {})


def arch_identity(arch: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return name and arguments of an architecture, and the SHA-256 of its code or ONNX file, but not its path.

    Args:
        arch: architecture on a card.
        folder: folder of the card.

    Raises:
        InputError: the file is missing.
    """
    name, args = str(arch.get("name")), arch.get("args", {})
    if is_onnx(name):
        path = beside(folder, name)
        if not path.is_file():
            step = "Put the file next to the card, or fix the path."
            raise InputError(f"{folder / 'model.yaml'}, arch", f"no file {str(path)!r}", "an ONNX file", step)
        return {"name": "onnx", "args": args, "code": hashlib.sha256(read_file(path)).hexdigest()}
    if not is_code(name):
        return {"name": arch.get("name"), "args": args}
    code = code_of(name, folder, f"{folder / 'model.yaml'}, arch")
    return {"name": code.name, "args": args, "code": code.sha256}


def _stated(card: FoundCard, model: str) -> str:
    weights = card.data.get("weights")
    if not isinstance(weights, dict) or "sha256" not in weights:
        step = f"Train it: imc-sim train {shlex.quote(model)}"
        raise InputError(card.where, "a model without weights", "a card with weights.sha256", step)
    return str(weights["sha256"])
