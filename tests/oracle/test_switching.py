"""Switching models compared with vectors of MemTorch 1.1.6 (IMC_SIM_REFERENCE).

VTEAM and Stanford-PKU agree to 1e-12 of the largest current (measured: 2.4e-16, the rounding of float64) where their
rates are stepped explicitly, as MemTorch does; `step` itself is tested against integrations in exact/. The vectors of
Stanford-PKU switch within one time step, so they test thresholds, bounds and currents; its rate is compared with its
formula in exact/.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from imc_sim.device._stanford_pku import StanfordPKU
from imc_sim.device._switching import Switching
from imc_sim.device._vteam import VTEAM

TOLERANCE = 1e-12
RUNS = [(wave, start) for wave in ("sine", "tri") for start in ("default", "mid")]


def vteam(params: dict) -> VTEAM:
    return VTEAM(
        r_on_ohm=float(params["r_on"]), r_off_ohm=float(params["r_off"]),
        k_on_m_per_s=float(params["k_on"]), k_off_m_per_s=params["k_off"],
        alpha_on=float(params["alpha_on"]), alpha_off=float(params["alpha_off"]),
        v_on_V=params["v_on"], v_off_V=params["v_off"], w_on_m=float(params["x_on"]), w_off_m=params["x_off"],
    )  # fmt: skip


def stanford(params: dict) -> StanfordPKU:
    """MemTorch derives the bounds of the gap from two rounded resistances."""

    def gap(resistance: float) -> float:
        unit = params["I_0"] * math.sinh(params["read_voltage"] / params["V_0"]) / params["read_voltage"]
        return params["g_0"] * math.log(unit * resistance)

    return StanfordPKU(
        i_0_A=params["I_0"], g_0_m=params["g_0"], v_0_V=params["V_0"], gap_min_m=gap(params["r_on"]),
        gap_max_m=gap(params["r_off"]), gap_initial_m=gap(params["r_on"]), nu_0_m_per_s=float(params["vel_0"]),
        e_a_eV=params["E_a"], a_0_m=params["a_0"], t_ox_m=params["t_ox"], gamma_0=float(params["gamma_init"]),
        beta=params["beta"], f_min_V_per_m=params["F_min"], t_0_K=float(params["T_init"]),
        r_th_K_per_W=params["R_th"], v_read_V=params["read_voltage"],
    )  # fmt: skip


MODELS = {"vteam": vteam, "stanford_pku": stanford}


def load(reference: Path, name: str) -> tuple[dict[str, np.ndarray], Switching]:
    with np.load(reference / "memtorch" / f"mt_iv_{name}.npz") as archive:
        vectors = {key: archive[key] for key in archive.files}
    return vectors, MODELS[name](json.loads(str(vectors["params"])))


def error(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", MODELS)
def test_default_parameters_are_those_of_the_vectors(reference: Path, name: str) -> None:
    _, model = load(reference, name)
    ours, theirs = type(model)().to_dict(), model.to_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=1e-3) if isinstance(value, float) else ours[key] == value


@pytest.mark.parametrize(("wave", "start"), RUNS)
@pytest.mark.parametrize("name", MODELS)
def test_currents_equal_the_vectors(reference: Path, name: str, wave: str, start: str) -> None:
    vectors, model = load(reference, name)
    v = torch.from_numpy(vectors[f"{wave}_{start}_v"])
    low, high = model.range_S
    g = high if start == "default" else (low + high) / 2
    state = model.from_conductance(torch.tensor(g, dtype=torch.float64))
    dt, currents, conductances = float(vectors[f"{wave}_{start}_dt"]), [], []
    for sample in v:
        state = (state + model.rate(state, sample) * dt).clamp(*model.bounds)
        currents.append(model.current(state, sample))
        conductances.append(model.conductance(state))
    assert error(torch.stack(currents), vectors[f"{wave}_{start}_i"]) < TOLERANCE
    if name == "vteam":
        assert error(torch.stack(conductances), vectors[f"{wave}_{start}_g"]) < TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_reads_after_setting_a_conductance(reference: Path, name: str) -> None:
    vectors, model = load(reference, name)
    state = model.from_conductance(torch.from_numpy(vectors["read_g_target"]))
    assert error(model.conductance(state), vectors["read_g_target"]) < TOLERANCE
    current = torch.stack([model.current(state, float(v)) for v in vectors["read_v"]], dim=1)
    assert error(current, vectors["read_i"]) < TOLERANCE
