"""What models are known by: their content, not their names."""

from __future__ import annotations

import shlex
from typing import Any

from imc_sim._errors import InputError
from imc_sim.config import digest, find_content, read_yaml


def weights_digest(model: str) -> str:
    """SHA-256 of the model's weights as its card states it; loading checks that the file has it."""
    path = find_content("model", model)
    return _stated(read_yaml(path), str(path), model)


def features_digest(model: str) -> str:
    """SHA-256 of what decides the features of the model: its weights and the architecture that they are in."""
    path = find_content("model", model)
    card = read_yaml(path)
    arch = card.get("arch", {})
    return digest([_stated(card, str(path), model), arch.get("name"), arch.get("args", {})])


def _stated(card: dict[str, Any], where: str, model: str) -> str:
    weights = card.get("weights")
    if not isinstance(weights, dict) or "sha256" not in weights:
        step = f"Train it: imc-sim train {shlex.quote(model)}"
        raise InputError(where, "a model without weights", "a card with weights.sha256", step)
    return str(weights["sha256"])
