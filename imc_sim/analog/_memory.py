"""The key-value memory: keys in crossbar cells, digital values, similarity as one analog product."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._rng import check_seed, chip_numbers
from imc_sim._tensors import check_usual, real_values
from imc_sim.array import Chip, Crossbar, DrivenRows, Placement, Rows, count_pulses, load_chip, signs
from imc_sim.backends.memtorch import MemTorchCrossbar
from imc_sim.config import Engine, as_engine
from imc_sim.nn.similarity import KeyForm, key_form

#: largest number of classes, and of values of their one-hot codes (8 GB)
_CLASSES, _CODES = 1_000_000, 2 * 10**9


@final
class AssociativeMemory:
    """Store keys in a crossbar and find the class of a query by its dot products with all keys.

    Args:
        chip: the chip, or its name, path or mapping.
        dim: components of a key.
        chips: number of chips, or the range of their numbers.
        seed: seed of all random numbers.
        form: form of keys and queries: `bipolar` (+-1, threshold 0), `binary` ({0, 1}) or `float` (magnitudes on the
            device's levels).
        layer: name that addresses the random numbers and appears in errors.
        engine: backend that computes the products (see `imc_sim.config.Engine`); None: the chip's own.

    Reference:
        Karunaratne et al., Nat. Commun. 12:2468 (2021).
    """

    @checked
    def __init__(
        self, chip: Chip | str | os.PathLike[str] | Mapping[str, object], dim: int, chips: int | range = 1,
        seed: int = 0, form: KeyForm = "bipolar", layer: str = "memory", engine: Engine | str | None = None,
    ) -> None:  # fmt: skip
        self.chip, self.dim, self.seed, self.layer = load_chip(chip).resampled, dim, seed, layer
        self.engine = self.chip.engine if engine is None else as_engine(engine)
        self.form: KeyForm = form
        check_seed(seed, "memory")
        check_whole(dim, "memory, dim", 1)
        self.chips = chip_numbers(chips, "memory")
        self._epoch = 0
        self.limits: tuple[float, float] | None = None
        self.input_limit: float | None = None
        self.driven_rows: DrivenRows | None = None
        self._crossbars: list[Crossbar] = []
        self._values: Tensor | None = None

    @checked
    def write(self, keys: Tensor, labels: Tensor, epoch: int | None = None) -> None:
        """Replace the stored keys: program new ones.

        Args:
            keys: [n, dim], or [chip, n, dim].
            labels: integers [n], counted from 0.
            epoch: programming epoch, which addresses the device variation; None: one more than the last.

        Raises:
            InputError: for keys or labels of another shape, or labels that are not whole numbers from 0.
        """
        self._check_shape(keys, "keys")
        check_usual(labels, "memory.write, labels")
        if labels.shape != (keys.shape[-2],):
            allowed = f"[{keys.shape[-2]}], one label a key"
            raise InputError("memory.write, labels", f"shape {tuple(labels.shape)}", allowed, "Reshape the labels.")
        formed = self._formed(keys, "keys")
        values = _one_hot(_classes(labels), formed)
        epoch = self._epoch if epoch is None else epoch
        check_whole(epoch, "memory.write, epoch")
        self._epoch = epoch + 1
        self._crossbars = []  # frees their memory for the new ones, while it is in cache
        groups = [(formed, self.chips)]
        if keys.ndim == 3:
            groups = [(formed[c], self.chips[c : c + 1]) for c in range(len(self.chips))]
        self._crossbars = [self._programmed(k, chips, epoch) for k, chips in groups]
        for crossbar in self._crossbars:
            self._set_ranges(crossbar)
        self._values = values

    def calibrate(self, keys: Tensor, queries: Tensor) -> None:
        """Measure the ranges of DACs and ADCs on ideal cells, and the rows that queries switch on.

        Args:
            keys: [n, dim].
            queries: [batch, dim].
        """
        if not self.engine.native:
            return  # MemTorch's ADCs take their range from their own inputs
        self._check_shape(keys, "keys")
        self._check_shape(queries, "queries")
        formed, q = self._formed(keys, "keys"), self._formed(queries, "queries")
        self.input_limit = float(q.abs().max())
        encoding = self.chip.encoding
        placement = Placement.of(self.chip.tile, encoding, self.dim, 1, "memory")
        self.driven_rows = DrivenRows.of(encoding, self.chip.wires, placement, Rows(q))
        if self.chip.converter.range == "calibrated" and not self.chip.converter.is_ideal:
            crossbar = Crossbar.program(formed, self.chip.without_effects(), layer=self.layer)
            crossbar.set_input_limit(self.input_limit)
            self.limits = crossbar.tiled.profile(Rows(crossbar.lines.voltages(q)))
        for programmed in self._crossbars:
            self._set_ranges(programmed)
            if self.driven_rows is not None:
                programmed.set_driven_rows(self.driven_rows)

    def _set_ranges(self, crossbar: Crossbar) -> None:
        if self.input_limit is not None:
            crossbar.set_input_limit(self.input_limit)
        if self.limits is not None:
            crossbar.set_limits(*self.limits)

    def similarity(self, queries: Tensor) -> Tensor:
        """Return the dot products of queries with every key, over dim: [chip, batch, n].

        Args:
            queries: [batch, dim], or [chip, batch, dim].

        Raises:
            InputError: for queries of another shape, and where no keys are stored.
        """
        if not self._crossbars:
            raise InputError("memory.search", "an empty memory", "a memory with keys", "Call write first.")
        y = self._products(queries)
        # By a power of two both are exact, and a product is faster.
        return y.div_(self.dim) if self.dim & (self.dim - 1) else y.mul_(1 / self.dim)

    def _products(self, queries: Tensor) -> Tensor:
        """Return the dot products of queries with every key, [chip, batch, n]."""
        first, *others = self._crossbars
        self._check_shape(queries, "queries", empty=True)
        if not others and self.engine.native and self.form == "bipolar" and queries.ndim == 2:
            rows = Rows.of_signs(queries)
            if rows is not None:
                return first.read_all(rows)
        q = self.query_vectors(queries)
        if not others:
            return first.mvm(q)
        return torch.cat([x.mvm(q if q.ndim == 2 else q[c]) for c, x in enumerate(self._crossbars)])

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return queries in the form of the stored keys, as the crossbars take them; shaped as the queries.

        Args:
            queries: [batch, dim], or [chip, batch, dim].

        Raises:
            InputError: for queries of another shape, or that are not finite.
        """
        self._check_shape(queries, "queries", empty=True)
        return self._formed(queries, "queries")

    def search(self, queries: Tensor) -> Tensor:
        """Return the similarities summed per class, [chip, batch, ways]; the class of a query has the largest sum.

        Args:
            queries: [batch, dim], or [chip, batch, dim].
        """
        similarity = self.similarity(queries)
        return similarity @ self._values.to(similarity.dtype)  # type: ignore[union-attr]

    def skip_reads(self, count: int) -> None:
        """Count reads without reading: the number of a read addresses its noise.

        Args:
            count: number of reads.
        """
        for crossbar in self._crossbars if self.engine.native else ():
            crossbar.take_reads(count)

    @property
    def crossbars(self) -> Sequence[Crossbar]:
        """Return the crossbars of the stored keys: one for all chips, or one per chip where each has other keys."""
        return tuple(self._crossbars)

    def write_pulses(self) -> Tensor:
        """Return the programming pulses [chip] of the stored keys until they are read, refreshes included.

        Every refresh counts as many pulses as the last programming; one of read disturb rewrites cells in LRS alone.

        Raises:
            InputError: where no keys are stored, or MemTorch computes.
        """
        if not self._crossbars or not self.engine.native:
            allowed = "keys written on the native backend"
            raise InputError("memory.write_pulses", "no pulses to count", allowed, "Call write first.")
        return torch.tensor([count_pulses(x.plan, address) for x in self._crossbars for address in x.addresses])

    def _programmed(self, keys: Tensor, chips: range, epoch: int) -> Crossbar:
        """Return the keys in the cells of some chips."""
        if not self.engine.native:
            foreign = MemTorchCrossbar.program(keys, self.chip, chips, self.seed, self.layer, epoch, engine=self.engine)
            return cast("Any", foreign)
        signed = self.form == "bipolar"
        return Crossbar.program(
            keys, self.chip, chips, self.seed, self.layer, epoch, unit_inputs=signed, driven=self.driven_rows,
            signs=signed,
        )  # fmt: skip

    def _formed(self, x: Tensor, what: str) -> Tensor:
        """Return keys or queries in the form of this memory; refuse values that are not finite."""
        found = signs(x) if self.form == "bipolar" else None
        return key_form(real_values(x, f"memory, {what}"), self.form) if found is None else found[0]

    def _check_shape(self, x: Tensor, what: str, empty: bool = False) -> None:
        """Refuse keys or queries that are no real numbers of this memory's shape; `empty` allows none."""
        check_usual(x, f"memory, {what}")
        if x.ndim not in (2, 3) or x.shape[-1] != self.dim or (x.ndim == 3 and x.shape[0] != len(self.chips)):
            allowed = f"[n, {self.dim}] or [{len(self.chips)}, n, {self.dim}]"
            raise InputError(f"memory, {what}", f"shape {tuple(x.shape)}", allowed, f"Reshape the {what}.")
        if not (x.shape[-2] or empty):
            raise InputError(f"memory, {what}", f"no {what}", "1 or more", f"Give at least one of the {what}.")


def _classes(labels: Tensor) -> Tensor:
    """Return labels as int64; those of another type must be whole numbers."""
    if not labels.is_floating_point():
        return labels.long()
    labels = real_values(labels, "memory.write, labels")
    if not torch.equal(labels.long().to(labels.dtype), labels):
        got = f"{labels.dtype} numbers that are not whole"
        raise InputError("memory.write, labels", got, "whole numbers", "Give the number of each key's class.")
    return labels.long()


def _one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Return the one-hot code [n, classes] of labels [n] counted from 0."""
    low, high = (int(end) for end in torch.aminmax(labels))
    if low < 0:
        raise InputError("memory.write, labels", f"a label of {low}", "0 or more", "Count the classes from 0.")
    if high >= _CLASSES:
        raise InputError("memory.write, labels", f"a label of {high}", f"below {_CLASSES}", "Number classes from 0.")
    if (count := len(labels) * (high + 1)) > _CODES:
        got = f"{len(labels):,} keys and {high + 1:,} classes, {count:,} values"
        step = "Number the classes without gaps, or write fewer keys at a time."
        raise InputError("memory.write, labels", got, f"{_CODES:,} values of one-hot codes", step)
    return like.new_zeros(len(labels), high + 1).scatter_(1, labels[:, None].to(like.device), 1.0)
