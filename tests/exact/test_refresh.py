"""Cells rewritten at intervals: how often, how old they are, what is sampled again, and the cost in pulses."""

from __future__ import annotations

import pytest
import torch

from imc_sim import AssociativeMemory, InputError
from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.config import digest
from imc_sim.device import Device, Drift, Faults, Flicker, Read, RelativeVariation, Time, WriteVerify
from imc_sim.study import Point


def drifting(t_s: float, refresh_s: float | None = None, **more: object) -> Chip:
    time = Time(t_s=t_s, refresh_s=refresh_s, drift=Drift(nu=0.1, nu_std=0.02, t0_s=1.0))
    kept = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-6, "programming": RelativeVariation(sigma=0.1), "time": time}
    return Chip(device=Device(**{**kept, **more}))


@pytest.mark.parametrize(
    ("t_s", "refresh_s", "refreshes", "age_s"),
    [(10.0, None, 0, 10.0), (0.0, 5.0, 0, 0.0), (5.0, 5.0, 0, 5.0), (7.0, 5.0, 1, 2.0), (10.0, 5.0, 1, 5.0),
     (86400.0, 3600.0, 23, 3600.0), (0.3, 0.1, 2, 0.1)],
)  # fmt: skip
def test_reads_are_just_before_a_rewriting(t_s: float, refresh_s: float | None, refreshes: int, age_s: float) -> None:
    time = Time(t_s=t_s, refresh_s=refresh_s)
    assert (time.refreshes, time.age_s) == (refreshes, pytest.approx(age_s))


def weights() -> torch.Tensor:
    return torch.randn(8, 50, generator=torch.Generator().manual_seed(1)).sign()


def test_refreshed_cells_equal_young_cells_of_another_sample() -> None:
    """Age of an hour, programmed once or 24 times: the same law, other cells; without refresh a day older."""
    w = weights()
    hour, day, refreshed = (
        Crossbar.program(w.double(), c) for c in (drifting(3600), drifting(86400), drifting(86400, 3600))
    )
    lrs = hour.plan.cells.bool()
    means = [float(x.cells(0)[lrs].mean()) for x in (hour, day, refreshed)]
    assert means[1] < 0.8 * means[0]
    assert means[2] == pytest.approx(means[0], rel=0.03)  # 800 cells with a variation of 20 %, five standard errors
    assert not bool((refreshed.cells(0)[lrs] == hour.cells(0)[lrs]).any())
    again = Crossbar.program(w.double(), drifting(86400, 3600))
    assert torch.equal(again.cells(0), refreshed.cells(0))


def test_failures_of_programming_are_sampled_again_and_stuck_cells_stay() -> None:
    def zero(faults: Faults, t_s: float) -> torch.Tensor:
        chip = drifting(t_s, 10.0, faults=faults, programming=RelativeVariation())
        return Crossbar.program(weights().double(), chip).cells(0) < 0.5

    assert not torch.equal(zero(Faults(failure=0.2), 5.0), zero(Faults(failure=0.2), 15.0))
    assert torch.equal(zero(Faults(stuck_hrs=0.2), 5.0), zero(Faults(stuck_hrs=0.2), 15.0))


def test_one_over_f_noise_starts_again() -> None:
    read = Read(flicker=Flicker(q=0.05, t_read_s=1e-6))
    G = torch.full((4,), 1e-4, dtype=torch.float64)
    old, new, young = (drifting(*t, read=read).device.read_variance(G) for t in ((1e6,), (1e6, 10.0), (10.0,)))
    assert torch.equal(new, young)
    assert bool((old > new).all())


def test_reads_of_a_crossbar_have_the_noise_of_its_age() -> None:
    """Ideal cells, so that a refresh changes nothing but the age that 1/f noise grows with."""
    read = Read(flicker=Flicker(q=0.05, t_read_s=1e-6))

    def product(*times: float) -> torch.Tensor:
        time = Time(t_s=times[0], refresh_s=times[1] if times[1:] else None)
        return Crossbar.program(weights(), drifting(0.0, read=read, time=time, programming=RelativeVariation())).mvm(
            torch.ones(3, 50)
        )

    assert torch.equal(product(1e6, 10.0), product(10.0))
    assert not torch.equal(product(1e6), product(10.0))


def test_keys_are_written_in_the_epoch_after_the_last() -> None:
    keys, labels = weights(), torch.arange(8)

    def cells(*epochs: int | None) -> torch.Tensor:
        memory = AssociativeMemory(drifting(0.0), 50)
        for epoch in epochs:
            memory.write(keys, labels, epoch=epoch)
        return memory._crossbars[0].cells(0)

    for written, last in (((None,), 0), ((None, None, None), 2), ((5, None), 6), ((5, 2, None), 3), ((5, 0), 0)):
        assert torch.equal(cells(*written), cells(last)), written


def test_refreshes_and_verify_cost_pulses() -> None:
    keys, labels = weights(), torch.arange(8)

    def cost(chip: Chip) -> list[int]:
        memory = AssociativeMemory(chip, 50, chips=2)
        memory.write(keys, labels)
        return memory.write_pulses().tolist()

    cells = 8 * 50 * 2
    assert cost(drifting(5.0)) == [cells] * 2
    assert cost(drifting(35.0, 10.0)) == [4 * cells] * 2
    verified = cost(drifting(5.0, verify=WriteVerify(tolerance=0.05, max_pulses=10)))
    assert all(cells < found < 10 * cells for found in verified)
    with pytest.raises(InputError, match="write_pulses"):
        AssociativeMemory(drifting(5.0), 50).write_pulses()


def test_refresh_is_not_part_of_a_trial_while_it_is_off() -> None:
    """The content of a trial is that of versions before refresh."""
    chip, task = load_chip("pcm_hermes").to_dict(), {"way": 5, "dataset": "glyphs", "split": "test"}
    point = Point("case", (), "m", "w", chip, task, 0)
    assert "refresh_s" not in point.content["chip"]["device"]["time"]
    on = load_chip("pcm_hermes").replace("device.time.refresh_s", 60.0).to_dict()
    assert digest(Point("case", (), "m", "w", on, task, 0).content) != point.id


def test_too_many_refreshes_are_refused() -> None:
    with pytest.raises(InputError, match="t_s below"):
        load_chip("pcm_hermes").replace("device.time", {"t_s": 1e9, "refresh_s": 0.1})
