"""Shipped studies of the key memory state the cells that they have."""

from __future__ import annotations

import pytest

from imc_sim.array import Placement, load_chip
from imc_sim.study import Point, load_study, points_of

KEYS = 500

pytestmark = pytest.mark.usefixtures("listed_once")


def cells(point: Point) -> int:
    """Return the number of cells of 500 keys on the point's chip."""
    assert point.chip is not None
    chip = load_chip(point.chip)
    dim = point.task["dim"] or 512
    return Placement.of(chip.tile, chip.encoding, dim, KEYS, point.case).cells


def test_one_device_per_component_makes_256_000_devices() -> None:
    for name in ("natcomm_variation", "natcomm_chips"):
        found = {p.case: cells(p) for p in points_of(load_study(name)) if "digital" not in p.case}
        assert found == {case: 512_000 if "two devices" in case else 256_000 for case in found}
        assert len(found) >= 3


def test_encodings_are_compared_on_equal_cells_and_on_equal_keys() -> None:
    assert {cells(p) for p in points_of(load_study("encodings"))} == {512_000}
    equal = points_of(load_study("encodings_bits"))
    assert len({(p.chip or {})["encoding"]["kind"] for p in equal}) == 6
    assert len({p.task["dim"] for p in equal}) == 1


@pytest.mark.parametrize(
    "name", ["natcomm_variation", "natcomm_dimension", "natcomm_stuck", "memory_refinements", "memory_refresh"]
)
def test_the_controller_is_digital_and_the_memory_is_not(name: str) -> None:
    """A case with another chip has to set this again: a whole value replaces its parts."""
    for point in points_of(load_study(name)):
        policy = (point.chip or {})["policy"]
        assert (policy["layers"], policy["memory"]) == ({"*": "digital"}, "crossbar")
        assert point.task["way"] * point.task["shot"] == KEYS
