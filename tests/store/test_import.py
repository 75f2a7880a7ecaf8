"""Foreign checkpoints: what is read, what is refused, and that no code in them is run."""

from __future__ import annotations

import os
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim.mapping._import import _use_signed_maximum, import_checkpoint
from imc_sim.nn import Linear, ProductLayer
from imc_sim.nn.networks import CONTROLLER_KINDS, BatmannController
from imc_sim.nn.store import load_model

SMALL: dict[str, Any] = {"width": 4, "dim": 8, "size": 28, "channels_in": 1}


def original(kind: str) -> BatmannController:
    """Return a controller as the original code computes it: with the signed maximum as scale."""
    torch.manual_seed(11)
    model = BatmannController(kind, **SMALL).eval()
    for layer in model.modules():
        if isinstance(layer, ProductLayer):
            layer.int8_scale = "signed_max"
    return model


@pytest.mark.parametrize(("low", "noted"), [(-127, False), (-128, False), (-129, True)])
def test_integers_are_noted_where_eight_bits_do_not_hold_them(low: int, noted: bool) -> None:
    layer, notes = Linear(3, 1, "int8"), list[str]()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[127.0, float(low), 1.0]]))
    _use_signed_maximum(nn.Sequential(layer), notes)
    assert int(layer.weight_operand().min()) == low
    assert [f"integers down to {low}," in note for note in notes] == [True] * noted


@pytest.mark.parametrize("kind", list(CONTROLLER_KINDS))
def test_the_original_layout_is_recognised(kind: str, tmp_path: Path) -> None:
    model = original(kind)
    torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, tmp_path / "best.pth")
    report = import_checkpoint(tmp_path / "best.pth", "batmann", tmp_path / "models" / "mine")
    assert report.card.arch.args == {"kind": kind, **SMALL}
    assert "prefix 'module.' stripped" in report.to_text()
    assert report.tensors == len(model.state_dict())
    x = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "models" / "mine")(x), model(x))


def test_integers_beyond_eight_bits_are_kept_and_reported(tmp_path: Path) -> None:
    model = original("xnor")
    with torch.no_grad():
        model.fc1.weight[2, 3] = -5 * model.fc1.weight.max()
    torch.save(model.state_dict(), tmp_path / "best.pth")
    report = import_checkpoint(tmp_path / "best.pth", "batmann", tmp_path / "mine")
    assert any("fc1: integers down to -635" in note for note in report.notes)
    loaded = load_model(tmp_path / "mine")
    assert loaded.get_submodule("fc1").int8_scale == "signed_max"
    x = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net"])
def test_wrapped_state_dicts_are_unwrapped(wrapper: str, tmp_path: Path) -> None:
    content = {"epoch": 3, "best": 0.9, wrapper: original("xnor").state_dict()}
    torch.save(content, tmp_path / "c.pt")
    report = import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
    assert any(f"key {wrapper!r}" in note for note in report.notes)


@pytest.mark.parametrize(("keys", "read"), [(("model", "net"), True), (("model", "net", "state_dict"), False)])
def test_wrappers_are_removed_twice_at_most(keys: tuple[str, ...], read: bool, tmp_path: Path) -> None:
    content: dict[str, Any] = dict(original("xnor").state_dict())
    for key in reversed(keys):
        content = {"epoch": 3, key: content}
    torch.save(content, tmp_path / "c.pt")
    if read:
        report = import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
        assert [note.split(";")[0] for note in report.notes if "taken from" in note] == [
            f"taken from the key {key!r}" for key in keys
        ]
        return
    with pytest.raises(CheckpointError, match=r"epoch, state_dict.*a state dict, plain or under"):
        import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")


def test_a_mapping_whose_keys_are_no_names_is_no_state_dict(tmp_path: Path) -> None:
    torch.save({1: torch.ones(2)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="a mapping with the keys 1; allowed: a state dict"):
        import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")


def test_safetensors_and_double_precision_are_read(tmp_path: Path) -> None:
    state = {key: value.double() for key, value in original("float").state_dict().items()}
    save_file(state, tmp_path / "c.safetensors")
    report = import_checkpoint(tmp_path / "c.safetensors", "batmann", tmp_path / "mine")
    assert any("torch.float64 converted" in note for note in report.notes)
    assert load_model(tmp_path / "mine").get_submodule("fc1").weight.dtype == torch.float32


def test_scales_of_another_shape_are_read(tmp_path: Path) -> None:
    model = original("xnor_binary_fc")
    state = {key: value.flatten() if key.endswith("alpha") else value for key, value in model.state_dict().items()}
    torch.save(state, tmp_path / "c.pt")
    import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
    x = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "mine")(x), model(x))


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "_orig_mod.module.", "_orig_mod.", "module.module."])
def test_prefixes_in_any_order_are_removed(prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{key}": value for key, value in original("xnor").state_dict().items()}
    torch.save(state, tmp_path / "c.pt")
    assert import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine").card.arch.args["kind"] == "xnor"


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("kind", ["complex", "sparse", "quantised", "meta", "float8_e4m3fn"])
def test_tensors_other_than_dense_real_numbers_are_refused(kind: str, tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(original("float").state_dict())
    w = state["fc1.weight"]
    if kind == "quantised":
        state["fc1.weight"] = torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)
    else:
        other = {"complex": torch.complex64, "float8_e4m3fn": torch.float8_e4m3fn}.get(kind, torch.float32)
        made = w.to(other)
        state["fc1.weight"] = made.to_sparse() if kind == "sparse" else made.to("meta") if kind == "meta" else made
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=rf"fc1\.weight', .*{kind}"):
        import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.float16, torch.bfloat16, torch.bool])
def test_real_types_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(original("float").state_dict())
    state["fc1.weight"] = (100 * state["fc1.weight"]).round().clamp(0, 1).to(dtype)
    torch.save(state, tmp_path / "c.pt")
    import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
    assert torch.equal(load_model(tmp_path / "mine").state_dict()["fc1.weight"], state["fc1.weight"].float())


def test_torchscript_is_refused_before_torch_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"net/{name}", b"")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(CheckpointError, match="TorchScript archive, which holds code; nothing of it was run"):
        import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")


def test_importing_leaves_the_random_generator_unchanged(tmp_path: Path) -> None:
    torch.save(original("rbnn").state_dict(), tmp_path / "c.pt")
    before = torch.get_rng_state()
    import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
    assert torch.equal(torch.get_rng_state(), before)


def test_an_own_architecture_may_hold_dataclasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["from __future__ import annotations", "from dataclasses import dataclass", "from typing import ClassVar"]
    lines += ["@dataclass", "class Form:", "    wide: int", "    kinds: ClassVar[int] = 1"]
    Path("net.py").write_text("\n".join(lines) + OWN.replace("wide)", "Form(wide).wide)"))
    torch.save(nn.Sequential(nn.Linear(2, 3)).state_dict(), "c.pt")
    import_checkpoint("c.pt", "./net.py:Net", "models/mine", {"wide": 3})
    load_model("models/mine")


def test_given_arguments_override_recognised_ones(tmp_path: Path) -> None:
    torch.save(original("float").state_dict(), tmp_path / "c.pt")
    report = import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine", {"size": 30})
    assert report.card.arch.args["size"] == 30


OWN = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self, wide: int) -> None:
        super().__init__(torch.nn.Linear(2, wide))
"""


def test_an_own_architecture_is_copied_with_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "my_net.py").write_text(OWN)
    state = nn.Sequential(nn.Linear(2, 3)).state_dict()
    torch.save(state, "c.pt")
    report = import_checkpoint("c.pt", "nets/my_net.py:Net", "models/mine", {"wide": 3})
    assert report.card.arch.name == "./my_net.py:Net"
    assert torch.equal(load_model("mine").state_dict()["0.weight"], state["0.weight"])


class Bomb:
    """A pickle that writes a file when it is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("how", ["pickle", "torch", "legacy torch"])
def test_a_pickle_with_code_is_refused_and_not_run(how: str, protocol: int, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pth"
    content = {"state_dict": original("xnor").state_dict(), "x": Bomb(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps({"x": Bomb(mark)}, protocol=protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(CheckpointError, match=r"would execute code on loading .*system.*nothing of it was run"):
        import_checkpoint(path, "batmann", tmp_path / "models" / "mine")
    assert not mark.exists()
    assert not (tmp_path / "models").exists()


def test_a_whole_pickled_module_is_refused_with_the_next_step(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")


def test_the_bomb_writes_its_file_when_loaded_unsafely(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def a_file(kind: str, path: Path) -> None:
    """Write a file that is no checkpoint, as people download and export them."""
    begins = {
        "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "html": b"\n<!DOCTYPE html><html>",
        "empty": b"", "hdf5": b"\x89HDF\r\n", "onnx": b"\x08\x07\x12\x07pytorch\x1a\x05", "gzip": b"\x1f\x8b\x08",
    }  # fmt: skip
    if kind in begins:
        path.write_bytes(begins[kind])
    elif kind == "npz":
        np.savez(path.with_suffix(".npz"), a=np.ones(2))
        path.with_suffix(".npz").rename(path)
    elif kind == "module":
        torch.save(nn.Linear(2, 2), path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "no checkpoint")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("git-lfs", "a git-LFS pointer.*git lfs pull"),
        ("html", r"HTML document.*Download it again"),
        ("empty", "an empty file"),
        ("hdf5", "HDF5"),
        ("onnx", "an ONNX network"),
        ("gzip", "gzip archive.*Unpack"),
        ("npz", r"NumPy arrays \(\.npz\)"),
        ("zip", "a zip archive that is no torch file"),
        ("module", r"a whole pickled module .*Linear.*state_dict"),
    ],
)
def test_files_that_are_no_checkpoints_are_named(kind: str, match: str, tmp_path: Path) -> None:
    a_file(kind, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=match) as caught:
        import_checkpoint(tmp_path / "w.pth", "batmann", tmp_path / "mine")
    assert "damaged" not in str(caught.value)


def test_safetensors_under_another_name_are_read(tmp_path: Path) -> None:
    save_file(original("xnor").state_dict(), tmp_path / "w.bin")
    import_checkpoint(tmp_path / "w.bin", "batmann", tmp_path / "mine")


def test_numbers_and_options_next_to_the_weights_do_not_hinder(tmp_path: Path) -> None:
    """Training scripts store a best accuracy as a NumPy number, and their options as a Namespace."""
    content = {"state_dict": original("xnor").state_dict(), "best": np.float64(0.9), "args": Namespace(lr=1e-3)}
    torch.save(content | {"epoch": np.int64(3)}, tmp_path / "w.pth")
    import_checkpoint(tmp_path / "w.pth", "batmann", tmp_path / "mine")


def _opcodes(raw: bytes) -> bytes:
    return b"b\xc5\xba\t" + raw[4:]


def broken(kind: str, path: Path) -> Path:
    state: dict[str, Tensor] = dict(original("xnor").state_dict())
    if kind == "nan":
        state["features.conv2.weight"][0, 0, 0, 0] = float("nan")
    elif kind == "missing":
        del state["features.conv3.alpha"]
    elif kind == "extra":
        state["features.conv5.weight"] = torch.ones(2)
    elif kind == "shape":
        state["features.conv4.weight"] = torch.ones(4, 4, 5, 5)
    elif kind == "rbnn":
        state["features.conv2.R1"] = torch.eye(2)
    elif kind == "other":
        state = {"encoder.weight": torch.ones(2, 2)}
    elif kind == "negative":
        state["fc1.weight"] = -state["fc1.weight"].abs()
    torch.save([1, 2] if kind == "list" else {"epoch": 3} if kind == "no state" else state, path)
    damaged = {
        "truncated": lambda raw: raw[:2000], "text": lambda _: b"not a checkpoint", "opcodes": _opcodes,
        "length": lambda _: b"\x80\x05\x96" + (2**44).to_bytes(8, "little"),  # of bytes that do not follow
    }  # fmt: skip
    if kind in damaged:
        path.write_bytes(damaged[kind](path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("nan", "1 of 400 values of 'features.conv2.weight' NaN"),
        ("missing", r"missing features\.conv3\.alpha"),
        ("extra", r"unexpected features\.conv5\.weight"),
        ("shape", r"wrong shape: features\.conv4\.weight \(4, 4, 5, 5\), not \(4, 4, 3, 3\)"),
        ("rbnn", r"unexpected features\.conv2\.R1"),
        ("other", "--arch"),
        ("negative", "positive"),
        ("list", "a list"),
        ("no state", "keys epoch"),
        ("truncated", "cannot read"),
        ("text", "no checkpoint in it"),
        ("opcodes", "cannot read"),
        ("length", "no checkpoint in it"),
    ],
)
def test_damaged_and_foreign_files_are_refused(kind: str, match: str, tmp_path: Path) -> None:
    path = broken(kind, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=match):
        import_checkpoint(path, "batmann", tmp_path / "models" / "mine")
    assert list(tmp_path.iterdir()) == [path]


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file(original("xnor").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="do not decode"):
        import_checkpoint(path, "batmann", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_missing_file_and_an_existing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        import_checkpoint(tmp_path / "absent.pth", "batmann", tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    torch.save(original("xnor").state_dict(), tmp_path / "c.pt")
    with pytest.raises(InputError, match="does not exist yet"):
        import_checkpoint(tmp_path / "c.pt", "batmann", tmp_path / "mine")
