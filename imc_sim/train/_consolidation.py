"""Penalties that keep weights near those that earlier tasks need: EWC, its shuffled control, and synaptic intelligence.

References: Kirkpatrick et al., PNAS 114, 3521 (2017); Zenke, Poole and Ganguli, ICML 2017; for binary weights Laborieux
et al., Nat. Commun. 12:2549 (2021), in the authors' code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.evaluate import drawn_rows
from imc_sim.nn import Conv2d, Norm, ProductLayer
from imc_sim.train._classification import Rows, TrainingSet
from imc_sim.train._continual_recipe import Method

#: added to the squared way of a weight through a task, of `si`
_DAMPING = 0.1
#: images whose gradients are squared at once
_BATCH = 100


@final
class Hold:
    """A quadratic penalty on the weights of all product layers: lambda c sum_tasks F_t (p - p_t)^2.

    p: the weights, or their signs in layers of policy `latent`; p_t: those after task t. `ewc`: F_t is the empirical
    Fisher information (see `fisher`), c = 1/2; `random`: the same, shuffled within each layer; `si`: c = 1, only the
    last p_t counts, and F = sum_t path / (way^2 + 0.1), path = - sum_steps gradient (change of the latent weight), way:
    change of the latent weight over the task. The gradient with respect to p is passed to the latent weights unchanged.
    Two sums are stored per layer, A = sum F_t and B = sum F_t p_t: the gradient is 2 lambda c (A p - B).
    """

    def __init__(self, model: nn.Module, method: Method, strength: float, seed: int) -> None:
        self._model, self._method, self._seed = model, method, seed
        self._scale = strength * (2.0 if method == "si" else 1.0)
        self._layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, ProductLayer)}
        for name, layer in self._layers.items():
            _check_policy(name, layer)
        start = {name: layer.weight.detach().clone() for name, layer in self._layers.items()}
        #: name of the layer -> A and B [2, …] from the first task on, and of `si` its hidden weights at a task's start
        self.state: dict[str, dict[str, Tensor]] = {"sums": {}, "start": start if method == "si" else {}}
        self._before: dict[str, Tensor] = {}

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the penalty to every step of the optimizer and, for `si`, accumulate the path."""
        optimizer.register_step_pre_hook(self._pull)
        if self._method == "si":
            optimizer.register_step_post_hook(self._follow)

    @torch.no_grad()
    def finish(
        self, optimizer: torch.optim.Optimizer, task: int, data: TrainingSet, images: int, device: str
    ) -> None:  # fmt: skip
        """Hold the weights at their present values, after task number `task`, as firmly as that task needs them."""
        if self._method == "si":
            found = {name: self._travelled(name, layer, optimizer) for name, layer in self._layers.items()}
        else:
            rows = data.train[drawn_rows(len(data.train), min(images, len(data.train)), self._seed)]
            found = fisher(self._model, (data.batch(part, device) for part in _pieces(rows)))
        for name, layer in self._layers.items():
            importance = _shuffled(found[name], self._seed, name, task) if self._method == "random" else found[name]
            sums = self.state["sums"].setdefault(name, torch.zeros(2, *importance.shape))
            sums, p = sums.to(importance), layer.weight_operand()
            sums[0] += importance
            sums[1] = sums[0] * p if self._method == "si" else sums[1] + importance * p
            self.state["sums"][name] = sums

    @torch.no_grad()
    def _pull(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for name, layer in self._layers.items():
            if name in self.state["sums"] and layer.weight.grad is not None:
                a, b = self.state["sums"][name].to(layer.weight)
                layer.weight.grad.add_(a * layer.weight_operand() - b, alpha=self._scale)
            if self._method == "si":
                self._before[name] = layer.weight.detach().clone()

    @torch.no_grad()
    def _follow(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for name, layer in self._layers.items():
            # Beside what the optimizer itself keeps, so that a checkpoint within a task has it.
            held = optimizer.state[layer.weight]
            path = held.setdefault("path", torch.zeros_like(layer.weight))
            if layer.weight.grad is not None:
                path.addcmul_(layer.weight.grad, layer.weight - self._before[name], value=-1.0)

    def _travelled(self, name: str, layer: ProductLayer, optimizer: torch.optim.Optimizer) -> Tensor:
        way = layer.weight - self.state["start"][name].to(layer.weight)
        self.state["start"][name] = layer.weight.detach().clone()
        return optimizer.state[layer.weight].pop("path") / (way.square() + _DAMPING)


def fisher(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return, per product layer, the mean over images of the squared gradient of log p(label) by its weights (their
    signs).

    The model is in inference mode, its norms with their running statistics: every image then has its own gradient,
    whatever the batch. batches: images and labels.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, ProductLayer)}
    found = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    count = 0
    with _at_inference(model), contextlib.ExitStack() as hooks, torch.enable_grad():
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(_noting(seen, name)).remove)
        for images, labels in batches:
            losses = F.cross_entropy(model(images).float(), labels, reduction="sum")
            names = list(seen)
            gradients = torch.autograd.grad(losses, [seen[name][1] for name in names])
            for name, gradient in zip(names, gradients, strict=True):
                found[name] += _squares(layers[name], seen[name][0], gradient)
            count += len(labels)
    return {name: total / count for name, total in found.items()}


def _noting(seen: dict[str, tuple[Tensor, Tensor]], name: str) -> Any:
    def note(layer: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
        seen[name] = args[0].detach(), y

    return note


def _squares(layer: ProductLayer, x: Tensor, gradient: Tensor) -> Tensor:
    """Return the sum over samples of the squared gradient by the weight, from inputs and the gradient by the
    outputs.
    """
    if not isinstance(layer, Conv2d):
        return gradient.square().mT @ x.square()
    patches = F.unfold(x, layer.kernel, padding=layer.padding, stride=layer.stride)
    return (gradient.flatten(2) @ patches.mT).square().sum(0).reshape(layer.weight.shape)


@contextlib.contextmanager
def _at_inference(model: nn.Module) -> Iterator[None]:
    """Put the model in inference mode, each sample by itself."""
    was = model.training
    changed = [norm for norm in model.modules() if isinstance(norm, Norm) and norm.statistics == "batch"]
    model.eval()
    try:
        for norm in changed:
            norm.statistics = "running"
        yield
    finally:
        for norm in changed:
            norm.statistics = "batch"
        model.train(was)


def _shuffled(importance: Tensor, seed: int, name: str, task: int) -> Tensor:
    keys = Stream(seed, name, "shuffled importance").words(4 * importance.numel(), chip=0, epoch=task).view(np.uint64)
    order = torch.from_numpy(np.argsort(keys, kind="stable")).to(importance.device)
    return importance.flatten()[order].reshape(importance.shape)


def _pieces(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _check_policy(name: str, layer: ProductLayer) -> None:
    if not layer.kind.plain_gradient:
        step = "Set recipe.method: none, or take another architecture."
        raise InputError(f"recipe.method, layer {name!r}", f"policy {layer.policy!r}", "latent or float", step)
