"""Arguments and names that the keys and shapes of foreign state dicts determine, and those that have to be stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imc_sim import CheckpointError
from imc_sim.mapping import import_checkpoint
from imc_sim.mapping._ambiguous import _missing
from imc_sim.mapping._batmann import batmann_state
from imc_sim.mapping._benn import _names as benn_names
from imc_sim.mapping._benn import benn_state
from imc_sim.mapping._binact import binact_state
from imc_sim.mapping._conv4 import conv4_state
from imc_sim.mapping._foreign import read_state, refuse_zeros
from imc_sim.mapping._key_names import fitted, renamed
from imc_sim.mapping._metaplastic import conv_state, mlp_state, vgg_state
from imc_sim.nn.networks import BINACT_LAYOUTS, build_arch

State = dict[str, Tensor]
BOTH = ("weight", "bias", "running_mean", "running_var")
FORMS = {(): None, BOTH[:2]: (True, False), BOTH[2:]: (False, True), BOTH: (True, True)}


def values(shapes: dict[str, tuple[int, ...]]) -> State:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) + 0.1 for name, shape in shapes.items()}


# -- metaplastic networks ------------------------------------------------------------------------------------------


def mlp(inputs: int, leaves: tuple[str, ...]) -> State:
    shapes: dict[str, tuple[int, ...]] = {"layers.fc1.weight": (3, inputs), "layers.fc2.weight": (2, 3)}
    return values(shapes | {f"layers.bn{n}.{leaf}": (size,) for n, size in ((1, 3), (2, 2)) for leaf in leaves})


@pytest.mark.parametrize("leaves", FORMS)
@pytest.mark.parametrize(("inputs", "bits"), [(784, False), (9, True)])
def test_forms_of_norms_and_inputs_of_an_mlp(leaves: tuple[str, ...], inputs: int, bits: bool) -> None:
    form, notes = FORMS[leaves], list[str]()
    state, found = mlp_state(mlp(inputs, leaves), "f", notes, {})
    affine, running = form or (False, True)
    norms = (
        {"norm": "instance"} if form is None else {"statistics": "running" if running else "batch", "affine": affine}
    )
    kind = {} if leaves == BOTH else {"kind": "binary"}  # a float network has such norms too
    assert found == norms | kind | {"inputs": inputs, "hidden": [3], "classes": 2, "binary_inputs": bits}
    assert any("the signs of its inputs" in note for note in notes) == (bits and bool(kind))
    assert any("its inputs unchanged" in note for note in notes) == (not bits and bool(kind))
    if form is not None and not running:
        assert [state[f"norm.{n}.running_mean"].tolist() for n in (0, 1)] == [[0.0] * 3, [0.0] * 2]
        assert [state[f"norm.{n}.running_var"].tolist() for n in (0, 1)] == [[1.0] * 3, [1.0] * 2]


def test_a_float_mlp_has_no_binary_inputs_and_signs_are_a_binary_one() -> None:
    state = mlp(784, BOTH)
    assert "binary_inputs" not in mlp_state(state, "f", [], {"kind": "float"})[1]
    one = state | {"layers.fc1.weight": state["layers.fc1.weight"].sign()}
    assert "kind" not in mlp_state(one, "f", [], {})[1]
    both = one | {"layers.fc2.weight": -state["layers.fc2.weight"].sign()}
    assert mlp_state(both, "f", [], {})[1]["kind"] == "binary"
    zero = state | {"layers.fc2.weight": torch.tensor([[1.0, 0.0, 1.0]] * 2)}
    mlp_state(zero, "f", [], {"kind": "float"})
    with pytest.raises(CheckpointError, match="2 of 6 weights of 'fc.1.weight' exactly 0"):
        mlp_state(zero, "f", [], {"kind": "binary"})


@pytest.mark.parametrize("leaves", [BOTH[:2], BOTH[2:], BOTH])
def test_statistics_that_a_file_lacks_cannot_be_asked_for(leaves: tuple[str, ...]) -> None:
    for statistics in ("batch", "running"):
        if leaves == BOTH[:2] and statistics == "running":
            with pytest.raises(CheckpointError, match="no running statistics, and statistics 'running'"):
                mlp_state(mlp(9, leaves), "f", [], {"statistics": statistics})
            continue
        mlp_state(mlp(9, leaves), "f", [], {"statistics": statistics})


@pytest.mark.parametrize("lost", ["layers.bn1.weight", "layers.bn2.running_var", "layers.fc1.weight"])
def test_every_norm_has_the_same_leaves_and_every_layer_its_weights(lost: str) -> None:
    state = mlp(9, BOTH)
    del state[lost]
    with pytest.raises(CheckpointError, match=r"keys layers\.|got keys"):
        mlp_state(state, "f", [], {})


def conv(channels: int, leaves: tuple[str, ...], kernels: tuple[int, int] = (4, 5)) -> State:
    """28 pixels become (28 + 3 - 4) // 2 = 13 with a kernel of 4, and (13 + 3 - 5) // 2 = 5 with one of 5."""
    side = 28
    for kernel in kernels:
        side = (side + 2 - kernel + 1) // 2
    shapes: dict[str, tuple[int, ...]] = {
        "layers.cv1.weight": (3, channels, kernels[0], kernels[0]), "layers.cv2.weight": (2, 3, kernels[1], kernels[1]),
        "layers.fc3.weight": (4, 2 * side**2),
    }  # fmt: skip
    return values(shapes | {f"layers.bn{n}.{leaf}": (k,) for n, k in ((1, 3), (2, 2), (3, 4)) for leaf in leaves})


@pytest.mark.parametrize(("channels", "bits"), [(1, True), (2, True), (3, False)])
@pytest.mark.parametrize("kernels", [(4, 5), (3, 3)])
def test_a_convolutional_network_sees_colours_unchanged(channels: int, bits: bool, kernels: tuple[int, int]) -> None:
    found = conv_state(conv(channels, BOTH, kernels), "f", [], {})[1]
    sizes = {"channels": [channels, 3, 2], "kernels": list(kernels), "classes": 4, "size": 28}
    assert found == {"statistics": "running", "affine": True, "binary_inputs": bits} | sizes


@pytest.mark.parametrize("statistics", [None, "running", "batch"])
def test_norms_without_keys_are_those_of_batches_if_that_is_stated(statistics: str | None) -> None:
    given = {} if statistics is None else {"statistics": statistics}
    if statistics != "batch":
        with pytest.raises(CheckpointError, match=r"instance norms.*--statistics batch"):
            conv_state(conv(1, ()), "f", [], given)
        return
    state, found = conv_state(conv(1, ()), "f", [], given)
    assert (found["statistics"], found["affine"]) == ("batch", False)
    assert [len(state[f"norm.{n}.running_mean"]) for n in range(3)] == [3, 2, 4]
    assert [state[f"norm.{n}.running_var"].unique().tolist() for n in range(3)] == [[1.0]] * 3


def vgg(channels: int, leaves: tuple[str, ...]) -> State:
    convs, units = {0: 1, 3: 5, 7: 8, 10: 12, 14: 15, 17: 19}, {0: 1, 4: 5, 8: 9}
    shapes: dict[str, tuple[int, ...]] = {f"features.{n}.weight": (2, channels, 3, 3) for n in convs}
    shapes |= {f"features.{n}.{leaf}": (2,) for n in convs.values() for leaf in leaves}
    shapes |= {f"classifier.{n}.weight": (3, 2) for n in units}
    return values(shapes | {f"classifier.{n}.{leaf}": (3,) for n in units.values() for leaf in leaves})


def test_a_vgg_is_of_colours_and_has_norms_with_keys() -> None:
    state, found = vgg_state(vgg(3, BOTH), "f", [], {})
    wanted = {"statistics": "running", "affine": True, "width": 2 / 128, "classes": 3, "channels_in": 3}
    assert found == wanted
    assert set(state) == {
        *(f"{kind}.{n}.weight" for kind, count in (("conv", 6), ("fc", 3)) for n in range(count)),
        *(f"norm.{n}.{leaf}" for n in range(9) for leaf in BOTH),
    }
    with pytest.raises(CheckpointError, match="got 1 channels, whose signs"):
        vgg_state(vgg(1, BOTH), "f", [], {})
    with pytest.raises(CheckpointError, match="none of norms"):
        vgg_state(vgg(3, ()), "f", [], {})


# -- other projects --------------------------------------------------------------------------------------------------


def binact(layout: str, down: str = "pool", bias: bool = True, mixt: bool = False) -> State:
    """Published names: `layer1.0`, `layer1.1` for layouts 1a; `layer1`, `batchnorm1` for others."""
    form, shapes, inputs, side = BINACT_LAYOUTS[layout], dict[str, tuple[int, ...]](), 1, BINACT_LAYOUTS[layout].size
    for n, maps in enumerate(form.maps, 1):
        for tail in ("_binary", "_no_binary") if mixt else ("",):
            first, second = ("layer{}{}.0", "layer{}{}.1") if layout == "1a" else ("layer{}{}", "batchnorm{}{}")
            own = maps // (2 if mixt else 1)
            shapes[f"{first.format(n, tail)}.weight"] = (own, inputs, 3, 3)
            shapes |= {f"{first.format(n, tail)}.bias": (own,)} if bias else {}
            shapes |= {f"{second.format(n, tail)}.{leaf}": (own,) for leaf in BOTH}
        inputs, side = maps, side // 2 if down == "pool" else (side + 1) // 2
    width = form.maps[-1] * side**2
    last = {"fc1.weight": (5, width), "fc2.weight": (10, 5)} if form.hidden else {"fc.weight": (10, width)}
    return values(shapes | last)


@pytest.mark.parametrize(
    ("layout", "given", "wanted"),
    [
        ("1a", {}, {"otherwise": "hard_sigmoid", "down": "pool"}),
        ("1b", {}, {}),
        ("1b", {"binary": [2, 1]}, {"otherwise": "relu"}),
        ("1b", {"binary": [2]}, {}),
        ("2a", {}, {"otherwise": "relu", "down": "pool"}),
        ("2b", {}, {"otherwise": "relu", "down": "pool"}),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_layouts_of_binary_activations(layout: str, given: dict[str, Any], wanted: dict[str, Any], bias: bool) -> None:
    found = binact_state(binact(layout, bias=bias), "f", [], given)[1]
    assert found == wanted | {"layout": layout, "classes": 10, "channels_in": 1, "bias": bias}


def test_the_width_tells_how_maps_are_halved_where_it_can() -> None:
    """105 pixels become 6 by pooling and 7 by strides, 96 become 6 by either."""
    for down in ("pool", "stride"):
        assert binact_state(binact("2a", down), "f", [], {})[1]["down"] == down
        assert "down" not in binact_state(binact("2a", down), "f", [], {"down": "stride"})[1]
    assert "down" not in binact_state(binact("2a"), "f", [], {"size": 96})[1]
    with pytest.raises(CheckpointError, match=r"got 2304 inputs .*3136 \(pool\) or 4096 \(stride\), for images of 120"):
        binact_state(binact("2a"), "f", [], {"size": 120})


def test_two_tensors_of_one_name_are_not_a_layout() -> None:
    state = binact("1a")
    with pytest.raises(CheckpointError, match=r"layer1\.0\.weight, layer1\.1\.weight"):
        binact_state(state | {"layer1_binary.0.weight": state["layer1.0.weight"]}, "f", [], {})


def test_branches_are_told_by_their_names() -> None:
    found, args = binact_state(binact("1b", mixt=True), "f", [], {})
    assert (args["binary"], args["mixt"], args["otherwise"]) == ([1, 2], True, "relu")
    state = binact("1b", mixt=True)
    assert torch.equal(found["branches.0.0.conv.weight"], state["layer1_binary.weight"])
    assert torch.equal(found["branches.1.1.norm.bias"], state["batchnorm2_no_binary.bias"])


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ((), "float"), (("features.conv2.alpha",), "xnor"), (("features.conv2.alpha", "fc1.alpha"), "xnor_binary_fc"),
        (("features.conv2.alpha", "features.conv2.rotate"), "rbnn"), (("fc1.alpha",), "float"),
        (("features.conv2.alpha", "features.conv2.rotate", "fc1.alpha"), "rbnn_binary_fc"),
    ],
)  # fmt: skip
def test_kinds_of_a_controller_and_its_sizes(keys: tuple[str, ...], kind: str) -> None:
    """Four channels with 3 x 3 pixels are 36 inputs: images of 4 x 3 + 16 pixels a side."""
    shapes: dict[str, tuple[int, ...]] = {"features.conv1.weight": (4, 3, 5, 5), "fc1.weight": (7, 36)}
    shapes |= dict.fromkeys(keys, (1,))
    found = batmann_state(values(shapes), "f", [], {})[1]
    assert found == {"kind": kind, "channels_in": 3, "width": 4, "dim": 7, "size": 28}


@pytest.mark.parametrize(
    "shapes",
    [
        {"features.conv1.weight": (4, 3, 5), "fc1.weight": (7, 36)},
        {"features.conv1.weight": (4, 3, 5, 5), "fc1.weight": (7,)},
        {"features.conv1.weight": (4, 3, 5, 5)},
        {"fc1.weight": (7, 36)},
    ],
)
def test_a_controller_has_a_convolution_and_a_linear_layer(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(CheckpointError, match="the BATMANN layout"):
        batmann_state(values(shapes), "f", [], {})


def test_weights_of_benn_are_centred_each_over_its_inputs() -> None:
    """One filter whose means cancel over the layer, but not over its own inputs, is that of a float network."""
    state = {}
    for theirs, ours in benn_names("sb").items():
        many = (4, 4, 3, 3) if "conv.weight" in ours and not ours.startswith(("block1", "block7")) else (4, 4, 1, 1)
        state[theirs] = torch.ones(many) if ours.endswith("conv.weight") else torch.ones(4)
        if many[2] == 3:
            state[theirs] *= torch.tensor([0.5, -0.5, 0.25, -0.25])[:, None, None]
    found, args = benn_state(state, "f", [], {})
    assert args == {"kind": "sb", "width": 4 / 192, "classes": 4, "channels_in": 4}
    assert found["block2.conv.alpha"].flatten().tolist() == [0.375] * 4
    name = next(theirs for theirs, ours in benn_names("sb").items() if ours == "block3.conv.weight")
    shift = torch.tensor([0.1, -0.1, 0.1, -0.1])[:, None, None, None]
    with pytest.raises(CheckpointError, match=r"block3\.conv that are not centred"):
        benn_state(state | {name: state[name] + shift}, "f", [], {})
    held = benn_state(state | {name: 3 * state[name] + shift}, "f", [], {"kind": "sb"})[0]
    assert held["block3.conv.weight"][:, :, 0, 0].tolist() == [[1.0, -1.0, 0.75, -0.75]] * 4


@pytest.mark.parametrize(
    ("names", "given", "wanted"),
    [
        (("encoder.{}.conv", "encoder.{}.norm"), {}, None),
        (("block{}.conv", "block{}.norm"), {}, {}),
        (("layer{}.0", "layer{}.1"), {}, {"policy": "float"}),
        (("layer{}.0", "layer{}.1"), {"layout": "padded"}, {"policy": "float"}),
        (("layer{}.0", "layer{}.1"), {"layout": "relation"}, {"policy": "float", "binary": []}),
    ],
)
def test_names_of_encoders_tell_what_they_determine(
    names: tuple[str, str], given: dict[str, Any], wanted: dict[str, Any] | None
) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for n in range(1, 5):
        shapes[f"{names[0].format(n)}.weight"] = (5, 1 if n == 1 else 5, 3, 3)
        shapes[f"{names[0].format(n)}.bias"] = (5,)
        shapes |= {f"{names[1].format(n)}.{leaf}": (5,) for leaf in BOTH}
    if wanted is None:
        with pytest.raises(CheckpointError, match="four blocks named"):
            conv4_state(values(shapes), "f", [], given)
        return
    notes = list[str]()
    found = conv4_state(values(shapes), "f", notes, given | {"size": 35})[1]
    assert found == wanted | {"width": 5, "channels_in": 1, "size": 28}
    assert notes == ["images of 35 pixels a side"]


# -- own names, and names in general -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "args"),
    [
        ("bnn_mlp", {"inputs": 9, "hidden": [3], "classes": 2, "kind": "float", "statistics": "running"}),
        ("bnn_conv", {"channels": [1, 2], "kernels": [3], "size": 8, "binary_inputs": True, "statistics": "batch"}),
        ("bnn_vgg", {"width": 0.02, "statistics": "running"}),
        ("benn", {"width": 0.03}),
    ],
)
def test_networks_under_our_own_names_are_imported_unchanged(arch: str, args: dict[str, Any], tmp_path: Path) -> None:
    state = build_arch(arch, args, Path()).state_dict()
    torch.save(state, tmp_path / "c.pt")
    report = import_checkpoint(tmp_path / "c.pt", arch, tmp_path / "mine", args)
    assert (report.notes, report.card.arch.args) == ((), args)
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert (report.tensors, report.parameters) == (len(kept), sum(v.numel() for v in kept.values()))


@pytest.mark.parametrize(
    ("arch", "args", "missing"),
    [
        ("bnn_vgg", {}, "statistics"),
        ("bnn_mlp", {}, "kind binary_inputs statistics"),
        ("bnn_mlp", {"kind": "float"}, "statistics"),
        ("bnn_mlp", {"kind": "binary", "norm": "instance"}, "binary_inputs"),
        ("conv4", {"layout": "padded", "statistics": "running", "policy": "float"}, "binary stochastic"),
        ("conv4", {"layout": "padded", "statistics": "running", "policy": "float", "binary": []}, ""),
        ("conv4", {"layout": "padded", "statistics": "running", "policy": "float", "binary": [1]}, "stochastic"),
        ("bitnet", {"version": "6"}, "activation"),
        ("convnet", {}, "stages"),
        ("continual", {"statistics": "batch"}, "args"),
        ("ensemble", {}, "args"),
        ("ensemble", {"arch": "benn"}, ""),
        ("ensemble", {"args": {"kind": "float", "statistics": "batch"}}, ""),
        ("benn", {}, ""),
    ],
)
def test_arguments_that_have_to_be_stated(arch: str, args: dict[str, Any], missing: str) -> None:
    assert " ".join(_missing(arch, args)) == missing


def state_of(*names: str) -> State:
    return {name: torch.tensor(float(number)) for number, name in enumerate(names)}


NAMES = ("fc1.weight", "fc10.weight", "a.fc1.bias", "fc1")


@pytest.mark.parametrize(
    ("renames", "prefix", "wanted"),
    [
        ((), "a.", {"fc1.bias": 2}),
        ((), "fc1", {".weight": 0, "0.weight": 1, "": 3}),
        ([("fc1", "head")], None, {"head.weight": 0, "fc10.weight": 1, "a.fc1.bias": 2, "head": 3}),
        ([("a.fc1", "")], None, {"fc1.weight": 0, "fc10.weight": 1, "bias": 2, "fc1": 3}),
        ([("a.", "b.")], None, {"fc1.weight": 0, "fc10.weight": 1, "b.fc1.bias": 2, "fc1": 3}),
        ([("a.fc1.bias", ""), ("fc10", "a.fc1")], None, {"fc1.weight": 0, "a.fc1.weight": 1, "fc1": 3}),
    ],
)
def test_parts_of_names_before_a_dot_are_renamed(renames: Any, prefix: str | None, wanted: dict[str, int]) -> None:
    notes = list[str]()
    found = renamed(state_of(*NAMES), renames, prefix, "f", notes)
    assert {key: int(value) for key, value in found.items()} == wanted
    assert notes == ([] if prefix is None else ["left out: " + ", ".join(n for n in NAMES if not n.startswith(prefix))])


@pytest.mark.parametrize(
    ("renames", "prefix", "match"),
    [
        ([("fc1", "fc10")], None, "--rename fc1=fc10: got two tensors 'fc10.weight'"),
        ([("fc", "x")], None, r"--rename: got 'fc'; allowed: one of 4 names. Did you mean 'fc1"),
        ((), "c1", r"--prefix: got 'c1'; allowed: a\., fc1\., fc10\."),
    ],
)
def test_names_that_do_not_fit_are_refused(renames: Any, prefix: str | None, match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        renamed(state_of(*NAMES), renames, prefix, "f", [])


def test_one_prefix_that_fits_is_removed_and_two_are_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    own = {key: value for key, value in module.state_dict().items() if "num_batches" not in key}
    notes = list[str]()
    alone = {f"net.{key}": value for key, value in own.items()} | {"other": torch.ones(1), "net.9": torch.ones(1)}
    found = fitted(alone, module, notes)
    assert found.keys() == module.state_dict().keys() | {"9"}
    assert notes == ["prefix 'net.' stripped", "left out: other"]
    twice = alone | {f"ema.{key}": value for key, value in own.items()}
    assert fitted(twice, module, notes) is twice
    smaller = alone | {f"ema.{key}": value[:1] for key, value in own.items()}
    assert fitted(smaller, module, []).keys() == found.keys()
    assert fitted(own | {"1.num_batches_tracked": torch.tensor(7)}, module, [])["1.num_batches_tracked"] == 7
    assert fitted(own | {"2.num_batches_tracked": torch.tensor(7)}, module, []).keys() == module.state_dict().keys()


@pytest.mark.parametrize("wrapper", ["state_dict", "params", "controller", "weights"])
def test_tensors_next_to_a_state_dict_are_not_a_part_of_it(wrapper: str, tmp_path: Path) -> None:
    """Only a mapping whose every value is a tensor is a state dict."""
    torch.save({"step": torch.tensor(3), wrapper: {"a": torch.ones(2), "n": torch.tensor(4)}}, tmp_path / "c.pt")
    state, notes = read_state(tmp_path / "c.pt")
    assert {key: value.dtype for key, value in state.items()} == {"a": torch.float32, "n": torch.int64}
    assert notes == [f"taken from the key {wrapper!r}; left out: step"]
    torch.save({"step": torch.tensor(3), "a": {"b": torch.ones(2)}, "epoch": 4}, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match=r"keys step, a, epoch.*load\('d\.pt'\)\['a'\]"):
        read_state(tmp_path / "d.pt")


def test_numbers_that_float32_does_not_hold_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="the checkpoint, in float32"):
        read_state(tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="2 of 3 weights of 'a' exactly 0"):
        refuse_zeros({"a": torch.tensor([0.0, 1.0, -0.0])}, ["a"], "f")
