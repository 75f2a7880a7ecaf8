"""Import foreign checkpoints into the model store."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imc_sim._arguments import checked
from imc_sim._errors import CheckpointError, InputError
from imc_sim._typing import PathLike
from imc_sim.config import ARCHS, code_of, is_code, is_onnx, user_path, working_folder
from imc_sim.mapping._ambiguous import refuse_a_guess
from imc_sim.mapping._batmann import batmann_state
from imc_sim.mapping._benn import benn_state
from imc_sim.mapping._binact import binact_state
from imc_sim.mapping._conv4 import conv4_state
from imc_sim.mapping._foreign import Args, Found, State, read_state
from imc_sim.mapping._key_names import fitted, renamed
from imc_sim.mapping._metaplastic import conv_state, mlp_state, vgg_state
from imc_sim.nn import ProductLayer
from imc_sim.nn.networks import build_arch
from imc_sim.nn.store import WEIGHTS, Arch, ModelCard, load_state, pack, read_inputs, save_model
from imc_sim.onnx import GRAPH, OnnxNetwork, graph_beside, load_onnx

#: architecture -> start of the keys that need renaming, and function that renames them and finds arguments
_ADAPTERS: dict[str, tuple[str, Callable[[State, str, list[str], Args], Found]]] = {
    "batmann": ("", batmann_state),
    "benn": ("xnor.", benn_state),
    "binact": ("", binact_state),
    "bnn_conv": ("layers.", conv_state),
    "bnn_mlp": ("layers.", mlp_state),
    "bnn_vgg": ("features.", vgg_state),
    "conv4": ("", conv4_state),
}


class ImportReport(NamedTuple):
    """Report what an import read and where it wrote the model.

    Attributes:
        card: The card of the model.
        folder: The model folder.
        tensors: Number of tensors read.
        parameters: Number of values in them.
        notes: Changes and assumptions, one sentence each.
    """

    card: ModelCard
    folder: Path
    tensors: int
    parameters: int
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Return the report as a few lines of text.

        Returns:
            One line for each of architecture, tensors, note and folder.
        """
        args = ", ".join(f"{key}={value}" for key, value in self.card.arch.args.items())
        size = self.card.weights.bytes if self.card.weights else 0
        lines = [
            f"architecture  {self.card.arch.name} ({args})",
            f"read          {self.tensors} tensors, {self.parameters:,} numbers",
            *(f"note          {note}" for note in self.notes),
            f"written       {self.folder} ({size:,} bytes of weights)",
        ]
        return "\n".join(lines)


@checked
def import_checkpoint(
    path: PathLike | None, arch: str, out: PathLike, args: Mapping[str, Any] | None = None, *,
    inputs: PathLike | None = None, renames: Sequence[tuple[str, str]] = (), prefix: str | None = None,
) -> ImportReport:  # fmt: skip
    """Read a checkpoint as an architecture and write a model folder.

    State dicts in the layouts of the projects that published an architecture are renamed, and arguments that keys and
    shapes determine are found: `batmann`, `benn`, `binact`, `bnn_conv`, `bnn_mlp`, `bnn_vgg` and `conv4`. 8-bit layers
    of `batmann` get the scale of the original code, the signed maximum.

    Args:
        path: A .safetensors file, or a torch file, which is read with `weights_only=True`. Prefixes such as `module.`
            and wrappers such as {"state_dict": …} are removed. None: the network of a file has its weights already.
        arch: A name of `imc-sim list archs`, or `./my_net.py:Net`, a class or function that returns a network. Its file
            and the files next to it that it imports are copied into the model folder. Or an ONNX file.
        out: The model folder to write; it must not exist, or be empty.
        args: Arguments of the architecture; they take precedence over those that keys and shapes determine.
        inputs: File with some inputs of a network of any modules; see `read_inputs`. It is mapped by the products that
            it makes on them.
        renames: (old, new) names of tensors, or of the parts of names before a dot.
        prefix: Only tensors whose names begin with it are read, without it.

    Returns:
        The report of the import.

    Raises:
        CheckpointError: The file cannot be read safely, does not fit the architecture, or keys and shapes leave open
            an argument that changes results.
        InputError: `out` holds files, or `arch`, `args` or `inputs` are not valid.
    """
    folder, given = user_path(out, "out"), dict(args or {})
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("out", repr(str(folder)), "a folder that does not exist yet", "Choose another, or remove it.")
    probe = None if inputs is None else read_inputs(user_path(inputs, "inputs"))
    if is_onnx(arch):
        if path is not None or given:
            got, step = ("a checkpoint" if given == {} else "arguments"), "Leave it out."
            raise InputError(arch, f"{got} for an ONNX file", "an ONNX file alone, with its weights", step)
        source = user_path(arch, "arch")
        module = load_onnx(source)
        state, notes = module.state_dict(), [f"{len(module.nodes)} nodes, computed in float32"]
    elif path is None:
        module, state, notes = _complete_network(arch, given), {}, ["weights as the code of the network sets them"]
        source = Path(arch.rpartition(":")[0])
        state = module.state_dict()
    else:
        source = user_path(path, "path")
        state, notes = read_state(source)
        state = renamed(state, renames, prefix, str(source), notes)
        module, state = _loaded(arch, given, state, notes, str(source))
    # The card names files without their folders, which may be private.
    options = [*_options(args or {}, renames, prefix, inputs), "--out", str(folder)]
    command = shlex.join(["imc-sim", "import", *_sources(path, arch), *options])
    card = _write(source, folder, arch, given, module, probe, command)
    return ImportReport(card, folder, len(state), sum(v.numel() for v in state.values()), tuple(notes))


def _loaded(
    arch: str, given: dict[str, Any], state: dict[str, Tensor], notes: list[str], source: str
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the network with the state of a checkpoint, and the state under its names; add arguments to `given`."""
    if arch in ARCHS:
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    keys, (start, adapter) = list(state), _ADAPTERS.get(arch, ("", None))
    if adapter is not None and any(key.startswith(start) for key in state):
        own = dict(given)
        state, found = adapter(state, source, notes, own)
        given |= found | own
    refuse_a_guess(arch, given, source, keys)
    with torch.random.fork_rng(devices=[]):  # the new module is initialised at random
        module = build_arch(arch, given, working_folder())
    state = _reshape_scales(fitted(state, module, notes) if is_code(arch) else state, module, notes)
    load_state(module, state, {}, source)
    if arch == "batmann":
        _use_signed_maximum(module, notes)
    return module, state


def _complete_network(arch: str, args: dict[str, Any]) -> nn.Module:
    """Return the network of a user's file with the weights that its code sets, which must not be random."""
    made = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made.append(build_arch(arch, args, working_folder()))
    states = [module.state_dict() for module in made]
    random = [key for key, value in states[0].items() if not torch.equal(value, states[1][key])]
    if random:
        got, step = f"random weights, such as {random[0]!r}", "Add --weights FILE, the checkpoint of the network."
        raise InputError(arch, got, "trained weights", step)
    return made[0]


def _reshape_scales(state: dict[str, Tensor], module: nn.Module, notes: list[str]) -> dict[str, Tensor]:
    """Return the state with scales `alpha` and angles `rotate` shaped as in `module`, such as [out, 1, 1]."""
    own, shaped = module.state_dict(), dict(state)
    for key in [k for k in state if k.endswith(("alpha", "rotate")) and k in own]:
        if state[key].shape != own[key].shape and state[key].numel() == own[key].numel():
            notes.append(f"{key}: {tuple(state[key].shape)} taken as {tuple(own[key].shape)}")
            shaped[key] = state[key].reshape(own[key].shape)
    return shaped


def _use_signed_maximum(module: nn.Module, notes: list[str]) -> None:
    """Give 8-bit layers the original's scale, and note integers that exceed 8 bits with it."""
    for name, layer in module.named_modules():
        if not isinstance(layer, ProductLayer) or layer.kind.stored != "integers":
            continue
        layer.int8_scale = "signed_max"
        if not layer.weight.max() > 0:
            got, step = f"no positive weight in {name!r}", "Check that the checkpoint is a trained one."
            raise CheckpointError("signed maximum", got, "a positive largest weight", step)
        with torch.no_grad():
            low = float(layer.weight_operand().min())
        if not math.isfinite(low):
            low, high = float(layer.weight.min()), float(layer.weight.max())
            got = f"weights from {low:.3g} to {high:.3g} in {name!r}"
            step = "Check that the checkpoint is a trained one."
            raise CheckpointError("signed maximum", got, "a largest weight that is not that much smaller", step)
        if low < -128:
            notes.append(f"{name}: integers down to {low:.0f}, as the scale is the signed maximum (original's rule)")


def _sources(path: PathLike | None, arch: str) -> list[str]:
    """Return the words of `imc-sim import` that name the network and its weights."""
    weights = None if path is None else Path(path).name
    if is_onnx(arch):
        return [Path(arch).name]
    if is_code(arch):
        return [arch, *([] if weights is None else ["--weights", weights])]
    return [str(weights), "--arch", arch]


def _options(
    args: Mapping[str, Any], renames: Sequence[tuple[str, str]], prefix: str | None, inputs: PathLike | None
) -> list[str]:
    """Return the options of `imc-sim import` for these arguments of `import_checkpoint`."""
    words = [("--inputs", Path(inputs).name)] if inputs is not None else []
    words += [("--arg", f"{key}={json.dumps(value, default=str)}") for key, value in args.items()]
    words += [("--rename", f"{old}={new}") for old, new in renames]
    words += [("--prefix", prefix)] if prefix is not None else []
    return [word for pair in words for word in pair]


def _write(
    source: Path, folder: Path, arch: str, args: dict[str, Any], module: nn.Module, inputs: Any, command: str
) -> ModelCard:
    """Write the model folder, with the files of a user's own network in it, and return its card."""
    name, files = arch, {}
    if isinstance(module, OnnxNetwork):
        name = f"./{GRAPH}"
        files = {GRAPH: graph_beside(source, module.keys, pack(module), WEIGHTS)}
    elif is_code(arch):
        code = code_of(arch, working_folder())
        name, files = code.arch, code.files
    card = ModelCard(
        name=folder.resolve().name,
        summary=f"imported from {source.name}",
        arch=Arch(name=name, args=args),
        command=command,
        source=source.name,
    )
    return save_model(folder, module, card, extra=files, inputs=inputs)
