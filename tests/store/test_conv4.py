"""The four-block encoder of other projects: names, shapes, statistics, and outputs equal to those of their layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from imc_sim import InputError, map_model
from imc_sim._errors import CheckpointError
from imc_sim.array import load_chip
from imc_sim.mapping import import_checkpoint
from imc_sim.nn.networks import Conv4
from imc_sim.nn.store import load_model

WIDTH = 6


def theirs(paddings: tuple[int, ...], pools: tuple[int, ...], form: str) -> nn.Module:
    """Return the network as the other projects build it, with random weights and statistics."""
    torch.manual_seed(4)
    blocks, inputs = [], 1
    for padding, pool in zip(paddings, pools, strict=True):
        conv, norm = nn.Conv2d(inputs, WIDTH, 3, padding=padding), nn.BatchNorm2d(WIDTH)
        with torch.no_grad():
            for buffer, mean in ((norm.weight, 1.0), (norm.bias, 0.0), (norm.running_mean, 0.0)):
                nn.init.normal_(buffer, mean, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        blocks.append([conv, norm, nn.ReLU(), nn.MaxPool2d(pool) if pool > 1 else nn.Identity()])
        inputs = WIDTH
    if form == "flat":
        return nn.Sequential(*[layer for block in blocks for layer in block])
    net = nn.Sequential(*[nn.Sequential(*block) for block in blocks])
    return net if form == "nested" else nn.ModuleDict({"encoder": net})


def saved(net: nn.Module, path: Path, prefix: str, kept: bool = True) -> Path:
    state = {f"{prefix}{key}": value for key, value in net.state_dict().items() if kept or "num_batches" not in key}
    torch.save(state, path)
    return path


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_matching_and_prototypical_networks_are_imported(tmp_path: Path, prefix: str) -> None:
    net = theirs((1, 1, 1, 1), (2, 2, 2, 2), "flat").eval()
    report = import_checkpoint(saved(net, tmp_path / "c.pth", prefix), "conv4", tmp_path / "mine")
    assert report.card.arch.args == {
        "layout": "padded", "statistics": "running", "policy": "float", "binary": [], "width": WIDTH,
        "channels_in": 1, "size": 28,
    }  # fmt: skip
    x = torch.randn(5, 1, 28, 28)
    mine = load_model(tmp_path / "mine")
    with torch.no_grad():
        torch.testing.assert_close(mine(x), net(x).flatten(1), rtol=1e-5, atol=1e-6)
    assert mine(x).shape == (5, WIDTH)


def relation(tmp_path: Path) -> nn.Module:
    """Return a relation encoder and its file, whose names count from 1 and whose norms have no counters."""
    net = theirs((0, 0, 1, 1), (2, 2, 1, 1), "nested")
    named = {f"layer{int(k[0]) + 1}{k[1:]}": v for k, v in net.state_dict().items() if "num_batches" not in k}
    torch.save(named, tmp_path / "c.pkl")
    return net


def test_relation_networks_run_with_the_statistics_of_the_batch(tmp_path: Path) -> None:
    net, x = relation(tmp_path), torch.randn(7, 1, 28, 28)
    args = {"layout": "relation", "statistics": "batch"}
    import_checkpoint(tmp_path / "c.pkl", "conv4", tmp_path / "batch", args)
    report = import_checkpoint(tmp_path / "c.pkl", "conv4", tmp_path / "kept", args | {"statistics": "running"})
    assert (report.card.arch.args["layout"], report.card.arch.args["statistics"]) == ("relation", "running")
    with torch.no_grad():
        kept = load_model(tmp_path / "kept")(x)
        torch.testing.assert_close(kept, net.eval()(x).flatten(1), rtol=1e-5, atol=1e-6)
        found = load_model(tmp_path / "batch")(x)
        assert torch.allclose(found, net.train()(x).flatten(1), atol=1e-4)
    assert found.shape == (7, 25 * WIDTH)
    assert not torch.allclose(found, kept, atol=0.1)


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        ({}, "layout, statistics, binary, stochastic"), ({"layout": "relation"}, "statistics"),
        ({"statistics": "running", "binary": []}, "layout"),
        ({"layout": "padded", "statistics": "running"}, "binary, stochastic"),
    ],
)  # fmt: skip
def test_names_of_two_layouts_are_not_guessed(tmp_path: Path, args: dict[str, object], missing: str) -> None:
    """Relation encoders and encoders with binary blocks have the same keys; the wrong one loses 30 points."""
    relation(tmp_path)
    with pytest.raises(CheckpointError, match=f"do not tell {missing};"):
        import_checkpoint(tmp_path / "c.pkl", "conv4", tmp_path / "mine", args)
    assert not (tmp_path / "mine").exists()


def test_blocks_nested_in_an_encoder_are_found(tmp_path: Path) -> None:
    net, x = theirs((1, 1, 1, 1), (2, 2, 2, 2), "encoder").eval(), torch.randn(3, 1, 28, 28)
    import_checkpoint(saved(net, tmp_path / "c.pth", ""), "conv4", tmp_path / "mine")
    with torch.no_grad():
        found, wanted = load_model(tmp_path / "mine")(x), net["encoder"](x).flatten(1)  # type: ignore[index]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("key", "named"), [("f.lstm_cell.weight_ih", "FCE"), ("fc1.weight", "relation head")])
def test_parts_that_are_not_supported_are_named(tmp_path: Path, key: str, named: str) -> None:
    state = theirs((1, 1, 1, 1), (2, 2, 2, 2), "encoder").state_dict() | {key: torch.ones(2, 2)}
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=rf"{named}.*not supported"):
        import_checkpoint(tmp_path / "c.pth", "conv4", tmp_path / "mine")


def test_an_encoder_of_colour_images_needs_their_size(tmp_path: Path) -> None:
    torch.save(Conv4(width=2, channels_in=3, size=84).state_dict(), tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="--arg size=84"):
        import_checkpoint(tmp_path / "c.pth", "conv4", tmp_path / "mine")
    given = {"size": 84, "layout": "padded", "statistics": "running", "policy": "float", "binary": []}
    import_checkpoint(tmp_path / "c.pth", "conv4", tmp_path / "mine", given)
    model = load_model(tmp_path / "mine")
    with torch.no_grad():
        assert model(torch.rand(2, 3, 84, 84)).shape == (2, 50)
        with pytest.raises(InputError, match=r"got shape \(2, 1, 84, 84\)"):
            model(torch.rand(2, 1, 84, 84))


def test_other_names_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="four blocks named encoder.0"):
        import_checkpoint(tmp_path / "c.pth", "conv4", tmp_path / "mine")


@pytest.mark.parametrize("args", [{"layout": "padde"}, {"statistics": "none"}, {"size": 8}])
def test_bad_arguments_are_named(args: dict[str, object]) -> None:
    with pytest.raises(InputError, match=rf"arch\.{next(iter(args))}"):
        Conv4(**args)  # type: ignore[arg-type]


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="task.size: 28"):
        Conv4(width=2)(torch.zeros(1, 1, 32, 32))


def test_convolutions_map_to_crossbars_and_norms_stay_digital() -> None:
    """Column pairs with many levels approximate the float network; two levels do not."""
    torch.manual_seed(1)
    net, x = Conv4(width=8).eval(), torch.rand(3, 1, 28, 28)

    def error(levels: int) -> Tensor:
        chip = (
            load_chip("ideal").replace("device.levels", levels).replace("encoding_multibit", {"kind": "differential"})
        )
        chip = chip.replace("device.levels", levels).replace("policy.float", "crossbar")
        analog = map_model(net, chip, chips=1)
        assert len(analog.analog_layers) == 4
        return (analog(x)[0] - net(x)).norm() / net(x).norm()

    with torch.no_grad():
        assert error(256) < 0.05 < error(4) < error(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "task", "stated"),
    [
        ("matching_l2_5w1s.pth", {"way": 5, "shot": 1, "sharpening": "softmax"}, 0.981),
        ("proto_20w5s.pth", {"way": 20, "shot": 5, "prototypes": "mean"}, 0.991),
        ("proto_20w5s.pth", {"way": 20, "shot": 5, "keys": "bipolar"}, 0.966),
        ("relation_encoder_5w1s.pkl", {"way": 5, "shot": 1, "similarity": "cosine", "scaling": "standard"}, 0.977),
    ],
)
def test_real_checkpoints_reach_their_measured_accuracy(
    checkpoints: Path, data_root: Path, tmp_path: Path, file: str, task: dict[str, object], stated: float
) -> None:
    """Stated from 25 to 100 episodes, hence to 2 points; 40 and 15 episodes here add their own half width."""
    from imc_sim.evaluate import digital_accuracy

    args = {"layout": "relation", "statistics": "batch"} if file.startswith("relation") else {}
    import_checkpoint(checkpoints / file, "conv4", tmp_path / "mine", args)
    plain: dict[str, object] = {
        "dataset": "omniglot", "split": "background", "episodes": 40, "queries": 5, "keys": "float",
        "similarity": "l2", "scaling": "unit", "passes": "episodes",
    }  # fmt: skip
    task_settings = plain | ({"threshold": "support_mean", "similarity": "dot"} if "keys" in task else {}) | task
    task_settings["episodes"] = 40 if task["way"] == 5 else 15
    task_settings["batch"] = int(str(task_settings["way"])) * (int(str(task_settings["shot"])) + 5)
    found = digital_accuracy(str(tmp_path / "mine"), task_settings)
    low, high = found.interval()
    assert abs(found.mean - stated) < 0.02 + (high - low) / 2
