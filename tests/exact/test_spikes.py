"""Spiking networks: answers after each step, spikes, and the cost in reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from imc_sim import InputError
from imc_sim.evaluate import ClassificationTask, digital_accuracy, measure_firing
from imc_sim.nn.networks import BITNET_LAYERS, answers_by_step, dense_word_lines, firing_rates, word_line_activations
from imc_sim.nn.store import Arch, ModelCard, save_model
from tests.exact.test_bitnet import exact, images, network

TASK: dict[str, Any] = {"kind": "classification", "dataset": "digits", "images": 60, "batch": 16}


@torch.no_grad()
def test_answers_after_each_step_are_those_of_networks_with_so_many() -> None:
    found = answers_by_step(exact(network(1, gain=4.0, steps=12)), images(40))
    ties = 0
    for steps in range(1, 13):
        for rule, args in (("lowest", {}), ("residual", {"tie_break": "residual"}), ("later", {"select_first": False})):
            if rule == "later" and steps == 1:
                assert set(found.later[0].tolist()) == {-1}
                continue
            rates = exact(network(1, gain=4.0, steps=steps, **args))(images(40))
            assert torch.equal(getattr(found, rule)[steps - 1], rates.argmax(1))
        rates = exact(network(1, gain=4.0, steps=steps))(images(40))
        tied = (rates == rates.max(1, keepdim=True).values).sum(1) > 1
        assert torch.equal(found.tied[steps - 1], tied)
        ties += int(tied.sum())
    assert ties > 10
    assert not torch.equal(found.lowest, found.residual)
    assert not torch.equal(found.lowest[1:], found.later[1:])


def test_a_dense_read_drives_every_existing_word_line() -> None:
    """Patches of ones, unrolled; padding drives nothing. 12 pixels, pooled after layers 2, 3 and 5."""
    found = dense_word_lines(network(steps=3))
    shapes = {"conv1": (1, 12), "conv2": (8, 12), "conv3": (8, 6), "conv4": (16, 3), "conv5": (32, 3)}
    for name, (channels, side) in shapes.items():
        driven = float(F.unfold(torch.ones(1, channels, side, side), 3, padding=1).sum())
        assert found[name] == driven * (1 if name == "conv1" else 3)
    assert found["fc"] == 64 * 3
    assert dense_word_lines(network(steps=3, reread=True))["conv1"] == 3 * found["conv1"]
    sparse = word_line_activations(network(steps=3), images())
    assert all(0 <= sparse[name] <= found[name] for name in BITNET_LAYERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    def save(**more: Any) -> str:
        args = {"scale": 1 / 8, "size": 8, "channels_in": 1, "steps": 5, **more}
        path = tmp_path_factory.mktemp("spiking")
        save_model(path, network(**args), ModelCard(name="s", summary="test", arch=Arch(name="bitnet", args=args)))
        return str(path)

    return save


def test_a_report_covers_all_images_for_any_batch(folder: Callable[..., str]) -> None:
    model, seen = folder(), []
    found = measure_firing(model, TASK | {"steps": 9}, lambda done, total: seen.append((done, total)))
    assert seen == [(16, 60), (32, 60), (48, 60), (60, 60)]
    assert (found.images, found.steps, [row.steps for row in found.accuracy]) == (60, 9, [1, 2, 4, 8, 9])
    other = measure_firing(model, TASK | {"steps": 9, "batch": 60})
    for one, two in zip(found.layers, other.layers, strict=True):
        assert one.rate == pytest.approx(two.rate, rel=1e-9)
        assert one.word_lines == pytest.approx(two.word_lines, rel=1e-9)
        assert one.products == two.products > 0
    assert found.accuracy == other.accuracy
    for row in found.accuracy:
        assert row.accuracy == digital_accuracy(model, TASK | {"steps": row.steps}).mean
        assert 0 <= row.low <= row.accuracy <= row.high <= 1
    assert found.accuracy[0].later is None
    assert {row.ties for row in found.accuracy} != {0.0}
    assert found.layers[1].rate != firing_rates(network(size=8), images(5, 8))[1].rate


def test_other_networks_and_tasks_are_refused(folder: Callable[..., str]) -> None:
    with pytest.raises(InputError, match=r"clamp.*a spiking network"):
        measure_firing(folder(activation="clamp"), TASK)
    with pytest.raises(InputError, match="kind=classification"):
        measure_firing(folder(), {"kind": "few_shot"})
    with pytest.raises(InputError, match="'spikes'"):
        answers_by_step(network(activation="relu"), images())


def test_the_command_prints_tables_or_json(
    folder: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from imc_sim.cli import main

    model = folder()
    command = ["show", "spikes", model, "--images", "40", "--steps", "3", "--set", "dataset=digits", "--quiet"]
    assert main([*command, "--json"]) == 0
    task = ClassificationTask(dataset="digits", images=40, steps=3).to_dict()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(measure_firing(model, task).to_dict()))
    assert main(command) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*BITNET_LAYERS, "word_lines", "residual", "ties"))


@pytest.mark.parametrize("activation", ["clamp", "relu", "spikes"])
@torch.no_grad()
def test_rates_are_means_over_the_steps_that_a_network_makes(activation: str) -> None:
    """Networks without spikes make one step, whatever their number of steps."""
    made = network(steps=3, activation=activation)
    found = firing_rates(made, images(4))
    passes = list(made.eval().responses(images(4)))
    assert len(passes) == (3 if activation == "spikes" else 1)
    for number, row in enumerate(found):
        y = torch.stack([outputs[number] for outputs in passes]).double()
        x = torch.stack([images(4) if number == 0 else made.drive(number + 1, o[number - 1]) for o in passes])
        assert row.layer == BITNET_LAYERS[number]
        wanted = [float(y.mean()), float((y == 0).double().mean()), float((x != 0).double().mean())]
        assert [row.rate, row.zeros, row.active_inputs] == pytest.approx(wanted, rel=1e-12)
