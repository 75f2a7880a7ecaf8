"""Results at places that few inputs reach: limits, odd counts, content that is kept, units and texts of files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pandas import DataFrame
from PIL import Image

from imc_sim.config import build, edit_yaml, parse_setting, parse_yaml, trusting, write_yaml
from imc_sim.config._engine import as_engine
from imc_sim.config._spec import Effect, Spec, canonical_json, digest, drop_paths, set_path
from imc_sim.config._synonyms import stored_names, stored_path
from imc_sim.config._trust import check_trusted
from imc_sim.config._units import (
    Ampere,
    ElectronVolt,
    Farad,
    Hertz,
    Joule,
    Kelvin,
    Meter,
    Seconds,
    Siemens,
    SquareMeter,
    Volt,
)
from imc_sim.config._user_code import split_code
from imc_sim.data._omniglot import DRAWERS, list_part, read_part
from imc_sim.nn.store import load_model
from imc_sim.report._report import _data
from imc_sim.sites._probe import _unseen
from imc_sim.study import load_study, points_of, run
from imc_sim.study._runner import check_study
from imc_sim.train import train_model
from tests.recorded.cases_cli import CARD
from tests.recorded.cases_results import score
from tests.recorded.cases_study import SWEPT
from tests.recorded.made import folder, tried, without


def record_limits() -> dict[str, Any]:
    """Rows that a report contains, modules that were not seen, and drawers of a character."""
    found: dict[str, Any] = {}
    for rows in (1, 399, 400, 401):
        text = _data(DataFrame({"a": np.arange(rows), "b": "x"}), "kind")
        found[f"{rows} rows"] = [text[:90], text.count("<tr")]
    counts = ({"": 9, "a": 9, "a.b": 9, "c": 0}, {"": 9, "a": 9, "ab": 2}, {"": 9}, {"a": 1, "a.b": 1, "a.b.c": 0}, {})
    found["not seen"] = [list(_unseen(each, [])) for each in counts]
    with folder() as at:
        for drawers in (DRAWERS - 1, DRAWERS, DRAWERS + 1, 0):
            place = at / str(drawers) / "omniglot-py" / "images_evaluation" / "Alphabet" / "character01"
            place.mkdir(parents=True)
            for k in range(drawers):
                pixels = np.full((105, 105), 255, np.uint8)
                pixels[5 * k : 5 * k + 4] = 0
                Image.fromarray(pixels).save(place / f"0001_{k:02}.png")
            made = tried(
                lambda d=drawers: [read_part(list_part(at / str(d), "evaluation"), size) for size in (105, 21)]
            )
            found[f"{drawers} drawers"] = without(made, at) if isinstance(made, str) else made
        found["no part"] = without(str(tried(list_part, at, "background")), at)
    return found


def record_kept_content() -> dict[str, Any]:
    """Files that a run keeps of content of the user, and mappings that are checked before it."""
    found: dict[str, Any] = {}
    with folder() as at:
        chip = {"name": "own", "source": "made up", "device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-6}}
        (at / "own.yaml").write_text(write_yaml(chip))
        study = {key: value for key, value in SWEPT.items() if key not in ("axes", "derived", "skip", "cases")}
        study["cases"] = [{"name": "own", "set": {"chip": str(at / "own.yaml")}}, {"name": "other"}]
        run(study, at / "out", evaluator=score)
        files = sorted(str(path.relative_to(at / "out")) for path in (at / "out").rglob("*") if path.is_file())
        found["files"] = [name for name in files if "trials" not in name and not name.startswith(".")]
        found["chip"] = [path.read_text() == (at / "own.yaml").read_text() for path in (at / "out").rglob("own*.yaml")]
    for name, settings in {
        "mapped": {},
        "no place": {"int8": "error"},
        "a glob": {"layers": {"features.*": "error"}},
        "memory": {"memory": "digital"},
        "nothing": {"binary": "digital", "memory": "digital"},
    }.items():
        study = {
            "name": "s",
            "model": "batmann_small_xnor",
            "chip": "ideal",
            "chips": {"min": 2},
            "task": {"dataset": "glyphs", "split": "test", "episodes": 3},
            "cases": [{"name": "a", "set": {f"chip.policy.{k}": v for k, v in settings.items()}}],
        }
        found[name] = tried(lambda s=study: check_study(load_study(s), points_of(load_study(s)), "cpu"))
    return found


def record_stored_weights() -> dict[str, Any]:
    """Precision in which trained networks are stored: float ones as half, others whole."""
    found: dict[str, Any] = {}
    with folder() as at:
        for kind in ("float", "xnor"):
            card = CARD | {"name": kind, "arch": {"name": "batmann", "args": {"kind": kind, "width": 4, "dim": 16}}}
            (at / "models" / kind).mkdir(parents=True)
            (at / "models" / kind / "model.yaml").write_text(write_yaml(card))
            done: list[Any] = []
            train_model(kind, at / kind, progress=lambda *each, to=done: to.append([each[0], each[1]]))
            weights = dict(load_model(at / kind).state_dict())
            found[kind] = {
                name: [str(each.dtype), torch.equal(each, each.half().float())]
                for name, each in weights.items()
                if each.is_floating_point()
            }
            found[f"{kind}, files"] = [sorted(path.name for path in (at / kind).iterdir()), done]
    return found


class Inner(Effect):
    """An effect."""

    share: float = 0.5
    t_s: Seconds = 1.0

    @property
    def is_ideal(self) -> bool:
        return self.share == 0


class Made(Spec):
    """A specification."""

    g_S: Siemens = 1e-4
    i_A: Ampere = 0.0
    v_V: Volt = 0.0
    t_K: Kelvin = 300.0
    e_eV: ElectronVolt = 0.0
    f_Hz: Hertz = 0.0
    w_J: Joule = 0.0
    c_F: Farad = 0.0
    d_m: Meter = 0.0
    a_m2: SquareMeter = 0.0
    inner: Inner = Inner()
    names: tuple[str, ...] = ()
    flag: bool = False


def record_specifications() -> dict[str, Any]:
    """Numbers with units, changed and idle settings, digests, and refusals."""
    found: dict[str, Any] = {}
    units = {"g_S": "S", "a_m2": "m2", "i_A": "A", "v_V": "V", "t_K": "K", "e_eV": "eV", "f_Hz": "Hz", "w_J": "J"}
    prefixes = ("", "a", "f", "p", "n", "u", "\u00b5", "\u03bc", "m", "k", "M", "G", "T", "x")
    for name, unit in (units | {"c_F": "F", "d_m": "m"}).items():
        texts = [f"2.5 {prefix}{unit}" for prefix in prefixes]
        texts += ["3", f"-1e3{unit}", f"1 {unit}{unit}", f"1 {unit} {unit}", "1 m", "1 %", "", unit]
        texts = texts if unit in ("S", "m2") else texts[4:5] + texts[-6:-5]
        found[name] = [tried(lambda n=name, t=text: getattr(build(Made, {n: t}, "here"), n)) for text in texts]
        found[name] = [each if isinstance(each, float) else str(each)[:60] for each in found[name]]
    made = build(Made, {"names": ["a", "b"], "inner": {"share": 0.0}}, "here")
    found["idle"] = [
        sorted(made.inner.idle()),
        made.acting()["inner"],
        sorted(Inner().idle()),
        sorted(made.all_but("flag", "inner")),
    ]
    found["digest"] = [
        made.digest()[:12],
        digest({"b": 1, "a": [True, None, "ü"]})[:12],
        canonical_json({"b": 1.0, "a": "ü"}),
    ]
    changes: list[tuple[str, Any]] = [
        ("inner.share", 0.25),
        ("inner", {"share": 0.1}),
        ("inner.shares", 1),
        ("iner.share", 1),
        ("g_S", "5 uS"),
        ("flag", 1),
        ("names", "a"),
        ("names", [1]),
        ("g_S.x", 1),
        ("inner.share", None),
        ("inner.share", "0.5"),
        ("g_S", float("nan")),
    ]
    for path, value in changes:
        found[f"{path} = {value}"] = tried(lambda p=path, v=value: list(made.replace(p, v).to_dict().values()))
    found["dropped"] = drop_paths({"a": {"b": 1, "c": 2}, "d": 3}, ["a.b", "d", "x.y", "a.z"])
    data: dict[str, Any] = {"encoding": {"kind": "a", "x": 1}, "other": {"kind": "a", "x": 1}}
    for path in ("encoding.kind", "other.kind"):
        set_path(data, path, "b", "here")
    found["kinds"] = data
    found["engines"] = [
        tried(lambda e=each: as_engine(e).to_dict())
        for each in ("native", "memtorch", "x", {"kind": "native"}, {"adc_overflow_rate": 0.5})
    ]
    found["code"] = [
        tried(split_code, text, "here")
        for text in ("a.py:b", "a/b.py:c", "a.py", "a:b", "a.py:", ":b", "a.py:b.c", "x:y/a.py:f")
    ]
    found["refused"] = [
        tried(lambda d=each: build(Made, d, "here").g_S)
        for each in (3, {"x": 1}, {"g_s": 1}, {"inner": 3}, {1: 2}, {"names": "\x07"})
    ]
    return found


def record_yaml() -> dict[str, Any]:
    """Texts of YAML as values and refusals, synonyms, edits and what is trusted."""
    texts = [
        "a: 5e-5\nb: no\nc: yes\nd: 0x10\ne: 1_0\nf: .5\ng: 1.\nh: .inf\ni: -3\nj: true\nk: True\nl: ~\nm: 2020-01-01",
        "a: 1\na: 2",
        "1: a",
        "- a",
        "",
        "a: !!python/object:x {}",
        "a: !!str 5",
        "a: &x [*x]",
        "a: &x [1]\nb: *x",
        "a: 'x\ty'",
        "a: \x07",
        "? [a]\n: b",
        "a: {{n}}",
        "<<: {a: 1}\nb: 2",
        "a: " + "[" * 60 + "]" * 60,
        "a: " + "9" * 301,
        'a: "\\x07"',
        "a: |\n  x\n  y\n",
    ]
    found: dict[str, Any] = {"parsed": [tried(parse_yaml, text, "here") for text in texts]}
    found["settings"] = [
        tried(parse_setting, each)
        for each in ("a.b=1", "a = x", "adc.bits=3", "chip.adc.bits=[1, 2]", "a", "=1", "a=", "a=b=c")
    ]
    found["names"] = [
        stored_path(each)
        for each in ("adc", "chip.adc.bits", "chip.cost.adc.x", "xadc", "backend", "task.adc", "adcs", "cost.adc")
    ]
    data = [{"adc": {"bits": 1}}, {"adc": 1, "converter": 2}, [{"backend": "chip.adc.x"}, "adc"]]
    found["stored"] = [tried(stored_names, each, "here") for each in data]
    value = {
        "a": [1, 2.5],
        "b": ["x", "no", "5e-5", ""],
        "c": {"d": None, "e": True, "f": (1, 2)},
        "g": "a: b",
        "h": 1e-7,
        "i": "ü",
    }
    found["written"] = [
        write_yaml(value),
        write_yaml(value, one_line=True),
        parse_yaml(write_yaml(value)) == value | {"c": {"d": None, "e": True, "f": [1, 2]}},
    ]
    before = "# top\na: 1  # one\nb:\n  c: 2\n  # kept\n  d: [1, 2]\ne: x\n"
    edits: list[dict[str, Any]] = [
        {"a": 2, "b": {"c": 2, "d": [1, 2]}, "e": "x"},
        {"a": 1, "b": {"c": 3, "d": [1, 2], "f": "new"}, "e": "x"},
        {"b": {"d": [1]}},
        {"a": 1, "b": {"c": 2, "d": [1, 2]}, "e": "x", "g": {"h": 1}},
    ]
    found["edited"] = [tried(edit_yaml, before, each) for each in edits]
    with folder() as at:
        for place, kind in itertools.product(("models/m", "studies/s", "runs/r", "other", "."), ("model", "study")):
            where = tried(check_trusted, at / place, "a card", kind)
            found[f"trusted {place} {kind}"] = where if where is None else without(where, at)
        with trusting():
            found["trusting"] = tried(check_trusted, Path("other"), "a card")
        found["after"] = without(str(tried(check_trusted, at / "other", "a card")), at)
    return found
