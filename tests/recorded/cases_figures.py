"""Figures: their data, texts, limits, lines and marks."""

from __future__ import annotations

from typing import Any

import numpy as np
from pandas import DataFrame

from imc_sim import plotting
from imc_sim.array import load_chip
from imc_sim.plotting import Metric
from imc_sim.plotting._cdf import plot_cdf, plot_sigma
from imc_sim.plotting._cells import cells_data, iv_of_levels, plot_levels_iv, plot_variation
from imc_sim.plotting._comparison import published_at, published_of
from imc_sim.plotting._confusion import plot_confusion
from imc_sim.plotting._converter import converter_figure
from imc_sim.plotting._device import iv_data, plot_iv, plot_pulses, pulse_data
from imc_sim.plotting._figure import accuracy_panels, log_if_wide, lower_limit, new_figure, with_axes
from imc_sim.plotting._forgetting import _readable, curve_of_log, forgetting_figure
from imc_sim.plotting._labels import further, heading, place, shown
from imc_sim.plotting._law_panels import plot_endurance, plot_iv_fit, plot_noise, plot_pulse_trains, plot_retention
from imc_sim.plotting._pareto import on_front
from imc_sim.plotting._probes import flips_data, plot_flips, quadratic_data
from imc_sim.plotting._robustness import _power_of_ten
from imc_sim.plotting._sensitivity import plot_sensitivity
from imc_sim.plotting._training import plot_training, training_data
from imc_sim.plotting._trainings import trainings_data, trainings_figure
from imc_sim.plotting._tsne import tsne_data, tsne_figure, tsne_shares
from tests.recorded.contents import csv, made_figure, short
from tests.recorded.made import tried
from tests.recorded.stored import STUDIES, made


def record_figures_of_studies() -> dict[str, Any]:
    """Data and contents of the figures of studies with one and two axes, names, cases, costs and scores."""
    found: dict[str, Any] = {}
    for name, results in STUDIES.items():
        found[name] = list(plotting.figures_of(results))
        for kind, each in plotting.figures_of(results).items():
            data = each.data(results)
            attrs = {key: value for key, value in data.attrs.items() if not isinstance(value, Metric)}
            head = csv(data)
            found[f"{name}, {kind}"] = {
                "data": head[:3] if kind in ("robustness", "pareto", "fgsm", "comparison") else head[:1],
                "digest": short("\n".join(head) + str(attrs)),
                **made_figure(each.figure, data, whole=False),
            }
    for name, kinds in {
        "unknown": ["robustnes"],
        "heatmap": ["heatmap"],
        "pareto": ["pareto"],
        "tsne": ["tsne"],
        "fgsm": ["fgsm"],
    }.items():
        found[f"no {name}"] = tried(
            lambda k=kinds: [f.data(STUDIES["alone"]) for f in plotting.figures_of(STUDIES["alone"], k).values()]
        )
    return found


def record_figures_of_devices() -> dict[str, Any]:
    """Contents of figures of cells, fitted laws and switching models."""
    G = np.array([1e-5, 2e-5, 5e-5, 1e-4])
    share = np.array([0.1, 0.3, 0.6, 0.9])
    cdf = DataFrame(
        {"state": ["LRS", "LRS", "HRS", "HRS"], "conductance_S": G, "measured": share, "fitted": [0.0, 0.35, 0.55, 1.0]}
    )
    cdf.attrs = {"LRS": "low"}
    sigma = DataFrame({"conductance_S": G, "sigma_S": G / 8, "low_S": G / 9, "high_S": G / 7, "chip_S": G / 8.5})
    fan = {
        f"{who}_{q}_S": G * (1 + q / 500) * (1.1 if who == "chip" else 1)
        for who in ("chip", "measured")
        for q in (10, 50, 90)
    }
    retention = DataFrame(
        {
            "state": ["a", "a", "b", "b"],
            "temperature_K": [300.0, 300.0, np.nan, np.nan],
            "time_s": [0.0, 10.0, 1.0, 100.0],
            **fan,
        }
    )
    endurance = DataFrame(
        {
            "state": ["a", "a", "b", "b"],
            "cycle": [0, 100, 0, 100],
            "measured_failed": [0.0, 0.2, 0.0, 0.2],
            "chip_failed": [0.0, 0.25, 0.0, 0.25],
            **fan,
        }
    )
    pulses = DataFrame(
        {
            "train": ["set", "set", "reset", "reset"],
            "curve": ["chip", "m1", "chip", "m1"],
            "pulse": [1, 2, 3, 4],
            "G_S": G,
        }
    )
    iv = DataFrame(
        {
            "curve": ["measured 1", "measured 1", "LRS", "LRS"],
            "v_V": [-0.5, 0.5, -0.4, 0.4],
            "current_A": [1e-6, 2e-6, 3e-6, 4e-6],
        }
    )
    noise = DataFrame(
        {
            "frequency_Hz": [1.0, 1.05, 2.0, 40.0],
            "measured_per_Hz": [1e-3, 2e-3, 1e-4, 1e-5],
            "chip_per_Hz": [2e-3, 2e-3, 2e-4, 1e-5],
        }
    )
    programming = {"kind": "relative", "sigma": 0.1, "sigma_hrs": 0.3}
    device = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "levels": 5, "read": {"v_read_V": 0.3, "nonlinearity_per_V": 1.5}}
    levels = load_chip({"device": {**device, "programming": programming}}).device
    cells = cells_data(levels)
    table = iv_of_levels(levels, cells, 7)
    found: dict[str, Any] = {
        "cells": csv(cells)[::999],
        "iv": csv(table)[::6],
    }
    iv_at = iv.copy()
    iv_at.attrs = {"compliance_A": 1e-4}
    panels = {"cdf": (plot_cdf, cdf), "sigma": (plot_sigma, sigma), "retention": (plot_retention, retention),
        "endurance": (plot_endurance, endurance), "pulses": (plot_pulse_trains, pulses),
              "iv fit": (plot_iv_fit, iv_at), "iv fit, no compliance": (plot_iv_fit, iv), "noise": (plot_noise, noise),
              "variation": (plot_variation, cells), "levels": (plot_levels_iv, table)}  # fmt: skip
    for name, (plot, data) in panels.items():
        found[name] = made_figure(with_axes(plot, height=2.6), data)
    from imc_sim.device import LinearIonDrift

    model = LinearIonDrift()
    swept, trains = iv_data(model, 1.2, 0.5, 2, 1e-4), pulse_data(model, 5, 1e-4)
    found["switching"] = [
        swept.attrs,
        trains.attrs,
        swept["cycle"].value_counts().sort_index().tolist(),
        list(swept.columns),
        csv(trains)[:4],
    ]
    found["plots of switching"] = [
        made_figure(with_axes(plot), data)["axes 0"][:2]
        for plot, data in ((plot_iv, swept), (plot_pulses, trains))
        if "axes 0" in made_figure(with_axes(plot), data)
    ]
    return found


def record_figures_of_models() -> dict[str, Any]:
    """Data and contents of figures of training, classes, adcs, embeddings and costs."""
    counts = np.array([[5, 1, 0], [2, 6, 0], [0, 4, 3]])
    offered = np.array([[6, 6, 0], [8, 8, 8], [7, 7, 7]])
    confusion: Any = made(counts=counts, offered=offered, chips=4, what="digit", accuracy=14 / 21)
    data = plotting.confusion_data(confusion)
    found: dict[str, Any] = {"confusion": [csv(data), data.attrs, made_figure(with_axes(plot_confusion), data)]}
    confusion.chips = 0
    found["confusion, digital"] = plotting.confusion_data(confusion).attrs
    big = made(
        counts=np.arange(121).reshape(11, 11), offered=np.full((11, 11), 130), chips=1, what="class", accuracy=0.25
    )
    found["confusion of 11"] = made_figure(with_axes(plot_confusion), plotting.confusion_data(big))
    grid: Any = made(first_A=-2e-6, step_A=1e-6, count=5, last_A=2e-6)
    layers: Any = [made(layer="a", edges_A=np.linspace(-3e-6, 1e-6, 5), counts=np.array([1, 2, 3, 4]),
        levels=grid, clipped=0.125),
                   made(layer="b", edges_A=np.linspace(0, 1e-6, 3), counts=np.array([3, 1]), levels=None,
                       clipped=0.0)]  # fmt: skip
    adcs, levels = plotting.converter_data(layers), plotting.levels_data(layers)
    found["adcs"] = [csv(adcs), csv(levels), made_figure(converter_figure, adcs, levels)]
    rows = [
        {"layer": "x", "component": c, "action": "read", "count": 2, "energy_J": e, "latency_s": None, "area_m2": a}
        for c, e, a in (("adc", 1e-9, 1e-9), ("cell", 2e-9, 3e-9))
    ] + [
        {
            "layer": "y",
            "component": "adc",
            "action": "w",
            "count": 1,
            "energy_J": 5e-10,
            "latency_s": None,
            "area_m2": None,
        }
    ]
    cost = plotting.cost_data(made(rows=lambda: rows))
    found["cost"] = [csv(cost), made_figure(plotting.cost_figure, cost)]
    curves = {
        "n one": {"task": [1, 1, 2], "task1": [0.9, 0.95, 0.6], "task2": [0.1, 0.2, 0.8]},
        "n two": {"task": [2], "task1": [0.5], "task2": [0.75]},
    }
    forgetting = plotting.forgetting_data(curves)
    found["forgetting"] = [
        csv(forgetting),
        csv(plotting.forgetting_table(curves)),
        made_figure(forgetting_figure, forgetting),
        made_figure(forgetting_figure, plotting.forgetting_data({"n": curves["n two"]}))["texts"],
    ]
    found["names"] = [_readable(name.split("_")) for name in ("a_m1_5", "b_c_m2", "m0_1", "plain_name")] + [
        curve_of_log([{"a": 1}, {"a": 2}])
    ]
    logs = [{"episode": 5, "loss": 0.5, "accuracy": 0.6}, {"episode": 10, "loss": 0.25, "accuracy": 0.8}]
    more = [{"member": 1, "loss": 0.5, "accuracy": 0.6, "ensemble": 0.7}]
    found["training"] = [made_figure(with_axes(plot_training), training_data(each)) for each in (logs, more)] + [
        csv(training_data([]))
    ]
    panel = {"label": "", "path": "lr", "values": [0.1, 0.01], "labels": []}
    swept = {"panels": [panel, panel | {"label": "batch", "labels": ["few", "many"]}], "measure": None}
    seeds = [
        {"panel": p, "value": v, "case": c, "row": {"accuracy": a, "task1": a / 2, "task": 1}}
        for p in (0, 1)
        for v in (0, 1)
        for c in "ab"
        for a in ((0.5, 0.6 + 0.1 * v) if c == "a" else (0.7,))
    ] + [{"panel": 0, "value": 0, "case": "a", "row": None}]
    table = trainings_data(swept, seeds)
    found["trainings"] = [csv(table), made_figure(trainings_figure, table)]
    sensitivity = plotting.sensitivity_data(
        [
            made(layer=n, accuracies=(0.5, 0.6), median=m, band=lambda: (0.4, 0.7), digital=0.8)
            for n, m in (("fc", 0.55), ("all layers", 0.5))
        ]
    )
    found["sensitivity"] = [csv(sensitivity), made_figure(with_axes(plot_sensitivity), sensitivity)]
    points = np.arange(12.0).reshape(6, 2) - 4
    panels: Any = [
        made(
            row="r", column=c, classes=np.array([0, 0, 1, 1, 2, 8]), points=points * s, nearest=0.5, nearest_clean=clean
        )
        for c, s, clean in (("a: b, c", 1.0, 0.5), ("d", 2.0, 0.75))
    ]
    tsne = tsne_data(panels)
    found["tsne"] = [csv(tsne)[:3], csv(tsne_shares(tsne)), made_figure(tsne_figure, tsne)]
    bins = {"l": [made(magnitude=0.123456789, candidates=3, mean=1.23456789e-3, deviation=2e-4)]}
    flips = flips_data(bins)
    path = quadratic_data([[1.0, -1.0], [0.5, -2.0]], [1, 2.5])
    found["probes"] = [csv(flips), made_figure(with_axes(plot_flips), flips), csv(path), path.attrs]
    return found


def record_labels() -> dict[str, Any]:
    """Names of values and axes, metrics, fronts, limits and scales."""
    axis = {"path": "p", "label": "", "unit": "", "scale": 1.0, "zip": None}
    named = {"path": "q", "label": "size", "unit": "um", "scale": 1e6, "zip": "z"}
    values = [3, 2.5e-6, True, False, None, "a"]
    found: dict[str, Any] = {
        "headings": [heading(axis), heading(named)],
        "shown": [[shown(v, a) for v in values] for a in (axis, named)],
        "places": [[place(v, a) for v in values] for a in (axis, named)],
    }
    study = {"axes": [axis, named, {**axis, "path": "r", "zip": "z"}]}
    found["further"] = [[a["path"] for a in further(study, *used)] for used in ((axis,), (named,), (axis, named), ())]
    metrics = [
        Metric.of({}),
        *(
            Metric.of({"metric": {"name": "error", "unit": unit, "better": better, "tolerance": t}})
            for unit, better, t in (("V", "lower", None), ("", "higher", 0.5), ("%", "lower", 2.0))
        ),
    ]
    d, v = np.array([50.0, -80.0]), np.array([49.0, -81.0])
    found["metrics"] = [
        [
            m.label,
            m.in_brackets,
            m.number(12.3456),
            m.quantity(12.3456),
            m.near,
            m.difference,
            m.is_share,
            m.gap(d, v).tolist(),
            m.allowed(d).tolist(),
        ]
        for m in metrics
    ]
    found["near"] = [Metric(tolerance=t).near for t in (1.0, 2.0, 0.5, None)]
    energy, result = np.array([1.0, 2.0, 2.0, 3.0, 1.0]), np.array([0.5, 0.7, 0.6, 0.7, 0.5])
    found["front"] = [on_front(energy, result).tolist(), on_front(energy, result, lower=True).tolist()]
    found["limits"] = [lower_limit(each) for each in ([55, 99], [52, 60], [51.9], [1, 2], [np.nan, 73.0])]
    found["published"] = [published_of({"published": p}) for p in (0.5, [0.5, None, 0.0], None)] + [
        published_at({"published": p}, a, x)
        for p, a, x in (
            (0.5, None, None),
            ([0.1, 0.2], {"values": [1, 2]}, 2),
            ([0.1, 0.2], {"values": [1, 2], "labels": ["a", "b"]}, "a"),
        )
    ]
    found["powers"] = [_power_of_ten(x) for x in (1e-12, 1.0, 1000.0)]
    with plotting.style():
        for name, each in {
            "wide": [1.0, 10.0],
            "narrow": [1.0, 9.9],
            "zeros": [0.0, 0.0],
            "very wide": [-1.0, 0.0, 101.0],
        }.items():
            ax = new_figure()[1]
            found[f"log if {name}"] = [log_if_wide(ax, which, each, "S") for which in ("x", "y")] + [
                ax.xaxis.get_major_formatter()(0.002),
                list(getattr(ax.xaxis.get_major_locator(), "_subs", [])),
            ]
        found["panels"] = [
            [
                *accuracy_panels(n, 2.0, 1.5, least)[0].get_size_inches().tolist(),
                sum(bool(ax.get_ylabel()) for ax in accuracy_panels(n, 2.0, 1.5)[1]),
            ]
            for n, least in ((1, 3.0), (3, 0.0), (5, 0.0))
        ]
    return found
