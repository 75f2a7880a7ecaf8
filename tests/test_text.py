"""Text from files is text everywhere: in spreadsheets, on terminals, in figures and pages."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from imc_sim import InputError, _files, load_model
from imc_sim._errors import ShadowedNameWarning, printable
from imc_sim._files import csv_parts, csv_text, without_mark
from imc_sim.array import load_chip
from imc_sim.cli import main
from imc_sim.cli._console import print_paths, print_rows, say
from imc_sim.config import find_content, parse_yaml
from imc_sim.nn.store import save_model
from imc_sim.plotting import draw, new_figure, style, svg_text
from imc_sim.report import write_report
from imc_sim.study import Results, combine, run
from imc_sim.testing import stand_in_evaluator

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "=-1"]
NUMBERS = ["-1", "+1.5e-3", "-inf", "-.5", "1"]


def test_formulas_are_text_and_numbers_stay_numbers_in_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pd.DataFrame({"=head": FORMULAS + NUMBERS, "x": [-1.5] * 11, "mixed": [-1, "-1+1", None] * 3 + [True, "a"]})
    text = csv_text(data)
    lines = text.splitlines()
    assert lines[0] == "'=head,x,mixed"
    assert lines[1:4] == ["'=1+1,-1.5,-1", "'+cmd|' /C calc'!A0,-1.5,'-1+1", "'-2+3,-1.5,"]
    back = pd.read_csv(io.StringIO(text), dtype=str)["'=head"].map(without_mark)
    assert list(back) == FORMULAS + NUMBERS
    plain = pd.DataFrame({"a": ["b", "c'"], "n": [0.1, -1e-9]})
    assert csv_text(plain) == plain.to_csv(index=False, lineterminator="\n")
    monkeypatch.setattr(_files, "_ROWS", 3)
    parts = list(csv_parts(data))
    assert len(parts) == 4
    assert ("".join(parts), csv_text(data.iloc[:0])) == (text, "'=head,x,mixed\n")
    assert [without_mark(each) for each in ("'a", "'", "a", 5)] == ["'a", "'", "a", 5]


def test_no_name_of_a_study_breaks_its_figures_tables_and_page(tmp_path: Path) -> None:
    names = ["=1+1", "$x_{$", "\\input{/etc/passwd}", "<script>", "</svg>", "--> ]]>", "_a", "%s {}"]
    cases = [{"name": name, "published": 0.5} for name in names]
    axes = [{"path": "chip.device.programming.sigma", "label": "$x_{$ \\alpha", "values": [0, 0.1]}]
    task = {"dataset": "glyphs", "split": "test", "episodes": 5}
    study: dict[str, Any] = {
        "name": "x",
        "model": "batmann_5w1s_xnor",
        "chip": "ideal",
        "task": task,
        "chips": {"min": 2},
    }
    settings = [{"task.episodes": 5 + number} for number in range(len(names))]
    cases = [case | {"set": each} for case, each in zip(cases, settings, strict=True)]
    results = run(study | {"axes": axes, "cases": cases}, tmp_path, evaluator=stand_in_evaluator)
    figures = draw(results)
    write_report(results)
    combine([tmp_path], formats=["csv"])
    for path in figures:
        if path.suffix == ".svg":
            ET.parse(path)
    assert "<script>1" not in (tmp_path / "report.html").read_text()
    for path in tmp_path.glob("*.csv"):
        assert not [line for line in path.read_text().splitlines() if line.startswith("=")], path


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "a\x1b[2J\x9b1m\u202eb"
    say(bad)
    print_rows([{"name": bad}])
    print_paths([Path(bad)])
    assert main(["run", bad]) == 2
    assert main([bad]) == 2
    with pytest.raises(InputError) as caught:
        load_chip(bad)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err, str(caught.value)):
        assert not set("\x1b\x9b\u202e") & set(text)
    assert shown.out.splitlines() == ["name", *["a\\x1b[2J\\x9b1m\\u202eb"] * 2]
    assert printable("one\n\ttwo \u00b5S") == "one\n\ttwo \u00b5S"


def test_control_characters_of_yaml_are_refused_with_their_line() -> None:
    for escape in ("\\e[31m", "\\0", "\\ufffe"):
        with pytest.raises(InputError, match="f.yaml, line 2: got .*text without control characters"):
            parse_yaml(f'a: 1\nlabel: "x{escape}"', "f.yaml")


@pytest.mark.filterwarnings("ignore:Glyph")
def test_svg_is_xml_whatever_its_labels_hold() -> None:
    with style():
        figure, ax = new_figure()
        ax.set_xticks([0, 1], ["\x01 a", "\ufffe -- b"])
        ax.set_title("\x1b[31m $x_{$")
        svg = svg_text(figure)
    ET.fromstring(svg)
    assert "\x1b" not in svg


def test_content_with_the_name_of_shipped_content_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "batmann_small_xnor"
    shipped: Any = load_model(name)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "models" / name / "model.yaml"
    save_model(place.parent, shipped, shipped.card)
    with pytest.warns(ShadowedNameWarning, match=f"model {name!r} is .*{name}/model.yaml, not the shipped model"):
        load_model(name)
    assert main(["map", name, "ideal"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "not the shipped" in line]
    assert told == [f"imc-sim: model {name!r} is {place}, not the shipped model of that name"]
    load_model(str(tmp_path / "models" / name))  # a path means itself
    (tmp_path / "device_configs").mkdir()
    (tmp_path / "device_configs" / "ideal.yaml").write_text("name: mine\ndevice: {g_lrs_S: 100 uS, g_hrs_S: 10 uS}\n")
    with pytest.warns(ShadowedNameWarning, match="chip 'ideal'"):
        load_chip("ideal")
    (tmp_path / "device_configs" / "sram.yaml").symlink_to(find_content("chip", "sram").resolve())
    load_chip("sram")  # the shipped one by another path: a warning is an error here


def test_the_report_reads_back_the_text_of_its_table(tmp_path: Path) -> None:
    from imc_sim.report._comparison import read_comparison

    task = {"dataset": "glyphs", "split": "test", "episodes": 5}
    study = {"name": "x", "model": "batmann_5w1s_xnor", "chip": "ideal", "task": task, "chips": {"min": 2}}
    run(study | {"cases": [{"name": "=1+1", "published": 0.9}]}, tmp_path, evaluator=stand_in_evaluator)
    write_report(Results.load(tmp_path))
    assert "'=1+1" in (tmp_path / "comparison.csv").read_text()
    assert list(read_comparison(tmp_path / "comparison.csv")["setting"]) == ["=1+1"]
