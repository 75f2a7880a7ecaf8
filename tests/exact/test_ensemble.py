"""Votes compared with their definitions, and ensembles as networks: on chips, in files, in part."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.mapping import map_model
from imc_sim.nn import product_layers
from imc_sim.nn.networks import VOTES, BinaryNin, Ensemble, Vote, vote
from imc_sim.nn.store import ModelCard, load_model, save_model

ARGS = {"kind": "ab", "width": 0.05, "size": 8}
#: [members, images, classes]: in the first image two members prefer class 2, one is sure of class 0
LOGITS = torch.tensor([[[5.0, 0.0, 0.5], [1, 2, 3]], [[0.0, 0.0, 1.0], [3, 2, 1]], [[0.0, 0.5, 1.0], [0, 9, 0]]])


def ensemble(members: int = 3, **options: object) -> Ensemble:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        made = Ensemble("benn", ARGS, members, **options).eval()  # type: ignore[arg-type]
        for name, value in made.named_parameters():
            if name.endswith("conv.bias"):  # classes apart, so that members do not all give zeros
                nn.init.normal_(value, 0.0, 0.3)
    return made


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", VOTES)
def test_votes_equal_their_definitions(kind: str) -> None:
    weights = [0.5, 2.0, -0.25]
    scores = vote(LOGITS, torch.tensor(weights), kind)  # type: ignore[arg-type]
    for image in range(2):
        expected = [0.0, 0.0, 0.0]
        for member, weight in enumerate(weights):
            z = LOGITS[member, image].tolist()
            total = sum(math.exp(v) for v in z)
            for c in range(3):
                share = {
                    "hard": float(c == z.index(max(z))), "logits": z[c],
                    "softmax": math.exp(z[c]) / total / 2.75, "log_softmax": (z[c] - math.log(total)) / 2.75,
                }[kind]  # fmt: skip
                expected[c] += weight * share
        assert scores[image].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_sure_member_wins_by_logits_and_loses_by_majority() -> None:
    decisions = {kind: vote(LOGITS, torch.ones(3), kind)[0].argmax().item() for kind in VOTES}
    assert decisions["hard"] == 2
    assert decisions["logits"] == 0
    louder = LOGITS * torch.tensor([1.0, 10.0, 10.0]).reshape(3, 1, 1)
    assert vote(louder, torch.ones(3), "logits")[0].argmax() == 2
    assert torch.equal(vote(louder, torch.ones(3), "hard"), vote(LOGITS, torch.ones(3), "hard"))


def test_ties_are_broken_by_the_lowest_class() -> None:
    each = torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]], [[1.0, 0.0, 2.0]]])
    scores = vote(each, torch.ones(3), "hard")
    assert scores.tolist() == [[1.0, 1.0, 1.0]]
    assert scores.argmax(-1).tolist() == [0]
    assert vote(each[1:], torch.ones(2), "hard").argmax(-1).tolist() == [1]


def test_weights_decide_and_a_negative_one_votes_against() -> None:
    two = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert vote(two, torch.tensor([0.4, 0.6]), "hard").argmax(-1).tolist() == [1]
    assert vote(two, torch.tensor([0.6, 0.4]), "hard").argmax(-1).tolist() == [0]
    for kind in VOTES:
        assert vote(two[:1], torch.tensor([-1.0]), kind).argmax(-1).tolist() == [1]
        assert vote(two, torch.zeros(2), kind).isfinite().all()


def test_the_mean_of_equal_votes_is_that_vote() -> None:
    weights = torch.tensor([3.0, 0.5])
    for kind, opinion in (("softmax", LOGITS[0].softmax(-1)), ("log_softmax", LOGITS[0].log_softmax(-1))):
        assert torch.allclose(vote(LOGITS[:1].repeat(2, 1, 1), weights, kind), opinion)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", VOTES)
def test_votes_do_not_depend_on_the_batch(kind: Vote) -> None:
    torch.manual_seed(3)
    logits, weights = torch.randn(8, 100, 4), torch.rand(8)
    parts = torch.cat([vote(part, weights, kind) for part in logits.split(25, dim=1)])
    assert torch.equal(vote(logits, weights, kind), parts)


def test_scores_keep_every_axis_between_members_and_classes() -> None:
    logits = torch.randn(4, 2, 6, 5, generator=torch.Generator().manual_seed(3))
    for kind in VOTES:
        scores = vote(logits, torch.ones(4), kind)
        assert scores.shape == (2, 6, 5)
        assert torch.equal(scores[1], vote(logits[:, 1], torch.ones(4), kind))


@pytest.mark.parametrize("kind", VOTES)
def test_an_ensemble_is_the_vote_of_its_members(kind: str) -> None:
    made, x = ensemble(vote=kind), images()
    made.votes.copy_(torch.tensor([1.0, 0.5, 2.0]))
    with torch.no_grad():
        each = torch.stack([member(x) for member in made.members])
        assert torch.equal(made.member_logits(x), each)
        assert not torch.equal(each[0], each[1])
        assert torch.equal(made(x), vote(each, made.votes, kind))  # type: ignore[arg-type]


def test_the_first_members_can_vote_alone() -> None:
    made, x = ensemble(vote="hard"), images()
    with torch.no_grad():
        whole = made(x)
        one = made.reduced(1)
        assert one.member_logits(x).shape == (1, 5, 10)
        assert torch.equal(one(x).argmax(-1), made.members[0](x).argmax(-1))
        assert one(x).sum() == 5 < whole.sum() == 15
        assert torch.equal(made.reduced()(x), whole)
        assert torch.equal(made.reduced(vote="logits")(x), ensemble(vote="logits")(x))


def test_bagging_is_the_initial_vote_and_votes_are_not_parameters() -> None:
    made = ensemble()
    assert made.votes.tolist() == [1, 1, 1]
    one = sum(p.numel() for p in BinaryNin(**ARGS).parameters())
    assert sum(p.numel() for p in made.parameters()) == 3 * one
    assert len(product_layers(made)) == 21


def test_a_stored_ensemble_votes_the_same_to_the_bit(tmp_path: Path) -> None:
    made, x = ensemble(vote="softmax"), images()
    made.votes.copy_(torch.tensor([1.0, 0.5, -2.0]))
    args = {"arch": "benn", "args": ARGS, "members": 3, "vote": "softmax"}
    card = {"name": "e", "summary": "three", "arch": {"name": "ensemble", "args": args}}
    save_model(tmp_path / "e", made, ModelCard.model_validate(card))
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "e")(x), made(x))


@pytest.mark.parametrize("kind", VOTES)
def test_an_ideal_chip_votes_the_same_to_the_bit(kind: str) -> None:
    made, x = ensemble(vote=kind), images()
    with torch.no_grad():
        assert torch.equal(map_model(made, load_chip("ideal"), chips=2)(x), made(x).expand(2, -1, -1))


def test_members_have_independent_errors() -> None:
    made = ensemble()
    for member in list(made.members)[1:]:
        member.load_state_dict(made.members[0].state_dict())
    chip = load_chip("ideal").replace("device.programming", {"kind": "relative", "sigma": 0.3})
    analog = map_model(made, chip)
    cells = [analog.analog_layers[f"members.{n}.block2.conv"].crossbar.cells(0) for n in range(2)]
    assert cells[0].shape == cells[1].shape
    assert not torch.equal(*cells)


def test_bad_use_is_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'benn'"):
        Ensemble("ben", ARGS)
    with pytest.raises(InputError, match="logits, hard, softmax, log_softmax"):
        Ensemble("benn", ARGS, vote="loud")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"logits, hard"):
        vote(LOGITS, torch.ones(3), "loud")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 or more"):
        Ensemble("benn", ARGS, members=0)
    for first in (0, 4):
        with pytest.raises(InputError, match="1 to 3"):
            ensemble().reduced(first)
    with pytest.raises(InputError, match="arguments of BinaryNin"):
        Ensemble("benn", {"kinds": "ab"})
    with pytest.raises(InputError, match=r"weights \(2,\) for logits \(3, 2, 3\)"):
        vote(LOGITS, torch.ones(2), "hard")


@pytest.mark.parametrize("training", [True, False])
def test_a_part_of_an_ensemble_has_the_mode_of_the_whole(training: bool) -> None:
    made = ensemble().train(training)
    part = made.reduced(2)
    assert (part.training, [member.training for member in part.members]) == (training, [training] * 2)
    assert part.members[0] is made.members[0]
    assert part.votes.tolist() == [1.0, 1.0]
    assert (made.size, part.size) == (8, 8)
