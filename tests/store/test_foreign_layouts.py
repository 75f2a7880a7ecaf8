"""State dicts in published layouts give the outputs of the networks that they were published with.

Their networks are written here in plain torch, in float64, by their keys alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim import CheckpointError
from imc_sim.mapping import import_checkpoint
from imc_sim.mapping._binact import binact_state
from imc_sim.nn.networks import BinaryActivationNet
from imc_sim.nn.store import load_model

State = dict[str, Tensor]
Act = Callable[[Tensor], Tensor]
IMAGES = 6


def hard_sigmoid(x: Tensor) -> Tensor:
    return (x.clamp(-1, 1) + 1) / 2


def fires(x: Tensor) -> Tensor:
    return hard_sigmoid(x).round()


def random_state(shapes: dict[str, tuple[int, ...]]) -> State:
    """Return random tensors; variances are positive, scales have both signs, a counter is as in torch."""
    generator = torch.Generator().manual_seed(sum(map(len, shapes)))
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    state |= {key: value.abs() + 0.5 for key, value in state.items() if key.endswith("running_var")}
    return state | {"norm.num_batches_tracked".replace("norm", next(iter(shapes))[:-7]): torch.tensor(3)}


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def conv_keys(name: str, norm: str, outputs: int, inputs: int, kernel: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.weight": (outputs, inputs, kernel, kernel),
        f"{name}.bias": (outputs,),
    }
    return shapes | {f"{norm}.{leaf}": (outputs,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def linear_keys(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(x: Tensor, s: State, name: str, eps: float = 1e-5) -> Tensor:
    mean, var = s.get(f"{name}.running_mean"), s.get(f"{name}.running_var")
    return F.batch_norm(x, mean, var, s.get(f"{name}.weight"), s.get(f"{name}.bias"), mean is None, eps=eps)


def check(state: State, arch: str, given: dict[str, Any], theirs: Tensor, x: Tensor, folder: Path) -> dict[str, Any]:
    """Import the state from a file and compare outputs; return the arguments of the card."""
    torch.save(state, folder / "c.pt")
    report = import_checkpoint(folder / "c.pt", arch, folder / "mine", given)
    with torch.no_grad():
        torch.testing.assert_close(load_model(folder / "mine")(x), theirs.float(), rtol=1e-4, atol=1e-4)
    return report.card.arch.args


# -- binary activations ------------------------------------------------------------------------------------


def branch(x: Tensor, s: State, names: list[tuple[str, str]], down: str, acts: list[Act]) -> Tensor:
    for (conv, bn), act in zip(names, acts, strict=True):
        weight = s[f"{conv}.weight"]
        x = F.conv2d(x, weight, s[f"{conv}.bias"], 2 if down == "stride" else 1, weight.shape[2] // 2)
        x = norm(x, s, bn)
        x = act(F.max_pool2d(x, 2) if down == "pool" else x)
    return x.flatten(1)


def names_of(count: int, bn: str = "batchnorm", tail: str = "") -> list[tuple[str, str]]:
    return [(f"layer{n}{tail}", f"{bn}{n}{tail}") for n in range(1, count + 1)]


def shapes_of(names: list[tuple[str, str]], maps: list[int], kernel: int = 3) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for (conv, bn), inputs, outputs in zip(names, maps[:-1], maps[1:], strict=True):
        shapes |= conv_keys(conv, bn, outputs, inputs, kernel)
    return shapes


NET_1B = [
    ("pool", {"otherwise": "relu", "binary": []}, [F.relu, F.relu]),
    ("stride", {"otherwise": "hard_sigmoid", "binary": []}, [hard_sigmoid, hard_sigmoid]),
    ("stride", {"otherwise": "relu", "binary": [1], "stochastic": False}, [fires, F.relu]),
    ("pool", {"otherwise": "hard_sigmoid", "binary": [2], "stochastic": False}, [hard_sigmoid, fires]),
    ("pool", {"binary": [1, 2], "stochastic": False}, [fires, fires]),
]


@pytest.mark.parametrize(("down", "given", "acts"), NET_1B)
def test_net_1b_is_imported_with_either_activation(
    tmp_path: Path, down: str, given: dict[str, Any], acts: list[Act]
) -> None:
    """layer1.weight, batchnorm1.weight, …: the same keys for hard sigmoids (April 2020) and ReLU (from May 2020)."""
    names = names_of(2)
    state = random_state(shapes_of(names, [1, 10, 20]) | linear_keys("fc", 10, 980))
    x = images(IMAGES, 1, 28, 28)
    s = {key: value.double() for key, value in state.items()}
    wanted = F.linear(branch(x.double(), s, names, down, acts), s["fc.weight"], s["fc.bias"])
    args = check(state, "binact", {"down": down, **given}, wanted, x, tmp_path)
    assert args["layout"] == "1b"


@pytest.mark.parametrize("bn", ["batchnorm", "batchNorm"])
def test_two_branches_are_recognised_by_their_names(tmp_path: Path, bn: str) -> None:
    binary, other = names_of(2, bn, "_binary"), names_of(2, bn, "_no_binary")
    shapes = shapes_of(other, [1, 5, 10]) | shapes_of(binary, [1, 5, 10]) | linear_keys("fc", 10, 980)
    state = random_state(shapes)
    x, s = images(IMAGES, 1, 28, 28), {key: value.double() for key, value in state.items()}
    parts = [branch(x.double(), s, binary, "pool", [fires] * 2), branch(x.double(), s, other, "pool", [F.relu] * 2)]
    wanted = F.linear(torch.cat(parts, 1), s["fc.weight"], s["fc.bias"])
    args = check(state, "binact", {"down": "pool", "stochastic": False}, wanted, x, tmp_path)
    assert args["mixt"] is True
    assert args["binary"] == [1, 2]


@pytest.mark.parametrize(("down", "side"), [("stride", 7), ("pool", 6)])
def test_net_2a_shows_by_its_width_how_maps_are_halved(tmp_path: Path, down: str, side: int) -> None:
    """batchNorm1 has a capital N; images have 105 pixels a side."""
    names = names_of(4, "batchNorm")
    state = random_state(shapes_of(names, [1, 64, 64, 64, 64]) | linear_keys("fc", 30, 64 * side**2))
    x, s = images(2, 1, 105, 105), {key: value.double() for key, value in state.items()}
    acts: list[Act] = [F.relu, fires, F.relu, F.relu]
    wanted = F.linear(branch(x.double(), s, names, down, acts), s["fc.weight"], s["fc.bias"])
    args = check(state, "binact", {"binary": [2], "stochastic": False}, wanted, x, tmp_path)
    assert (args["layout"], args["down"]) == ("2a", down)


@pytest.mark.parametrize("mixt", [False, True])
def test_net_2b_has_a_hidden_layer(mixt: bool) -> None:
    """fc1 and fc2; images are smaller, since fc1 has 33 million weights for published ones."""
    size, side, tails = 33, 2, ("_binary", "_no_binary") if mixt else ("",)
    maps = [64, 128, 256, 512, 512]
    each = [names_of(5, "batchNorm", tail) for tail in tails]
    shapes: dict[str, tuple[int, ...]] = {}
    for names in each:
        shapes |= shapes_of(names, [1, *(m // len(each) for m in maps)])
    state = random_state(shapes | linear_keys("fc1", 4096, 512 * side**2) | linear_keys("fc2", 7, 4096))
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    given: dict[str, Any] = {"size": size, "stochastic": False} | ({} if mixt else {"binary": [1]})
    renamed, found = binact_state(state, "here", [], given)
    network = BinaryActivationNet(**(found | given)).eval()
    network.load_state_dict(renamed)
    x = images(2, 1, size, size)
    acts: list[list[Act]] = [[fires] * 5, [F.relu] * 5] if mixt else [[fires, *[F.relu] * 4]]
    parts = [branch(x, state, names, "stride", act) for names, act in zip(each, acts, strict=True)]
    hidden = F.relu(F.linear(torch.cat(parts, 1), state["fc1.weight"], state["fc1.bias"]))
    wanted = F.linear(hidden, state["fc2.weight"], state["fc2.bias"])
    with torch.no_grad():
        torch.testing.assert_close(network(x), wanted, rtol=1e-4, atol=1e-2)
    assert (found["layout"], found["down"]) == ("2b", "stride")


AMBIGUOUS = [
    ({}, "binary, stochastic, otherwise, down"),
    ({"binary": []}, "otherwise, down"),
    ({"binary": [1], "down": "pool"}, "stochastic, otherwise"),
    ({"binary": [1, 2], "stochastic": True}, "down"),
]


@pytest.mark.parametrize(("given", "missing"), AMBIGUOUS)
def test_arguments_that_keys_do_not_show_are_asked_for(tmp_path: Path, given: dict[str, Any], missing: str) -> None:
    torch.save(random_state(shapes_of(names_of(2), [1, 10, 20]) | linear_keys("fc", 10, 980)), tmp_path / "c.pt")
    step = " and ".join(f"--arg {key}=…" for key in missing.split(", "))
    with pytest.raises(CheckpointError, match=f"do not tell {missing};.*{step}"):
        import_checkpoint(tmp_path / "c.pt", "binact", tmp_path / "mine", given)
    assert not (tmp_path / "mine").exists()


def test_a_width_of_other_images_is_refused(tmp_path: Path) -> None:
    state = random_state(shapes_of(names_of(4, "batchNorm"), [1, 64, 64, 64, 64]) | linear_keys("fc", 30, 64 * 25))
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"1600 inputs.*2304 \(pool\) or 3136 \(stride\).*105"):
        import_checkpoint(tmp_path / "c.pt", "binact", tmp_path / "mine", {"binary": []})


# -- BENN --------------------------------------------------------------------------------------------------

#: number in their Sequential, kernel, inputs, outputs: "n" narrow, "w" wide
_SB = [(3, 1, "w", "n"), (5, 5, "n", "w"), (6, 1, "w", "w"), (8, 3, "w", "w"), (9, 1, "w", "w")]
_AB = [(0, 5, "c", "w"), (1, 1, "w", "n"), (3, 5, "n", "w"), (4, 1, "w", "w"), (6, 3, "w", "w"), (7, 1, "w", "w"),
       (8, 1, "w", "o")]  # fmt: skip
_POOLS = {"sb": {4: F.max_pool2d, 7: F.avg_pool2d}, "ab": {2: F.max_pool2d, 5: F.avg_pool2d}}


def benn(kind: str, scale: float = 0.1) -> State:
    sizes = {"c": 3, "n": 12, "w": 24, "o": 10}
    shapes: dict[str, tuple[int, ...]] = {}
    for number, kernel, inputs, outputs in _SB if kind == "sb" else _AB:
        shapes |= conv_keys(f"xnor.{number}.conv", "drop", sizes[outputs], sizes[inputs], kernel)
        shapes |= {f"xnor.{number}.bn.{leaf[5:]}": (sizes[inputs],) for leaf in list(shapes) if leaf.startswith("drop")}
    shapes = {key: shape for key, shape in shapes.items() if not key.startswith("drop")}
    if kind == "sb":
        shapes |= {"xnor.0.weight": (24, 3, 5, 5), "xnor.0.bias": (24,), "xnor.11.weight": (10, 24, 1, 1)}
        shapes |= {"xnor.11.bias": (10,)}
        shapes |= {f"xnor.{n}.{leaf}": (24,) for n in (1, 10) for leaf in ("running_mean", "running_var")}
    state = random_state(shapes)
    return state | {key: scale * v for key, v in state.items() if key.endswith("conv.weight")}


def centred(state: State) -> State:
    """Return binary weights centred and bounded, as the original stores them."""
    named = {key: v for key, v in state.items() if key.endswith("conv.weight")}
    return state | {key: (v - v.mean(1, keepdim=True)).clamp(-1, 1) for key, v in named.items()}


def benn_forward(x: Tensor, s: State, kind: str) -> Tensor:
    """Run their Sequential module by module; weights are centred, bounded and binarized before the pass."""
    blocks = [number for number, *_ in (_SB if kind == "sb" else _AB)]
    for number in range(12 if kind == "sb" else 9):
        if number in _POOLS[kind]:
            x = _POOLS[kind][number](x, 3, 2, 1)
        elif number in blocks:
            x = norm(x, s, f"xnor.{number}.bn", 1e-4).sign()
            w = s[f"xnor.{number}.conv.weight"]
            w = (w - w.mean(1, keepdim=True)).clamp(-1, 1)
            w = w.sign() * w.abs().mean((1, 2, 3), keepdim=True)
            x = F.relu(F.conv2d(x, w, s[f"xnor.{number}.conv.bias"], padding=w.shape[2] // 2))
        elif number in (1, 10):
            x = norm(x, s, f"xnor.{number}", 1e-4)
        elif number == 2:
            x = F.relu(x)
        else:
            x = F.conv2d(x, s[f"xnor.{number}.weight"], s[f"xnor.{number}.bias"], padding=2 if number == 0 else 0)
    return F.avg_pool2d(F.relu(x), 8).flatten(1)


@pytest.mark.parametrize("kind", ["sb", "ab"])
def test_benn_gives_the_outputs_of_the_original(tmp_path: Path, kind: str) -> None:
    state = centred(benn(kind))
    x, s = images(IMAGES, 3, 32, 32), {key: value.double() for key, value in state.items()}
    saved = {f"module.{key}": value for key, value in state.items()}
    torch.save({"best_acc": 90.1, "state_dict": saved}, tmp_path / "0.pth.tar")
    import_checkpoint(tmp_path / "0.pth.tar", "benn", tmp_path / "wrapped")
    args = check(state, "benn", {}, benn_forward(x.double(), s, kind), x, tmp_path)
    assert args == {"kind": kind, "width": 24 / 192, "classes": 10, "channels_in": 3}


def test_the_float_twin_of_benn_has_to_be_named(tmp_path: Path) -> None:
    state = benn("sb", 0.5)  # some are bounded
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"not centred.*RealNet.*--arg kind=sb"):
        import_checkpoint(tmp_path / "c.pt", "benn", tmp_path / "mine")
    x, s = images(IMAGES, 3, 32, 32), {key: value.double() for key, value in state.items()}
    check(state, "benn", {"kind": "sb"}, benn_forward(x.double(), s, "sb"), x, tmp_path)


# -- metaplastic networks ----------------------------------------------------------------------------------

FORMS = {
    "batch": ("weight", "bias"),
    "running": ("running_mean", "running_var"),
    "both": ("weight", "bias", "running_mean", "running_var"),
    "instance": (),
}


def mlp(sizes: list[int], form: str) -> State:
    shapes: dict[str, tuple[int, ...]] = {}
    for n, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        shapes[f"layers.fc{n}.weight"] = (outputs, inputs)
        shapes |= {f"layers.bn{n}.{leaf}": (outputs,) for leaf in FORMS[form]}
    return random_state(shapes)


def mlp_forward(x: Tensor, s: State, count: int, form: str, kind: str = "binary") -> Tensor:
    x = x.flatten(1)
    for n in range(1, count + 1):
        weight = s[f"layers.fc{n}.weight"]
        seen = x.sign() if kind == "binary" and x.shape[1] != 784 else x
        x = F.linear(seen, weight.sign() if kind == "binary" else weight)
        x = F.instance_norm(x[:, None])[:, 0] if form == "instance" else norm(x, s, f"layers.bn{n}")
        if n < count:
            x = x.sign() if kind == "binary" else F.relu(x)
    return x


MLPS = [
    ([784, 40, 30, 10], "batch", {}), ([60, 40, 10], "batch", {}), ([784, 40, 10], "running", {}),
    ([784, 40, 10], "instance", {}), ([784, 40, 10], "both", {"kind": "binary"}),
    ([784, 40, 10], "both", {"kind": "float"}),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "form", "given"), MLPS)
def test_metaplastic_mlps_give_the_outputs_of_the_original(
    tmp_path: Path, sizes: list[int], form: str, given: dict[str, Any]
) -> None:
    state = mlp(sizes, form)
    x, s = images(IMAGES, sizes[0]), {key: value.double() for key, value in state.items()}
    wanted = mlp_forward(x.double(), s, len(sizes) - 1, form, given.get("kind", "binary"))
    args = check(state, "bnn_mlp", given, wanted, x, tmp_path)
    assert (args["inputs"], args["hidden"], args["classes"]) == (sizes[0], sizes[1:-1], sizes[-1])


def test_a_float_network_has_to_be_named_and_signs_are_binary(tmp_path: Path) -> None:
    state = mlp([784, 40, 10], "both")
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"do not tell kind; .*BNN.*DNN.*--arg kind=…"):
        import_checkpoint(tmp_path / "c.pt", "bnn_mlp", tmp_path / "mine")
    signs = state | {key: value.sign() for key, value in state.items() if ".fc" in key}
    x, s = images(IMAGES, 784), {key: value.double() for key, value in signs.items()}
    assert check(signs, "bnn_mlp", {}, mlp_forward(x.double(), s, 2, "both"), x, tmp_path)["kind"] == "binary"


def test_activations_of_zero_count_as_minus_one_and_the_import_says_so(tmp_path: Path) -> None:
    """Equal outputs of the first layer leave its norm as 0, whose sign is 0 in the original: both give other logits."""
    state = {"layers.fc1.weight": torch.ones(2, 60), "layers.fc2.weight": torch.tensor([[1, 1], [1, -1], [-1, -1.0]])}
    torch.save(state, tmp_path / "c.pt")
    report = import_checkpoint(tmp_path / "c.pt", "bnn_mlp", tmp_path / "mine")
    assert any("exactly 0 counts as -1" in note for note in report.notes)
    with torch.no_grad():
        logits = load_model(tmp_path / "mine")(images(4, 60))
    torch.testing.assert_close(logits, torch.tensor([-1.5, 0.0, 1.5]).expand(4, 3).div(1.5**0.5), rtol=1e-4, atol=1e-4)


def conv_net(form: str, outputs: int = 7) -> State:
    shapes: dict[str, tuple[int, ...]] = {}
    for n, (inputs, maps) in enumerate(zip([1, 4, 6], [4, 6, 8], strict=True), 1):
        shapes[f"layers.cv{n}.weight"] = (maps, inputs, 4, 4)
        shapes |= {f"layers.bn{n}.{leaf}": (maps,) for leaf in FORMS[form]}
    shapes["layers.fc4.weight"] = (outputs, 8 * 2**2)
    return random_state(shapes | {f"layers.bn4.{leaf}": (outputs,) for leaf in FORMS[form]})


@pytest.mark.parametrize("form", ["both", "instance"])
def test_metaplastic_convolutions_give_the_outputs_of_the_original(tmp_path: Path, form: str) -> None:
    """Without keys of norms they have batch norms that store nothing, which the user has to state."""
    state = conv_net(form)
    x = images(11, 1, 28, 28).relu()
    y, s = x.double(), {key: value.double() for key, value in state.items()}
    for n in range(1, 4):
        y = F.avg_pool2d(F.conv2d(y.sign(), s[f"layers.cv{n}.weight"].sign(), padding=1), 2)
        y = norm(y, s, f"layers.bn{n}")
        assert y.abs().min() > 1e-5  # their sign of 0 is 0, which no cell holds
        y = y.sign()
    wanted = norm(F.linear(y.flatten(1).sign(), s["layers.fc4.weight"].sign()), s, "layers.bn4")
    if form == "instance":
        torch.save(state, tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match=r"instance norms.*--statistics batch"):
            import_checkpoint(tmp_path / "c.pt", "bnn_conv", tmp_path / "mine")
    check(state, "bnn_conv", {"statistics": "batch"} if form == "instance" else {}, wanted, x, tmp_path)


def test_metaplastic_vgg_gives_the_outputs_of_the_original(tmp_path: Path) -> None:
    maps, units = [3, 8, 8, 16, 16, 32, 32], [32 * 9, 128, 128, 5]
    shapes: dict[str, tuple[int, ...]] = {}
    convs, after = (0, 3, 7, 10, 14, 17), (1, 5, 8, 12, 15, 19)
    for n, (conv, bn) in enumerate(zip(convs, after, strict=True)):
        shapes[f"features.{conv}.weight"] = (maps[n + 1], maps[n], 3, 3)
        shapes |= {f"features.{bn}.{leaf}": (maps[n + 1],) for leaf in FORMS["both"]}
    for n, number in enumerate((0, 4, 8)):
        shapes[f"classifier.{number}.weight"] = (units[n + 1], units[n])
        shapes |= {f"classifier.{number + 1}.{leaf}": (units[n + 1],) for leaf in FORMS["both"]}
    state = random_state(shapes)
    x = images(3, 3, 32, 32)
    y, s = x.double(), {key: value.double() for key, value in state.items()}
    for n, (conv, bn) in enumerate(zip(convs, after, strict=True)):
        y = F.conv2d(y if n == 0 else y.sign(), s[f"features.{conv}.weight"].sign(), padding=0 if n == 5 else 1)
        y = F.hardtanh(norm(F.max_pool2d(y, 2) if n % 2 else y, s, f"features.{bn}"))
    y = y.flatten(1)
    for n, number in enumerate((0, 4, 8)):
        y = norm(F.linear(y.sign(), s[f"classifier.{number}.weight"].sign()), s, f"classifier.{number + 1}")
        y = F.hardtanh(y) if n < 2 else y
    assert check(state, "bnn_vgg", {}, y, x, tmp_path)["width"] == 1 / 16


REFUSED = [
    ("benn", {"xnor.10.conv.weight": (10, 24, 1, 1)}, "layers of Net or AllBinNet"),
    ("bnn_mlp", {"layers.cv1.weight": (4, 1, 5, 5)}, "layers.cv1.weight"),
    ("bnn_mlp", {"layers.fc1.weight": (4, 9), "layers.bn1.weight": (4,)}, "a norm of the same kind"),
    ("bnn_conv", {"layers.cv1.weight": (4, 1, 5, 5), "layers.fc2.weight": (10, 64 * 64)}, "statistics batch"),
    ("bnn_vgg", {"features.0.weight": (8, 3, 3, 3)}, "features.3.weight"),
]


@pytest.mark.parametrize(("arch", "shapes", "match"), REFUSED)
def test_other_layouts_are_refused(tmp_path: Path, arch: str, shapes: dict[str, Any], match: str) -> None:
    torch.save(random_state(shapes), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=match):
        import_checkpoint(tmp_path / "c.pt", arch, tmp_path / "mine")


def test_weights_of_exactly_zero_are_refused(tmp_path: Path) -> None:
    state = mlp([784, 40, 10], "batch")
    state["layers.fc2.weight"][3, 4] = 0.0
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"1 of 400 weights of 'fc.1.weight' exactly 0"):
        import_checkpoint(tmp_path / "c.pt", "bnn_mlp", tmp_path / "mine")


def test_a_convolution_of_another_geometry_is_refused(tmp_path: Path) -> None:
    """The older network of that project has strides of 2 and the same names."""
    shapes: dict[str, tuple[int, ...]] = {"layers.cv1.weight": (32, 1, 5, 5), "layers.cv2.weight": (64, 32, 4, 4)}
    shapes["layers.fc3.weight"] = (10, 64 * 64)
    for n, size in enumerate((32, 64, 10), 1):
        shapes |= {f"layers.bn{n}.{leaf}": (size,) for leaf in FORMS["both"]}
    torch.save(random_state(shapes), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"4096 inputs of fc.*2304"):
        import_checkpoint(tmp_path / "c.pt", "bnn_conv", tmp_path / "mine")
