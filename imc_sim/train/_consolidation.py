"""Consolidation in continual learning: penalties that keep weights near those that earlier tasks need.

References: elastic weight consolidation (EWC), Kirkpatrick et al., PNAS 114, 3521 (2017); synaptic intelligence (SI),
Zenke, Poole and Ganguli, ICML 2017; for binary weights, Laborieux et al., Nat. Commun. 12:2549 (2021) and the authors'
code.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._rng import Stream
from imc_sim.evaluate import drawn_rows
from imc_sim.nn import Conv2d, Norm, ProductLayer, evaluating
from imc_sim.train._classification import TrainingSet
from imc_sim.train._continual_recipe import Method
from imc_sim.train._layers import latent_layers, named_layers

#: added to the squared change of a weight over a task, in SI
_DAMPING = 0.1
#: images per batch of squared gradients
_BATCH = 100


@final
class Hold:
    """A quadratic penalty on the weights of all product layers, lambda c sum_t F_t (p - p_t)^2 over tasks t.

    p are the weights, or their signs in layers of policy `latent`, and p_t those after task t.

    - `ewc`: c = 1/2, and F_t is the empirical Fisher information, see `fisher`.
    - `random`: `ewc` with F_t shuffled within each layer, a control.
    - `si`: c = 1, only the latest p_t counts, and F is the sum over tasks of path / (change^2 + 0.1), where `change` is
      that of a latent weight over the task, and `path` the sum over steps of -gradient times change.

    The gradient with respect to p is passed to the latent weights unchanged. With the sums A = sum_t F_t and
    B = sum_t F_t p_t, which are stored per layer, it is 2 lambda c (A p - B).

    Args:
        model: network whose product layers are held.
        method: ewc, random or si.
        strength: lambda.
        seed: seed of the recipe.

    Raises:
        InputError: a product layer has neither latent nor float weights.
    """

    def __init__(self, model: nn.Module, method: Method, strength: float, seed: int) -> None:
        self._model, self._method, self._seed = model, method, seed
        self._scale = strength * (2.0 if method == "si" else 1.0)
        step = "Set recipe.method: none, or use another architecture."
        self._layers = latent_layers(model, "recipe.method", step)
        start = {name: layer.weight.detach().clone() for name, layer in self._layers.items()}
        #: layer -> A and B [2, …] once a task is finished; for SI, layer -> latent weights at the start of the task
        self.state: dict[str, dict[str, Tensor]] = {"sums": {}, "start": start if method == "si" else {}}
        self._before: dict[str, Tensor] = {}

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the gradient of the penalty to every step of an optimizer and, for SI, accumulate the path.

        Args:
            optimizer: optimizer of the network.
        """
        optimizer.register_step_pre_hook(self._pull)
        if self._method == "si":
            optimizer.register_step_post_hook(self._follow)

    @torch.no_grad()
    def finish(
        self, optimizer: torch.optim.Optimizer, task: int, data: TrainingSet, images: int, device: str
    ) -> None:  # fmt: skip
        """Add the term of a finished task, with the present weights as p_t.

        Args:
            optimizer: optimizer of the network.
            task: number of the task, from 0.
            data: images of the task.
            images: number of training images for the Fisher information, at most.
            device: device of the network, cpu or cuda.
        """
        if self._method == "si":
            found = {name: self._path_importance(name, layer, optimizer) for name, layer in self._layers.items()}
        else:
            rows = data.train[drawn_rows(len(data.train), min(images, len(data.train)), self._seed)]
            found = fisher(self._model, data.batches(rows, _BATCH, device))
        for name, layer in self._layers.items():
            importance = _shuffled(found[name], self._seed, name, task) if self._method == "random" else found[name]
            sums = self.state["sums"].setdefault(name, torch.zeros(2, *importance.shape))
            sums, p = sums.to(importance), layer.weight_operand()
            sums[0] += importance
            sums[1] = sums[0] * p if self._method == "si" else sums[1] + importance * p
            self.state["sums"][name] = sums

    @torch.no_grad()
    def _pull(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Add the gradient of the penalty to the gradients, before a step."""
        for name, layer in self._layers.items():
            if name in self.state["sums"] and layer.weight.grad is not None:
                a, b = self.state["sums"][name].to(layer.weight)
                layer.weight.grad.add_(a * layer.weight_operand() - b, alpha=self._scale)
            if self._method == "si":
                self._before[name] = layer.weight.detach().clone()

    @torch.no_grad()
    def _follow(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Accumulate the path of SI, after a step."""
        for name, layer in self._layers.items():
            held = optimizer.state[layer.weight]  # stored with the optimizer, so that checkpoints include it
            path = held.setdefault("path", torch.zeros_like(layer.weight))
            if layer.weight.grad is not None:
                path.addcmul_(layer.weight.grad, layer.weight - self._before[name], value=-1.0)

    def _path_importance(self, name: str, layer: ProductLayer, optimizer: torch.optim.Optimizer) -> Tensor:
        """Return F of SI for the finished task, and start the next one."""
        change = layer.weight - self.state["start"][name].to(layer.weight)
        self.state["start"][name] = layer.weight.detach().clone()
        return optimizer.state[layer.weight].pop("path") / (change.square() + _DAMPING)


def fisher(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return the empirical Fisher information of the weights of each product layer.

    It is the mean over images of the squared gradient of log p(label) with respect to the weights, or their signs in
    layers of policy `latent`. Norms use their running statistics, so that the gradient of an image does not depend on
    its batch.

    Args:
        model: classifier; it is left unchanged.
        batches: images [batch, channels, height, width] and labels [batch].

    Returns:
        Layer -> Fisher information in the shape of its weights.
    """
    layers = named_layers(model)
    found = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    count = 0
    with _at_inference(model), contextlib.ExitStack() as hooks, torch.enable_grad():
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(functools.partial(_note, seen, name)).remove)
        for images, labels in batches:
            losses = F.cross_entropy(model(images).float(), labels, reduction="sum")
            names = list(seen)
            gradients = torch.autograd.grad(losses, [seen[name][1] for name in names])
            for name, gradient in zip(names, gradients, strict=True):
                found[name] += _squares(layers[name], seen[name][0], gradient)
            count += len(labels)
    return {name: total / count for name, total in found.items()}


def _note(seen: dict[str, tuple[Tensor, Tensor]], name: str, _: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
    """Keep the input and output of a layer in `seen`, as a forward hook."""
    seen[name] = args[0].detach(), y


def _squares(layer: ProductLayer, x: Tensor, gradient: Tensor) -> Tensor:
    """Return the sum over samples of the squared weight gradient, from inputs x and the gradient of the outputs."""
    if not isinstance(layer, Conv2d):
        return gradient.square().mT @ x.square()
    patches = F.unfold(x, layer.kernel, padding=layer.padding, stride=layer.stride)
    return (gradient.flatten(2) @ patches.mT).square().sum(0).reshape(layer.weight.shape)


@contextlib.contextmanager
def _at_inference(model: nn.Module) -> Iterator[None]:
    """Put a model in inference mode, with running statistics in all norms; restore it afterwards."""
    changed = [norm for norm in model.modules() if isinstance(norm, Norm) and norm.statistics == "batch"]
    with evaluating(model):
        try:
            for norm in changed:
                norm.statistics = "running"
            yield
        finally:
            for norm in changed:
                norm.statistics = "batch"


def _shuffled(importance: Tensor, seed: int, name: str, task: int) -> Tensor:
    order = torch.from_numpy(Stream(seed, name, "shuffled importance").order(importance.numel(), epoch=task))
    return importance.flatten()[order.to(importance.device)].reshape(importance.shape)
