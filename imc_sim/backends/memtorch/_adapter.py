"""Import MemTorch and run its patched layers; no other module does.

MemTorch (Lammie et al., Neurocomputing 485, 2022) is GPL-3.0 and an optional backend. It uses the global generators of
torch and NumPy and prints; everything here runs it inside `contained`. The tests use version 1.1.6. Its faults are
avoided here, never imitated, and each is shown by a test in tests/oracle/test_memtorch_faults.py:

- Tuning by regression, and inputs scaled to a largest voltage, make outputs inexact and dependent on the batch:
  inputs are not scaled, and outputs are scaled by the exact factor.
- Its mapping uses one random sample of r_on and r_off as the nominal levels of a layer, and cells reach a level
  only from one side: with device variation every cell is set to the end of its range instead.
- A cell whose HRS is sampled above its LRS conducts its HRS in either state: such ranges are corrected.
- Its finite conductance states have no effect: levels are rounded before the mapping.
- Its single column holds no negative weights: weights are mapped around the middle of the window.
- A patched convolution without a bias gets a random one: layers are patched with a bias of zero.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Iterator
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.backends.memtorch._global_random import contained
from imc_sim.backends.memtorch._settings import CellLaw, MemTorchSettings

_STAND_IN = ("torchvision", "torchvision.transforms", "torchvision.datasets", "torchvision.datasets.utils")
#: a conductance in S beyond the range of every cell
_BEYOND_S = 1e6


@functools.cache
def why_not() -> str:
    """Return why MemTorch cannot be used, or an empty string, after trying to import it."""
    if importlib.util.find_spec("memtorch") is None:
        return "no package memtorch"
    try:
        with contained(0), _torchvision():
            importlib.import_module("memtorch")
    except Exception as error:  # foreign code: a binary built against another torch raises what it likes
        return f"memtorch does not import: {type(error).__name__}: {error}"
    return ""


def part(name: str) -> Any:
    """Return a module of MemTorch.

    Args:
        name: Its name in MemTorch, such as `bh.memristor`.

    Raises:
        InputError: MemTorch cannot be used.
    """
    reason = why_not()
    if reason:
        step = "Install it: `make memtorch` in a checkout, or as docs/memtorch.md says."
        raise InputError("backend memtorch", reason, "memtorch-cpu 1.1.6", step)
    return sys.modules[f"memtorch.{name}"]


@contextlib.contextmanager
def _torchvision() -> Iterator[None]:
    """Provide a stand-in for a missing torchvision during the import of MemTorch, and remove it afterwards."""
    missing = [] if importlib.util.find_spec("torchvision") else list(_STAND_IN)
    sys.modules.update({name: _Anything(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            sys.modules.pop(name, None)


class _Anything(types.ModuleType):
    """A module with every public name; MemTorch imports names for data sets that are not used here."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@final
class Patched:
    """Compute the product of a layer, without bias, through MemTorch's crossbars.

    Args:
        weights: Weights [out, in], or [out, in, k, k] of a convolution, on the levels of the cells, see `on_levels`.
        settings: The crossbars.
        seed: Seed of all random numbers.
        stride: Stride of a convolution.
        padding: Padding of a convolution.
    """

    def __init__(
        self, weights: Tensor, settings: MemTorchSettings, seed: int, stride: int = 1, padding: int = 0
    ) -> None:
        self.settings = settings
        top = float(weights.abs().max()) or 1.0
        with contained(seed), torch.no_grad(), _shallow_copies():
            try:
                self.module: Any = _patch(_layer(weights, stride, padding), settings, top)
            except AssertionError as error:  # cells that were sampled outside its model
                got, step = f"cells that MemTorch rejects ({error})", "Lower the variation, or use engine: native."
                raise InputError("backend memtorch", got, "cells within its model", step) from error
            if settings.varies:
                _uncross(self.module, weights.detach().float(), top)
            _degrade(self.module, settings)
        window_S = (settings.g_lrs_S - settings.g_hrs_S) * (0.5 if settings.single_column else 1.0)
        scale = top / window_S
        self.module.transform_output = lambda current: current * scale
        if not settings.nonlinearity_per_V:
            # about a kilobyte per cell; linear products need the matrices only
            for crossbar in self.module.crossbars:
                crossbar.devices = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the products of inputs, which are x times the read voltage.

        Args:
            x: Inputs of the layer, float32.
        """
        s = self.settings
        volts = s.v_read_V if s.nonlinearity_per_V else 1.0
        with contained(0):
            return cast("Tensor", self.module(x * volts)) / volts

    @property
    def conductance(self) -> tuple[Tensor, ...]:
        """Conductance of the + and the - crossbar, or of the only one, in S: [in, out], or [tiles, rows, cols]."""
        return tuple(crossbar.conductance_matrix.detach().clone() for crossbar in self.module.crossbars)


@contextlib.contextmanager
def _shallow_copies() -> Iterator[None]:
    """Let MemTorch copy the arguments of each cell, of which it changes none, with their values shared."""
    module: Any = part("bh.StochasticParameter")
    held, module.copy = module.copy, types.SimpleNamespace(deepcopy=copy.copy)
    try:
        yield
    finally:
        module.copy = held


def _layer(weights: Tensor, stride: int, padding: int) -> nn.Module:
    """Return a layer of torch with these weights and a bias of zero."""
    if weights.ndim == 2:
        layer: nn.Linear | nn.Conv2d = nn.Linear(weights.shape[1], weights.shape[0])
    else:
        layer = nn.Conv2d(weights.shape[1], weights.shape[0], cast("Any", tuple(weights.shape[2:])), stride, padding)
    layer.weight.data = weights.detach().float().clone()
    cast("Tensor", layer.bias).data.zero_()
    return layer.requires_grad_(False)


def _patch(layer: nn.Module, s: MemTorchSettings, top: float) -> Any:
    """Return the layer as MemTorch patches it; top: the largest weight."""
    memristor, parameters = _memristor(s)
    scheme = part("bh.crossbar.Crossbar").Scheme
    patched = part("mn.Module").patch_model(
        nn.Sequential(layer),
        memristor_model=memristor,
        memristor_model_params=parameters,
        module_parameters_to_patch=[type(layer)],
        mapping_routine=_mapping(s, top),
        transistor=True,
        programming_routine=None,
        scheme=scheme.SingleColumn if s.single_column else scheme.DoubleColumn,
        tile_shape=None if s.tile_rows is None else (s.tile_rows, s.tile_cols),
        max_input_voltage=None,
        ADC_resolution=s.adc_bits,
        ADC_overflow_rate=s.adc_overflow_rate,
        quant_method=None if s.adc_bits is None else "linear",
        verbose=False,
    )
    return patched[0]


def _memristor(s: MemTorchSettings) -> tuple[Any, dict[str, Any]]:
    """Return class and parameters of the cells: linear, or the hyperbolic sine of Stanford-PKU without switching."""
    models = part("bh.memristor")
    resistances = {"r_on": _resistance(s.g_lrs_S, s.lrs), "r_off": _resistance(s.g_hrs_S, s.hrs)}
    if not s.nonlinearity_per_V:
        return models.VTEAM, resistances
    # No field is high enough to move the gap, so that a read changes no cell. The current at no gap is far above LRS,
    # so that all gaps are positive.
    bend = s.nonlinearity_per_V * s.v_read_V
    shape = {"V_0": 1.0 / s.nonlinearity_per_V, "read_voltage": s.v_read_V, "F_min": 1e30}
    return models.Stanford_PKU, resistances | shape | {"I_0": 1e3 * s.g_lrs_S * s.v_read_V / math.sinh(bend)}


def _resistance(g_S: float, law: CellLaw) -> Any:
    """Return a resistance in ohm, or MemTorch's stochastic parameter for it."""
    if law.sigma == 0.0:
        return 1.0 / g_S
    stochastic = part("bh.StochasticParameter").StochasticParameter
    if law.law == "log_normal":
        return stochastic(distribution=_LogNormal, loc=-math.log(g_S), scale=law.sigma)
    return stochastic(distribution=_InverseNormal, mean_S=g_S, std_S=law.sigma * g_S)


@final
class _InverseNormal(torch.distributions.Distribution):
    """Resistance of a cell with normal conductance, clipped to a millionth of the mean."""

    def __init__(self, mean_S: float, std_S: float) -> None:
        self.mean_S, self.std_S = mean_S, std_S
        super().__init__(validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.tensor(1.0 / self.mean_S)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        conductance = self.mean_S + self.std_S * torch.randn(sample_shape)
        return 1.0 / conductance.clamp_min(1e-6 * self.mean_S)


@final
class _LogNormal(torch.distributions.Distribution):
    """Resistance of a cell with log-normal conductance: the numbers of torch's own law, in a tenth of its time."""

    def __init__(self, loc: float, scale: float) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.tensor(math.exp(self.loc + self.scale**2 / 2))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.randn(sample_shape).mul_(self.scale).add_(self.loc).exp_()


def _mapping(s: MemTorchSettings, top: float) -> Any:
    """Return the function from the weights of a layer to the conductances that its cells are set to."""
    if s.single_column:
        return _around_the_middle(s, top)
    return _to_the_ends(top) if s.varies else part("map.Parameter").naive_map


def _around_the_middle(s: MemTorchSettings, top: float) -> Any:
    """Map -top … top to HRS … LRS, which MemTorch's single column decodes minus its middle conductance."""
    low, half = s.g_hrs_S, (s.g_lrs_S - s.g_hrs_S) / 2

    def targets(weight: Tensor, _r_on: float, _r_off: float, scheme: Any, p_l: float | None = None) -> Tensor:
        return low + half + half / top * weight

    return targets


def _to_the_ends(top: float) -> Any:
    """Set cells to one end of their range: LRS in the column of the weight's sign, HRS elsewhere."""

    def targets(weight: Tensor, _r_on: float, _r_off: float, scheme: Any, p_l: float | None = None) -> Any:
        return (weight >= top).float() * _BEYOND_S, (weight <= -top).float() * _BEYOND_S

    return targets


def _uncross(module: Any, weights: Tensor, top: float) -> None:
    """Widen the range of every cell whose HRS is sampled above its LRS, by the state that it does not hold.

    MemTorch clips to such a range from above and then from below, so that the cell would conduct its HRS in either
    state.
    """
    targets = _to_the_ends(top)(weights, 0.0, 0.0, None)
    for crossbar, target in zip(module.crossbars, targets, strict=True):
        matrix = target.reshape(crossbar.columns, crossbar.rows).T
        if crossbar.tile_shape is not None:
            matrix = part("bh.crossbar.Tile").gen_tiles(matrix, crossbar.tile_shape, input=False)[0]
        crossed = [
            (cell, high)
            for cell, high in zip(crossbar.devices.flat, (matrix > 0).flatten().tolist(), strict=True)
            if cell.r_on >= cell.r_off
        ]
        for cell, high in crossed:
            cell.r_on, cell.r_off = (cell.r_on, 2.0 * cell.r_on) if high else (0.5 * cell.r_off, cell.r_off)
        if crossed:
            crossbar.write_conductance_matrix(target, transistor=True)


def _degrade(module: nn.Module, s: MemTorchSettings) -> None:
    """Apply faults, then drift, then the I-V curve to a patched layer."""
    if s.faulty:
        part("bh.nonideality.DeviceFaults").apply_device_faults(module, s.stuck_lrs, s.stuck_hrs, 0.0)
    if s.drifts:
        law = part("bh.nonideality.endurance_retention_models.conductance_drift").model_conductance_drift
        arguments = {"initial_time": s.drift_t0_s, "drift_coefficient": s.drift_nu}
        part("bh.nonideality.Retention").apply_retention_model(module, s.drift_t_s, law, **arguments)
    if s.nonlinearity_per_V:
        part("bh.nonideality.NonLinear").apply_non_linear(module, simulate=True)


def on_levels(weights: Tensor, levels: int, single_column: bool) -> Tensor:
    """Return weights on the levels of cells, in the unit of the weights.

    A column pair rounds magnitudes, a single column the position within the window; halves are rounded to the even
    level, as in the encodings `differential` and `offset`.

    Args:
        weights: Weights of any shape.
        levels: Number of levels.
        single_column: One cell per weight instead of a pair.
    """
    top = float(weights.abs().max()) or 1.0
    steps = levels - 1
    if single_column:
        return (((weights / top + 1.0) * (steps / 2)).round() * (2 / steps) - 1.0) * top
    return (weights * (steps / top)).round() * (top / steps)


@functools.lru_cache(maxsize=4096)
def entropy(seed: int, layer: str, chip: int, epoch: int) -> int:
    """Return the seed of one crossbar of one chip, of which MemTorch's generators keep 32 bits."""
    words = [seed, chip, epoch, *layer.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
