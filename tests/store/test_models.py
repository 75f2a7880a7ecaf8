"""The model store: cards, and every way in which a model folder can be wrong."""

from __future__ import annotations

import errno
import hashlib
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim.config import SHUFFLED, beside, content_names, read_stored, read_yaml, shuffled, stored_file, write_yaml
from imc_sim.nn.networks import BatmannController, build_arch
from imc_sim.nn.store import (
    Arch,
    ModelCard,
    build_model,
    card_of,
    load_card,
    load_model,
    pack,
    save_model,
)

ARGS = {"kind": "xnor", "width": 4, "dim": 8, "size": 28}


def card(**changes: Any) -> ModelCard:
    return ModelCard(**{"name": "tiny", "summary": "a tiny one", "arch": Arch(name="batmann", args=ARGS)} | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a saved model."""
    torch.manual_seed(3)
    save_model(tmp_path / "models" / "tiny", BatmannController(**ARGS), card())
    return tmp_path / "models" / "tiny"


def rewrite(folder: Path, **changes: Any) -> None:
    data = read_yaml(folder / "model.yaml")
    (folder / "model.yaml").write_text(write_yaml(data | changes))


def vouch(folder: Path) -> None:
    """Set the hash of the card to that of the present weights."""
    content = (folder / "weights.safetensors").read_bytes()
    weights = read_yaml(folder / "model.yaml")["weights"]
    weights |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    rewrite(folder, weights=weights)


def test_a_model_is_stored_and_loaded_by_path_and_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_PATH", str(folder.parents[1]))
    x = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        outputs = [load_model(where)(x) for where in (folder, str(folder / "model.yaml"), "tiny")]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_loaded_model_is_in_eval_mode_with_its_card(folder: Path) -> None:
    model = load_model(folder)
    assert not model.training
    found = card_of(model)
    assert found is not None
    assert found.weights is not None
    assert found == load_card(folder)[0] == model.card
    assert card_of(nn.ReLU()) is None


def test_a_card_that_was_read_is_not_read_twice(tmp_path: Path) -> None:
    saved = save_model(tmp_path / "m", BatmannController(**ARGS), card(summary=""))
    assert load_card(tmp_path / "m")[0] == saved


def test_a_full_card_survives_writing(tmp_path: Path) -> None:
    task = {"dataset": "omniglot", "way": 5, "shot": 1, "keys": "bipolar", "rotations": [0, 90]}
    given = {
        "recipe": {"kind": "episodic", "learning_rate": 5e-05, "keys": "float", "note": "no"},
        "command": "imc-sim train tiny", "episodes": 6000,
        "measured": [{"task": task, "accuracy": 0.944, "interval": [0.93, 0.95], "published": 0.944}],
        "source": "this project", "licence": "MIT",
    }  # fmt: skip
    save_model(tmp_path / "m", BatmannController(**ARGS), card())
    rewrite(tmp_path / "m", **given)
    first, _ = load_card(tmp_path / "m")
    again = save_model(tmp_path / "m", build_model(first, tmp_path), first)
    second, _ = load_card(tmp_path / "m")
    assert again == second
    assert {key: value for key, value in second.to_dict().items() if key in given} == {
        **given, "measured": [given["measured"][0] | {"note": ""}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"archs": "batmann"}, "unknown key 'archs'.*'arch'"),
        ({"arch": {"name": "batman"}}, "Did you mean 'batmann'"),
        ({"arch": {"name": "batmann", "args": {"kind": "xnr"}}}, "Did you mean 'xnor'"),
        ({"arch": {"name": "batmann", "args": {"widht": 3}}}, "widht"),
        ({"arch": {"name": "./absent.py:Net"}}, "no file"),
        ({"weights": None}, "imc-sim train tiny"),
        ({"measured": [{"task": {}, "accuracy": 94.4, "interval": [0, 1]}]}, "measured.0.accuracy"),
        ({"measured": [{"task": {}, "accuracy": 0.9, "interval": [0.95, 0.99]}]}, "interval"),
    ],
)
def test_wrong_cards_are_refused(changes: dict[str, Any], match: str, folder: Path) -> None:
    rewrite(folder, **changes)
    with pytest.raises(InputError, match=match):
        load_model(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="bytes, as its card says"):
        load_model(folder)
    vouch(folder)
    with pytest.raises(CheckpointError, match="do not decode"):
        load_model(folder)


def test_one_flipped_bit_is_noticed(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_model(folder)


@pytest.fixture
def compressed(folder: Path) -> Path:
    model = load_model(folder)
    save_model(folder / "half", model, card(), half=True)
    return folder / "half"


def test_compressed_weights_are_those_of_the_card(compressed: Path) -> None:
    whole, packed = compressed / "weights.safetensors", compressed / "weights.safetensors.shuffled.xz"
    content = pack(load_model(compressed), half=True)
    assert sorted(path.name for path in compressed.iterdir()) == ["model.yaml", packed.name]
    assert read_stored(packed) == content
    weights = load_card(compressed)[0].weights
    assert weights is not None
    assert (weights.bytes, weights.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    planes = lzma.decompress(packed.read_bytes())  # any tool can undo it
    assert (planes[: (len(content) + 1) // 2], planes[(len(content) + 1) // 2 :]) == (content[0::2], content[1::2])
    first = load_model(compressed).state_dict()
    whole.write_bytes(content)
    packed.unlink()
    assert all(torch.equal(first[key], value) for key, value in load_model(compressed).state_dict().items())


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8])
def test_shuffled_bytes_come_back(size: int, tmp_path: Path) -> None:
    (tmp_path / f"w{SHUFFLED}").write_bytes(shuffled(bytes(range(size))))
    assert stored_file(tmp_path / "v") == tmp_path / "v", "the name of the card, where there is neither form"
    (tmp_path / "w").write_bytes(b"other")
    assert read_stored(stored_file(tmp_path / "w")) == bytes(range(size))


@pytest.mark.parametrize("half", [True, False])
def test_weights_of_the_other_form_are_removed(half: bool, compressed: Path) -> None:
    model = load_model(compressed)
    for form in (not half, half):
        save_model(compressed, model, card(), half=form)
    name = "weights.safetensors" + (SHUFFLED if half else "")
    assert sorted(path.name for path in compressed.iterdir()) == ["model.yaml", name]


def test_damaged_or_endless_compressed_weights_are_refused(compressed: Path) -> None:
    path = compressed / "weights.safetensors.shuffled.xz"
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    with pytest.raises(CheckpointError, match="weights.safetensors.shuffled.xz"):
        load_model(compressed)
    path.write_bytes(b"no xz" + content)
    with pytest.raises(CheckpointError, match="does not decompress"):
        load_model(compressed)
    path.write_bytes(shuffled(bytes(10**7)))
    with pytest.raises(CheckpointError, match="bytes or more; allowed"):
        load_model(compressed)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: got no such file"):
        load_model(folder)


@pytest.mark.parametrize("file", ["/", ".", ".."])
def test_folders_in_place_of_weights_are_named(file: str, folder: Path) -> None:
    card = read_yaml(folder / "model.yaml")
    (folder / "model.yaml").write_text(write_yaml(card | {"weights": card["weights"] | {"file": file}}))
    with pytest.raises(CheckpointError, match="got no such file; allowed: the file that the card names"):
        load_model(folder)


def test_nan_in_stored_weights_is_refused(folder: Path) -> None:
    from safetensors.torch import save_file

    from imc_sim.nn.store import read_tensors

    path = folder / "weights.safetensors"
    tensors, header = read_tensors(path)
    tensors["features.conv3.alpha"][1] = float("nan")
    save_file(tensors, path, metadata=header)
    vouch(folder)
    with pytest.raises(CheckpointError, match=r"1 of 4 values of 'features.conv3.alpha' NaN"):
        load_model(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    rewrite(folder, arch={"name": "batmann", "args": ARGS | {"kind": "float"}})
    with pytest.raises(CheckpointError, match=r"missing features.conv1.bias.*unexpected features.conv2.alpha"):
        load_model(folder)
    rewrite(folder, arch={"name": "batmann", "args": ARGS | {"dim": 16}})
    with pytest.raises(CheckpointError, match=r"wrong shape: .*fc1.weight \(8, 36\), not \(16, 36\)"):
        load_model(folder)


def test_long_lists_of_keys_are_shortened(folder: Path) -> None:
    rewrite(folder, arch={"name": "./other.py:Other"})
    (folder / "other.py").write_text("import torch\nclass Other(torch.nn.Linear):\n    def __init__(self):\n"
                                     "        super().__init__(2, 2)\n")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"and \d+ more"):
        load_model(folder)


OWN = """
import torch
from imc_sim.nn import Linear

class Net(torch.nn.Module):
    def __init__(self, wide: int = 3) -> None:
        super().__init__()
        self.inner = Linear(4, wide, "xnor")

    def forward(self, x):
        return self.inner(x)
"""


def test_an_own_architecture_is_found_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_net.py").write_text(OWN)
    own = Arch(name="./my_net.py:Net", args={"wide": 5})
    module = build_arch(own.name, own.args, tmp_path)
    save_model(tmp_path / "mine", module, card(arch=own), extra={"my_net.py": OWN.encode()})
    monkeypatch.chdir("/")
    loaded = load_model(tmp_path / "mine")
    x = torch.randn(2, 4)
    assert torch.equal(loaded(x), module.eval()(x))


@pytest.mark.parametrize(
    ("arch", "match"),
    [("./my_net.py:Nett", "Did you mean 'Net'"), ("./my_net.py", "FILE.py:NAME"), ("./bad.py:Net", "SyntaxError")],
)
def test_wrong_own_architectures_are_refused(arch: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(OWN)
    (tmp_path / "bad.py").write_text("def def")
    with pytest.raises(InputError, match=match):
        build_arch(arch, {}, tmp_path)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_no_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imc_sim._files.os.fsync", full)
    with pytest.raises(OSError, match=r"weights\.safetensors") as caught:
        save_model(tmp_path / "deep" / "er" / "m", BatmannController(**ARGS), card())
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("imc_sim._files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_model(folder, BatmannController(**ARGS), card())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_saving_again_replaces_card_and_weights(folder: Path) -> None:
    first = load_card(folder)[0]
    torch.manual_seed(4)
    second = save_model(folder, BatmannController(**ARGS), card(summary="better"))
    assert first.weights != second.weights
    assert load_model(folder).card == second
    assert sorted(path.name for path in folder.iterdir()) == ["model.yaml", "weights.safetensors"]


def test_a_diverged_model_writes_nothing(tmp_path: Path) -> None:
    model = BatmannController(**ARGS)
    with torch.no_grad():
        model.fc1.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        save_model(tmp_path / "m", model, card())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", content_names("model"))
def test_shipped_models_are_complete(name: str) -> None:
    found, folder = load_card(name)
    assert found.name == name
    assert found.summary
    if found.weights is None:
        build_model(found, folder)
        return
    assert stored_file(beside(folder, found.weights.file)).stat().st_size < 3_000_000
    assert load_model(name).card == found
