"""Recorded results of layers, activations, norms and losses of networks, with their gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

from imc_sim.nn import (
    BinaryActivation,
    Conv2d,
    EventProduct,
    IfUnit,
    Linear,
    Norm,
    anneal,
    binary_activation,
    binary_weight,
    comparator_of,
    constrain_weights,
    fold_comparators,
    improve_rotations,
    integer_levels,
    standardise,
    two_valued,
)
from imc_sim.nn._binarize import clipped_signs, filter_means, sample_mean, signs
from imc_sim.nn.events import active_entries
from imc_sim.nn.neurons import Draws, draw_neurons, hard_sigmoid, neurons_of, set_slope, take_score
from imc_sim.nn.rotation import adjusted, alignment, annealed, annealed_sign, halves, improved_rotation, rotated
from imc_sim.nn.similarity import cosine, dot, inference_logits, key_form, sharpen, training_logits
from imc_sim.nn.spiking import integrate_and_fire, project, rate_loss
from tests.recorded.cases_analog import network
from tests.recorded.cases_array import numbers
from tests.recorded.short import short

EDGES = torch.tensor([-3.0, -1.0, -0.999, -0.4, -1e-30, 0.0, 1e-30, 0.3, 0.5, 0.999, 1.0, 2.5])


def _with_gradient(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """Return the value of a function and the gradient of a sum with weights."""
    x = x.clone().requires_grad_()
    y = function(x)
    (y * numbers(9, *y.shape)).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad]


def record_binarizers() -> dict[str, Any]:
    w = numbers(1, 4, 3, 2, 3)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "weight": binary_weight, "clipped": clipped_signs, "activation": binary_activation, "signs": signs,
        "hard sigmoid": hard_sigmoid, "annealed": lambda x: annealed_sign(x, 0.7, 1.4),
        "project": lambda x: project(x, 0.2),
        "standardised": lambda x: standardise(x[None]), "integers": lambda x: integer_levels(x, 4)[0],
    }  # fmt: skip
    found: dict[str, Any] = {name: _with_gradient(each, EDGES) for name, each in functions.items()}
    found["two-valued"] = two_valued(EDGES)
    found["steps"] = [float(integer_levels(w, bits, scale)[1]) for bits in (3, 8) for scale in ("absmax", "signed_max")]
    found["signed maximum"] = integer_levels(-w.abs(), 4, "signed_max")[0]
    found["means"] = [sample_mean(w), sample_mean(w[:, 0, 0]), filter_means(w), standardise(torch.ones(2, 3))]
    return short(found)


def record_layers() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for policy, bias in itertools.product(("float", "int8", "xnor", "rbnn", "sign", "latent"), (True, False)):
        layers: dict[str, Any] = {
            "linear": (Linear(12, 5, policy, bias), numbers(2, 7, 12)),
            "conv": (Conv2d(3, 4, 2, policy, bias, stride=2, padding=1), numbers(3, 2, 3, 5, 6)),
        }
        for name, (layer, x) in layers.items():
            for k, (key, parameter) in enumerate(layer.named_parameters()):
                parameter.data = numbers(30 + k, *parameter.shape) + (1.0 if key in ("alpha", "rotate") else 0.1)
            if policy == "rbnn":
                for k, rotation in enumerate((layer.R1, layer.R2)):
                    rotation.copy_(torch.linalg.qr(numbers(60 + k, *rotation.shape)).Q)
            anneal(layer, 0.4)
            constrain_weights(layer)
            layer.train()
            training = _with_gradient(layer, x)
            grads = [p.grad for p in layer.parameters()]
            layer.eval()
            found[f"{name}, {policy}, bias {bias}"] = [
                *training, *grads, layer(x).detach(), layer.operand(x).detach(), layer.weight_operand().detach(),
                [layer.binary, layer.exact_operands, layer.zero_operands, layer.double_operands], list(layer.sharpness),
                layer.extra_repr(),
            ]  # fmt: skip
            if policy == "rbnn":
                improve_rotations(layer)
                found[f"{name}, {policy}, bias {bias}"] += [layer.R1 @ layer.R1.mT, layer.weight_operand().detach()]
            layer.disturb = lambda w: (w * 1.1, torch.arange(len(w)) * 0.1)
            found[f"{name}, {policy}, bias {bias}"].append(layer.train()(x).detach())
    return short(found)


def record_norms() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for affine, statistics in itertools.product((True, False), ("running", "batch")):
        norm = Norm(4, "running" if statistics == "running" else "batch", 1e-3, affine)
        norm.running_mean.copy_(numbers(1, 4))
        norm.running_var.copy_(numbers(2, 4).square())
        if norm.weight is not None and norm.bias is not None:
            norm.weight.data, norm.bias.data = numbers(3, 4), numbers(4, 4)
            norm.weight.data[2] = 0.0
        x = numbers(5, 6, 4, 2, 3)
        norm.eval()
        found[f"affine {affine}, {statistics}"] = [norm(x).detach(), norm(x[:, :, 0, 0]).detach(), *norm.line()]
        if statistics == "running":
            comparator = comparator_of(norm)
            found[f"affine {affine}, {statistics}"] += [comparator(x), comparator.sign, comparator.limit.tolist()]
        norm.train()
        found[f"affine {affine}, {statistics}"] += [norm(x).detach(), norm.running_mean, norm.running_var]
    model = network()
    x = numbers(7, 3, 2, 8, 4)
    found["folded"] = [model(x).detach(), fold_comparators(model)(x).detach()]
    return short({k: [v.detach() if isinstance(v, torch.Tensor) else v for v in each] for k, each in found.items()})


def record_neurons() -> dict[str, Any]:
    found: dict[str, Any] = {}
    z = numbers(6, 3, 2, 5)
    for estimator, stochastic in itertools.product(("straight_through", "reinforce", "frozen"), (True, False)):
        neuron: Any = BinaryActivation(estimator, stochastic)
        holder = torch.nn.ModuleDict({"one": neuron})
        set_slope(holder, 1.7)
        found[f"{estimator}, stochastic {stochastic}"] = each = []
        for training, draws in itertools.product((True, False), (Draws(), Draws(4, 2, 3), Draws(4, -1, 1))):
            neuron.train(training)
            draw_neurons(neurons_of(holder), draws)
            x = z.clone().requires_grad_()
            y = neuron(x)
            if y.requires_grad:
                (y * numbers(9, *y.shape)).sum().backward()
            score = take_score(neurons_of(holder))
            each += [y.detach(), x.grad, None if score is None else score.detach()]
    return short(found)


def record_spikes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    currents = numbers(7, 4, 3, 5) * 0.6 + 0.4
    for gradient in ("accumulator", "window"):
        unit, state = IfUnit(gradient, 0.2), None
        each = found[gradient] = []
        for z in currents:
            z = z.clone().requires_grad_()
            spikes, state = unit(z, state)
            (spikes * numbers(8, 3, 5)).sum().backward()
            each += [spikes.detach(), state, z.grad]
    found["threshold"] = list(
        integrate_and_fire(torch.tensor([0.5, 0.25, 1.0, 0.0]), torch.tensor([0.5, 0.5, 0.0, 0.0]))
    )
    rates, labels = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 1, 1])
    found["loss"] = [rate_loss(rates, labels), rate_loss(rates, labels, "none")]
    x = (numbers(9, 2, 3, 6, 5) > 0.7).float()
    for policy, (kernel, stride, padding) in itertools.product(("float", "int8"), ((3, 1, 1), (2, 2, 0), (3, 2, 2))):
        conv: Any = Conv2d(3, 4, kernel, policy, True, stride, padding)
        conv.weight.data, conv.bias.data = numbers(10, *conv.weight.shape), numbers(11, 4)
        found[f"events, {policy}, {kernel}, {stride}, {padding}"] = EventProduct(conv)(x)
        found[f"entries, {kernel}, {stride}, {padding}"] = list(
            active_entries(x.permute(0, 2, 3, 1), kernel, stride, padding)
        )
    linear = Linear(8, 3)
    linear.weight.data = numbers(12, 3, 8)
    found["events, linear"] = EventProduct(linear)((numbers(13, 5, 8) > 0.5).float())
    return short(found)


def record_rotations() -> dict[str, Any]:
    w = standardise(numbers(1, 5, 3, 2, 2))
    r1, r2 = (torch.linalg.qr(numbers(k, n, n)).Q for k, n in ((2, 3), (3, 4)))
    better = improved_rotation(w, r1, r2)
    theta = numbers(4, 5, 1, 1, 1)
    found: dict[str, Any] = {
        "halves": [halves(n) for n in (1, 7, 12, 36, 50)],
        "annealed": [annealed(p) for p in (0.0, 0.5, 1.0)],
        "rotated": rotated(w, r1, r2), "improved": [better[0], better[1], rotated(w, *better)],
        "alignment": [alignment(w, r1, r2), alignment(w, *better)],
    }  # fmt: skip
    for mode in ("updated", "frozen"):
        found[mode] = [*_with_gradient(lambda x, m=mode: adjusted(x, theta, r1, r2, m), w)]
    return short(found)


def record_similarities() -> dict[str, Any]:
    queries, keys = numbers(1, 2, 5, 9), numbers(2, 2, 6, 9)
    values = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 2, 1, 0])).float()
    found: dict[str, Any] = {form: key_form(EDGES, form) for form in ("float", "bipolar", "binary")}
    for name, compare in (("cosine", cosine), ("dot", dot)):
        similarity = (
            compare(queries, keys)
            if name == "cosine"
            else compare(key_form(queries, "bipolar"), key_form(keys, "bipolar"))
        )
        found[name] = similarity
        for kind in ("softabs", "softabs_exp", "softmax", "abs", "none"):
            found[f"{name}, {kind}"] = [
                *_with_gradient(lambda s, k=kind: training_logits(s, values, k), similarity),
                inference_logits(similarity, values, kind),
            ]  # fmt: skip
    found["large"] = sharpen(torch.tensor([[300.0, 10.0, 299.0], [79.0, -5.0, 80.0]]), "softmax")
    return short(found)
