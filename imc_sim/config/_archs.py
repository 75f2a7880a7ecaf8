"""Architectures by name, with the addresses of their classes: listing them loads no torch."""

from __future__ import annotations

from typing import NamedTuple


class ArchEntry(NamedTuple):
    """The class of an architecture as `module:Class`, and a summary."""

    target: str
    summary: str


ARCHS: dict[str, ArchEntry] = {
    "batmann": ArchEntry(
        "imc_sim.nn.networks:BatmannController",
        "five-layer CNN that turns a character into a key; kind: float, xnor, rbnn, or with binary_fc",
    ),
    "benn": ArchEntry(
        "imc_sim.nn.networks:BinaryNin",
        "slim network in network of BENN; kind: sb (first and last convolution float) or ab (all binary)",
    ),
    "binact": ArchEntry(
        "imc_sim.nn.networks:BinaryActivationNet",
        "classifier with float weights and binary activations; layout: 1a, 1b (digits), 2a, 2b (characters)",
    ),
    "binary_resnet": ArchEntry(
        "imc_sim.nn.networks:BinaryResNet",
        "ResNet-20 for CIFAR-10 with binary weights and activations, ends float; depth: 20, 32, …; width",
    ),
    "binary_resnet18": ArchEntry(
        "imc_sim.nn.networks:BinaryResNet18",
        "ResNet-18 of BENN, first and last layer float, the rest binary; width, stem: imagenet or cifar",
    ),
    "bnn_conv": ArchEntry(
        "imc_sim.nn.networks:BnnConv",
        "small binary convolutional network of hidden weights; channels, kernels; for MNIST and USPS",
    ),
    "bnn_mlp": ArchEntry(
        "imc_sim.nn.networks:BnnMlp",
        "fully connected network of hidden weights; inputs, hidden, classes; kind: binary or float",
    ),
    "bnn_vgg": ArchEntry(
        "imc_sim.nn.networks:BnnVgg",
        "deep binary convolutional network of hidden weights; width, dropout; for CIFAR-10",
    ),
    "bitnet": ArchEntry(
        "imc_sim.nn.networks:BitNet",
        "spiking classifier without normalisation; scale, version: 6 or 6_v101, steps, activation: spikes, clamp, relu",
    ),
    "continual": ArchEntry(
        "imc_sim.nn.networks:ContinualNet",
        "a network as it was after each task, with norms for every task; arch, args, tasks, statistics",
    ),
    "conv4": ArchEntry(
        "imc_sim.nn.networks:Conv4",
        "four-block few-shot encoder of other projects; layout: padded (matching, prototypical) or relation",
    ),
    "convnet": ArchEntry(
        "imc_sim.nn.networks:ConvNet",
        "plain float convolutional classifier; stages: channels of the convolutions; features: last hidden layer",
    ),
    "ensemble": ArchEntry(
        "imc_sim.nn.networks:Ensemble",
        "members of one architecture that vote; arch, args, members, vote: logits, hard, softmax, log_softmax",
    ),
}
