"""Import foreign checkpoints into the model store."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim._typing import PathLike
from imc_sim.config import ARCHS, user_path, working_folder
from imc_sim.mapping._ambiguous import refuse_a_guess
from imc_sim.mapping._batmann import batmann_state
from imc_sim.mapping._benn import benn_state
from imc_sim.mapping._binact import binact_state
from imc_sim.mapping._conv4 import conv4_state
from imc_sim.mapping._foreign import Args, Found, State, read_state
from imc_sim.mapping._metaplastic import conv_state, mlp_state, vgg_state
from imc_sim.nn import ProductLayer
from imc_sim.nn.networks import arch_files, build_arch
from imc_sim.nn.store import Arch, ModelCard, load_state, save_model

#: architecture -> start of the keys that need renaming, and what renames them and finds arguments
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
        notes: What was changed or assumed, one sentence each.
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


def import_checkpoint(path: PathLike, arch: str, out: PathLike, args: Mapping[str, Any] | None = None) -> ImportReport:
    """Read a checkpoint as an architecture and write a model folder.

    State dicts in the layouts of the projects that published an architecture are renamed, and arguments that keys and
    shapes tell are found: `batmann`, `benn`, `binact`, `bnn_conv`, `bnn_mlp`, `bnn_vgg` and `conv4`. Layers of 8 bits
    of `batmann` get the scale of the original code, the signed maximum.

    Args:
        path: A .safetensors file, or a torch file, which is read with `weights_only=True`. Prefixes such as `module.`
            and wrappers such as {"state_dict": …} are removed.
        arch: A name of `imc-sim list archs`, or `./my_net.py:Net`, which is copied next to the card.
        out: The model folder to write; it must not exist, or be empty.
        args: Arguments of the architecture; they take precedence over what keys and shapes tell.

    Returns:
        The report of what was read, changed and written.

    Raises:
        CheckpointError: The file cannot be read safely, does not fit the architecture, or keys and shapes leave open
            an argument that changes results.
        InputError: `out` holds files, or `arch` or `args` are not valid.
    """
    source, folder = user_path(path, "path"), user_path(out, "out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("out", repr(str(folder)), "a folder that does not exist yet", "Choose another, or remove it.")
    state, notes = read_state(source)
    given = dict(args or {})
    if arch in ARCHS:
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    start, adapter = _ADAPTERS.get(arch, ("", None))
    if adapter is not None and any(key.startswith(start) for key in state):
        state, found = adapter(state, str(source), notes, given)
        given = found | given
    refuse_a_guess(arch, given, str(source))
    with torch.random.fork_rng(devices=[]):  # the fresh module is initialised at random
        module = build_arch(arch, given, working_folder())
    state = _reshape_scales(state, module, notes)
    load_state(module, state, {}, str(source))
    if arch == "batmann":
        _use_signed_maximum(module, notes)
    card = _write(source, folder, arch, given, module)
    return ImportReport(card, folder, len(state), sum(v.numel() for v in state.values()), tuple(notes))


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
            low = int(layer.weight_operand().min())
        if low < -128:
            notes.append(f"{name}: integers down to {low}, as the scale is the signed maximum (original's rule)")


def _write(source: Path, folder: Path, arch: str, args: dict[str, Any], module: nn.Module) -> ModelCard:
    """Write the model folder, with the file of a user's own architecture in it, and return its card."""
    card = ModelCard(
        name=folder.resolve().name,
        summary=f"imported from {source.name}",
        arch=Arch(name=arch if arch in ARCHS else f"./{Path(arch).name}", args=args),
        command=shlex.join(["imc-sim", "import", source.name, "--arch", arch, "--out", str(folder)]),
        source=source.name,
    )
    return save_model(folder, module, card, extra=arch_files(arch, working_folder()))
