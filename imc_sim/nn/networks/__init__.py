"""Architectures, by name or from a file of the user, and spike statistics."""

from imc_sim.nn.networks._archs import arch_class, arch_files, build_arch
from imc_sim.nn.networks._batmann import KINDS as CONTROLLER_KINDS
from imc_sim.nn.networks._batmann import BatmannController
from imc_sim.nn.networks._benn import NIN_KINDS, BinaryNin, NinKind, SignActivation
from imc_sim.nn.networks._binact import LAYOUTS as BINACT_LAYOUTS
from imc_sim.nn.networks._binact import BinaryActivationNet
from imc_sim.nn.networks._binary_resnet import RESNET_STEMS, BinaryResNet18, ResnetStem
from imc_sim.nn.networks._binary_resnet_cifar import BinaryResNet
from imc_sim.nn.networks._bitnet import BITNET_LAYERS, BITNET_VERSIONS, BitNet, BitNetVersion
from imc_sim.nn.networks._continual_net import ContinualNet, with_statistics
from imc_sim.nn.networks._conv4 import Conv4
from imc_sim.nn.networks._convnet import ConvNet
from imc_sim.nn.networks._ensemble import VOTES, Ensemble, Vote, vote
from imc_sim.nn.networks._metaplastic_nets import (
    FEATURE_NORMS,
    MLP_KINDS,
    BnnConv,
    BnnMlp,
    FeatureNorm,
    GatedSign,
    MlpKind,
    calibrate_norms,
    load_norm_state,
    norm_state,
)
from imc_sim.nn.networks._metaplastic_vgg import BnnVgg
from imc_sim.nn.networks._spike_statistics import (
    FiringRate,
    StepAnswers,
    answers_by_step,
    dense_word_lines,
    firing_rates,
    products_per_step,
    word_line_activations,
)

__all__ = [
    "BINACT_LAYOUTS",
    "BITNET_LAYERS",
    "BITNET_VERSIONS",
    "CONTROLLER_KINDS",
    "FEATURE_NORMS",
    "MLP_KINDS",
    "NIN_KINDS",
    "RESNET_STEMS",
    "VOTES",
    "BatmannController",
    "BinaryActivationNet",
    "BinaryNin",
    "BinaryResNet",
    "BinaryResNet18",
    "BitNet",
    "BitNetVersion",
    "BnnConv",
    "BnnMlp",
    "BnnVgg",
    "ContinualNet",
    "Conv4",
    "ConvNet",
    "Ensemble",
    "FeatureNorm",
    "FiringRate",
    "GatedSign",
    "MlpKind",
    "NinKind",
    "ResnetStem",
    "SignActivation",
    "StepAnswers",
    "Vote",
    "answers_by_step",
    "arch_class",
    "arch_files",
    "build_arch",
    "calibrate_norms",
    "dense_word_lines",
    "firing_rates",
    "load_norm_state",
    "norm_state",
    "products_per_step",
    "vote",
    "with_statistics",
    "word_line_activations",
]
