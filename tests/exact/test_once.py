"""Within a block, files are read and chips are built once; outside, a change is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError
from imc_sim.array import _chip, load_chip
from imc_sim.config import _content, _once, find_card, once, reading_once
from imc_sim.study import load_study, points_of, resolved
from imc_sim.study._acting import check_acting, of_its_model

STUDY: dict[str, Any] = {
    "name": "x", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test"},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0.1, 0.2, 0.3, 0.4]}],
}  # fmt: skip


def test_what_is_made_is_kept_in_the_outermost_block_alone() -> None:
    made: list[int] = []
    make = lambda: (made.append(0), len(made))[1]  # noqa: E731
    assert [once("a", "k", make), once("a", "k", make)] == [1, 2]
    with reading_once():
        assert [once("a", "k", make), once("a", "k", make), once("b", "k", make), once("a", "l", make)] == [3, 3, 4, 5]
        with reading_once():
            assert once("a", "k", make) == 3
        assert once("a", "k", make) == 3
    assert once("a", "k", make) == 6


def test_errors_are_not_kept_and_the_oldest_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_once, "_MOST", 2)
    with reading_once():
        with pytest.raises(ZeroDivisionError):
            once("a", 0, lambda: 1 // 0)
        found = [once("a", key, lambda n=n: n) for n, key in enumerate([0, 1, 0, 2, 0, 1])]
    assert found == [0, 1, 0, 3, 0, 5], "1 was used least recently when 2 was made"


def test_a_card_is_a_copy_and_is_read_again_after_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "models" / "m" / "model.yaml"
    card.parent.mkdir(parents=True)
    card.write_text("{name: m, arch: {name: batmann}, episodes: 1}")
    with reading_once():
        find_card("m").data["arch"]["name"] = "changed"
        card.write_text("{name: m, arch: {name: batmann}, episodes: 20}")
        assert find_card("m").data == {"name": "m", "arch": {"name": "batmann"}, "episodes": 1}
    assert find_card("m").data["episodes"] == 20


def test_chips_are_told_apart_by_types_and_names_of_keys() -> None:
    chip = load_chip("rram_hfo2_1t1r").to_dict()
    with reading_once():
        assert load_chip(chip) is load_chip(dict(chip))
        assert load_chip(chip | {"converter": {"kind": "auto", "bits": 8}}) is not load_chip(chip)
        with pytest.raises(InputError, match="tile.rows: got 64.5"):
            load_chip(chip | {"tile": {"rows": 64.5, "cols": 64}})


def test_a_study_finds_its_card_once_and_builds_each_chip_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the study says; what acts and what a worker gets are settings of the same chip."""
    cards, chips = [], []
    found_card, built = _content._found_card, _chip.build
    monkeypatch.setattr(_content, "_found_card", lambda name: (cards.append(name), found_card(name))[1])
    monkeypatch.setattr(_chip, "build", lambda *args: (chips.append(args), built(*args))[1])
    with reading_once():
        study = load_study(STUDY)
        points = points_of(study)
        resolved(study, points)
        check_acting(study, points, of_its_model)
    assert cards == ["batmann_small_xnor"]
    assert len(chips) == 1
