"""Ensembles are trained member after member: samples, initial weights and votes of each; resume to the same bits."""

from pathlib import Path

import numpy as np
import pytest
import torch

import imc_sim as imc
from imc_sim.evaluate import ClassificationTask, class_accuracy, digital_accuracy, evaluate_chips
from imc_sim.nn.networks import Ensemble
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.train import EnsembleRecipe, EnsembleTrainer, boost
from tests.exact.networks import seeded

RECIPE = EnsembleRecipe(
    dataset="digits", validation=200, images=300, epochs=2, batch=50, learning_rate=0.02, optimizer="adam", warm_up=0,
    schedule="constant", keep="last",
)  # fmt: skip
ARGS = {"arch": "binact", "args": {"layout": "1a", "size": 8, "binary": [1, 2]}, "members": 3}


def ensemble() -> Ensemble:
    return seeded(Ensemble, seed=4, **ARGS)


def trained(folder: Path, **changes: object) -> tuple[Ensemble, list[dict[str, float]]]:
    made = ensemble()
    return made, EnsembleTrainer(made, RECIPE.model_copy(update=changes), folder).run()


def test_alpha_is_that_of_the_weighted_errors_in_turn(tmp_path: Path):
    made, log = trained(tmp_path, rule="A")
    for row, vote in zip(log, made.votes.tolist(), strict=True):
        assert vote == pytest.approx(row["alpha"], rel=1e-6)
        assert row["alpha"] == pytest.approx(0.5 * np.log((1 - row["error"]) / row["error"]))
    # Every error is over the weights that the members before have left.
    trainer = EnsembleTrainer(made, RECIPE.model_copy(update={"rule": "A"}), tmp_path / "again")
    weights = np.full(300, 1 / 300)
    for member, row in zip(made.members, log, strict=True):
        images, labels = trainer._data.batch(trainer._data.train, "cpu")
        with torch.no_grad():
            missed = (member.eval()(images).argmax(1) != labels).numpy()
        assert row["error"] == pytest.approx(weights[missed].sum() / weights.sum())
        weights = boost("A", weights, missed).weights


def test_bagging_counts_every_member_once(tmp_path: Path):
    made, log = trained(tmp_path)
    assert made.votes.tolist() == [1.0] * 3
    assert [row["member"] for row in log] == [1, 2, 3]


@pytest.mark.parametrize("change", [{"rule": "A"}, {"start": "independent"}])
def test_every_setting_acts(tmp_path: Path, change: dict):
    one, other = trained(tmp_path / "a")[0], trained(tmp_path / "b", **change)[0]
    states = (m.members[1].state_dict()["fc.weight"] for m in (one, other))
    assert not torch.equal(*states)


def test_sequential_members_start_from_the_one_before(tmp_path: Path):
    """After one step of a tiny rate a member equals its initial weights."""
    made, _ = trained(tmp_path / "s", epochs=1, learning_rate=1e-9)
    first, second = (member.state_dict()["fc.weight"] for member in list(made.members)[:2])
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    made, _ = trained(tmp_path / "i", epochs=1, learning_rate=1e-9, start="independent")
    first, second = (member.state_dict()["fc.weight"] for member in list(made.members)[:2])
    assert float((first - second).abs().max()) > 0.01


def test_a_stopped_and_resumed_run_is_the_same_to_the_bit(tmp_path: Path):
    whole, log = trained(tmp_path / "whole", rule="D")
    recipe = RECIPE.model_copy(update={"rule": "D"})

    def stop(done: int, total: int, row: dict[str, float]) -> None:
        if done == 21:  # the second epoch of the second member: 2 x 2 x 6 steps are those of two members
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EnsembleTrainer(ensemble(), recipe, tmp_path / "parts").run(progress=stop)
    resumed = ensemble()
    assert EnsembleTrainer(resumed, recipe, tmp_path / "parts").run(resume=True) == log
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_task_sets_how_many_vote_and_how(tmp_path: Path):
    made, _ = trained(tmp_path / "run", rule="D", epochs=6)
    save_model(tmp_path / "m", made, ModelCard(name="m", summary="t", arch=Arch(name="ensemble", args=ARGS)))
    task = {"kind": "classification", "dataset": "digits", "batch": 64}
    alone = class_accuracy(made.members[0].eval(), ClassificationTask(dataset="digits"))
    assert digital_accuracy(str(tmp_path / "m"), {**task, "members": 1}).correct == alone.correct
    whole = digital_accuracy(str(tmp_path / "m"), task)
    assert digital_accuracy(str(tmp_path / "m"), {**task, "members": 3, "vote": "logits"}).correct == whole.correct
    losses = {digital_accuracy(str(tmp_path / "m"), {**task, "vote": v}).loss for v in ("hard", "softmax", "logits")}
    assert len(losses) == 3
    with pytest.raises(imc.InputError, match="1 to 3"):
        digital_accuracy(str(tmp_path / "m"), {**task, "members": 4})
    chip = imc.load_chip("ideal").replace("policy.float", "crossbar").replace("device.levels", 257)
    chip = chip.replace("encoding_multibit", {"kind": "differential"})
    varied = chip.replace("device.programming", {"kind": "relative", "sigma": 0.3, "sigma_hrs": 0.3}).to_dict()
    few = evaluate_chips(str(tmp_path / "m"), varied, {**task, "members": 1, "images": 60}, range(2), 0)
    all_of_them = evaluate_chips(str(tmp_path / "m"), varied, {**task, "images": 60}, range(2), 0)
    assert [r.correct for r in few] != [r.correct for r in all_of_them]


def test_an_ensemble_recipe_needs_an_ensemble(tmp_path: Path):
    with pytest.raises(imc.InputError, match="ensemble"):
        EnsembleTrainer(ensemble().members[0], RECIPE, tmp_path)
