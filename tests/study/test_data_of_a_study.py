"""The data of a study are in the ids of its trials, in its folder, and compared before a run continues."""

from __future__ import annotations

import dataclasses
import gzip
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from imc_sim import InputError
from imc_sim._errors import CheckpointError, ResultsError
from imc_sim.cli import main
from imc_sim.config import read_yaml, write_yaml
from imc_sim.data import _fingerprint, data_digest, digests_of, foreign_digests
from imc_sim.evaluate import digital_accuracy, evaluate_chips
from imc_sim.nn.networks import build_arch
from imc_sim.nn.store import ModelCard, load_model, save_model
from imc_sim.study import Results, _point, _points, load_study, points_of, run, status, study_embeddings
from imc_sim.study._work import Batch, evaluate_batch
from imc_sim.testing import stand_in_evaluator
from imc_sim.train import ClassificationRecipe, ContinualRecipe, ContinualTask

#: a network that calls an image red or green
CODE = """
import torch
from imc_sim.nn import Linear

class Net(torch.nn.Module):
    size = 8

    def __init__(self, gain=1.0):
        super().__init__()
        self.fc = Linear(2, 2, bias=False)
        self.fc.weight.data = torch.tensor([[gain, -gain], [-gain, gain]])

    def forward(self, x):
        return self.fc(x[:, :2].mean((2, 3)))
"""
CARD = {"name": "net", "summary": "red or green", "arch": {"name": "./net.py:Net"}}
CHIP = {"device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-6}, "policy": {"float": "digital"}}
RED, GREEN = (220, 30, 10), (30, 220, 10)


def fill(folder: Path, red: tuple[int, int, int] = RED, green: tuple[int, int, int] = GREEN) -> None:
    for split in ("train", "val"):
        for label, colour in (("green_1", green), ("a_red", red)):
            for number in range(3):
                file = folder / split / label / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), colour).save(file)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a study on a folder of images, all of which its model classifies correctly."""
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    fill(tmp_path / "colours")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "net.py").write_text(CODE)
    save_model(tmp_path / "net", build_arch("./net.py:Net", {}, tmp_path / "net"), ModelCard.model_validate(CARD))
    task = {"kind": "classification", "dataset": f"folder:{tmp_path / 'colours'}", "scaling": "unit"}
    return {
        "name": "colours", "model": str(tmp_path / "net"), "chip": "rram_hfo2_1t1r", "task": task, "chips": {"min": 2},
        "cases": [{"name": "digital", "set": {"chip.policy.layers": {"*": "digital"}}}],
    }  # fmt: skip


def accuracies(results: Results) -> set[tuple[int, int]]:
    return {(row["correct"], row["total"]) for row in results.rows.values()}


def test_replaced_images_give_other_trials_that_are_not_mixed_with_the_stored_ones(
    study: dict[str, Any], tmp_path: Path
) -> None:
    first = run(study, tmp_path / "out")
    assert accuracies(first) == {(6, 6)}
    before = (tmp_path / "out" / "trials.jsonl").read_bytes()
    fill(tmp_path / "colours", GREEN, RED)  # the same names, and sizes that need not differ
    with pytest.raises(ResultsError, match=r"out: got other files of 'folder:.*colours test' .*another folder") as no:
        run(study, tmp_path / "out")
    assert "Restore those files" in str(no.value)
    assert (tmp_path / "out" / "trials.jsonl").read_bytes() == before
    second = run(study, tmp_path / "second")
    assert accuracies(second) == {(0, 6)}  # not the images that the process had in memory
    assert not first.rows.keys() & second.rows.keys()
    fill(tmp_path / "colours")
    again = run(study | {"chips": {"min": 3}}, tmp_path / "out")
    assert len(again.rows) == len(first.rows) + 1
    assert accuracies(again) == {(6, 6)}


def test_a_folder_without_digests_of_its_images_is_not_continued(study: dict[str, Any], tmp_path: Path) -> None:
    run(study, tmp_path / "out")
    file = tmp_path / "out" / "study.resolved.yaml"
    file.write_text(write_yaml({key: value for key, value in read_yaml(file).items() if key != "data"}))
    with pytest.raises(ResultsError, match=r"trials without a record of the files of 'folder:.* test'"):
        run(study, tmp_path / "out")


def test_the_digest_of_a_folder_covers_its_images(study: dict[str, Any], tmp_path: Path) -> None:
    """Names and bytes of the images of the split count; their times and other files do not."""
    part = f"{study['task']['dataset']} test"
    folder = tmp_path / "colours" / "val"
    image = folder / "a_red" / "0.png"
    known = data_digest(part)
    shutil.copytree(tmp_path / "colours", tmp_path / "copy")
    assert data_digest(f"folder:{tmp_path / 'copy'} test") == known
    os.utime(image, (0, 0))
    (folder / "a_red" / "notes.txt").write_text("no image")
    (tmp_path / "colours" / "train" / "a_red" / "0.png").write_bytes(b"another")
    assert data_digest(part) == known
    image.rename(folder / "a_red" / "00.png")
    assert data_digest(part) != known
    (folder / "a_red" / "00.png").rename(image)
    assert data_digest(part) == known
    image.write_bytes(image.read_bytes() + b"\0")
    assert data_digest(part) != known


def test_a_digest_is_cached_until_a_file_changes(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the change leaves size and time unchanged; no digest of files that just changed is cached."""
    part, made = f"{study['task']['dataset']} test", []
    real = _fingerprint._of_folder
    monkeypatch.setattr(_fingerprint, "_of_folder", lambda images: (made.append(1), real(images))[1])
    known = data_digest(part)
    assert (data_digest(part), len(made)) == (known, 2)
    monkeypatch.setattr(_fingerprint, "SETTLED_NS", 0)
    assert [data_digest(part) for _ in range(3)] == [known] * 3
    assert len(made) == 3
    image = tmp_path / "colours" / "val" / "a_red" / "0.png"
    stat, content = image.stat(), bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert data_digest(part) != known


def test_a_worker_with_other_data_is_refused(study: dict[str, Any]) -> None:
    part = f"{study['task']['dataset']} test"
    point = points_of(load_study(study))[0]
    for trial in (point.trial(0), point.baseline().trial(-1)):
        batch = Batch.of([trial], evaluate_chips, "cpu")
        assert batch.data == {part: data_digest(part)}
        evaluate_batch(batch)
        with pytest.raises(InputError, match=r"data .* on this worker: got content .* allowed: 000000000000"):
            evaluate_batch(dataclasses.replace(batch, data={part: "0" * 64}))


def test_status_tells_if_the_data_are_unchanged(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(study, tmp_path / "out")
    check = ["status", str(tmp_path / "out"), "--check"]
    assert main(check) == 0
    fill(tmp_path / "colours", GREEN, RED)
    assert status(tmp_path / "out").other_data == ()  # only the folder is read unless the check is requested
    capsys.readouterr()
    assert main(check) == 1
    assert "other files of 'folder:" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "colours")
    assert main(check) == 0  # results can be read anywhere
    assert "not here" in capsys.readouterr().out


def test_the_code_of_a_users_network_is_in_its_trials(study: dict[str, Any], tmp_path: Path) -> None:
    one = points_of(load_study(study))[0].id
    (tmp_path / "net" / "net.py").write_text(CODE.replace("x[:, :2]", "x[:, 1:]"))
    assert points_of(load_study(study))[0].id != one


def test_images_and_models_that_change_between_two_calls_are_read_again(study: dict[str, Any], tmp_path: Path) -> None:
    """In one process: images, code, weights, the working directory, and images that are replaced and restored."""
    model, task = study["model"], study["task"]

    def right() -> int:
        found = digital_accuracy(model, task).correct
        assert [each.correct for each in evaluate_chips(model, CHIP, task, [0], 0)] == [found]
        return found

    assert right() == 6
    run(study, tmp_path / "first")
    fill(tmp_path / "colours", GREEN, RED)
    assert right() == 0
    fill(tmp_path / "colours")
    assert accuracies(run(study, tmp_path / "first")) == {(6, 6)}
    (tmp_path / "net" / "net.py").write_text(CODE.replace("self.fc(", "-self.fc("))
    assert right() == 0
    assert accuracies(run(study, tmp_path / "second")) == {(0, 6)}
    network = load_model(model)
    with torch.no_grad():
        next(network.parameters()).neg_()
    save_model(model, network, ModelCard.model_validate(CARD))
    assert right() == 6
    assert accuracies(run(study, tmp_path / "third")) == {(6, 6)}


def test_images_that_change_while_a_study_runs_fail_its_trials(study: dict[str, Any], tmp_path: Path) -> None:
    point = points_of(load_study(study))[0]
    batch = Batch.of([point.trial(0)], evaluate_chips, "cpu")
    assert evaluate_batch(batch)[0].correct == 6
    fill(tmp_path / "colours", GREEN, RED)
    with pytest.raises(InputError, match="on this worker: got content"):
        evaluate_batch(batch)
    fill(tmp_path / "colours")
    assert evaluate_batch(batch)[0].correct == 6
    card = read_yaml(tmp_path / "net" / "model.yaml")
    (tmp_path / "net" / "model.yaml").write_text(write_yaml(card | {"arch": card["arch"] | {"args": {"gain": -1.0}}}))
    with pytest.raises(CheckpointError, match="on this worker: got architecture"):
        evaluate_batch(batch)


def test_parts_of_the_data_are_listed(study: dict[str, Any]) -> None:
    from imc_sim.data import data_parts
    from imc_sim.evaluate import data_of_task

    assert data_parts("omniglot", "pooled_test") == ("omniglot background", "omniglot evaluation")
    assert data_parts("omniglot", "evaluation") == ("omniglot evaluation",)
    assert data_parts("omniglot", "background_train") == ("omniglot background",)
    assert data_parts("glyphs", "test") == data_parts("digits", "test") == ()
    task = {"dataset": "mnist", "split": "test", "scaling": "standard"}
    assert data_of_task(task, calibrates=False) == ("mnist test",)
    assert data_of_task(task, calibrates=True) == ("mnist test", "mnist train")
    assert data_of_task(task | {"scaling": "whitened"}, calibrates=False) == ("mnist test", "mnist train")


def test_a_published_set_in_another_packing_is_the_same_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other images under its name change the ids; a set that is missing is identified by its name."""
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = bytearray(2 * 784)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes.fromhex("0000080100000002") + b"\3\7"))

    def digest(level: int) -> str:
        head = bytes.fromhex("00000803000000020000001c0000001c")
        (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels, level))
        return data_digest("mnist test", tmp_path)

    assert digest(1) == digest(9)
    monkeypatch.setattr(_fingerprint, "OFFICIAL", {"mnist test": digest(1)})
    assert foreign_digests(digests_of(["mnist test"], tmp_path)) == {}
    pixels[5] = 1
    assert foreign_digests({"mnist test": digest(1)}) == {"mnist test": digest(9)}
    before = digest(1)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes.fromhex("0000080100000002") + b"\7\3"))
    assert digest(1) != before
    assert digests_of(["mnist test"], tmp_path / "elsewhere") == {}
    digested: list[str] = []
    monkeypatch.setattr(_fingerprint, "data_digest", lambda part, _: (digested.append(part), "1" * 64)[1])
    assert list(digests_of(["a", "b", "a"])) == digested == ["a", "b"], "each part once"


def test_training_on_other_images_is_another_training_run(study: dict[str, Any], tmp_path: Path) -> None:
    """So it is not resumed on them, and a sweep does not use its row."""
    recipes = (
        ClassificationRecipe(dataset=study["task"]["dataset"], validation=2),
        ContinualRecipe(tasks=(ContinualTask(dataset=study["task"]["dataset"]),), validation=2),
    )
    mixed = ContinualRecipe(tasks=(ContinualTask(split="test"), ContinualTask(dataset="digits")), split="train")
    assert mixed._data() == {("mnist", "test"), ("digits", "train")}
    before = [recipe.training_digest() for recipe in recipes]
    assert [recipe.training_digest() for recipe in recipes] == before
    fill(tmp_path / "colours", GREEN, RED)
    assert not {recipe.training_digest() for recipe in recipes} & set(before)


def test_features_come_from_the_data_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_shot = {"dataset": "glyphs", "split": "test", "episodes": 2}
    study_data = {"name": "t", "model": "batmann_small_xnor", "chip": "ideal", "task": few_shot, "chips": {"min": 1}}
    found = {"glyphs test": "1" * 64}
    for module in (_point, _points):
        monkeypatch.setattr(module, "data_of_task", lambda *_: tuple(found))
    monkeypatch.setattr(_points, "digests_of", lambda parts: {part: found[part] for part in parts})
    results = run(study_data, tmp_path / "out", evaluator=stand_in_evaluator)
    assert results.study["data"] == found
    found["glyphs test"] = "2" * 64
    with pytest.raises(ResultsError, match="other files of 'glyphs test'"):
        study_embeddings(results.folder)


def test_a_point_reads_the_training_data_where_its_chip_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digital network does not; and each task has its own data."""
    monkeypatch.setattr(_points, "digests_of", lambda parts: dict.fromkeys(parts, "1" * 64))
    few_shot = {"dataset": "omniglot", "split": "evaluation", "episodes": 2}
    calibrated = {"chip.converter": {"kind": "auto", "bits": 4, "range": "calibrated"}}
    study_data = {"name": "t", "model": "batmann_small_xnor", "chip": "ideal", "task": few_shot, "chips": {"min": 1}}
    study_data |= {"cases": [{"name": "a"}, {"name": "b", "set": calibrated}], "chip_task": {"split": "background"}}
    plain, ranged = points_of(load_study(study_data))
    one, both = {"omniglot background"}, {"omniglot background", "omniglot evaluation"}
    assert [set(point.own_data) for point in (plain, *plain.digital())] == [one, one, {"omniglot evaluation"}]
    assert set(ranged.own_data) == one  # split background is training data itself
    assert set(points_of(load_study(study_data | {"chip_task": {}}))[1].own_data) == both
    assert set(points_of(load_study(study_data | {"chip_task": {}}))[0].own_data) == {"omniglot evaluation"}
    assert set(plain.data) == both
    assert plain.content["data"] == dict.fromkeys(one, "1" * 64)
