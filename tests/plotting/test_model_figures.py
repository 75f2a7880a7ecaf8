"""Figures of a model on a chip are computed from the values of an evaluation, and show them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.patches import StepPatch
from pandas import DataFrame

from imc_sim import InputError, ResultsError
from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.cli import main
from imc_sim.cli._show_model import _show, _stem
from imc_sim.evaluate import (
    ConverterInputs,
    confusion,
    converter_inputs,
    digital_accuracy,
    embedding,
    evaluate_chips,
    layer_sensitivity,
)
from imc_sim.evaluate import _confusion as confusion_module
from imc_sim.evaluate import _embedding as embedding_module
from imc_sim.evaluate._embedding import _nearest, tsne, turned
from imc_sim.evaluate._sensitivity import _variants
from imc_sim.mapping import map_model
from imc_sim.nn.store import load_model
from imc_sim.plotting import (
    attack_data,
    confusion_data,
    converter_data,
    draw,
    draw_fgsm,
    fgsm_data,
    fgsm_figure,
    figures_of,
    levels_data,
    new_figure,
    plot_confusion,
    plot_converter,
    plot_fgsm,
    plot_sensitivity,
    plot_tsne,
    sensitivity_data,
    style,
    tsne_data,
    tsne_figure,
    tsne_shares,
)
from imc_sim.plotting._tables import distinct, where
from imc_sim.study import load_study, run, study_embeddings
from imc_sim.testing import stand_in_evaluator

MODEL = "batmann_small_xnor"
TASK = {"dataset": "glyphs", "split": "test", "rotations": False, "episodes": 6, "classes": 8}


@pytest.fixture(scope="module")
def chip() -> Chip:
    return load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.5)


def with_adc(chip: Chip, **adc: Any) -> Chip:
    return chip.replace("converter", {"kind": "auto", "bits": 5} | adc)


# -- ADCs -------------------------------------------------------------------------------------------------


def layer_currents(chip: Chip) -> dict[str, np.ndarray]:
    """Return the currents of every layer over the images of the first episode, by `Crossbar.currents`."""
    from imc_sim.config import build
    from imc_sim.evaluate._calibration import calibration_images
    from imc_sim.evaluate._episodes import FewShotData
    from imc_sim.evaluate._session import Session
    from imc_sim.evaluate._tasks import FewShotTask

    task = build(FewShotTask, TASK, "task")
    data = FewShotData.load(task)
    analog = map_model(load_model(MODEL), chip, range(1), 0)
    if chip.calibrates:
        analog.calibrate(calibration_images(Session.on("cpu"), task))
    found = {}

    def record(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        vectors = layer.tile_inputs(layer.operand(inputs[0]))(slice(0, layer.crossbar.shape[2]))
        found[layer.name] = layer.crossbar.currents(vectors)[0].numpy().ravel()

    for layer in analog.analog_layers.values():
        layer.register_forward_pre_hook(record)
    index = np.unique(np.concatenate([data.support[0].ravel(), data.query[0].ravel()]))
    analog(data.images[torch.from_numpy(index)])
    return found


@pytest.mark.parametrize("encoding", ["differential", "bnn_i"])
@pytest.mark.parametrize("adc", [{"kind": "ideal"}, {"range": "max"}, {"range": "calibrated"}])
def test_adc_inputs_are_the_currents_of_the_crossbars(chip: Chip, encoding: str, adc: dict[str, str]) -> None:
    changed = with_adc(chip.replace("encoding", {"kind": encoding}), **adc)
    found = {each.layer: each for each in converter_inputs(MODEL, changed, TASK)}
    expected = layer_currents(changed)
    assert list(found) == [*expected, "memory"]
    for name, currents in expected.items():
        each = found[name]
        assert each.edges_A[[0, -1]] == pytest.approx([currents.min(), currents.max()], rel=1e-4)  # on a grid
        assert each.counts.sum() == currents.size
        ordered, near = np.sort(currents), 1e-4 * np.abs(currents).max()  # rounding decides the side of an edge
        below, above = (np.searchsorted(ordered, each.edges_A[1:-1] + shift) for shift in (-near, near))
        assert (below <= each.counts.cumsum()[:-1]).all()
        assert (each.counts.cumsum()[:-1] <= above).all()
        assert (above - below).max() < 0.02 * currents.size, "the tolerance above hides no error"
        if each.levels is None:
            assert adc["kind"] == "ideal"
            continue
        half = each.levels.step_A / 2
        beyond = (currents < each.levels.first_A - half) | (currents > each.levels.last_A + half)
        assert each.clipped == pytest.approx(beyond.mean(), abs=1e-5)
        assert each.levels.count == (31 if changed.encoding.signed else 32)
    if adc.get("range") == "calibrated":
        assert any(found[name].clipped > 0 for name in expected), "this variation exceeds the calibrated limits"


def test_adc_inputs_include_what_is_subtracted_before_the_adc(chip: Chip) -> None:
    """BNN III converts A - H sum x and B: currents alone would miss the multiples of the HRS current."""
    from imc_sim.evaluate._converter_inputs import _Probe

    draw = torch.Generator().manual_seed(1)
    weights, x = (torch.randint(0, 2, (n, 144), generator=draw) * 2.0 - 1.0 for n in (8, 20))
    crossbar = Crossbar.program(weights, with_adc(chip.replace("encoding", {"kind": "bnn_iii"})))
    probe = _Probe(crossbar, 20, 0, ideal=False)
    found = [u * probe.unit_A for _, u in probe._inputs(lambda rows: x[:, rows])]
    hrs = chip.device.read.v_read_V * chip.device.g_hrs_S
    for u, current, rows in zip(found, crossbar.currents(x)[0], (slice(0, 128), slice(128, 144)), strict=True):
        current[:, ::2] -= hrs * x[:, rows].sum(1, keepdim=True)
        torch.testing.assert_close(u, current, rtol=1e-3, atol=1e-7)


def test_levels_of_range_max_span_the_tile(chip: Chip) -> None:
    (first, *_) = converter_inputs(MODEL, with_adc(chip, range="max", bits=4), TASK)
    assert first.levels is not None
    full = 128 * chip.device.read.v_read_V * chip.device.window_S
    assert (first.levels.first_A, first.levels.last_A) == pytest.approx((-full, full))
    assert first.levels.step_A == pytest.approx(2 * full / 14)


def test_read_noise_reaches_the_adcs(chip: Chip) -> None:
    def deviation(changed: Chip) -> float:
        (first, *_) = converter_inputs(MODEL, changed, TASK)
        centres = (first.edges_A[1:] + first.edges_A[:-1]) / 2
        mean = np.average(centres, weights=first.counts)
        return float(np.average((centres - mean) ** 2, weights=first.counts))

    quiet = with_adc(chip, bits=8)
    assert deviation(quiet.replace("device.read.sigma", 0.5)) > 1.05 * deviation(quiet)


def test_other_backends_and_empty_policies_are_refused(chip: Chip) -> None:
    with pytest.raises(InputError, match="native"):
        converter_inputs(MODEL, chip.replace("engine", {"kind": "memtorch"}), TASK)
    nothing = chip.replace("policy", {"binary": "digital", "memory": "digital"})
    for refuse in (converter_inputs, layer_sensitivity):
        with pytest.raises(InputError, match="nothing on crossbars"):
            refuse(MODEL, nothing, TASK)


def test_adc_figure_shows_counts_and_levels(chip: Chip) -> None:
    found = converter_inputs(MODEL, with_adc(chip, bits=3), TASK)
    data, levels = converter_data(found), levels_data(found)
    assert levels["layer"].tolist() == [each.layer for each in found]
    for each in found:
        part = where(data, "layer", each.layer)
        np.testing.assert_allclose(part["share_percent"], 100 * each.counts / each.counts.sum())
        with style():
            _, ax = new_figure()
            plot_converter(ax, part, where(levels, "layer", each.layer))
        (steps,) = [p for p in ax.patches if isinstance(p, StepPatch)]
        np.testing.assert_array_equal(steps.get_data()[0], part["share_percent"])
        assert each.levels is not None
        low, high = ax.get_xlim()
        grid = each.levels.first_A + each.levels.step_A * np.arange(each.levels.count)
        drawn = {float(np.asarray(line.get_xdata())[0]) for line in ax.lines}
        assert drawn == {float(v) for v in grid if low <= v <= high}


def test_used_levels_are_those_within_the_inputs() -> None:
    from imc_sim.evaluate._converter_inputs import Levels

    each = ConverterInputs("x", np.array([-1.2, 0.0, 1.9]), np.array([1, 1]), Levels(-7.0, 1.0, 15), 0.0)
    (row,) = levels_data([each]).to_dict("records")
    assert (row["used"], row["levels"], row["last_A"]) == (4, 15, 7.0)  # -1, 0, 1, 2


# -- confusion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["crossbar", "digital"])
def test_confusion_counts_equal_those_of_an_evaluation(chip: Chip, memory: str) -> None:
    changed = with_adc(chip, range="calibrated").replace("policy.memory", memory)
    seen: list[tuple[int, int]] = []
    found = confusion(MODEL, changed, TASK, chips=3, seed=5, progress=lambda *now: seen.append(now))
    assert seen[-1] == (3, 3)
    results = evaluate_chips(MODEL, changed.to_dict(), TASK, range(3), 5)
    assert found.counts.trace() == sum(r.correct for r in results)
    assert found.counts.sum() == sum(r.total for r in results)
    assert found.what == "class"
    np.testing.assert_array_equal(found.counts.sum(1), found.offered.diagonal())
    assert found.offered.sum() == 5 * found.counts.sum()
    assert (found.counts <= found.offered).all()


def test_digital_confusion_and_too_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    digital = digital_accuracy(MODEL, TASK)
    assert confusion(MODEL, None, TASK).accuracy == pytest.approx(digital.mean)
    monkeypatch.setattr(confusion_module, "_READABLE", 3)
    places = confusion(MODEL, None, TASK)
    assert places.what == "place in the episode"
    assert places.counts.shape == (5, 5)
    assert places.accuracy == pytest.approx(digital.mean)
    assert (places.offered == 6 * 4).all()


def test_confusion_figure_shows_the_shares(chip: Chip) -> None:
    found = confusion(MODEL, chip, TASK, chips=2)
    data = confusion_data(found)
    share = data["share_percent"].to_numpy(float).reshape(found.counts.shape)
    met = found.offered > 0
    np.testing.assert_allclose(share[met], 100 * found.counts[met] / found.offered[met])
    assert np.isnan(share[~met]).all()
    with style():
        figure, ax = new_figure()
        plot_confusion(ax, data)
        figure.canvas.draw()
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    values = np.ma.masked_invalid(np.ma.asarray(mesh.get_array()).reshape(share.shape))
    off = met & ~np.eye(len(share), dtype=bool)
    np.testing.assert_allclose(values[off], share[off])
    assert np.ma.getmaskarray(values)[np.eye(len(share), dtype=bool)].all(), (
        "the diagonal is not on the scale of errors"
    )


# -- sensitivity -----------------------------------------------------------------------------------------


def test_one_layer_analog_at_a_time(chip: Chip) -> None:
    rows = layer_sensitivity(MODEL, chip.to_dict(), TASK, chips=2, seed=3)
    names = [row.layer for row in rows]
    assert names[-2:] == ["memory", "all together"]
    layers = names[:-2]
    assert len(layers) >= 2
    assert rows[0].digital == pytest.approx(digital_accuracy(MODEL, TASK).mean)
    for row in rows:
        variant = chip.to_dict()
        if row.layer != "all together":
            places = {name: "crossbar" if name == row.layer else "digital" for name in layers}
            place = "crossbar" if row.layer == "memory" else "digital"
            variant["policy"] = variant["policy"] | {"layers": places, "memory": place}
        expected = evaluate_chips(MODEL, variant, TASK, range(2), 3)
        assert row.accuracies == tuple(r.accuracy for r in expected), row.layer


def test_a_policy_is_kept_and_an_ideal_layer_costs_no_accuracy() -> None:
    ideal = load_chip("rram_hfo2_1t1r").without_effects().to_dict()
    ideal["policy"] = ideal["policy"] | {"layers": {"*conv2": "digital"}}
    rows = layer_sensitivity(MODEL, ideal, TASK, chips=1)
    assert not [row.layer for row in rows if row.layer.endswith("conv2")]
    assert all(row.accuracies == (row.digital,) for row in rows)


@pytest.mark.parametrize("layers", [{"*": "crossbar"}, {"*conv2": "digital", "*": "crossbar"}, {"*fc*": "crossbar"}])
def test_a_layer_is_alone_whatever_globs_the_policy_has(layers: dict[str, str]) -> None:
    """Each variant has one layer on crossbars, though a glob of the policy matches the others too."""
    chip = load_chip("rram_hfo2_1t1r").replace("policy.layers", layers)
    report = map_model(load_model(MODEL), chip.without_effects()).report
    names = [row.layer for row in report.layers if row.place == "crossbar"]
    variants = _variants(MODEL, chip.to_dict(), TASK)
    assert list(variants) == [*names, "memory", "all together"]
    for name in (*names, "memory"):
        rows = map_model(load_model(MODEL), load_chip(variants[name]).without_effects()).report.layers
        assert [row.layer for row in rows if row.place == "crossbar"] == ([] if name == "memory" else [name])


def test_sensitivity_figure_shows_median_and_band(chip: Chip) -> None:
    data = sensitivity_data(layer_sensitivity(MODEL, chip.to_dict(), TASK, chips=3))
    with style():
        _, ax = new_figure()
        plot_sensitivity(ax, data)
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], data["median"] - data["digital"])  # type: ignore[attr-defined]
    (bands,) = ax.collections
    ends = np.array([path.vertices[:, 0] for path in bands.get_paths()])  # type: ignore[index]
    np.testing.assert_allclose(ends, (data[["p05", "p95"]].sub(data["digital"], axis=0)).to_numpy())
    assert [t.get_text() for t in ax.get_yticklabels()] == data["layer"].tolist()


# -- t-SNE -----------------------------------------------------------------------------------------------


def test_tsne_separates_clusters_and_is_reproducible() -> None:
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(4), 12)
    features = rng.normal(size=(48, 12)) + 8 * np.eye(12)[labels]
    points = tsne(features, 10.0, seed=1)
    assert points.shape == (48, 2)
    assert _nearest(points, points, labels) == 1.0
    np.testing.assert_array_equal(points, tsne(features, 10.0, seed=1))


def test_the_nearest_image_is_another_one_at_the_least_distance() -> None:
    """Against distances by their definition, of features whose norms differ a hundredfold."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(60, 3)) * np.geomspace(0.1, 10, 60)[:, None]
    labels = rng.integers(0, 3, 60)
    for among in (features, features * 1.1 + 0.05):
        distance = np.linalg.norm(features[:, None] - among[None], axis=-1)
        chosen = np.where(np.eye(60) > 0, np.inf, distance).argmin(1)
        wanted = float((labels[chosen] == labels).mean())
        assert 0.1 < wanted < 0.9
        assert _nearest(features, among, labels) == wanted


def test_aligning_keeps_distances_and_undoes_a_rotation() -> None:
    points = np.random.default_rng(3).normal(size=(30, 2))
    mirrored = points @ np.array([[0.6, 0.8], [0.8, -0.6]])
    np.testing.assert_allclose(turned(mirrored, points), points, atol=1e-12)


def test_embedding_of_the_digital_network_and_a_chip(chip: Chip) -> None:
    digital, analog = embedding(MODEL, chip, TASK, classes=6, instances=10, perplexity=8.0)
    assert (digital.column, analog.column) == ("digital", "rram_hfo2_1t1r, chip 0")
    assert digital.row == analog.row == "clean"
    assert digital.classes.tolist() == [k for k in range(6) for _ in range(10)]
    assert 0.5 < digital.nearest <= 1.0
    same = embedding(MODEL, chip.without_effects(), TASK, classes=6, instances=10, perplexity=8.0)[1]
    assert same.nearest == digital.nearest
    assert analog.nearest != digital.nearest or not np.array_equal(analog.points, same.points)
    data = tsne_data([digital, analog])
    with style():
        _, ax = new_figure()
        plot_tsne(ax, where(data, "column", "digital"))
    drawn = [np.asarray(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(np.concatenate(drawn), digital.points)
    with pytest.raises(InputError, match="perplexity"):
        embedding(MODEL, chip, TASK, classes=2, instances=5)


@pytest.fixture
def first_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the first two coordinates of features instead of their t-SNE, which takes most of the time."""
    monkeypatch.setattr(embedding_module, "tsne", lambda features, *_, **__: features[:, :2])


@pytest.mark.usefixtures("first_coordinates")
def test_attacked_features_are_below_the_clean_ones(chip: Chip) -> None:
    """On a chip without effects they equal the digital ones, through whichever network the attack is made."""
    small = {"classes": 6, "instances": 10, "perplexity": 8.0}
    strong = TASK | {"attack": {"kind": "fgsm", "epsilon": 0.15}}
    found = embedding(MODEL, chip, strong, **small)
    assert [p.row for p in found] == ["clean", "clean", "attacked", "attacked"]
    assert found[2].nearest < found[0].nearest - 0.1
    assert found[0].nearest == found[0].nearest_clean
    assert found[2].nearest_clean < found[2].nearest, "features that move together stay near their class"
    through = TASK | {"attack": {"kind": "fgsm", "epsilon": 0.15, "through": "analog"}}
    ideal = [embedding(MODEL, chip.without_effects(), t, **small)[3].nearest for t in (strong, through)]
    assert ideal == [found[2].nearest] * 2
    assert not np.array_equal(embedding(MODEL, chip, through, **small)[2].points, found[2].points)
    with style():
        figure = tsne_figure(tsne_data(found))
    assert len([ax for ax in figure.axes if ax.has_data()]) == 4


TSNE = {
    "name": "grid",
    "model": MODEL,
    "chip": "rram_hfo2_1t1r",
    "task": TASK | {"instances": 8},
    "axes": [{"path": "task.attack", "values": [None, {"kind": "fgsm", "epsilon": 0.15}], "labels": ["clean", "FGSM"]}],
    "cases": [{"name": "a"}, {"name": "b", "set": {"task.keys": "binary"}}],
    "chips": {"min": 1},
}


@pytest.mark.usefixtures("first_coordinates")
def test_a_study_shows_its_features_in_one_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run(TSNE, tmp_path / "grid", evaluator=stand_in_evaluator)
    assert "tsne" not in figures_of(results)
    with pytest.raises(ResultsError, match="plot .* --kind tsne"):
        draw(results, ["tsne"])
    assert main(["plot", str(results.folder), "--kind", "tsne", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert all(f"tsne.{end}" in printed for end in ("png", "svg", "csv"))
    assert "nearest_percent" in printed
    assert "tsne" in figures_of(results), "the report shows it too"
    shares = tsne_shares(figures_of(results)["tsne"].data(results))
    assert shares[["row", "column"]].to_numpy().tolist() == [[r, c] for r in ("clean", "FGSM") for c in ("a", "b")]
    attacked = TASK | {"instances": 8, "attack": {"kind": "fgsm", "epsilon": 0.15}}
    alone = embedding(MODEL, "ideal", attacked)
    assert shares["nearest_percent"].tolist()[::2] == pytest.approx([100 * alone[0].nearest, 100 * alone[2].nearest])
    many = TSNE | {"axes": [{"path": "task.way", "values": [2, 3, 4, 5, 6, 7, 8]}]}
    with pytest.raises(InputError, match="7 rows; allowed: at most 6"):
        study_embeddings(load_study(many))
    many = TSNE | {"cases": [{"name": str(seed), "set": {"seed": seed}} for seed in range(151)]}
    with pytest.raises(InputError, match="302 panels; allowed: at most 300"):
        study_embeddings(load_study(many))


# -- FGSM ------------------------------------------------------------------------------------------------

COLUMNS = ["series", "epsilon", "accuracy", "low", "high", "chips"]
ATTACK = DataFrame(
    [("on chips", e, 90 - 200 * e, 85 - 200 * e, 93 - 200 * e, 20) for e in (0.1, 0.0, 0.2)]
    + [("network", e, 92 - 250 * e, None, None, 0) for e in (0.0, 0.2)],
    columns=COLUMNS,
)


def test_fgsm_curve_shows_its_table(tmp_path: Path) -> None:
    data = fgsm_data(ATTACK)
    assert data["epsilon"].tolist() == [0.0, 0.1, 0.2, 0.0, 0.2]
    with style():
        _, ax = new_figure()
        plot_fgsm(ax, data)
    lines = {str(line.get_label()): line for line in ax.lines}
    np.testing.assert_allclose(np.asarray(lines["on chips"].get_ydata(), float), [90, 70, 50])
    assert (lines["on chips"].get_linestyle(), lines["network"].get_linestyle()) == ("-", "--")
    assert len(ax.collections) == 1
    assert [p.name for p in draw_fgsm(ATTACK, tmp_path / "a.b")] == ["a.b.png", "a.b.svg", "a.b.csv"]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (ATTACK.drop(columns="low"), "without low"),
        (ATTACK.assign(epsilon=-0.1), "negative"),
        (ATTACK.assign(epsilon=[0.1, 0.0, 0.2, 0.0, -0.2]), "negative"),
        (ATTACK[:0], "no row"),
    ],
)
def test_fgsm_refuses_invalid_attacks(table: DataFrame, text: str) -> None:
    with pytest.raises(InputError, match=text):
        fgsm_data(table)


SWEPT: dict[str, Any] = {
    "name": "attacked",
    "model": MODEL,
    "chip": "rram_hfo2_1t1r",
    "task": TASK | {"way": 4, "attack": {"kind": "fgsm"}},
    "axes": [{"path": "task.attack.epsilon", "values": [0, 0.1, 0.3]}],
    "cases": [
        {"name": "S7: ±1; as published", "set": {"task.attack.space": "normalised"}, "published": [None, 0.2, 0.1]},
        {"name": "S7: ±1; in pixels"},
        {"name": "S8; in pixels", "set": {"task.keys": "binary"}},
    ],
    "chips": {"min": 3},
}


def test_a_study_over_epsilon_has_one_panel_per_procedure(tmp_path: Path) -> None:
    results = run(SWEPT, tmp_path / "a", evaluator=stand_in_evaluator)
    assert "fgsm" in figures_of(results)
    assert "robustness" not in figures_of(results)
    data = attack_data(results)
    assert data.attrs["chance"] == 25.0
    assert distinct(data, "series") == ["S7: ±1", "S8"]
    left = where(data, "panel", "as published: normalised, then clamped")
    assert left["chips"].tolist() == [3, 3, 3, 0, 0, 0]
    assert left["published"].tolist()[4:] == [20.0, 10.0]
    table = results.table[results.table["case"] == "S7: ±1; as published"]
    assert left["accuracy"].tolist() == pytest.approx([*100 * table["median"], *100 * table["digital"]])
    with style():
        figure = fgsm_figure(data)
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim()
    assert len([line for line in first.lines if line.get_marker() == "x"]) == 1
    assert len([line for line in second.lines if line.get_linestyle() == "--"]) == 2
    assert {line.get_color() for line in second.lines if line.get_marker()} >= {"C0", "C1"}
    named = SWEPT | {"axes": [SWEPT["axes"][0] | {"values": [0, 0.1], "labels": ["clean", "FGSM"]}]}
    named = run(named | {"cases": [{"name": "all"}]}, tmp_path / "c", evaluator=stand_in_evaluator)
    assert "robustness" in figures_of(named), "strengths with names make no curve"
    with pytest.raises(ResultsError, match="no accuracy against the strength"):
        attack_data(run(TSNE, tmp_path / "b", evaluator=stand_in_evaluator))


def test_the_axis_of_the_procedure_separates_the_panels(tmp_path: Path) -> None:
    axes = [*SWEPT["axes"], {"path": "task.attack.space", "values": ["normalised", "pixels"]}]
    data = attack_data(run(SWEPT | {"axes": axes, "cases": [{"name": "all"}]}, tmp_path, evaluator=stand_in_evaluator))
    assert len(distinct(data, "panel")) == 2
    assert distinct(data, "series") == ["all"]
    with style():
        legend = fgsm_figure(data).legends[0].get_texts()
    assert legend[0].get_text() == "median of the chips", "a study without cases has no name for its series"


# -- the command -----------------------------------------------------------------------------------------

#: one chip and 48 images
FEW = ["--chips", "1", "--set", "task.episodes=2", "--set", "task.classes=6", "--set", "task.instances=8"]


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("converters", [".csv", ".png", ".svg", "_levels.csv"]),
        ("confusion", [".csv", ".png", ".svg"]),
        ("sensitivity", [".csv", ".png", ".svg"]),
        ("tsne", [".csv", ".png", ".svg"]),
    ],
)
def test_command_writes_the_same_files_twice(
    kind: str, ends: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["show", kind, MODEL, "rram_hfo2_1t1r", *FEW, "--set", "chip.converter={kind: auto, bits: 4}"]
    for name in ("a", "b"):
        assert main([*argv, "--out", str(tmp_path / name)]) == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    shared = re.fullmatch(rf"({MODEL}_rram_hfo2_1t1r_[0-9a-f]{{8}}_{kind}).*", files[0])
    assert shared
    assert files == sorted(f"{shared[1]}{end}" for end in ends)
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in files)
    assert str(tmp_path / "a" / files[0]) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["tsne", MODEL, "ideal", "--set", "bits=4"], "chip.… or task.…"),
        (["tsne", MODEL, "ideal", "--set", "chip.converter.bots=4"], "bits"),
        (["tsne", MODEL, "ideal", "--set", "task.dataset=3"], "dataset"),
        (["tsne", "no_model", "ideal"], "no_model"),
    ],
)
def test_command_refuses_bad_arguments_in_one_line(
    argv: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", *argv, "--quiet", "--out", str(tmp_path / "no")]) == 2
    printed = capsys.readouterr()
    assert text in printed.err
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "no").exists()


def test_figures_of_different_chips_and_settings_have_different_names() -> None:
    usual = {"settings": [], "seed": 0, "chips": 16}
    assert _stem("models/net", "a b", "confusion", usual) == "net_a-b_confusion"
    changed = [("a", usual), ("b", usual), ("a", usual | {"seed": 1}), ("a", usual | {"settings": ["task.way=4"]})]
    assert len({_stem("net", chip, "tsne", settings) for chip, settings in changed}) == 4


def test_every_option_of_a_figure_reaches_it_and_its_name(tmp_path: Path) -> None:
    """A figure with another option under the name of the first would overwrite it."""
    drawn: dict[tuple[Any, ...], Path] = {}

    def draw(model: str, chip: dict[str, Any], task: dict[str, Any], chips: int, seed: int, stem: Path) -> list[Path]:
        drawn[model, chip["converter"]["bits"], task["episodes"], chips, seed] = stem
        return []

    usual = {"model": "net", "bits": 4, "episodes": 2, "chips": 16, "seed": 0}
    other = [{}, {"model": "web"}, {"bits": 5}, {"episodes": 3}, {"chips": 3}, {"seed": 2}]
    for changed in other:
        now = usual | changed
        settings = [f"chip.converter={{kind: auto, bits: {now['bits']}}}", f"task.episodes={now['episodes']}"]
        _show("tsne", draw, now["model"], "ideal", tmp_path, now["chips"], now["seed"], settings)
    assert list(drawn) == [tuple((usual | changed).values()) for changed in other]
    assert {stem.parent for stem in drawn.values()} == {tmp_path}
    assert len(set(drawn.values())) == len(other)


@pytest.mark.slow
def test_commands_of_the_documentation_run(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "docs" / "figures.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    for argv in commands:
        assert main([*argv, *FEW]) == 0
    drawn = {path.stem.rpartition("_")[2] for path in (tmp_path / "results" / "figures").glob("*.png")}
    assert drawn == {argv[1] for argv in commands}
