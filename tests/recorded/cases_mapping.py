"""Networks on crossbars: places, reports, outputs, refusals and settings that act."""

from __future__ import annotations

import hashlib
import re
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from imc_sim.array import Chip, load_chip
from imc_sim.mapping import Probe, acting_settings, bytes_per_chip, map_model, preview
from imc_sim.mapping._placing import chips_together
from imc_sim.mapping._report import LayerRow, MappingReport, _of
from imc_sim.mapping._rounding import bits_for, refuse_rounding
from imc_sim.nn import Linear
from imc_sim.nn.networks import SignActivation
from tests.recorded.cases_sites import NETWORKS, Function, Several, made, outputs_of
from tests.recorded.made import real, tried, whole

CELLS: dict[str, Any] = {
    "name": "recorded", "tile": {"rows": 5, "cols": 7},
    "device": {"g_lrs_S": 1e-4, "g_hrs_S": 2e-5, "levels": "continuous",
               "programming": {"kind": "relative", "sigma": 0.1, "sigma_hrs": 0.2}, "read": {"sigma": 0.01}},
    "encoding_multibit": {"kind": "differential"}, "policy": {"int8": "crossbar", "float": "crossbar"},
}  # fmt: skip
CHIP = load_chip(CELLS)
#: networks of which the whole report is recorded
WHOLE = ("linear on tokens", "conv2d, groups", "constant", "attention", "mixed samples", "transposed, groups", "gru")
SLICED = CHIP.replace("device.levels", 3).replace("encoding_multibit", {"kind": "sliced", "weight_bits": 9})


def layered(*kinds: str, digital: str = "") -> nn.Module:
    """Return layers of this package of unequal sizes, with sign activations."""
    layers: list[nn.Module] = []
    for number, kind in enumerate(kinds):
        layers += [SignActivation(), Linear(7 - number, 6 - number, kind, bias=number != 1)]  # type: ignore[arg-type]
    return made(nn.Sequential(*layers, *([nn.Linear(2, 3)] if digital else [])))


def mapped_of(network: nn.Module, chip: Chip, x: Any, inputs: Any = None, **more: Any) -> dict[str, Any]:
    """Return what a mapped network reports, and its outputs on each chip."""
    mapped = map_model(network, chip, chips=range(3, 5), seed=7, inputs=inputs, **more)
    report = mapped.report
    placed = f"{report.tiles} tiles, {report.cells} cells, placed {list(report.placed)}"
    with torch.no_grad():
        y = mapped(*x)
    return {"report": lines_of(report), "placed": placed, "outputs": outputs_of(y)}


def lines_of(report: MappingReport) -> list[str]:
    """Return the lines of a report without what explains them, with magnitudes of rounding errors."""
    lines = [re.sub(r"\d\.\d(e-\d\d)", r"\1", re.sub(" {2,}", "  ", line)) for line in report.to_text().splitlines()]
    return [
        line for line in lines[1:] if not line.startswith(("rounded by", "weights off by", "gating error", "  4 tiles"))
    ]


def record_sites_on_crossbars() -> dict[str, Any]:
    """Reports and outputs of networks of every kind of product, with cells that vary."""
    found: dict[str, Any] = {}
    for name, (network, inputs) in NETWORKS.items():
        if name == "opaque" or len(inputs) > 1:
            continue
        try:
            each = mapped_of(network, CHIP, inputs, inputs)
            found[name] = each if name in WHOLE else {"report": each["report"][-1], "outputs": each["outputs"]}
        except ValueError as error:
            found[name] = str(error)
    network, inputs = NETWORKS["in layers"]
    half = SLICED.replace("policy.layers", {"a": "digital"}).replace("policy.allow_rounding", True)
    found["one layer digital"] = mapped_of(network, half, inputs, inputs)
    found["as a dict"] = map_model(network, half, inputs=inputs).report.to_dict()["layers"]
    found["few together"] = mapped_of(network, half, inputs, inputs, memory_limit_bytes=1)["outputs"]
    return found


def record_layers_on_crossbars() -> dict[str, Any]:
    """Reports and outputs of layers of this package."""
    x = real(4, 7)
    networks = {
        "binary": layered("sign", "xnor", "sign"), "many-valued": layered("int8", "sign", "float"),
        "rotated": layered("rbnn", "xnor"), "spikes": made(nn.Sequential(Linear(7, 3, "int8"), nn.ReLU())),
    }  # fmt: skip
    chips = {
        "plain": CHIP, "sliced": SLICED.replace("policy.layers", {"1": "digital"}),
        "offset": CHIP.replace("encoding", {"kind": "offset"}),
        "wires": SLICED.replace("encoding", {"kind": "bnn_i"}).replace(
            "wires", {"kind": "nodal", "r_row_ohm": 200.0, "r_col_ohm": 100.0}),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, network in networks.items():
        for kind, chip in chips.items():
            found[f"{name}, {kind}"] = tried(mapped_of, network, chip, (x,))
    found["bytes"] = {
        f"{n}, {k}": tried(bytes_per_chip, network, chip)
        for n, network in networks.items()
        for k, chip in chips.items()
    }
    found["bytes of sites"] = bytes_per_chip(NETWORKS["in layers"][0], CHIP, NETWORKS["in layers"][1])
    found["together"] = [
        chips_together(*each) for each in ((5, 100, [10, 10]), (5, 99, [10, 10]), (5, 1, [10]), (3, 40, [10, 4]))
    ]
    mapped = map_model(layered("sign", "xnor"), chips["wires"].replace("encoding", {"kind": "bnn_iii"}))
    mapped.calibrate(x)
    found["calibrated"] = lines_of(mapped.report)
    row = LayerRow.of("a", Linear(3, 2, "int8"), None)
    found["no layer"] = MappingReport(CHIP, (row,)).to_text().splitlines()
    found["shares"] = [_of(1, 3), _of(0, 0), _of(5, 5), _of(1, 30000)]
    return found


def record_acting_settings() -> dict[str, Any]:
    """Settings that act on the chip but not on its network, by network, chip and keys of the memory."""
    chips = {
        "varied": CHIP, "off": load_chip("ideal"), "adc": SLICED.replace("converter", {"kind": "sym", "bits": 5}),
        "aged": CHIP.replace("device.time", {"t_s": 50.0, "refresh_s": 20.0, "drift": {"nu": 0.1}}),
        "correlated": CHIP.replace("device.cycle_to_cycle", {"share": 0.5, "correlation": 0.2}),
        "digital": CHIP.replace("policy", {"layers": {"*": "digital"}, "memory": "digital"}),
    }  # fmt: skip
    networks = {"binary": layered("sign", "xnor"), "int8": layered("int8"), "both": layered("int8", "xnor")}
    found: dict[str, Any] = {}
    for name, network in networks.items():
        for kind, chip in chips.items():
            for keys in (None, "bipolar", "float") if (name, kind) == ("binary", "varied") else (None, "bipolar"):
                found[f"{name}, {kind}, {keys}"] = missing(chip, acting_settings(network, chip, keys))
    network, inputs = NETWORKS["in layers"]
    found["sites"] = missing(CHIP, acting_settings(network, CHIP, None, inputs))
    return found


def missing(chip: Chip, settings: dict[str, Any]) -> str:
    """Return the policy, and the settings that act on the chip but are missing in settings."""
    policy = settings.pop("policy")
    names = sorted(name for name in leaves(chip.acting()) - leaves(settings) if not name.startswith("policy."))
    idle = (
        " ".join(names)
        if len(names) < 12
        else f"{len(names)}, {hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
    )
    return f"{policy['layers']} {policy['memory']}: {idle}"


def leaves(settings: Any, path: str = "") -> set[str]:
    if not isinstance(settings, dict):
        return {path[1:]}
    return {leaf for key, value in settings.items() for leaf in leaves(value, f"{path}.{key}")}


def record_refused_mappings() -> dict[str, Any]:
    """Errors of networks that have no place, and previews of where products run."""
    linear, inputs = NETWORKS["in layers"]
    real_sites = load_chip("rram_hfo2_1t1r").replace("name", "strict")
    batch = Function(torch.matmul, whole(257, 4, 3)), (real(3, 257, 2, 4),)
    digital = CHIP.replace("policy", {"binary": "digital", "int8": "digital", "float": "digital", "memory": "digital"})
    calls: dict[str, tuple[Any, ...]] = {
        "no places": (linear, real_sites, inputs),
        "continuous": (linear, real_sites.replace("device.levels", "continuous"), inputs),
        "rounded": (linear, SLICED.replace("encoding_multibit.weight_bits", 3), inputs),
        "batches": (batch[0], CHIP, batch[1]), "opaque": (NETWORKS["opaque"][0], CHIP, NETWORKS["opaque"][1]),
        "all digital": (linear, digital, inputs), "layers all digital": (layered("int8", "sign"), digital, None),
        "nothing on purpose": (linear, digital.replace("policy.layers", {"*": "digital"}), inputs),
        "no weights": (Several(lambda n, x: x @ x.mT), CHIP, (real(2, 3, 3),)),
        "plain layers": (made(nn.Sequential(nn.Linear(3, 2))), CHIP, None),
        "a layer": (Linear(3, 2, "sign"), CHIP, None), "no layers": (nn.Sequential(nn.ReLU()), CHIP, None),
        "a word": ("model", CHIP, None),
        "another probe": (linear, CHIP, Probe(made(nn.Linear(4, 4)), real(3, 4))), "ready": (linear, CHIP, inputs),
        "signs": (layered("sign", "xnor", digital="yes"), CHIP, None),
        "dynamic": (NETWORKS["heads"][0], CHIP, NETWORKS["heads"][1]),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, (network, chip, given) in calls.items():
        found[name] = tried(
            lambda n=network, c=chip, g=given: map_model(n, c, inputs=g).report.to_text().splitlines()[-2:]
        )
        if isinstance(network, nn.Module) and not isinstance(given, Probe):
            found[f"{name}, preview"] = preview(network, chip, given).splitlines()
    many = Several(
        lambda n, x: sum(getattr(n, f"a{k}")(x) for k in range(33)), **{f"a{k}": nn.Linear(3, 2) for k in range(33)}
    )
    found["33 products"] = preview(many, CHIP, (real(4, 3),)).splitlines()[-4:]
    for name, options in {"seed": {"seed": -1}, "chips": {"chips": 0},
        "engine": {"engine": "memtorch", "inputs": inputs},
                          "cells": {"engine": "memtorch", "conductances": {}}}.items():  # fmt: skip
        found[name] = tried(lambda o=options: str(map_model(linear, CHIP, **o)))
    found |= bits_and_errors()
    return found


def bits_and_errors() -> dict[str, Any]:
    """Return the bits that hold weights, and the errors of those that an encoding rounds."""
    rows = {"2": torch.ones(2), "3": torch.tensor([3.0, 2.0]), "of a small part": torch.tensor([1.0, 1 / 255])}
    rows["many small"] = torch.cat([torch.ones(1), torch.full((4000,), 0.01)])
    rows["too many small"] = torch.cat([-torch.ones(1), torch.full((10**6,), 1.4e-5)])
    found: dict[str, Any] = {"bits": {name: bits_for(row.double()) for name, row in rows.items()}}

    def layer(name: str, kind: str) -> SimpleNamespace:
        return SimpleNamespace(matrix=lambda: rows[name], encoding=SimpleNamespace(name=kind))

    for errors in (
        [("3", 0.01)],
        [("3", 0.0101), ("2", 0.2), ("many small", 0.5)],
        [("3", 0.3), ("too many small", 0.02)],
    ):
        each: Any = {name: (layer(name, f"kind {name[:1]}"), error) for name, error in errors}
        found[str(errors)] = tried(refuse_rounding, each)
    return found
