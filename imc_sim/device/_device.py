"""A memory cell: its levels, how it is programmed, its faults, how it ages and how it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._quantiles import WIDTH
from imc_sim._rng import Stream, check_address
from imc_sim._tensors import unit_values
from imc_sim.config import Kelvin
from imc_sim.device._correlated import Correlated
from imc_sim.device._cycles import CycleToCycle, Endurance, disturb_cycles
from imc_sim.device._disturb import ReadDisturb, Wear
from imc_sim.device._faults import Faults
from imc_sim.device._finite import check_finite
from imc_sim.device._levels import Levels
from imc_sim.device._programming import RelativeVariation
from imc_sim.device._pulsed import AnyProgramming, PulsedProgramming
from imc_sim.device._read import Read
from imc_sim.device._tables import between_rows, look_up, pair_differences, programmed, pulse_counts, verification
from imc_sim.device._time import Time
from imc_sim.device._write_verify import Verification, WriteVerify


@final
class Device(Levels):
    """A two-terminal memory cell with `levels` states from HRS to LRS.

    Effects act in this order: faults, programming and verify (`program`), correlated variation, time and read disturb
    (`age`), read noise and I-V curve (`read`). Each is off by default.

    Attributes:
        programming: law of programmed conductances around their targets.
        verify: closed loop of programming and reading.
        faults: stuck and dead cells, failed programming.
        cycle_to_cycle: part of the variation that each programming renews, and its correlation.
        endurance: wear by the programming cycles that the cells have seen.
        correlated: device variation from chip to chip and as a gradient across a tile.
        time: time of the reads, and relaxation, drift and retention until then.
        disturb: loss of LRS under reads, and refreshes.
        read: read voltage, read noise and I-V curve.
    """

    programming: AnyProgramming = RelativeVariation()
    verify: WriteVerify = WriteVerify()
    faults: Faults = Faults()
    cycle_to_cycle: CycleToCycle = CycleToCycle()
    endurance: Endurance = Endurance()
    correlated: Correlated = Correlated()
    time: Time = Time()
    disturb: ReadDisturb = ReadDisturb()
    read: Read = Read()
    temperature_K: Kelvin = Field(default=300.0, ge=1.0, le=1000.0, description="of cells that are kept and read")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        """Check that pulses reach states of the switching model, that verify is requested once, and cycles agree."""
        disturb_cycles(self.disturb, self.endurance)
        if not isinstance(self.programming, PulsedProgramming):
            return self
        low, high = self.programming.cell.range_S
        if self.g_hrs_S < low * (1 - 1e-9) or self.g_lrs_S > high * (1 + 1e-9):
            raise ValueError(f"g_hrs_S and g_lrs_S from {low:g} S to {high:g} S, which the switching model can be")
        if not self.verify.is_ideal:
            raise ValueError("verify left out where programming.kind is 'pulses', which has another tolerance")
        return self

    @property
    def cells_are_ideal(self) -> bool:
        """Tell whether every cell is programmed to its target."""
        return self.programming.is_ideal and self.faults.is_ideal and self.endurance.failed == 0.0

    def table(self, steps: int) -> Tensor:
        """Return programmed g of every level k / steps (row k) for every sample: [steps + 1, WIDTH], float64.

        Programming is a look-up in this table: 65,536 mid-point quantiles of each level's law, within 1.6e-5 of the law
        in the sense of Kolmogorov and Smirnov, and then 4,096 quantiles of either tail, which cells with an outermost
        sample take instead (see `imc_sim._quantiles`). Where faults leave cells in states that are no level, two more
        rows follow: dead and undefined cells. Values are clipped at 0 S, except where relaxation acts: `age` clips
        these.

        Continuous levels have no row each: `highest_row(steps)` + 1 equally spaced ones do.

        Args:
            steps: number of the highest level.
        """
        faults = self.faults if self.faults.extra else None
        return programmed(*self._law(steps), self.verify, faults, not self.time.relaxes)  # type: ignore[arg-type]  # hashable

    def pair_table(self, steps: int) -> Tensor:
        """Return the law of the difference of a cell at level k and one at HRS: [steps + 1, WIDTH], float64.

        Args:
            steps: number of the highest level.
        """
        return pair_differences(*self._law(steps))

    def _law(self, steps: int) -> tuple[Any, tuple[float, ...], float, float]:
        """Return the programming law, g of its levels, floor and window: what its tables depend on."""
        return self.programming, tuple(self.positions(self.highest_row(steps)).tolist()), self.floor, self.window_S

    def draw(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0) -> Tensor:
        """Return indices (int32, shaped as `levels`) into the flattened `table(steps)` for one chip's cells.

        Args:
            levels: target levels 0 … steps (int32), any shape.
            steps: number of the highest level.
            seed, layer, chip, epoch: address of the random numbers; epoch distinguishes programmings of the same cells.
        """
        base = self.held(levels, steps, seed, layer, chip, epoch) * WIDTH
        if self.programming.is_ideal and not self.faults.undefined:
            return base
        columns = self._columns(levels.numel(), seed, layer, chip, self.time.last_epoch(epoch))
        return torch.from_numpy(np.add(base.numpy().reshape(-1), columns, dtype=np.int32)).reshape(levels.shape)

    def sample(
        self, table: Tensor, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0
    ) -> Tensor:
        """Return `look_up(table, draw(levels, …))`, for a float32 table in one pass where possible.

        Args:
            table: `table(steps)`, in any unit and type.
            levels: target levels 0 … steps (int32), any shape.
            steps: number of the highest level.
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
        """
        if self.highest_row(steps) < steps:
            held = self.held(levels, steps, seed, layer, chip, epoch).reshape(-1).long()
            one = self.programming.is_ideal and not self.faults.undefined
            columns = None if one else self._columns(len(held), seed, layer, chip, self.time.last_epoch(epoch))
            return between_rows(table, held, columns, steps, self.highest_row(steps)).reshape(levels.shape)
        plain = self.cycle_to_cycle.is_ideal
        if table.dtype != torch.float32 or not plain or (self.programming.is_ideal and not self.faults.undefined):
            return look_up(table, self.draw(levels, steps, seed, layer, chip, epoch))
        rows = self.held(levels, steps, seed, layer, chip, epoch).reshape(-1).numpy()
        found = Stream(seed, layer, "programming").entries(table.numpy(), rows, chip, self.time.last_epoch(epoch))
        return torch.from_numpy(found).reshape(levels.shape)

    def held(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0) -> Tensor:
        """Return the levels (int32) that cells have after faults: steps + 1 for dead cells, steps + 2 for undefined.

        Args:
            levels: target levels 0 … steps (int32), any shape.
            steps: number of the highest level.
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
        """
        levels = self.faults.levels(levels, steps, seed, layer, chip, self.time.last_epoch(epoch))
        return self.endurance.levels(levels, steps, seed, layer, chip)

    def _columns(self, count: int, seed: int, layer: str, chip: int, epoch: int) -> NDArray[np.int32]:
        """Return the column of the table for each cell; epoch is that of the last refresh."""
        if self.cycle_to_cycle.is_ideal:
            return Stream(seed, layer, "programming").columns(count, chip, epoch)
        return self.cycle_to_cycle.columns(count, seed, layer, chip, epoch)

    def differences(
        self, table: NDArray[Any], units: Tensor, seed: int, layer: str, chip: int, epoch: int = 0
    ) -> tuple[NDArray[Any], int] | None:
        """Return `sample` of the positive minus that of the negative parts of units [n, m], and the largest magnitude.

        None where this is not faster than `sample`, or where cells have faults or no variation.

        Args:
            table: `table` of the units' steps in whole numbers, whose differences their type holds.
            units: signed levels [n, m], float32; random numbers are those of cells [n, 2, m].
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
        """
        if self.programming.is_ideal or not self._plain:
            return None
        stream = Stream(seed, layer, "programming")
        return stream.differences(table, units.contiguous().numpy(), chip, self.time.last_epoch(epoch))

    @property
    def _plain(self) -> bool:
        """Tell whether cells have no faults, and each programming is sampled again."""
        return self.faults.is_ideal and self.endurance.failed == 0.0 and self.cycle_to_cycle.is_ideal

    @property
    def one_draw(self) -> bool:
        """Tell whether a cell is one sample of one law: nothing is stuck, and pulses are not counted."""
        pulsed = isinstance(self.programming, PulsedProgramming)
        return self._plain and self.verify.is_ideal and not pulsed

    def pairs(
        self, table: Tensor, units: Tensor, seed: int, layer: str, chip: int, epoch: int = 0
    ) -> tuple[Tensor, float]:
        """Return differences of the cells of column pairs [n, m], one sample per pair, and their largest magnitude.

        They have the law of the difference of two single cells.

        Args:
            table: `pair_table` of the units' steps, in any unit and type.
            units: signed levels [n, m] that the pairs hold.
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
        """
        stream = Stream(seed, layer, "pairs")
        found, largest = stream.signed(table.numpy(), units.contiguous().numpy(), chip, self.time.last_epoch(epoch))
        return torch.from_numpy(found), largest

    @checked
    def program(self, target: Tensor, seed: int, layer: str = "cells", chip: int = 0, epoch: int = 0) -> Tensor:
        """Return programmed g of one chip's cells, shaped as `target`; below 0 S only where relaxation acts.

        Args:
            target: target g in [0, 1], any shape, moved to the nearest level.
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
        """
        check_address(seed, epoch, "Device.program")
        steps = self.levels - 1
        levels = self.codes(unit_values(target, "Device.program, target")).to(torch.int32)
        return self.sample(self.table(steps), levels, steps, seed, layer, chip, epoch).to(target.dtype)

    def verification(self, steps: int) -> Verification:
        """Return acceptance, convergence and mean pulses of write-verify for each of the steps + 1 levels.

        They are those of the law `programming`; `pulses` counts the pulses of a switching model.

        Args:
            steps: number of the highest level.
        """
        return verification(*self._law(steps), self.verify)  # type: ignore[arg-type]  # hashable

    def pulses(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0) -> Tensor:
        """Return the pulses (int64, shaped as `levels`) that this programming took: 1 for each cell without verify.

        A cell that a fault keeps out of tolerance takes all of them.

        Args:
            levels: target levels 0 … steps (int32), any shape.
            steps: number of the highest level.
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
        """
        address = (seed, layer, chip, epoch)
        row = (levels.double() * (self.highest_row(steps) / steps)).round().to(torch.int32)
        if isinstance(self.programming, PulsedProgramming):
            columns = self._columns(levels.numel(), seed, layer, chip, self.time.last_epoch(epoch))
            places = row * WIDTH + torch.from_numpy(columns).reshape(levels.shape).to(torch.int32)
            counts = look_up(pulse_counts(*self._law(steps)), places)
            return torch.where(self.held(levels, steps, *address) == levels, counts, self.programming.most)
        if self.verify.is_ideal:
            return torch.ones_like(levels, dtype=torch.int64)
        g = self.clipped(self.sample(self.table(steps), levels, steps, *address))
        target = self.places(levels, steps)
        within = (g - target).abs() <= self.verify.width(target, self.floor, self.window_S) + 1e-12
        uniform = Stream(seed, layer, "pulses").uniform(levels.numel(), chip, self.time.last_epoch(epoch))
        accepted = self.verification(steps).accepted
        return self.verify.counts(accepted, row, torch.from_numpy(uniform).reshape(levels.shape), within)

    def clipped(self, g: Tensor, steps: int = 1) -> Tensor:
        """Return programmed g [*] clipped at 0 S; the same object if `table` has clipped it already.

        Args:
            g: programmed g [*] in units of window / steps.
            steps: number of the highest level.
        """
        return g.clamp_min(-self.floor * steps) if self.time.relaxes else g

    @property
    def by_state(self) -> bool:
        """Tell whether ageing depends on the level that a cell was programmed to: `age` takes their `state`."""
        return not self.disturb.is_ideal or self.time.by_state or self.endurance.closes

    @property
    def ages(self) -> bool:
        """Tell whether cells that are read differ from those that were programmed."""
        fresh = self.correlated.is_ideal and self.time.is_ideal and self.disturb.is_ideal
        return self.endurance.closes or not fresh

    def age(
        self, g: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0, rows: Tensor | None = None,
        cols: Tensor | None = None, tile: Tensor | int = 0, state: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Age one chip's programmed cells until they are read.

        Args:
            g: programmed g [*], float64, in units of window / steps.
            steps: number of the highest level.
            seed, layer, chip, epoch: address of the random numbers, as in `draw`.
            rows, cols: place of each cell within its tile, from -1/2 to 1/2; only needed for a gradient.
            tile: index of the tile of each cell (int64); broadcasts to g, as rows and cols do.
            state: g of the level that each cell was programmed to, in the same units, on which relaxation and read
                disturb depend; None: g, which device variation may have moved.

        Returns:
            g [*] at the time of the read, at least 0 S, in units of window / steps; the same object if nothing acts.

        Raises:
            InputError: an effect overflows, or coordinates for a gradient are missing.
        """
        if not self.ages:
            return g
        address = (seed, layer, chip, self.time.last_epoch(epoch))
        G = g
        for effect, G in self._effects(g, steps, g if state is None else state, address, rows, cols, tile):
            check_finite(G, f"device.{effect}", f"Reduce the parameters of device.{effect}.", layer, tile)
        return (G.clamp_min(0.0) / self.window_S - self.floor) * steps

    def _effects(
        self, g: Tensor, steps: int, state: Tensor, address: tuple[int, str, int, int], rows: Tensor | None,
        cols: Tensor | None, tile: Tensor | int,
    ) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
        """Yield the name of each effect that `age` applies, and the conductances [*] in S after it."""
        G = (g / steps + self.floor) * self.window_S
        yield "programming", G
        if self.endurance.closes:
            G = G * self.endurance.factor(state / steps)
            yield "endurance", G
        if not self.correlated.is_ideal:
            G = G * self.correlated.factor(*address[:3], rows, cols, tile)
            yield "correlated", G
        if not self.time.is_ideal:
            target_S = ((self.clipped(g, steps) if state is g else state) / steps + self.floor) * self.window_S
            for effect, aged in self.time.stages(G, target_S, self.temperature_K, self.g_hrs_S, *address):
                G = aged
                yield f"time.{effect}", G
        if not self.disturb.is_ideal:
            yield "disturb", torch.where(state >= 0.5 * steps, G * self.wear.factor, G)

    def idle(self) -> frozenset[str]:
        """Return the paths of settings that act through effects that are off.

        Refreshes program cells again, so that time acts without ageing; compensation undoes read disturb as well.
        """
        time, wears, flickers = self.time, not self.disturb.is_ideal, self.read.flicker.acts(self.time.age_s)
        lost = "retention" not in time.idle() and time.retention.activation_eV > 0.0
        acts = {
            "time.t_s": flickers or time.refreshes > 0 or not time.is_ideal,
            "time.compensation": wears or not time.is_ideal,
            "temperature_K": self.read.bandwidth_Hz > 0.0 or wears or lost,
            "read.flicker": flickers,
            "cycle_to_cycle": not self.programming.is_ideal or self.faults.undefined,
        }
        return frozenset(path for path, there in acts.items() if not there)

    def states(self, g: Tensor, held: Tensor, steps: int) -> Tensor:
        """Return g of the level each cell was programmed to [*], for `age`; g itself for dead and undefined cells.

        Args:
            g: programmed g [*] in units of window / steps.
            held: levels [*] as `held` returns them.
            steps: number of the highest level.
        """
        return torch.where(held <= steps, self.places(held.clamp_max(steps), steps) * steps, g)

    @property
    def at_start(self) -> Device:
        """Return the same device immediately after programming, before the first read."""
        time, disturb = self.time.model_copy(update={"t_s": 0.0}), self.disturb.model_copy(update={"reads": 0})
        return self.model_copy(update={"time": time, "disturb": disturb})

    @property
    def wear(self) -> Wear:
        """Return the read disturb of a cell in LRS: refreshes, programming cycles, reads since, and the factor on G."""
        return self.disturb.wear(self.read.v_read_V, self.temperature_K, disturb_cycles(self.disturb, self.endurance))

    def compensation(self, before: Tensor, after: Tensor, steps: int) -> float:
        """Return the factor on analog results that undoes the common loss of one crossbar; 1 where compensation is off.

        It is the sum of conductances before over that after.

        Args:
            before, after: g [*] aged by `at_start` and by this device, in units of window / steps.
            steps: number of the highest level.
        """
        if not self.time.compensation or before is after:
            return 1.0
        lost, kept = (float((g / steps + self.floor).sum()) for g in (before, after))
        return lost / kept if kept > 0.0 else 1.0

    def traps(self, shape: tuple[int, ...], seed: int, layer: str, chip: int) -> Tensor:
        """Return the relative amplitude (float64) of the trap in each of one chip's cells; 0 for cells without one.

        Args:
            shape: shape of the result.
            seed, layer, chip: address of the random numbers of the cells.
        """
        return self.read.telegraph.traps(shape, seed, layer, chip)

    def read_variance(self, G_S: Tensor, trap: Tensor | None = None, programmed_S: Tensor | None = None) -> Tensor:
        """Return `read.variance` [*] in S^2 at this device's temperature and the time since it was written.

        Args:
            G_S: conductances [*] in S at the time of the read.
            trap: relative amplitude of each cell's trap [*], from `traps`; only read if telegraph noise is on.
            programmed_S: programmed conductances [*] in S, for 1/f noise; None: G_S.
        """
        return self.read.variance(G_S, trap, self.time.age_s, self.temperature_K, programmed_S)

    def without_effects(self) -> Device:
        """Return the same levels and I-V curve with ideal programming, ageing and reads."""
        read = Read(v_read_V=self.read.v_read_V, nonlinearity_per_V=self.read.nonlinearity_per_V)
        return Device(**{name: getattr(self, name) for name in Levels.model_fields}, read=read)
