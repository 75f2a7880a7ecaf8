"""Recorded results of crossbars: cells, programmed weights, currents, conversions, and reads of every encoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from imc_sim.array import (
    Chip,
    Crossbar,
    Differential,
    GroupedReadout,
    Offset,
    Patches,
    Rows,
    Sliced,
    encodings,
    line_conductance,
    load_chip,
    operand_bytes,
)
from tests.recorded.short import short

VARIES = {"kind": "relative", "sigma": 0.15, "sigma_hrs": 0.5, "law_hrs": "log_normal"}
CELLS: dict[str, Any] = {"g_lrs_S": 8e-5, "g_hrs_S": 6e-6, "programming": VARIES}
NOISE: dict[str, Any] = {"sigma": 0.05, "v_read_V": 0.15}
ALL_NOISE: dict[str, Any] = NOISE | {
    "bandwidth_Hz": 3e9, "flicker": {"q": 0.02}, "nonlinearity_per_V": 2.0,
    "telegraph": {"probability": 0.4, "amplitude": 0.2, "spread": 0.4, "occupancy": 0.3},
}  # fmt: skip
AGED: dict[str, Any] = {
    "t_s": 3e4, "drift": {"nu": 0.05, "nu_std": 0.02, "t0_s": 20.0}, "compensation": True,
    "relaxation": {"kind": "logarithmic", "sigma_S": 1e-6, "t0_s": 2.0},
}  # fmt: skip
AUTO: dict[str, Any] = {"kind": "auto", "bits": 5}
LINES: dict[str, Any] = {"kind": "nodal", "r_row_ohm": 3.0, "r_col_ohm": 5.0, "r_source_ohm": 20.0, "r_sense_ohm": 7.0}
TILE = {"rows": 12, "cols": 10}


def chip(**settings: Any) -> Chip:
    return load_chip({"name": "made up", "device": CELLS, "tile": TILE} | settings)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).standard_normal(shape)).float()


def example(kind: str, values: str, out: int = 7, inputs: int = 23, batch: int = 5) -> Any:
    """Return weights [out, in] and inputs [batch, in] that an encoding takes."""
    w, x = numbers(1, out, inputs), numbers(2, batch, inputs)
    if values == "bipolar":
        return torch.where(w > 0.1, 1.0, -1.0), torch.where(x > -0.3, 1.0, -1.0)
    if values == "ternary":
        return (w * 1.3).round().clamp(-1, 1), (x * 1.1).round().clamp(-1, 1)
    if kind == "sliced":
        return (3 * w).round().clamp(-7, 7), x
    return (w.abs() if kind == "unipolar" else w), x


def _each(*arrays: Any) -> Any:
    return short(list(arrays))


def programmed(crossbar: Crossbar) -> dict[str, Any]:
    """Return what programming leaves: conductances, coefficients of the product, and variances of the reads."""
    found: dict[str, Any] = {}
    for c, weights in enumerate(crossbar.readout.weights):
        power, reference = weights.power, weights.reference
        found[f"weights {c}"] = {
            "product": _each(*weights.linear, *(weights.square or ())),
            "other": [weights.factor, weights.unit, weights.merged, weights.constant],
            "noise": _each(*[p for p in (power.square, power.linear, power.constant) if p is not None]),
            "reference": None if reference is None else _each(*[p for p in vars(reference).values() if p is not None]),
            "traps": None if weights.traps is None else [
                [t.inputs, t.steps, t.occupancy, t.reference] for t in weights.traps
            ],
        }  # fmt: skip
    place = crossbar.placement
    found["line"] = _each(*[line_conductance(crossbar, c) for c in range(len(crossbar.chips))])
    if crossbar.plan.by_pairs:
        return found
    found["cells"] = _each(crossbar.conductance, crossbar.programmed, crossbar.targets)
    found["places"] = [
        place.tiles,
        place.cells,
        place.utilisation,
        crossbar.shape,
        torch.stack(crossbar.plan.coordinates()),
    ]
    found["pulses"] = crossbar.pulses(1)
    found["rounding"] = list(vars(crossbar.rounding(1)).values())
    gating = crossbar.gating(1)
    # A difference that is 0 but for rounding is another one on each processor.
    found["gating"] = None if gating is None else _rounded(short(list(vars(gating).values())))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 12)
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def read(settings: Mapping[str, Any], kind: str, unit: bool = False, of: Any = None) -> dict[str, Any]:
    """Return all that a crossbar of one encoding holds, converts and reads."""
    encoding = of or encodings()[kind]()
    described = chip(**settings)
    w, x = example(kind, encoding.operands)
    crossbar = Crossbar.program(w, described, range(1, 3), 4, "layer", 1, encoding=encoding, unit_inputs=unit)
    driven = crossbar.measure_rows(Rows(x))
    crossbar.set_driven_rows(driven)
    if crossbar.ranges.input_limit is None:
        crossbar.set_input_limit(float(x.abs().max()) * 0.9)
    found: dict[str, Any] = {}
    if not described.converter.is_ideal or described.device.read.noisy:
        volts = Rows(crossbar.lines.voltages(x))
        if described.converter.range == "calibrated":
            low, high = crossbar.tiled.profile(volts)
            crossbar.set_limits(low, high)
            found["limits"] = [low, high]
        if not described.converter.is_ideal:
            found["converters"] = [[q.step, q.base, q.lowest, q.highest] for q in crossbar.tiled.quantisers()]
        for first in (None, 3):
            each = list(crossbar.tiled.converter_inputs(volts, first, 5 if first else 1))
            found[f"converted, {first}"] = [_each(*[u for _, u in each]), [t for t, _ in each]]
    found |= programmed(crossbar)
    if not crossbar.plan.by_pairs:
        found["currents"] = crossbar.currents(x)
    found["reads"] = [crossbar.mvm(x), crossbar.mvm(torch.stack([x, -x]))]
    return short(found)


def record_ideal() -> dict[str, Any]:
    cells = {"g_lrs_S": 8e-5, "g_hrs_S": 6e-6, "levels": 8}
    return {kind: read({"device": cells}, kind) for kind in encodings() if kind in _KINDS}


_KINDS = [
    k
    for k in sorted(encodings())
    if k.startswith(("bnn", "tnn")) or k in ("offset", "differential", "sliced", "unipolar")
]
_CHANGES: dict[str, Any] = {
    "noise, ADC": {"device": CELLS | {"read": ALL_NOISE}, "converter": AUTO},
    "wires, aged, calibrated": {
        "device": CELLS | {"time": AGED}, "wires": LINES, "converter": AUTO | {"range": "calibrated", "bits": 4},
    },
}  # fmt: skip


def record_encodings() -> dict[str, Any]:
    return {f"{kind}, {name}": read(settings, kind) for kind in _KINDS for name, settings in _CHANGES.items()}


_MORE: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "copies": ("differential", Differential(copies=4), {"device": CELLS | {"levels": 4}}),
    "offset of levels": ("offset", Offset(), {"device": CELLS | {"levels": 6, "read": ALL_NOISE}}),
    "digits": ("sliced", Sliced(bits_per_slice=2), {"device": CELLS | {"levels": 4, "read": NOISE}, "converter": AUTO}),
    "rounded digits": ("sliced", Sliced(weight_bits=4), {"converter": AUTO | {"accumulator": "integer"}}),
    "levels": ("differential", None, {"inputs": {"kind": "levels", "bits": 4}, "device": CELLS | {"levels": 16}}),
    "bit-serial": ("differential", None, {"inputs": {"kind": "bit_serial", "bits": 4}, "converter": AUTO}),
    "bit-serial, two passes": (
        "offset", None, {"inputs": {"kind": "bit_serial", "bits": 3, "passes": 2}, "converter": AUTO,
                         "device": CELLS | {"read": ALL_NOISE}},
    ),
    "two passes": ("unipolar", None, {"inputs": {"kind": "levels", "bits": 6, "passes": 2}, "converter": AUTO}),
    "int8": ("differential", None, {"compute": "int8"}),
    "int16": ("bnn_vi", None, {"compute": "int16", "device": CELLS | {"time": AGED}}),
    "pairs": ("differential", None, {"draws": "pairs"}),
    "tiles not full": ("bnn_iii", None, {"tile": {"rows": 5, "cols": 3}, "converter": AUTO | {"rows": "used"}}),
    "one tile": ("tnn_v", None, {"tile": {"rows": 64, "cols": 64}, "converter": AUTO | {"accumulator": "integer"}}),
    "faults": ("bnn_v", None, {
        "device": CELLS | {"faults": {"stuck_lrs": 0.1, "cell_yield": 0.8, "failure": 0.2,
                                      "failure_state": "undefined"},
                           "verify": {"tolerance": 0.05, "max_pulses": 4}, "correlated": {"chip": 0.1, "gradient": 0.3},
                           "disturb": {"reads": 10**7, "c1": 0.02}}}),
    "columns": ("bnn_i", None, {"wires": {"kind": "columns", "r_col_ohm": 9.0, "r_sense_ohm": 3.0, "gating": "mean"}}),
    "passive": ("tnn_ii", None, {"wires": LINES | {"cells": "passive"}}),
    "all on": ("bnn_ii", None, {"wires": LINES | {"gating": "all_on", "drive": "double"}}),
    "set density": ("tnn_i", None, {"wires": LINES | {"density": 0.3}}),
    "word lines": ("bnn_iv", None, {"wires": {"kind": "nodal", "r_row_ohm": 4.0}}),
    "sources": ("bnn_i", None, {"wires": {"kind": "nodal", "r_source_ohm": 50.0, "r_sense_ohm": 30.0}}),
    "continuous": ("differential", None, {"device": CELLS | {"levels": "continuous"}}),
}  # fmt: skip
_RULES: dict[str, Any] = {
    "minmax": {}, "percentile": {"percentile": 90.0}, "sigma": {"sigmas": 1.4}, "mse": {}, "auto": {"sigmas": 2.0},
}  # fmt: skip


def record_settings() -> dict[str, Any]:
    return {name: read(settings, kind, of=of) for name, (kind, of, settings) in _MORE.items()}


def record_limits() -> dict[str, Any]:
    """Limits by each rule, of signed and of unsigned sums, and codes of ADCs of several bits for values at ties."""
    found: dict[str, Any] = {}
    for rule, parameters in _RULES.items():
        for kind, bits in (("differential", 3), ("bnn_iii", 2), ("unipolar", 6)):
            converter = {"kind": "auto", "bits": bits, "range": "calibrated", "limits": rule} | parameters
            crossbar = Crossbar.program(
                example(kind, encodings()[kind]().operands)[0], chip(converter=converter), encoding=encodings()[kind]()
            )
            x = example(kind, encodings()[kind]().operands, batch=41)[1]
            found[f"{rule}, {kind}"] = list(crossbar.tiled.profile(Rows(x)))
            found[f"{rule}, {kind}, same"] = list(crossbar.tiled.profile(Rows(torch.ones_like(x[:1]))))
    u = torch.tensor([-9.0, -2.5, -1.5, -0.5, -0.2, 0.0, 0.49, 0.5, 1.5, 2.5, 3.1, 9.0])
    for signed in (True, False):
        for bits, dtype in ((2, torch.float32), (4, torch.float64)):
            q = chip(converter={"kind": "auto", "bits": bits}).converter.quantiser(-3.0, 7.0, signed)
            found[f"signed {signed}, {bits} bits"] = [q(u.to(dtype)), q.codes_(u.to(dtype), 0.5, u.to(dtype) / 3)]
    found["unit"] = chip(converter={"kind": "auto", "bits": 3, "range": "unit"}).converter.unit(u / 4)
    return short(found)


def record_other_reads() -> dict[str, Any]:
    """Convolutions, groups of crossbars, measured cells, and batches in parts."""
    found: dict[str, Any] = {}
    settings = {"device": CELLS | {"read": NOISE}, "converter": AUTO | {"range": "calibrated"}}
    images = torch.where(numbers(5, 3, 2, 6, 7) > 0, 1.0, -1.0)
    w = torch.where(numbers(6, 5, 18) > 0, 1.0, -1.0)
    for kind in ("bnn_v", "differential", "offset"):
        crossbar = Crossbar.program(w, chip(**settings), 2, 9, encoding=encodings()[kind](), unit_inputs=True)
        for stride, padding in ((1, 0), (2, 1)):
            inside = (
                images if padding == 0 or kind != "bnn_v" else torch.nn.functional.pad(images, (1, 1, 1, 1), value=1.0)
            )
            patches = Patches(inside, 3, stride, padding if inside is images else 0)
            low, high = crossbar.tiled.profile(patches)
            crossbar.set_limits(low, high)
            found[f"{kind}, stride {stride}, padding {padding}"] = [
                crossbar.read(1, patches, crossbar.take_reads(3)), low, high, patches.count,
            ]  # fmt: skip
    each = [
        Crossbar.program(example("differential", "real")[0] + k, chip(**settings), 2, 9, f"group {k}") for k in range(3)
    ]
    for k, one in enumerate(each):
        one.set_limits(-2.0 - k, 3.0 + k)
    x = torch.stack([example("differential", "real")[1] * (k + 1) for k in range(3)])
    (places, grouped), *_ = GroupedReadout.by_shape([one.readout for one in each])
    found["groups"] = [places, grouped.serves(5), grouped.read(1, slice(1, 3), x[1:], 2, 1)]
    aged = chip(device=CELLS | {"time": AGED, "read": ALL_NOISE})
    first = Crossbar.program(example("offset", "real")[0], aged, 3, encoding=Offset())
    measured = Crossbar.from_conductance(
        first.programmed * 1.02, example("offset", "real")[0], aged, 2, 5, encoding=Offset()
    )
    found["measured"] = programmed(measured) | {"read": measured.mvm(example("offset", "real")[1])}
    for kind in _KINDS:
        found[f"bytes, {kind}"] = [
            operand_bytes(7, 23, encodings()[kind](), chip(compute=c, device=CELLS | {"read": r}), unit, "here")
            for c, r, unit in (("float32", {}, False), ("int8", NOISE, True), ("int16", ALL_NOISE, False))
        ]
    return short(found)


def record_chips() -> dict[str, Any]:
    """Flags of chips, and the settings that change none of their results."""
    found: dict[str, Any] = {}
    several: dict[str, Any] = {"plain": {}} | {name: settings for name, (_, _, settings) in _MORE.items()} | _CHANGES
    for name, settings in several.items():
        each = chip(**settings)
        products = [(encodings()["bnn_i"](), True, True), (Sliced(bits_per_slice=2), False, False)]
        own, these = each.idle(), each.idle_in(products)
        found[name] = [
            [each.changes_cells, each.calibrates, each.varies, each.cells_are_ideal],
            *(" ".join(sorted(names)) for names in (own, these - own, own - these)),
        ]
    return found


def record_large() -> dict[str, Any]:
    """Products that the compiled kernel computes where the processor has it, else torch: to the same bits."""
    found: dict[str, Any] = {}
    tile = {"rows": 90, "cols": 64}
    several: dict[str, tuple[str, dict[str, Any]]] = {
        "one product": ("differential", {"device": {"g_lrs_S": 8e-5, "g_hrs_S": 6e-6}}),
        "noise, ADC": ("bnn_v", {"device": CELLS | {"read": NOISE}, "converter": AUTO}),
        "int8": ("bnn_vi", {"compute": "int8", "converter": AUTO | {"range": "calibrated"}}),
        "int16": ("tnn_i", {"compute": "int16", "converter": AUTO | {"rows": "used"}}),
    }
    for name, (kind, settings) in several.items():
        encoding = encodings()[kind]()
        w, x = example("", "ternary" if kind == "tnn_i" else "bipolar", 150, 207, 61)
        crossbar = Crossbar.program(
            w, chip(tile=tile, **settings), 2, 4, encoding=encoding, unit_inputs=kind != "tnn_i"
        )
        if crossbar.chip.calibrates:
            crossbar.set_limits(-11.0, 14.0)
        images = x[:54, :200].reshape(3, 9, 20, 20)[:, :4]
        found[name] = [crossbar.mvm(x), crossbar.mvm(x[:7])]
        if kind != "tnn_i":
            w, described = example("", "bipolar", 60, 36)[0], chip(tile=tile, **settings)
            layer = Crossbar.program(w, described, 2, 4, "conv", encoding=encoding, unit_inputs=True)
            layer.set_limits(-11.0, 14.0)
            found[name].append(layer.read(1, Patches(images, 3, 1, 0), 2))
    return short(found)
