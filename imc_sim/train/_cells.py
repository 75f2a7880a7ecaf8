"""On-chip training: latent weights stored in cells, whose pulses change them differently than the optimizer requests.

References: state-dependent step, Chen, Peng and Yu, NeuroSim+, IEDM 2017, eqs. 1 and 2 (nonlinear potentiation and
depression); stochastic rounding, Gupta et al., ICML 2015; metaplastic step, Laborieux et al., Nat. Commun. 12:2549
(2021).
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from pydantic import Field
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.config import Spec
from imc_sim.nn import ProductLayer
from imc_sim.train._metaplastic import f_meta


@final
class Cells(Spec):
    """Pairs of cells that store latent weights: their range, their levels, and how they change the steps of a training.

    A weight w in [-window, window] is the differential conductance of a pair whose cells get opposite pulses: g = (1 +
    w / window) / 2 is the conductance of one of them in its range, 1 - g that of the other. A step of the optimizer is
    multiplied by

    - u(g) upwards and u(1 - g) downwards, u(g) = n / (1 - e^-n) - n g with n = `nonlinearity`: a cell of NeuroSim in
      the limit of small pulses, whose steps shrink (n > 0) or grow (n < 0) towards their bound; crossing the range
      takes as many pulses as with a linear cell (n = 0);
    - 1 - tanh^2(m |w|) where it leads towards zero, with m = `metaplasticity`: the rule of `MetaplasticAdam` as a
      property of the cell;
    - 1 + `asymmetry` upwards, 1 - `asymmetry` downwards;
    - exp(spread N), N standard normal, sampled once for every pair and direction (device to device);
    - 1 + noise N, N sampled in every step (pulse to pulse).

    levels: of a weight, evenly spaced over the window; a step that ends between two of them ends at the upper one with
    the probability that keeps its mean (stochastic rounding). None: any value.
    """

    window: float = Field(default=1.0, gt=0, description="largest magnitude of a hidden weight")
    levels: int | None = Field(default=None, ge=2, description="of a weight over the window; null: any value")
    nonlinearity: float = Field(default=0.0, ge=-20, le=20, description="n of u(g); 0: a linear cell")
    metaplasticity: float = Field(default=0.0, ge=0, description="m of the cell's own rule; 0: none")
    asymmetry: float = Field(default=0.0, gt=-1, lt=1, description="steps upwards times 1 + it, downwards times 1 - it")
    spread: float = Field(default=0.0, ge=0, description="standard deviation of ln(step) from pair to pair")
    noise: float = Field(default=0.0, ge=0, description="standard deviation of a step over the step")

    @property
    def faithful(self) -> bool:
        """Tell whether steps within the window are exactly those requested."""
        acting = (self.nonlinearity, self.metaplasticity, self.asymmetry, self.spread, self.noise)
        return self.levels is None and not any(acting)


class CellArray:
    """Stores the weights of all product layers of `model` in `cells`, once attached to its optimizer.

    phase: number of the training that the optimizer is in, from 0; random numbers of a step are addressed by seed,
    layer, phase and step.

    Raises:
        InputError: layers whose weights are neither latent nor float.
    """

    def __init__(self, model: nn.Module, cells: Cells, seed: int) -> None:
        self._cells, self._seed, self.phase = cells, seed, 0
        self._layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, ProductLayer)}
        for name, layer in self._layers.items():
            if not layer.kind.plain_gradient:
                step = "Leave recipe.cells out, or take another architecture."
                raise InputError(f"recipe.cells, layer {name!r}", f"policy {layer.policy!r}", "latent or float", step)
        self._before: dict[str, Tensor] = {}
        self._speeds = {name: self._drawn_speeds(name, layer) for name, layer in self._layers.items()}

    @torch.no_grad()
    def program(self) -> None:
        """Clamp the weights to the window, and round them to the nearest level."""
        for layer in self._layers.values():
            w = layer.weight.clamp_(-self._cells.window, self._cells.window)
            if self._cells.levels is not None:
                w.copy_(self._at(self._place(w)))

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every step of the optimizer end where the cells move it."""
        optimizer.register_step_pre_hook(self._remember)
        optimizer.register_step_post_hook(self._pulse)

    @torch.no_grad()
    def _remember(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._before = {name: layer.weight.detach().clone() for name, layer in self._layers.items()}

    @torch.no_grad()
    def _pulse(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for name, layer in self._layers.items():
            # Beside what the optimizer itself keeps, so that a checkpoint within a task has it.
            held = optimizer.state[layer.weight]
            number = held.get("pulse", 0)
            held["pulse"] = number + 1
            if not self._cells.faithful:
                layer.weight.copy_(self._moved(name, self._before[name], layer.weight, number))
            layer.weight.clamp_(-self._cells.window, self._cells.window)

    def _moved(self, name: str, w: Tensor, wanted: Tensor, number: int) -> Tensor:
        step = self._step(name, w, wanted - w, number)
        if self._cells.levels is None:
            return w + step
        drawn = self._stream(name, "rounding").uniform(w.numel(), self.phase, number)
        chance = torch.from_numpy(drawn).to(w).reshape(w.shape)
        return self._at(self._place(w) + torch.floor(step / self._distance + chance))

    def _step(self, name: str, w: Tensor, step: Tensor, number: int) -> Tensor:
        """Return the step that the cells make of one requested at weights w."""
        c, up = self._cells, step > 0
        if c.nonlinearity:
            g = torch.where(up, 1 + w / c.window, 1 - w / c.window) / 2
            step = step * (c.nonlinearity / -math.expm1(-c.nonlinearity) - c.nonlinearity * g)
        if c.metaplasticity:
            step = torch.where(up == (w < 0), step * f_meta(w, c.metaplasticity), step)
        if c.asymmetry:
            step = step * torch.where(up, 1 + c.asymmetry, 1 - c.asymmetry)
        if c.spread:
            step = step * torch.where(up, *self._speeds[name].to(w).unbind())
        if c.noise:
            drawn = torch.from_numpy(self._stream(name, "pulses").normal(w.numel(), self.phase, number))
            step = step * (1 + c.noise * drawn.to(w).reshape(w.shape))
        return step

    def _drawn_speeds(self, name: str, layer: ProductLayer) -> Tensor:
        """Return the factors of steps upwards and downwards, [2, …]."""
        if not self._cells.spread:
            return torch.ones(0)
        drawn = self._stream(name, "speeds").normal(2 * layer.weight.numel(), 0)
        return torch.exp(self._cells.spread * torch.from_numpy(drawn)).reshape(2, *layer.weight.shape)

    def _stream(self, name: str, stage: str) -> Stream:
        return Stream(self._seed, name, f"cells, {stage}")

    @property
    def _distance(self) -> float:
        """Return the distance between two levels."""
        return 2 * self._cells.window / ((self._cells.levels or 2) - 1)

    def _place(self, w: Tensor) -> Tensor:
        """Return the index of the nearest level, from 0."""
        return torch.round((w + self._cells.window) / self._distance)

    def _at(self, place: Tensor) -> Tensor:
        """Return the weight of a level, or of the last one on that side."""
        return place.clamp(0, (self._cells.levels or 2) - 1) * self._distance - self._cells.window
