"""A memory cell: its levels, how it is programmed, its faults, how it ages and how it is read."""

from __future__ import annotations

import functools
import itertools
from typing import Annotated, Any, Self, final

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._quantiles import WIDTH, normal_quantiles
from imc_sim._rng import Stream
from imc_sim.config import Kelvin, Siemens, Spec
from imc_sim.device._correlated import Correlated
from imc_sim.device._disturb import ReadDisturb, Wear
from imc_sim.device._faults import Faults
from imc_sim.device._finite import check_finite
from imc_sim.device._levels import Spacing, even, nearest, positions, subset
from imc_sim.device._pair_law import differences
from imc_sim.device._programming import Programming, RelativeVariation
from imc_sim.device._pulsed import AnyProgramming, PulsedProgramming
from imc_sim.device._read import Read
from imc_sim.device._time import Time
from imc_sim.device._write_verify import Verification, WriteVerify


@final
class Device(Spec):
    """A two-terminal memory cell with `levels` states from HRS to LRS.

    table_S: conductances of the levels as measured, ascending; g_hrs_S, g_lrs_S and levels follow from it and
    may be left out. Effects act in this order: faults, programming and verify (`program`), correlated variation, time
    and read disturb (`age`), read noise and I-V curve (`read`). Each is off by default, and off means untouched.
    """

    g_lrs_S: Siemens = Field(ge=1e-15, le=1.0, description="conductance of the low-resistance state")
    g_hrs_S: Siemens = Field(ge=0.0, le=1.0, description="conductance of the high-resistance state")
    levels: int = Field(default=2, ge=2, le=1024, description="states; every one has a table of 73,728 quantiles")
    spacing: Spacing = Field(default="conductance", description="in what the states are equally spaced")
    table_S: tuple[Annotated[Siemens, Field(ge=0.0, le=1.0)], ...] | None = Field(
        default=None, description="measured states, ascending"
    )
    programming: AnyProgramming = RelativeVariation()
    verify: WriteVerify = WriteVerify()
    faults: Faults = Faults()
    correlated: Correlated = Correlated()
    time: Time = Time()
    disturb: ReadDisturb = ReadDisturb()
    read: Read = Read()
    temperature_K: Kelvin = Field(default=300.0, ge=1.0, le=1000.0, description="of cells that are kept and read")

    @model_validator(mode="before")
    @classmethod
    def _from_table(cls, data: Any) -> Any:
        table = data.get("table_S") if isinstance(data, dict) else None
        if not isinstance(table, tuple | list) or not table:
            return data
        return {"g_hrs_S": table[0], "g_lrs_S": table[-1], "levels": len(table)} | data

    @model_validator(mode="after")
    def _window(self) -> Self:
        """Check that LRS is above HRS, and that a table of levels agrees with both."""
        if self.g_lrs_S <= self.g_hrs_S:
            raise ValueError(f"g_lrs_S above g_hrs_S (here {self.g_lrs_S:g} S is not above {self.g_hrs_S:g} S)")
        table = self.table_S
        if table is not None:
            if (table[0], table[-1], len(table)) != (self.g_hrs_S, self.g_lrs_S, self.levels):
                raise ValueError("a table_S from g_hrs_S to g_lrs_S with `levels` entries; these may be left out")
            if any(b <= a for a, b in itertools.pairwise(table)):
                raise ValueError("a table_S that rises")
        elif self.spacing == "resistance" and self.g_hrs_S == 0.0:
            raise ValueError("g_hrs_S above 0 S where levels are equally spaced in resistance")
        return self

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        """Check that pulses reach states of the switching model, and that verify is not requested twice."""
        if not isinstance(self.programming, PulsedProgramming):
            return self
        low, high = self.programming.cell.range_S
        if self.g_hrs_S < low * (1 - 1e-9) or self.g_lrs_S > high * (1 + 1e-9):
            raise ValueError(f"g_hrs_S and g_lrs_S from {low:g} S to {high:g} S, which the switching model can be")
        if not self.verify.is_ideal:
            raise ValueError("verify left out where programming.kind is 'pulses', which has another tolerance")
        return self

    # -- levels ----------------------------------------------------------------------------------------

    @property
    def window_S(self) -> float:
        """Return G_LRS - G_HRS."""
        return self.g_lrs_S - self.g_hrs_S

    @property
    def floor(self) -> float:
        """Return G_HRS in units of the window."""
        return self.g_hrs_S / self.window_S

    @property
    def linear(self) -> bool:
        """Tell whether levels are equally spaced in conductance, as encodings that add them up assume."""
        return bool(torch.equal(self._own_levels(), even(self.levels - 1)))

    def _own_levels(self) -> Tensor:
        return positions(self.levels, self.spacing, self.table_S, self.floor)

    def positions(self, steps: int) -> Tensor:
        """Return g [steps + 1] of the levels for steps + 1 codes, in windows: 0 for HRS … 1 for LRS, float64.

        Equally spaced cells: k / steps. Others: their own levels if there are as many, else the nearest of them.
        """
        return even(steps) if steps == 1 or self.linear else subset(self._own_levels(), steps)

    # -- programming -----------------------------------------------------------------------------------

    @property
    def cells_are_ideal(self) -> bool:
        """Tell whether every cell is programmed to its target."""
        return self.programming.is_ideal and self.faults.is_ideal

    def table(self, steps: int) -> Tensor:
        """Return programmed g for every level k / steps (rows, k = 0 … steps) and every draw: [steps + 1, WIDTH].

        float64. The whole of programming is a look-up in it: 65,536 mid-point quantiles of each level's law,
        within 1.6e-5 of the law itself in the sense of Kolmogorov and Smirnov, and behind them 4,096 quantiles of
        either tail, which cells with an outermost draw take instead (see `imc_sim._quantiles`). Where faults leave
        cells in states that are no level, two rows more: dead cells and undefined ones. Where relaxation acts, normal
        laws go on below 0 S, since `age` clips what it leaves; elsewhere they are clipped.
        """
        levels = tuple(self.positions(steps).tolist())
        faults = self.faults if self.faults.extra else None
        clip = not self.time.relaxes
        return _table(self.programming, self.verify, faults, levels, self.floor, self.window_S, clip)  # type: ignore[arg-type]

    def pair_table(self, steps: int) -> Tensor:
        """Return the law of the difference of a cell at level k and one at HRS: [steps + 1, WIDTH], float64."""
        return _pair_table(self.programming, tuple(self.positions(steps).tolist()), self.floor, self.window_S)  # type: ignore[arg-type]

    def draw(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0) -> Tensor:
        """Return indices (int32, shaped as `levels`) into the flattened `table(steps)` for one chip's cells.

        levels: integers 0 … steps (int32). The random number of a cell is addressed by (seed, layer, chip, epoch) and
        its place; `epoch` distinguishes programming epochs of the same cells.
        """
        epoch = self.time.last_epoch(epoch)
        base = self.faults.levels(levels, steps, seed, layer, chip, epoch) * WIDTH
        if self.programming.is_ideal and not self.faults.undefined:
            return base
        columns = Stream(seed, layer, "programming").columns(levels.numel(), chip, epoch)
        return torch.from_numpy(np.add(base.numpy().reshape(-1), columns, dtype=np.int32)).reshape(levels.shape)

    def sample(
        self, table: Tensor, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0
    ) -> Tensor:
        """Return `look_up(table, draw(levels, …))` of a float32 table, in one pass where possible."""
        if table.dtype != torch.float32 or (self.programming.is_ideal and not self.faults.undefined):
            return look_up(table, self.draw(levels, steps, seed, layer, chip, epoch))
        epoch = self.time.last_epoch(epoch)
        rows = self.faults.levels(levels, steps, seed, layer, chip, epoch).reshape(-1).numpy()
        found = Stream(seed, layer, "programming").entries(table.numpy(), rows, chip, epoch)
        return torch.from_numpy(found).reshape(levels.shape)

    def differences(
        self, table: Tensor, units: Tensor, seed: int, layer: str, chip: int, epoch: int = 0
    ) -> tuple[Tensor, float] | None:
        """Return `sample` of the positive parts of units [n, m] minus that of the negative ones, of cells [n, 2, m].

        Returns also the largest magnitude. None where it would not be faster, or where cells
        are not all sampled in one way.
        """
        if table.dtype != torch.float32 or self.programming.is_ideal or not self.faults.is_ideal:
            return None
        stream = Stream(seed, layer, "programming")
        found = stream.differences(table.numpy(), units.contiguous().numpy(), chip, self.time.last_epoch(epoch))
        return None if found is None else (torch.from_numpy(found[0]), found[1])

    @property
    def one_draw(self) -> bool:
        """Tell whether a cell is one draw of one law: nothing is stuck, and pulses are not counted."""
        pulsed = isinstance(self.programming, PulsedProgramming)
        return self.faults.is_ideal and self.verify.is_ideal and not pulsed

    def pairs(
        self, table: Tensor, units: Tensor, seed: int, layer: str, chip: int, epoch: int = 0
    ) -> tuple[Tensor, float]:
        """Return differences of the cells of column pairs that hold units [n, m], one draw per pair, and the largest
        magnitude.

        table: `pair_table` of the units' steps, in any unit and type. Equal in law to the difference of single cells.
        """
        stream = Stream(seed, layer, "pairs")
        found, largest = stream.signed(table.numpy(), units.contiguous().numpy(), chip, self.time.last_epoch(epoch))
        return torch.from_numpy(found), largest

    def program(self, target: Tensor, seed: int, layer: str = "cells", chip: int = 0, epoch: int = 0) -> Tensor:
        """Return programmed g of one chip's cells, shaped as `target` (g in [0, 1], moved to the nearest level).

        As in `table`, it may be below 0 S where relaxation acts on it in `age`.
        """
        steps = self.levels - 1
        levels = torch.round(target * steps) if self.linear else nearest(self._own_levels(), target)
        indices = self.draw(levels.to(torch.int32), steps, seed, layer, chip, epoch)
        return look_up(self.table(steps), indices).to(target.dtype)

    def verification(self, steps: int) -> Verification:
        """Return acceptance, convergence and mean pulses of write-verify for each of the steps + 1 levels.

        Of the law `programming`; pulses of a switching model are counted by `pulses`.
        """
        law = functools.partial(_apply, self.programming, self.floor, self.window_S)
        return self.verify.statistics(law, self.positions(steps), self.floor, self.window_S)

    def pulses(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0) -> Tensor:
        """Return the pulses (int64, shaped as `levels`) that this programming took: 1 for each cell without verify.

        A cell that a fault keeps out of tolerance takes all of them.
        """
        if isinstance(self.programming, PulsedProgramming):
            found = self.draw(levels, steps, seed, layer, chip, epoch)
            key = (self.programming, tuple(self.positions(steps).tolist()), self.floor, self.window_S)
            table = _pulse_counts(*key)  # type: ignore[arg-type]  # hashable
            counts = look_up(table, levels.to(torch.int32) * WIDTH + found % WIDTH)
            return torch.where(found // WIDTH == levels, counts, self.programming.most)
        if self.verify.is_ideal:
            return torch.ones_like(levels, dtype=torch.int64)
        g = self.clipped(look_up(self.table(steps), self.draw(levels, steps, seed, layer, chip, epoch)))
        target = self.positions(steps)[levels.long()]
        within = (g - target).abs() <= self.verify.width(target, self.floor, self.window_S) + 1e-12
        uniform = torch.from_numpy(
            Stream(seed, layer, "pulses").uniform(levels.numel(), chip, self.time.last_epoch(epoch))
        )
        accepted = self.verification(steps).accepted[levels.long()]
        return self.verify.counts(accepted, uniform.reshape(levels.shape), within)

    # -- from programming to reading -------------------------------------------------------------------

    def clipped(self, g: Tensor, steps: int = 1) -> Tensor:
        """Return programmed g [*], in units of window / steps, clipped at 0 S; the same object if it is already."""
        return g.clamp_min(-self.floor * steps) if self.time.relaxes else g

    @property
    def by_state(self) -> bool:
        """Tell whether ageing depends on the level that a cell was programmed to: `age` takes their `state`."""
        return not self.disturb.is_ideal or self.time.relaxes

    @property
    def ages(self) -> bool:
        """Tell whether cells that are read differ from those that were programmed."""
        return not (self.correlated.is_ideal and self.time.is_ideal and self.disturb.is_ideal)

    def age(
        self, g: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int = 0, rows: Tensor | None = None,
        cols: Tensor | None = None, tile: Tensor | int = 0, state: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Age one chip's programmed cells until they are read; returns the same object if nothing acts.

        g: [*], float64, in units of window / steps. state: the level 0 … steps that each cell was programmed to, on
        which relaxation and read disturb depend (None: g, which device variation may have moved). rows, cols: place of
        each cell within its tile, from -1/2 to 1/2, and tile: its index (int64), all broadcasting to g; only needed for
        a gradient. Never below 0 S.
        """
        if not self.ages:
            return g
        check = functools.partial(_check_effect, layer, tile)
        G = check("programming", (g / steps + self.floor) * self.window_S)
        if not self.correlated.is_ideal:
            G = check("correlated", G * self.correlated.factor(seed, layer, chip, rows, cols, tile))
        if not self.time.is_ideal:
            target_S = ((self.clipped(g, steps) if state is None else state) / steps + self.floor) * self.window_S
            where = (seed, layer, chip, self.time.last_epoch(epoch))
            for effect, aged in self.time.stages(G, target_S, self.temperature_K, self.g_hrs_S, *where):
                G = check(f"time.{effect}", aged)
        if not self.disturb.is_ideal:
            low_resistance = g >= 0.5 * steps if state is None else state >= 0.5 * steps
            G = check("disturb", torch.where(low_resistance, G * self.wear.factor, G))
        return (G.clamp_min(0.0) / self.window_S - self.floor) * steps

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
        }
        return frozenset(path for path, there in acts.items() if not there)

    def states(self, g: Tensor, sampled: Tensor, steps: int) -> Tensor:
        """Return g of the level that each cell was programmed to, as `age` takes it; g itself where that is none.

        sampled: indices as `draw` returns them.
        """
        row = (sampled // WIDTH).long()
        targets = self.positions(steps)[row.clamp_max(steps)] * steps
        return torch.where(row <= steps, targets, g)

    @property
    def at_start(self) -> Device:
        """Return the same device immediately after programming, before the first read."""
        young = {
            "time": self.time.model_copy(update={"t_s": 0.0}),
            "disturb": self.disturb.model_copy(update={"reads": 0}),
        }
        return self.model_copy(update=young)

    @property
    def wear(self) -> Wear:
        """Return the read disturb of a cell in LRS: refreshes, programming cycles, reads since, and the factor on G."""
        return self.disturb.wear(self.read.v_read_V, self.temperature_K)

    def compensation(self, before: Tensor, after: Tensor, steps: int) -> float:
        """Return the factor that undoes the loss common to the cells of one crossbar; 1 where compensation is off.

        before: g aged by `at_start`; after: g aged by this device; of one shape, in units of window / steps.
        Its analog results are multiplied by the factor: sum of G before over sum of G after.
        """
        if not self.time.compensation or before is after:
            return 1.0
        lost, kept = (float((g / steps + self.floor).sum()) for g in (before, after))
        return lost / kept if kept > 0.0 else 1.0

    # -- reading ---------------------------------------------------------------------------------------

    def traps(self, shape: tuple[int, ...], seed: int, layer: str, chip: int) -> Tensor:
        """Return the relative amplitude (float64) of the trap in each of one chip's cells; 0 for cells without one."""
        return self.read.telegraph.traps(shape, seed, layer, chip)

    def read_variance(self, G_S: Tensor, trap: Tensor | None = None, programmed_S: Tensor | None = None) -> Tensor:
        """Return `read.variance` in S^2 at this device's temperature and the time since it was written."""
        return self.read.variance(G_S, trap, self.time.age_s, self.temperature_K, programmed_S)

    def without_effects(self) -> Device:
        """Return the same levels and I-V curve with ideal programming, ageing and reads."""
        read = Read(v_read_V=self.read.v_read_V, nonlinearity_per_V=self.read.nonlinearity_per_V)
        kept = {name: getattr(self, name) for name in ("g_lrs_S", "g_hrs_S", "levels", "spacing", "table_S")}
        return Device(**kept, read=read)


def _check_effect(layer: str, tile: Tensor | int, effect: str, G: Tensor) -> Tensor:
    """Return conductances after an effect of a layer's cells; InputError where they are not finite."""
    check_finite(G, f"device.{effect}", f"Reduce the parameters of device.{effect}.", layer, tile)
    return G


def look_up(table: Tensor, indices: Tensor) -> Tensor:
    """Return entries of the flattened table at int32 `indices`, in their shape."""
    return torch.index_select(table.reshape(-1), 0, indices.reshape(-1)).reshape(indices.shape)


def _apply(programming: Programming, floor: float, window_S: float, target: Tensor, normal: Tensor) -> Tensor:
    return programming.apply(target, normal, floor, window_S)


def _unclipped(programming: Programming, floor: float, window_S: float, target: Tensor, normal: Tensor) -> Tensor:
    return programming.unclipped(target, normal, floor, window_S)


@functools.lru_cache(maxsize=8)
def _table(
    programming: Programming, verify: WriteVerify, faults: Faults | None, levels: tuple[float, ...], floor: float,
    window_S: float, clip: bool,
) -> Tensor:  # fmt: skip
    """Return [levels + 2 rows of faults, WIDTH] of programmed g for all quantiles, see `Device.table`."""
    target = torch.tensor(levels, dtype=torch.float64)
    pulse = functools.partial(_apply, programming, floor, window_S)
    law = pulse if clip else functools.partial(_unclipped, programming, floor, window_S)
    if programming.is_ideal:
        table = target[:, None].expand(-1, WIDTH).contiguous()
    elif not verify.is_ideal:
        table = law(target[:, None], verify.normals(pulse, target, floor, window_S))
    else:
        table = law(target[:, None], _normals(len(levels)))
    check_finite(table, "device.programming", "Reduce the variation.")
    return table if faults is None else torch.cat([table, faults.rows(floor, window_S)])


@functools.lru_cache(maxsize=8)
def _pair_table(programming: Programming, levels: tuple[float, ...], floor: float, window_S: float) -> Tensor:
    single = _table(programming, WriteVerify(), None, levels, floor, window_S, True)  # type: ignore[arg-type]  # hashable
    return differences(single)


@functools.lru_cache(maxsize=8)
def _pulse_counts(programming: PulsedProgramming, levels: tuple[float, ...], floor: float, window_S: float) -> Tensor:
    """Return [levels, WIDTH]: pulses of the cells in the table of programmed conductances."""
    target = torch.tensor(levels, dtype=torch.float64)
    return programming.outcome(target[:, None], _normals(len(levels)), floor, window_S).pulses


def _normals(levels: int) -> Tensor:
    """Return the quantiles of the standard normal law for every level: [levels, WIDTH]."""
    return torch.from_numpy(normal_quantiles().astype(np.float64))[None].expand(levels, -1)
