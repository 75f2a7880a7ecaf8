"""Study files: what they resolve to, and what is refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError, MissingDataError
from imc_sim.array import load_chip
from imc_sim.config import Engine, content_names, parse_yaml
from imc_sim.study import Chips, Study, load_study, points_of, resolved, run, with_settings
from imc_sim.study._spec import DERIVED
from imc_sim.testing import stand_in_evaluator

STUDY: dict[str, Any] = {
    "name": "small",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
    "axes": [
        {"path": "chip.device.programming.sigma", "values": [0, 0.2]},
        {"path": "chip.tile.rows", "values": [64, 128]},
    ],
    "cases": [{"name": "a"}, {"name": "b", "set": {"chip": "ideal", "task.keys": "binary"}}],
    "set": {"chip.device.correlated.gradient": 0.1},  # so that the size of tiles acts
    "chips": {"min": 4},
}


def test_points_are_cases_times_axes() -> None:
    points = points_of(load_study(STUDY))
    assert len(points) == 2 * 2 * 2
    last = points[-1]
    assert last.chip is not None
    assert (last.case, last.chip["name"], last.task["keys"]) == ("b", "ideal", "binary")
    assert (last.chip["device"]["programming"]["sigma"], last.chip["tile"]["rows"]) == (0.2, 128)
    assert len({p.id for p in points}) == 8


def test_without_axes_a_case_is_a_point() -> None:
    points = points_of(load_study(STUDY | {"axes": []}))
    assert [(p.case, p.coordinates) for p in points] == [("a", ()), ("b", ())]
    assert [p.id for p in points_of(load_study({k: v for k, v in STUDY.items() if k != "axes"}))] == [
        p.id for p in points
    ]


def test_chips_may_have_a_smaller_task_than_the_digital_network() -> None:
    cases = [{"name": "a"}, {"name": "b", "set": {"task.keys": "float", "chip_task.keys": "binary"}}]
    plain = points_of(load_study(STUDY | {"cases": cases[:1]}))
    study = STUDY | {"cases": cases, "chip_task": {"episodes": 2}}
    points = points_of(load_study(study))
    tasks = [(p.task["episodes"], p.task["keys"], p.reference().task["episodes"], p.reference().task["keys"])
             for p in points]  # fmt: skip
    assert tasks == [(2, "bipolar", 5, "bipolar")] * 4 + [(2, "binary", 5, "float")] * 4
    assert all(p.baseline().task == p.task for p in points)
    assert points[0].reference().id == plain[0].baseline().id, "the whole task equals that of a study without chip_task"
    assert points[0].id != plain[0].id
    assert all(p.reference().id == p.baseline().id for p in plain)
    file = {key: value for key, value in resolved(load_study(study), points).items() if key not in DERIVED}
    assert [p.id for p in points_of(load_study(file))] == [p.id for p in points]


def test_published_values_change_no_id() -> None:
    published = STUDY | {"cases": [{"name": "a", "published": [0.9, None], "note": "as printed"}, STUDY["cases"][1]]}
    one, other = (load_study(study) for study in (published, STUDY))
    assert resolved(one, points_of(one))["digest"] == resolved(other, points_of(other))["digest"]


def test_an_axis_sets_all_of_its_paths() -> None:
    axis = {"path": "chip.wires.r_row_ohm", "also": ["chip.wires.r_col_ohm"], "values": [1, 2], "spaced": "log"}
    study = STUDY | {"axes": [axis], "cases": [{"name": "a", "set": {"chip.wires.kind": "nodal"}}]}
    points = points_of(load_study(study))
    found = [(p.coordinates, p.chip["wires"]["r_row_ohm"], p.chip["wires"]["r_col_ohm"]) for p in points if p.chip]
    assert found == [((("chip.wires.r_row_ohm", r),), r, r) for r in (1, 2)]
    with pytest.raises(InputError, match="values above 0 where spaced is 'log'"):
        load_study(study | {"axes": [axis | {"values": [0, 1]}]})
    with pytest.raises(InputError, match="axis paths"):
        load_study(study | {"axes": [axis | {"also": [axis["path"]]}]})


def test_a_case_may_sweep_its_own_paths() -> None:
    cases = [{"name": "a"}, {"name": "b", "sweep": ["chip.device.programming.sigma_hrs"]}]
    points = points_of(load_study(STUDY | {"cases": cases, "axes": STUDY["axes"][:1]}))
    programming = [p.chip["device"]["programming"] for p in points if p.chip]
    assert [(s["sigma"], s["sigma_hrs"]) for s in programming] == [
        (0, 0.08653),
        (0.2, 0.08653),
        (0.01214, 0),
        (0.01214, 0.2),
    ]
    assert [p.coordinates for p in points[:2]] == [p.coordinates for p in points[2:]]
    with pytest.raises(InputError, match="paths that start with"):
        load_study(STUDY | {"cases": [{"name": "a", "sweep": ["device.levels"]}]})


def test_values_that_depend_on_each_other_are_set_in_any_order() -> None:
    """Each alone would leave LRS below HRS."""
    for order in (["g_lrs_S", "g_hrs_S"], ["g_hrs_S", "g_lrs_S"]):
        values = {"g_lrs_S": "2 uS", "g_hrs_S": "1 uS"}
        case = {"name": "a", "set": {f"chip.device.{name}": values[name] for name in order}}
        chip = points_of(load_study(STUDY | {"cases": [case]}))[0].chip
        assert chip is not None
        assert (chip["device"]["g_lrs_S"], chip["device"]["g_hrs_S"]) == (2e-6, 1e-6)


def test_key_order_changes_no_id() -> None:
    turned = dict(reversed(STUDY.items())) | {"task": dict(reversed(STUDY["task"].items()))}
    assert [p.id for p in points_of(load_study(STUDY))] == [p.id for p in points_of(load_study(turned))]


def test_the_order_of_layer_globs_changes_the_id() -> None:
    """The first match wins: the two orders place the first layer differently."""
    globs = {"features.conv2": "crossbar", "*": "digital"}
    ids = []
    for each in (globs, dict(reversed(globs.items()))):
        case = {"name": "a", "set": {"chip.policy.layers": each}}
        ids += [point.id for point in points_of(load_study(STUDY | {"cases": [case]}))]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"task": {**STUDY["task"], "episodes": 6}},
        {"model": "batmann_5w1s_float"},
        {"chip": "pcm_nandakumar", "axes": STUDY["axes"][1:]},
        {"cases": [{"name": "a", "set": {"chip.converter.kind": "auto"}}]},
    ],
)
def test_every_ingredient_changes_the_id(change: dict[str, Any]) -> None:
    before, after = (points_of(load_study(s))[0].trial(0).id for s in (STUDY, STUDY | change))
    assert before != after


def test_prose_and_names_change_no_id() -> None:
    chip = points_of(load_study(STUDY))[0].chip
    renamed = STUDY | {"name": "other", "question": "?", "chip": chip | {"name": "mine", "source": "my bench"}}  # type: ignore[operator]
    assert points_of(load_study(renamed))[0].trial(2).id == points_of(load_study(STUDY))[0].trial(2).id


def test_settings_of_one_command_are_checked_together() -> None:
    study = load_study("quickstart")
    first, last = ["chips.max=2", "chips.min=2"], ["chips.min=900", "chips.max=1000"]
    for wanted in (first, first[::-1], last, last[::-1]):
        chips = with_settings(study, wanted).chips
        assert {f"chips.min={chips.min}", f"chips.max={chips.max}"} == set(wanted)
    assert with_settings(study, ["seed=1", "seed=2"]).seed == 2, "the later one of two counts"
    with pytest.raises(InputError, match=r"chips.*max of at least min \(9\)"):
        with_settings(study, ["chips.min=9", "seed=4", "chips.max=2"])


def test_settings_reach_every_part() -> None:
    spec = with_settings(load_study(STUDY), ["chips.min=9", "task.episodes=7", "chip.tile.cols=32", "seed=3"])
    points = points_of(spec)
    assert (spec.chips.min, spec.seed) == (9, 3)
    assert all(p.task["episodes"] == 7 for p in points)
    assert [p.chip["tile"]["cols"] for p in points if p.chip] == [32] * 4 + [128] * 4  # case b has another chip


def test_settings_reach_into_lists_and_backends() -> None:
    study = load_study(STUDY | {"cases": [{"name": "a", "set": {"chip.tile.cols": 64}}]})
    lines = ["axes.0.values=[0.3, 0.5]", "cases.0.set.chip.tile.cols=16", "engine.kind=memtorch"]
    points = points_of(with_settings(study, lines))
    assert [p.coordinates[0][1] for p in points] == [0.3, 0.3, 0.5, 0.5]
    assert {p.chip["tile"]["cols"] for p in points if p.chip} == {16}
    assert {p.engine.kind for p in points} == {"memtorch"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("chps.min=3", r"--set chps.min: got 'chps'.*Did you mean 'chips'"),
        ("chips.mn=3", r"unknown key 'mn'.*Did you mean 'min'"),
        ("axes.2.values=[1]", r"--set axes.2.values: got '2'; allowed: a number from 0 to 1"),
        ("axes.0.values={rnge: [0, 1, 1]}", r"axes\.0\.values.*got rnge.*Did you mean 'range'"),
        ("name.x=1", "no part of a single value"),
        ("chips.min=many", r"chips\.min: got 'many'"),
        ("chips.min", "path=value"),
    ],
)
def test_bad_settings_list_the_allowed_ones(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_settings(load_study(STUDY), [setting])


def test_a_resolved_study_is_the_study_again(tmp_path: Path) -> None:
    spec = with_settings(load_study(STUDY), ["task.way=4", "chip.tile.cols=32"])
    run(spec, tmp_path / "out", evaluator=stand_in_evaluator)
    again = load_study(tmp_path / "out" / "study.resolved.yaml")
    assert [p.id for p in points_of(again)] == [p.id for p in points_of(spec)]
    assert len({p.id for p in points_of(again)}) == 8


def test_a_kind_that_is_set_drops_the_keys_of_the_kind_before() -> None:
    lines = ["chip.encoding_multibit.kind=differential", "chip.device.programming.kind=polynomial",
             "chip.device.programming.coefficients_S=[1e-6]", "chip.device.programming.g_max_S=1e-4"]  # fmt: skip
    for study in (with_settings(load_study("quickstart"), lines), load_study(STUDY | {"set": {
        key: parse_yaml(f"x: {value}", "x")["x"] for key, value in (line.split("=") for line in lines)
    }, "axes": [], "cases": []})):  # fmt: skip
        chip = study.chip
        assert isinstance(chip, dict)
        assert chip["encoding_multibit"] == {"kind": "differential"}
        assert set(chip["device"]["programming"]) == {"kind", "coefficients_S", "g_max_S"}


def test_checkpoints_grow_by_half() -> None:
    assert Chips(min=30).checkpoints() == [30]
    assert Chips(min=30, max=100).checkpoints() == [100]
    assert Chips(min=30, max=100, half_width=0.01).checkpoints() == [30, 45, 68, 100]


#: first point, first trial and last point of shipped studies, and the digest of the whole, as first released
SHIPPED = {
    "batmann_variation": ("fd21844526fc2d74", "ae12677b891f7b64", "64ff557756179e2c", "44187b767298e74b"),
    "effect_adc": ("cc2bad443bc8a63e", "9945d69fc85ddb2c", "e69c2800437fb422", "3806e526e44608ec"),
    "effect_drift": ("875dba4657c36cf9", "2150ee18a2d96ad6", "d02d1577826fb070", "5240c602bd488243"),
    "effect_read_noise": ("98330c382f81db14", "3a0633ea6ec2da89", "29fcc5132761caa1", "1481ada8a9976e35"),
    "effect_spread": ("f99a9400f8211d27", "1dc7858bc6d0b7d8", "29d92caf7423ae33", "b6b551d7044c006c"),
    "effect_stuck": ("98330c382f81db14", "3a0633ea6ec2da89", "8108d4837999542d", "ae05cde20634198f"),
    "effect_wires": ("86e2fa41e4582b63", "1cc97a93f763db6a", "50a974717b7237ef", "1545604c29d288b4"),
    "memtorch_agreement": ("244adfabc65a9f7d", "4b92c0ff49caf6f4", "4f30bc8516471837", "b19e33a424a51bfb"),
    "quickstart": ("510763de77d1b5be", "c76e74769acb3775", "320fdc128d0f0a90", "662ed1507821923c"),
}


@pytest.mark.usefixtures("listed_once")
@pytest.mark.parametrize("name", SHIPPED)
def test_ids_are_unchanged_since_the_first_release(name: str) -> None:
    """Otherwise no results folder could be continued. Ids change with `SCHEMA`, the version of the results."""
    study = load_study(name)
    points = points_of(study)
    found = (points[0].id, points[0].trial(0).id, points[-1].id, resolved(study, points)["digest"])
    assert tuple(each[:16] for each in found) == SHIPPED[name]


@pytest.mark.usefixtures("listed_once")
@pytest.mark.parametrize("name", content_names("study"))
def test_shipped_studies_resolve(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    if str(study.model).startswith("runs/") and not Path(str(study.model)).exists():
        with pytest.raises(InputError, match="imc-sim train binact_omniglot"):  # weights too large to ship
            points_of(study)
        return
    points = points_of(study)
    chips = [p.chip for p in points if p.chip is not None]
    digital = all(chip["policy"]["layers"] == {"*": "digital"} for chip in chips)  # each is the network itself
    assert study.chips.min >= (1 if digital else 5), "an interval over chips needs chips"
    assert all(len(axis.values) >= 2 for axis in study.axes[:1] if not axis.labels), "a path is swept"
    assert resolved(study, points)["digest"]


BAD = [
    ({"chiip": "x", "chip": {}}, r"unknown key 'chiip'.*Did you mean 'chip'"),
    ({"modle": "x"}, r"unknown key 'modle'.*Did you mean 'model'"),
    ({"model": "batmann_5w1s_xno"}, r"Did you mean 'batmann_5w1s_xnor'"),
    ({"chip": "rram_hfo2"}, r"Did you mean 'rram_hfo2_1t1r'"),
    ({"axes": [{"path": "chip.device.programing.sigma", "values": [0]}]}, "programing"),
    ({"axes": [{"path": "chip.device.programming.sigm", "values": [0]}]}, r"Did you mean 'sigma'"),
    ({"axes": [{"path": "chip.device.programming.sigma", "values": [-0.1]}]}, "greater than or equal to 0"),
    ({"axes": [{"path": "chip.device.g_lrs_S", "values": ["1 uS"]}]}, "g_lrs_S above g_hrs_S"),
    ({"axes": [{"path": "chip.tile.rows", "values": [0]}]}, r"tile\.rows: got 0"),
    ({"axes": [{"path": "tile.rows", "values": [1]}]}, "paths that start with model, chip, task"),
    ({"axes": [], "cases": [{"name": "x", "sweep": ["seed"]}]}, "an axis whose values case 'x' sweeps"),
    ({"cases": [{"name": "x", "published": [0.9]}]}, "a list of 2, one per value of the first axis"),
    ({"axes": [], "cases": [{"name": "x", "published": [0.9]}]}, "published as one number"),
    ({"cases": [{"name": "x", "published": 97.5}]}, "less than or equal to 1"),
    ({"chip_task": {"way": 1}}, "chip_task: way"),
    ({"cases": [{"name": "x", "set": {"chip_task": "short"}}]}, "a mapping of keys to values"),
    ({"task": {"dataset": "glyphs", "way": 1}}, "way"),
    ({"chips": {"min": 5, "max": 3}}, "max of at least min"),
    ({"chips": {"min": 10**12}}, "less than or equal to 1000000"),
    ({"task": {"dataset": "glyphs", "episodes": 10**12}}, "less than or equal to 1000000"),
    ({"task": {"dataset": "glyphs", "dim": 10**12}}, "less than or equal to 65536"),
    ({"memory_limit": "2 GiBs"}, "2 GB"),
    ({"cases": [{"name": "x"}, {"name": "x"}]}, "distinct case names"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_studies_are_one_error_and_no_folder(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(STUDY | change, tmp_path / "out", evaluator=stand_in_evaluator)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unmappable_layer_is_found_before_anything_runs(tmp_path: Path) -> None:
    bad = STUDY | {"model": "batmann_5w1s_float", "cases": [{"name": "a"}]}
    with pytest.raises(InputError, match="no place for them"):
        run(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"shot": 25}, r"shot \+ query_pool <= instances of a class \(20\)"),
        ({"way": 3000}, "way <= classes of the pool"),
        ({"split": "training"}, "Did you mean 'train'"),
        ({"query_form": "float"}, "task.query_form"),
    ],
)
def test_a_task_that_cannot_be_sampled_is_found_before_anything_runs(
    task: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run(STUDY | {"task": STUDY["task"] | task}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_data_are_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingDataError, match=r"nowhere.*imc-sim data fetch omniglot"):
        run(STUDY | {"task": {"dataset": "omniglot", "split": "evaluation"}}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_duplicate_keys_and_yaml_types() -> None:
    with pytest.raises(InputError, match=r"line 2.*a second 'a' \(first in line 1\)"):
        parse_yaml("a: 1\na: 2\n")
    assert parse_yaml("a: 5e-5\nb: no\nc: 0.5\n") == {"a": 5e-5, "b": "no", "c": 0.5}


def test_settings_of_a_backend_override_those_of_the_chip() -> None:
    own = load_chip("rram_hfo2_1t1r").replace("engine", {"kind": "memtorch"}).to_dict()
    study = with_settings(load_study(STUDY | {"chip": own}), ["engine.adc_overflow_rate=0.1"])
    assert study.engine == Engine(kind="memtorch", adc_overflow_rate=0.1)


def test_memory_limit_takes_units() -> None:
    for text, size in (("1.5 GB", 1_500_000_000), ("2 MB", 2_000_000), ("0.5 MB", 500_000), ("30 KB", 30_000)):
        assert load_study(STUDY | {"memory_limit": text}).memory_limit == size
    assert isinstance(load_study(STUDY), Study)


def test_a_setting_may_add_a_part_of_the_task() -> None:
    study = with_settings(load_study("quickstart"), ["task.attack.kind=fgsm", "task.attack.epsilon=0.2"])
    assert points_of(study)[0].task["attack"]["epsilon"] == 0.2
    with pytest.raises(InputError, match="atack"):
        points_of(with_settings(load_study("quickstart"), ["task.atack.kind=fgsm"]))
