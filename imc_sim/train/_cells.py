"""On-chip training: latent weights stored in cells whose programming pulses deviate from the requested steps.

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

from imc_sim._rng import Stream
from imc_sim.config import Spec
from imc_sim.nn import ProductLayer
from imc_sim.train._layers import latent_layers
from imc_sim.train._metaplastic import f_meta


@final
class Cells(Spec):
    """Pairs of cells that store latent weights during training: their range, levels and programming steps.

    A weight w in [-window, window] is the differential conductance of a pair whose cells receive opposite pulses: one
    has the relative conductance g = (1 + w / window) / 2, the other 1 - g. A step of the optimizer is multiplied by

    - u(g) upwards and u(1 - g) downwards, with u(g) = n / (1 - e^-n) - n g and n = `nonlinearity`: a NeuroSim cell in
      the limit of small pulses, whose steps shrink (n > 0) or grow (n < 0) towards the end of its range; crossing the
      range takes as many pulses as with a linear cell (n = 0);
    - 1 - tanh^2(m |w|) for steps towards zero, with m = `metaplasticity`: the rule of `MetaplasticAdam` as a property
      of the cell;
    - 1 + `asymmetry` upwards, 1 - `asymmetry` downwards;
    - exp(`spread` N), N standard normal, sampled once per pair and direction (device-to-device variation);
    - 1 + `noise` N, N standard normal, sampled in every step (pulse-to-pulse variation).

    With `levels`, a step that ends between two levels is rounded to one of them at random such that its mean is kept
    (stochastic rounding).
    """

    window: float = Field(default=1.0, gt=0, description="largest magnitude of a latent weight")
    levels: int | None = Field(
        default=None, ge=2, description="number of levels, evenly spaced over the window; null: any value"
    )
    nonlinearity: float = Field(default=0.0, ge=-20, le=20, description="n of u(g); 0: a linear cell")
    metaplasticity: float = Field(default=0.0, ge=0, description="m of the metaplastic cell; 0: none")
    asymmetry: float = Field(default=0.0, gt=-1, lt=1, description="a: steps upwards times 1 + a, downwards 1 - a")
    spread: float = Field(default=0.0, ge=0, description="standard deviation of ln(step) from pair to pair")
    noise: float = Field(default=0.0, ge=0, description="relative standard deviation from pulse to pulse")

    @property
    def is_ideal(self) -> bool:
        """Return whether steps within the window are exactly those requested."""
        acting = (self.nonlinearity, self.metaplasticity, self.asymmetry, self.spread, self.noise)
        return self.levels is None and not any(acting)


class CellArray:
    """Cells that store the latent weights of all product layers of a network during training.

    Random numbers of a step are addressed by seed, layer, phase and step. Set the attribute `phase`, the number of the
    training phase from 0, before each phase.

    Args:
        model: network whose product layers are stored in cells.
        cells: properties of the cells.
        seed: seed of the recipe.

    Raises:
        InputError: a product layer has neither latent nor float weights.
    """

    def __init__(self, model: nn.Module, cells: Cells, seed: int) -> None:
        self._cells, self._seed, self.phase = cells, seed, 0
        self._layers = latent_layers(model, "recipe.cells", "Remove recipe.cells, or use another architecture.")
        self._before: dict[str, Tensor] = {}
        self._speeds = {name: self._sampled_speeds(name, layer) for name, layer in self._layers.items()}

    @torch.no_grad()
    def program(self) -> None:
        """Clamp the weights of the network to the window, and round them to the nearest levels."""
        for layer in self._layers.values():
            w = layer.weight.clamp_(-self._cells.window, self._cells.window)
            if self._cells.levels is not None:
                w.copy_(self._at(self._place(w)))

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Replace every step of an optimizer by the step of the cells.

        Args:
            optimizer: optimizer of the network.
        """
        optimizer.register_step_pre_hook(self._remember)
        optimizer.register_step_post_hook(self._pulse)

    @torch.no_grad()
    def _remember(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._before = {name: layer.weight.detach().clone() for name, layer in self._layers.items()}

    @torch.no_grad()
    def _pulse(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Move the weights from where they were before the step by the step of the cells."""
        for name, layer in self._layers.items():
            held = optimizer.state[layer.weight]  # stored with the optimizer, so that checkpoints include it
            number = held.get("pulse", 0)
            held["pulse"] = number + 1
            if not self._cells.is_ideal:
                layer.weight.copy_(self._moved(name, self._before[name], layer.weight, number))
            layer.weight.clamp_(-self._cells.window, self._cells.window)

    def _moved(self, name: str, w: Tensor, wanted: Tensor, number: int) -> Tensor:
        """Return the weights after step `number`, which the optimizer requested to end at `wanted`."""
        step = self._step(name, w, wanted - w, number)
        if self._cells.levels is None:
            return w + step
        uniform = self._stream(name, "rounding").uniform(w.numel(), self.phase, number)
        chance = torch.from_numpy(uniform).to(w).reshape(w.shape)
        return self._at(self._place(w) + torch.floor(step / self._distance + chance))

    def _step(self, name: str, w: Tensor, step: Tensor, number: int) -> Tensor:
        """Return the step of the cells at weights w for a requested step, before rounding to levels."""
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
            normal = torch.from_numpy(self._stream(name, "pulses").normal(w.numel(), self.phase, number))
            step = step * (1 + c.noise * normal.to(w).reshape(w.shape))
        return step

    def _sampled_speeds(self, name: str, layer: ProductLayer) -> Tensor:
        """Return the device-to-device factors of steps upwards and downwards, [2, …]."""
        if not self._cells.spread:
            return torch.ones(0)
        normal = self._stream(name, "speeds").normal(2 * layer.weight.numel(), 0)
        return torch.exp(self._cells.spread * torch.from_numpy(normal)).reshape(2, *layer.weight.shape)

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
        """Return the weight of a level; an index out of range becomes the nearest one."""
        return place.clamp(0, (self._cells.levels or 2) - 1) * self._distance - self._cells.window
