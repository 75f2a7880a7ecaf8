"""Old names of commands still work and name their replacements."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imc_sim.cli._old_names import OLD_NAMES, with_new_names

#: an old command line, its words today, and the name that stderr gives
OLD = [
    ("combine a b --out c", "report a b --out c --trials all", "report --trials"),
    ("combine a --format csv --format=parquet", "report a --trials csv --trials=parquet", "report --trials"),
    ("tables a b --page p.md --page q.md", "report a b --page p.md --page q.md", "report"),
    ("figure tsne m c --set chip.tile.rows=64", "show tsne m c --set chip.tile.rows=64", "show"),
    ("firing m --steps 3", "show spikes m --steps 3", "show spikes"),
    ("forgetting m n --page p.md", "show forgetting m n --page p.md", "show forgetting"),
    ("probe signs f --flips 3", "show sign-flips f --flips 3", "show sign-flips"),
    ("probe quadratic --seed 1", "show quadratic --seed 1", "show"),
    ("plot-device vteam --amplitude 1", "show device vteam --amplitude 1", "show device"),
    ("schema study", "show schema study", "show schema"),
    ("trainings some --device cpu", "train --sweep some --device cpu", "train --sweep"),
    ("trainings --device cpu --out x some --quiet", "train --device cpu --out x --sweep some --quiet", "train --sweep"),
    ("list trainings", "list sweeps", "list sweeps"),
]


@pytest.mark.parametrize(("old", "new", "name"), OLD, ids=[old for old, _, _ in OLD])
def test_old_name_becomes_the_new_one(old: str, new: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_new_names(old.split()) == new.split()
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert f" is now '{name}'; " in line
    assert with_new_names(new.split()) == new.split(), "new names are unchanged"
    assert capsys.readouterr().err == ""


def test_every_old_name_is_in_these_tests() -> None:
    assert {name for name in OLD_NAMES if any(old.startswith(name) for old, _, _ in OLD)} == set(OLD_NAMES)


def test_an_old_name_prints_what_the_new_one_prints(run: Callable) -> None:
    old, new = run("schema", "chip", "--quiet"), run("show", "schema", "chip", "--quiet")
    assert (old.code, old.out) == (new.code, new.out)
    assert old.err == "imc-sim: 'schema' is now 'show schema'; version 0.3 removes the old name\n"
    assert new.err == ""


@pytest.mark.parametrize("old", OLD_NAMES)
def test_help_of_every_old_name_works(old: str, run: Callable) -> None:
    ran = run(*old.split(), "--help")
    assert ran.code == 0
    assert len(ran.err.splitlines()) == 1
