"""Product layers, binarizers and blocks of digital networks.

Architectures are in `imc_sim.nn.networks`, cards and weights in `imc_sim.nn.store`; `neurons`, `spiking`, `events`,
`rotation` and `similarity` are each about one kind of network.
"""

from __future__ import annotations

import importlib
from typing import Any

from imc_sim.nn._binarize import binary_activation, binary_weight, integer_levels, standardise, two_valued
from imc_sim.nn._block import ConvBlock, fold_comparators, fold_in_place
from imc_sim.nn._images import checked_images, evaluating
from imc_sim.nn._layers import Conv2d, Linear, anneal, constrain_weights, improve_rotations, product_layers
from imc_sim.nn._norm import Comparator, Norm, comparator_of
from imc_sim.nn._product_layer import (
    LATENT_INPUTS,
    POLICIES,
    LatentInputs,
    Policy,
    ProductLayer,
    WeightKind,
)
from imc_sim.nn._weight_kinds import WEIGHT_KINDS
from imc_sim.nn.events import EventProduct
from imc_sim.nn.neurons import BinaryActivation
from imc_sim.nn.spiking import IfUnit

__all__ = [
    "LATENT_INPUTS",
    "POLICIES",
    "WEIGHT_KINDS",
    "BinaryActivation",
    "Comparator",
    "Conv2d",
    "ConvBlock",
    "EventProduct",
    "IfUnit",
    "LatentInputs",
    "Linear",
    "Norm",
    "Policy",
    "ProductLayer",
    "WeightKind",
    "anneal",
    "binary_activation",
    "binary_weight",
    "checked_images",
    "comparator_of",
    "constrain_weights",
    "evaluating",
    "fold_comparators",
    "fold_in_place",
    "improve_rotations",
    "integer_levels",
    "product_layers",
    "standardise",
    "two_valued",
]

#: module -> names that were exported here until 0.2; they resolve for one more release
_MOVED = {
    "networks": (
        "answers_by_step arch_class arch_files BatmannController BINACT_LAYOUTS BinaryActivationNet BinaryNin "
        "BinaryResNet BinaryResNet18 BitNet BITNET_LAYERS BITNET_VERSIONS BitNetVersion BnnConv BnnMlp BnnVgg "
        "build_arch calibrate_norms ContinualNet CONTROLLER_KINDS Conv4 ConvNet dense_word_lines Ensemble "
        "FEATURE_NORMS FeatureNorm firing_rates FiringRate GatedSign load_norm_state MLP_KINDS MlpKind NIN_KINDS "
        "NinKind norm_state products_per_step RESNET_STEMS ResnetStem SignActivation StepAnswers Vote vote VOTES "
        "with_statistics word_line_activations"
    ),
    "store": "Arch build_model card_of load_card load_model Measured ModelCard save_model verify_weights",
    "events": "active_entries",
    "neurons": "draw_neurons Draws Estimator ESTIMATORS hard_sigmoid neurons_of set_slope take_score",
    "rotation": "adjusted alignment annealed annealed_sign improved_rotation rotated RotationMode ROTATIONS",
    "similarity": (
        "cosine dot inference_logits key_form KEY_FORMS KeyForm sharpen Sharpening SHARPENINGS training_logits"
    ),
    "spiking": "integrate_and_fire project rate_loss SPIKE_GRADIENTS SpikeGradient",
}


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return importlib.import_module(f"imc_sim.nn.{name}")
    for module, names in _MOVED.items():
        if name in names.split():
            return getattr(__getattr__(module), name)
    raise AttributeError(f"module 'imc_sim.nn' has no attribute {name!r}")
