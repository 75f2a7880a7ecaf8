"""The digital side: binarizers, layers, controllers and the similarity of the key-value memory."""

from imc_sim.nn._archs import arch_class, arch_files, build_arch
from imc_sim.nn._batmann import KINDS as CONTROLLER_KINDS
from imc_sim.nn._batmann import BatmannController
from imc_sim.nn._binarize import binary_activation, binary_weight, integer_levels, standardise, two_valued
from imc_sim.nn._card import (
    Arch,
    Measured,
    ModelCard,
    build_model,
    card_of,
    load_card,
    load_model,
    save_model,
    verify_weights,
)
from imc_sim.nn._layers import POLICIES, Conv2d, Linear, Policy, ProductLayer
from imc_sim.nn._similarity import (
    KEY_FORMS,
    SHARPENINGS,
    KeyForm,
    Sharpening,
    cosine,
    dot,
    inference_logits,
    key_form,
    sharpen,
    training_logits,
)
from imc_sim.nn._store import write_folder

__all__ = [
    "CONTROLLER_KINDS",
    "KEY_FORMS",
    "POLICIES",
    "SHARPENINGS",
    "Arch",
    "BatmannController",
    "Conv2d",
    "KeyForm",
    "Linear",
    "Measured",
    "ModelCard",
    "Policy",
    "ProductLayer",
    "Sharpening",
    "arch_class",
    "arch_files",
    "binary_activation",
    "binary_weight",
    "build_arch",
    "build_model",
    "card_of",
    "cosine",
    "dot",
    "inference_logits",
    "integer_levels",
    "key_form",
    "load_card",
    "load_model",
    "save_model",
    "sharpen",
    "standardise",
    "training_logits",
    "two_valued",
    "verify_weights",
    "write_folder",
]
