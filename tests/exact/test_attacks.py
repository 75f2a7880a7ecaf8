"""Attacks: exact steps in pixel space, the same on every path, and every setting acts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import build, parse_yaml
from imc_sim.data import DATASETS, gather_images, load_pool
from imc_sim.evaluate import (
    FewShotData,
    FewShotTask,
    Fgsm,
    Pgd,
    Session,
    confusion,
    evaluate_chips,
    features_of,
    few_shot_accuracy,
)
from imc_sim.evaluate._attacked_queries import Target, attack_queries, attacked_episodes, chip_target, pixel_space
from imc_sim.evaluate._few_shot import digital_accuracy_of
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate.attacks.steps import PixelSpace, fgsm, gradient_of, pgd
from imc_sim.nn.similarity import cosine, key_form
from imc_sim.nn.store import load_model
from imc_sim.study import load_study
from imc_sim.study._points import points_of

MODEL = "batmann_small_xnor"
TASK = {"dataset": "glyphs", "split": "test", "rotations": False, "way": 4, "shot": 2, "queries": 3, "episodes": 5}
NOISY = {"device.programming.sigma": 0.4, "device.programming.sigma_hrs": None, "device.read.sigma": 0.05}


def task(**attack: Any) -> dict[str, Any]:
    return TASK | {"attack": {"kind": "fgsm"} | attack}


def chip(**paths: Any) -> dict[str, Any]:
    c = load_chip("rram_hfo2_1t1r")
    for path, value in (NOISY | {k.replace("__", "."): v for k, v in paths.items()}).items():
        c = c.replace(path, value)
    return c.to_dict()


def images_of(data: dict[str, Any]) -> Tensor:
    """Return the attacked queries."""
    found = attacked_episodes(Session.on("cpu"), MODEL, build(FewShotTask, data, "task"))
    return found.images[torch.from_numpy(found.query).flatten()]


# -- the steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["glyphs", "unit"])
def test_pixels_are_those_of_the_data_set_and_are_restored_to_the_bit(name: str) -> None:
    wanted = build(FewShotTask, TASK | ({"scaling": "unit"} if name == "unit" else {}), "t")
    pool, space = load_pool("glyphs", "test"), pixel_space(wanted)
    triples = np.array([[c, 0, 0] for c in range(20)])
    images = torch.from_numpy(gather_images(pool, triples, wanted.scaling))
    pixels = space.pixels(images)
    assert torch.equal(space.images(pixels), images)
    if name == "glyphs":
        assert torch.equal(pixels * 255, torch.from_numpy(pool.images[:20, 0].astype(np.float64))[:, None])
    else:
        assert float(pixels.amin()) == 0.0
        assert float(pixels.amax()) == 1.0


def test_every_grey_level_of_every_normalisation_is_restored() -> None:
    for mean, std in ((0.92206, 0.08426), (0.9219, 0.2403), (0.1307, 0.3081)):
        levels = torch.from_numpy(((np.arange(256) / 255 - mean) / std).astype(np.float32))
        space = PixelSpace(mean, std)
        assert torch.equal(space.images(space.pixels(levels)), levels)


def test_one_step_equals_the_formula() -> None:
    pixels = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    direction = torch.tensor([-1, 1, 0, 1], dtype=torch.int8)
    assert fgsm(pixels, direction, 0.125).tolist() == [0.0, 0.375, 0.5, 1.0]


def test_a_full_step_of_pgd_is_fgsm_and_no_strength_is_no_change() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, slope = (torch.rand(3, 50, dtype=torch.float64, generator=generator) for _ in range(2))
    slope = slope - 0.5
    assert torch.equal(pgd(pixels, lambda _: slope, 0.1, 1, 0.1), fgsm(pixels, slope.sign(), 0.1))
    start = torch.ones_like(pixels)
    assert torch.equal(pgd(pixels, lambda _: slope, 0.0, 3, 0.1, start), pixels)


def test_pgd_climbs_a_convex_loss_to_the_corner() -> None:
    """A linear loss has its maximum at the corner of the box; for a convex one no step decreases it."""
    pixels = torch.linspace(0.05, 0.95, 40, dtype=torch.float64)[None]
    target = 0.5 + 0.01 * torch.arange(40, dtype=torch.float64)[None]
    gradient = gradient_of(lambda x: (x - target).square().sum())
    losses = [float((pgd(pixels, gradient, 0.2, n, 0.02) - target).square().sum()) for n in range(12)]
    assert losses == sorted(losses)
    assert losses[-1] == losses[-2] > losses[0], "the corner is reached and kept"
    slope = target - target.mean()
    corner = torch.where(slope > 0, (pixels + 0.2).clamp_max(1), (pixels - 0.2).clamp_min(0))
    assert torch.equal(pgd(pixels, lambda _: slope, 0.2, 11, 0.02), corner)


def test_without_a_gradient_no_pixel_changes() -> None:
    x = torch.rand(2, 5, dtype=torch.float64)
    for loss in (lambda v: (0 * v).sum(), lambda v: (v - v).square().sum().sqrt()):  # the second one's is NaN
        assert gradient_of(loss)(x).abs().sum() == 0
        assert torch.equal(pgd(x, gradient_of(loss), 0.1, 2, 0.1), x)


def test_a_gradient_that_is_not_finite_moves_no_pixel() -> None:
    x = torch.tensor([[0.0, 4.0]], dtype=torch.float64)
    for sign in (1, -1):
        found = gradient_of(lambda v, sign=sign: sign * v.sqrt().sum())(x)  # infinite at 0
        assert found.tolist() == [[0.0, sign * 0.25]]


# -- episodes ----------------------------------------------------------------------------------------------


def by_hand(data: FewShotData, network: Any, query: int, episode: int, label: int) -> Tensor:
    """Return the gradient of the cross-entropy of one query alone in its episode, shot by shot."""
    x = data.images[query][None].requires_grad_()
    logits = []
    for rows in data.support[episode]:
        keys = network(data.images[torch.from_numpy(rows)]).detach()
        logits.append(cosine(network(x), keys).sum())
    return torch.autograd.grad(F.cross_entropy(torch.stack(logits)[None], torch.tensor([label])), x)[0]


@pytest.mark.parametrize("batch", [100, 24, 5])
def test_queries_are_attacked_each_in_its_own_episode(batch: int) -> None:
    """Whatever passes through the network in one call: several episodes, one, or a part of one."""
    wanted = build(FewShotTask, task(epsilon=0.05) | {"batch": batch}, "t")
    data, network = FewShotData.load(wanted), load_model(MODEL)
    target = Target(network, features_of(network, data.images, 50))
    found = attack_queries(data, wanted, target).unflatten(0, data.query.shape)
    space = pixel_space(wanted)
    for episode, label, place in ((0, 0, 0), (2, 3, 1), (4, 1, 2)):
        row = int(data.query[episode, label, place])
        step = by_hand(data, network, row, episode, label).sign()
        expected = space.images(fgsm(space.pixels(data.images[row]), step[0], 0.05))
        same = (found[episode, label, place] == expected).float().mean()
        assert float(same) > 0.999, "only signs of gradients within rounding may differ"


def test_attacked_images_stay_within_epsilon_and_are_pixels() -> None:
    clean = FewShotData.load(build(FewShotTask, TASK, "t"))
    before = pixel_space(build(FewShotTask, TASK, "t")).pixels(clean.images[torch.from_numpy(clean.query).flatten()])
    for attack in ({"kind": "fgsm"}, {"kind": "pgd", "steps": 3}):
        images = images_of(task(epsilon=0.07, **attack)).double()
        pixels = images * 0.2403 + 0.9219
        assert float((pixels - before).abs().max()) == pytest.approx(0.07, abs=1e-6)
        assert float(pixels.min()) > -1e-6
        assert float(pixels.max()) < 1 + 1e-6
        assert float((pixels == before).float().mean()) < 0.5


def test_the_published_procedure_clamps_normalised_images_and_leaves_keys_float() -> None:
    clean, wanted = (
        FewShotData.load(build(FewShotTask, TASK, "t")),
        build(FewShotTask, task(space="normalised", epsilon=0.1), "t"),
    )
    before = clean.images[torch.from_numpy(clean.query).flatten()]
    images = images_of(task(space="normalised", epsilon=0.1))
    assert set(images[before < -0.1].tolist()) == {0.0}, "ink and grey end at 0"
    assert float((images - before)[before > 0].abs().max()) == pytest.approx(0.1, abs=1e-6)
    assert float(images_of(task(space="normalised", epsilon=0.0)).min()) == 0.0, "at epsilon 0 as well"
    # The read-out: bipolar queries against float keys.
    data = clean.with_queries(images)
    network = load_model(MODEL)
    with torch.no_grad():
        features = network(data.images)
    right = 0
    for support, query in zip(data.support, data.query, strict=True):
        keys = features[torch.from_numpy(support)].sum(1)
        for label, rows in enumerate(query):
            queries = key_form(features[torch.from_numpy(rows)], "bipolar")
            right += int(((queries @ keys.T).argmax(1) == label).sum())
    assert digital_accuracy_of(features, wanted, data).correct == right
    assert evaluate_chips(MODEL, None, task(space="normalised", epsilon=0.1), [], 0)[0].correct == right
    ideal = load_chip("ideal").replace("policy.memory", "digital").to_dict()
    assert evaluate_chips(MODEL, ideal, task(space="normalised", epsilon=0.1), [0], 0)[0].correct == right


def test_every_setting_acts() -> None:
    """It changes the images, and the identity of the result."""
    base: dict[str, Any] = {"kind": "pgd", "epsilon": 0.1, "steps": 2}
    images, study = images_of(task(**base)), {"name": "s", "model": MODEL, "chip": "ideal", "task": task(**base)}
    ids = {points_of(load_study(study))[0].id}
    for change in ({"epsilon": 0.05}, {"steps": 3}, {"step": 0.01}, {"random_start": False}, {"seed": 1},
                   {"loss": "memory"}, {"kind": "fgsm"}):  # fmt: skip
        changed = {k: v for k, v in (base | change).items() if k != "steps" or change.get("kind") != "fgsm"}
        assert not torch.equal(images_of(task(**changed)), images), change
        ids.add(points_of(load_study(study | {"task": task(**changed)}))[0].id)
    assert len(ids) == 8
    assert not torch.equal(images_of(task(space="normalised")), images_of(task()))
    memory = task(loss="memory", epsilon=0.1)
    for change in ({"keys": "binary"}, {"similarity": "cosine"}, {"sharpening": "softabs"}, {"prototypes": "mean"}):
        assert not torch.equal(images_of(memory | change), images_of(memory)), "of the read-out, loss memory"
    for change in ({"threshold": "support_mean"}, {"dim": 16}, {"prototypes": "mean"}):
        assert not torch.equal(images_of(task() | change), images_of(task())), "of the features, loss cosine"


def test_random_starts_belong_to_their_episode() -> None:
    wanted = {"kind": "pgd", "steps": 1, "step": 1e-9}
    several, one = images_of(task(**wanted)), images_of(task(**wanted) | {"batch": 7})
    assert float((several - one).abs().max()) < 1e-6
    fewer = images_of(task(**wanted) | {"episodes": 2})
    assert float((several[: len(fewer)] - fewer).abs().max()) < 1e-6


def test_attacks_by_name_and_by_module_are_the_same() -> None:
    for attack in ({"epsilon": 0.1}, {"kind": "pgd", "steps": 2, "epsilon": 0.1}, {"space": "normalised"}):
        wanted = task(**attack)
        by_name = evaluate_chips(MODEL, None, wanted, [], 0)[0].correct
        assert few_shot_accuracy(load_model(MODEL), build(FewShotTask, wanted, "t")).correct == by_name


def test_stronger_attacks_do_more_harm() -> None:
    """More steps and more strength reduce the accuracy, for binary networks too."""
    longer = {"episodes": 20}
    clean = evaluate_chips(MODEL, None, TASK | longer, [], 0)[0].accuracy
    scores = [
        evaluate_chips(MODEL, None, task(**attack) | longer, [], 0)[0].accuracy
        for attack in ({"epsilon": 0.05}, {"epsilon": 0.1}, {"kind": "pgd", "epsilon": 0.1})
    ]
    assert clean > scores[0] > scores[1] > scores[2] < 0.15


# -- chips -------------------------------------------------------------------------------------------------


def corrects(wanted: dict[str, Any], numbers: list[int], **paths: Any) -> list[int]:
    return [r.correct for r in evaluate_chips(MODEL, chip(**paths), wanted, numbers, 3)]


def test_an_attack_without_strength_changes_nothing() -> None:
    clean = corrects(TASK, [0, 1])
    for attack in ({}, {"through": "analog"}, {"through": "analog", "transfer": "chip"}):
        assert corrects(task(epsilon=0.0, **attack), [0, 1]) == clean
    digital = evaluate_chips(MODEL, None, TASK, [], 0)[0].correct
    assert corrects(task(epsilon=0.0, through="analog", transfer="digital"), [0, 1]) == [digital] * 2


@pytest.mark.parametrize("loss", ["cosine", "memory"])
def test_on_an_ideal_chip_an_attack_through_it_is_the_digital_one(loss: str) -> None:
    ideal = load_chip("ideal").to_dict()
    expected = [evaluate_chips(MODEL, None, task(epsilon=0.08, loss=loss), [], 0)[0].correct]
    for transfer in ("none", "chip", "digital"):
        wanted = task(epsilon=0.08, loss=loss, through="analog", transfer=transfer)
        assert [r.correct for r in evaluate_chips(MODEL, ideal, wanted, [0], 0)] == expected
    assert [r.correct for r in evaluate_chips(MODEL, None, wanted, [], 0)] == expected, "the baseline of such a task"
    wanted = task(epsilon=0.08, loss=loss)
    assert [r.correct for r in evaluate_chips(MODEL, ideal, wanted, [0], 0)] == expected


def test_a_chip_is_attacked_the_same_with_any_other_chips() -> None:
    wanted = task(epsilon=0.06, through="analog", loss="memory")
    together = corrects(wanted, [0, 1, 2])
    assert corrects(wanted, [2, 0]) == [together[2], together[0]]
    assert len(set(together)) > 1


def test_an_attack_through_its_own_chip_is_the_strongest() -> None:
    """With large device variation it harms more than an attack made on another chip or the digital network."""
    long, chips = {"episodes": 8}, list(range(4))
    own, stranger, digital = (
        sum(corrects(task(epsilon=0.06, **attack) | long, chips))
        for attack in ({"through": "analog"}, {"through": "analog", "transfer": "chip"}, {})
    )
    assert own < min(stranger, digital)
    assert max(stranger, digital) < sum(corrects(TASK | long, chips))
    back = corrects(task(epsilon=0.06, through="analog", transfer="digital") | long, chips)
    assert len(set(back)) > 1, "one network, attacked through another chip each time"
    assert max(back) < evaluate_chips(MODEL, None, TASK | long, [], 0)[0].correct


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_memory_of_the_gradient_is_that_of_the_chip_and_read_again(noise: float) -> None:
    from imc_sim.analog import AssociativeMemory
    from imc_sim.evaluate._memory_keys import KeyMaker

    c = load_chip(chip(device__read__sigma=noise))
    wanted = build(FewShotTask, task(loss="memory", through="analog") | {"batch": 24}, "t")
    data = FewShotData.load(wanted)
    one = SampledChips(c, range(1), 3)
    target = chip_target(one.program(load_model(MODEL))[0], data, wanted, one)
    maker = KeyMaker(target.keys, wanted, data.support, data.query)
    memory = AssociativeMemory(c, 64, range(1), 3, form="bipolar")
    queries = torch.randn(12, 64, generator=torch.Generator().manual_seed(0)).sign()
    assert target.search is not None
    for episode in (0, 1, 4):
        memory.write(maker.one(episode).keys, maker.labels, epoch=episode)
        evaluated = memory.search(queries)[0]
        steps = [target.search(episode, queries) for _ in range(2)]
        assert torch.equal(steps[0], memory.search(queries)[0]), "reads after those of the evaluation"
        assert torch.equal(steps[0], steps[1]) == (noise == 0.0)
        assert torch.equal(steps[0], evaluated) == (noise == 0.0)


def test_adcs_are_calibrated_before_the_attack() -> None:
    """Their ranges are those of the clean task."""
    calibrated = {"converter": {"kind": "auto", "bits": 5, "range": "calibrated"}}
    clean = evaluate_chips(MODEL, chip(**calibrated), TASK, [0], 3)[0].ranges
    assert clean
    for attack in ({}, {"through": "analog", "loss": "memory"}, {"through": "analog", "transfer": "chip"}):
        wanted = task(epsilon=0.1, **attack)
        found = evaluate_chips(MODEL, chip(**calibrated), wanted, [0], 3)[0]
        assert found.ranges == clean
        assert 0 < found.correct < found.total


def test_bad_attacks_are_refused() -> None:
    for attack, message in (
        ({"epsilon": 1.5}, "less than or equal to 1"),
        ({"kind": "fgms"}, "Did you mean 'fgsm'"),
        ({"steps": 3}, "unknown key 'steps'"),
        ({"transfer": "chip"}, "through: analog"),
        ({"kind": "pgd", "space": "normalised"}, "unknown key 'space'"),
    ):
        with pytest.raises(InputError, match=message):
            build(FewShotTask, task(**attack), "task")
    with pytest.raises(InputError, match="passes distinct"):
        build(FewShotTask, task() | {"passes": "episodes", "batch": 20}, "task")


def test_confusions_under_attack_are_those_of_the_evaluation() -> None:
    wanted = task(epsilon=0.1)
    for c, number in ((None, 1), (chip(), 2), (chip(policy__layers={"*": "digital"}), 1)):
        counts = [int(np.trace(confusion(MODEL, c, wanted, number, 3).counts))]
        results = evaluate_chips(MODEL, c, wanted, list(range(number)), 3)
        assert counts == [sum(r.correct for r in results)]
    with pytest.raises(InputError, match=r"task\.attack\.through: got analog"):
        confusion(MODEL, chip(), task(through="analog"), 1)


def test_the_page_on_attacks_is_correct(repository: Path) -> None:
    """Its study runs, its keys are those of the specifications, its numbers those of the normalisation."""
    text = (repository / "docs" / "attacks.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    points = points_of(load_study(parse_yaml(example)))
    assert [p.task["attack"]["space"] for p in points] == ["pixels"] * 6 + ["normalised"] * 6
    keys = {key for kind in (Fgsm, Pgd) for key in kind.model_fields}
    assert all(f"`{key}" in text or f"{key}: " in text or key == "epsilon" for key in keys)
    mean, std = DATASETS["omniglot"].mean[0], DATASETS["omniglot"].std[0]
    assert f"m = {mean:.3f}, s = {std:.3f}" in text
    assert (round((1 - mean) / std, 2), round(-mean / std, 1)) == (0.92, -10.9)
    assert round(1 / (1 - mean)) == 13, "a thirteenth of the range of grey levels"
    assert round(100 * 0.1 * std, 1) == 0.8


def test_the_studies_of_attacks_pair_their_cases() -> None:
    """Every case runs as published and in pixels, and published numbers are next to the published case."""
    cases = load_study("batmann_fgsm").cases
    names = [case.name.rpartition("; ")[::2] for case in cases]
    assert [n for n, p in names if p == "as published"] == [n for n, p in names if p == "in pixels"]
    assert [n.split(":")[0] for n, _ in names[:8]] == [f"S{k}" for k in range(3, 11)]
    for one, other in zip(cases[:8], cases[8:], strict=True):
        assert dict(one.set) == {"task.attack.space": "normalised", **other.set}
        assert isinstance(one.published, tuple)
        assert one.published[:3] == (None, None, None)
    grid = [case.name.split(":")[0] for case in load_study("batmann_tsne").cases]
    assert grid == [f"S{k}" for k in range(1, 11)]
