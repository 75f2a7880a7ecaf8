"""The model store: cards (`model.yaml`) and weights (`weights.safetensors`)."""

from imc_sim.nn.store._card import (
    WEIGHTS,
    Arch,
    Measured,
    ModelCard,
    build_model,
    card_of,
    inputs_of,
    load_card,
    load_model,
    load_state,
    save_model,
    verify_weights,
)
from imc_sim.nn.store._card_code import check_code_of
from imc_sim.nn.store._inputs import read_inputs
from imc_sim.nn.store._torch_file import read_checkpoint
from imc_sim.nn.store._weights import pack, read_tensors, refuse_not_finite, unpack

__all__ = [
    "WEIGHTS",
    "Arch",
    "Measured",
    "ModelCard",
    "build_model",
    "card_of",
    "check_code_of",
    "inputs_of",
    "load_card",
    "load_model",
    "load_state",
    "pack",
    "read_checkpoint",
    "read_inputs",
    "read_tensors",
    "refuse_not_finite",
    "save_model",
    "unpack",
    "verify_weights",
]
