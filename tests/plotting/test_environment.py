"""Figures do not depend on the user's environment, and text from users is shown as typed."""

from __future__ import annotations

import html
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from imc_sim import InputError
from imc_sim.config import find_card
from imc_sim.plotting import convergence_data, convergence_figure, draw, robustness_data, robustness_figure, style
from imc_sim.report import write_report
from imc_sim.report._comparison import plain_text
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

MATPLOTLIBRC = """
text.usetex: True
font.weight: bold
axes.facecolor: red
savefig.bbox: tight
svg.fonttype: none
lines.dashed_pattern: 9, 9
axes.formatter.limits: -1, 1
"""
HOSTILE = r"$x_1$ 100% \alpha {\bf b} & #1 ^ ~ <b>"
UNBALANCED = r"costs 5 $ to $\frac{1$"
HIDDEN = "_begins with an underscore"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    study: dict[str, Any] = {
        "name": "typed",
        "question": HOSTILE,
        "model": "batmann_5w1s_xnor",
        "chip": "rram_hfo2_1t1r",
        "task": {"dataset": "glyphs", "split": "test"},
        "cases": [{"name": HOSTILE}, {"name": HIDDEN, "set": {"task.way": 4}}],
        "axes": [
            {"path": "chip.device.programming.sigma", "values": [0, 0.25], "label": UNBALANCED, "unit": "$"},
        ],
        "chips": {"min": 3},
    }
    return run(study, tmp_path_factory.mktemp("typed") / "study", evaluator=stand_in_evaluator)


@pytest.fixture(scope="module")
def expected(results: Results) -> dict[Path, bytes]:
    """Return the files of figures and report."""
    return {path: path.read_bytes() for path in (*draw(results), write_report(results))}


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_and_report_are_the_same_bytes_in_any_environment(
    expected: dict[Path, bytes], results: Results, tmp_path: Path, backend: str, repository: Path
) -> None:
    for path in expected:
        path.unlink()
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC, encoding="utf-8")
    env = os.environ | {"MPLBACKEND": backend, "MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": str(repository)}
    code = "import sys; from imc_sim.cli import main; sys.exit(any(main([v, sys.argv[1]]) for v in ('report', 'plot')))"
    argv = [sys.executable, "-c", code, str(results.folder)]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in expected} == expected


def texts(figure: Figure) -> str:
    """Return the text of a figure as a viewer of its SVG copies it; mathtext would be split there."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        svg = io.StringIO()
        figure.savefig(svg, format="svg")
    found = re.findall(r"<text[^>]*>(.*?)</text>", svg.getvalue(), re.DOTALL)
    return html.unescape("\n".join(found))


def test_names_and_labels_are_shown_as_typed(results: Results) -> None:
    with style():
        svg = texts(robustness_figure(robustness_data(results)))
        assert HOSTILE in svg
        assert HIDDEN in svg
        assert f"{UNBALANCED} ($)" in svg
        assert HIDDEN in texts(convergence_figure(convergence_data(results))).replace("\n", " ")


def test_logarithmic_axes_have_decimal_labels(tmp_path: Path) -> None:
    values = [1e-5 * 10 ** (k / 6) for k in range(25)]
    study = {
        "name": "log", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r",
        "task": {"dataset": "glyphs", "split": "test"}, "chips": {"min": 1},
        "axes": [{"path": "chip.device.programming.sigma", "values": values}],
    }  # fmt: skip
    data = robustness_data(run(study, tmp_path / "log", evaluator=stand_in_evaluator))
    data.attrs["spaced"] = "log"  # as for an axis given as a range
    with style():
        svg = texts(robustness_figure(data))
    assert "$" not in svg
    assert {"1e-05", "0.001", "0.1"} <= set(svg.splitlines())


def test_markdown_and_shell_show_what_was_typed() -> None:
    assert plain_text("a|b <i> *c* `d` $e$\nf \\") == r"a\|b \<i> \*c\* \`d\` \$e\$ f \\"
    with pytest.raises(InputError) as error:
        find_card("my models; x/batmann_small_xnor")
    command = str(error.value).split("Train it there: ")[1]
    assert shlex.split(command)[-1] == "my models; x/batmann_small_xnor"
