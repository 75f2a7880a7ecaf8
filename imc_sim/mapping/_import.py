"""Foreign checkpoints into the model store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim._typing import PathLike
from imc_sim.config import ARCHS, user_path, working_folder
from imc_sim.mapping._benn import benn_state
from imc_sim.mapping._binact import binact_state
from imc_sim.mapping._conv4 import conv4_state
from imc_sim.mapping._foreign import read_state
from imc_sim.mapping._metaplastic import conv_state, mlp_state, vgg_state
from imc_sim.nn import ProductLayer
from imc_sim.nn.networks import arch_files, build_arch
from imc_sim.nn.store import Arch, ModelCard, load_state, save_model

#: architecture -> what renames the state dicts of other projects and finds their arguments
_LAYOUTS = {
    "conv4": conv4_state, "binact": binact_state, "benn": benn_state, "bnn_mlp": mlp_state, "bnn_conv": conv_state,
    "bnn_vgg": vgg_state,
}  # fmt: skip


class ImportReport(NamedTuple):
    """What was read and where it now lies."""

    card: ModelCard
    folder: Path
    tensors: int
    parameters: int
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """A few lines for a person."""
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
    """Read the checkpoint at `path` as an `arch` and write the model folder `out`.

    path: .safetensors, or a torch file, read with `weights_only=True`. `module.` prefixes and wrappers such as
    {"state_dict": …} are taken off.
    arch: `batmann` (in the original's layout: `features.conv1.weight`, `features.conv2.alpha`, `fc1.bias`, …; kind
    and sizes are read off keys and shapes unless `args` gives them), or `./my_net.py:Net`, copied beside the card;
    or one in the layouts of the projects that published it: `conv4` (see `conv4_state`), `binact` (`binact_state`),
    `benn` (`benn_state`), `bnn_mlp`, `bnn_conv` and `bnn_vgg` (`mlp_state`, `conv_state`, `vgg_state`).
    8-bit layers of `batmann` get the original's scale, the signed maximum.
    """
    source, folder = user_path(path, "path"), user_path(out, "out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("out", repr(str(folder)), "a folder that does not exist yet", "Choose another, or remove it.")
    state, notes = read_state(source)
    given = dict(args or {})
    if arch == "batmann":
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        given = infer_batmann(state, str(source)) | given
    if arch in _LAYOUTS:
        state, found = _LAYOUTS[arch](state, str(source), notes, given)
        given = found | given
    with torch.random.fork_rng(devices=[]):  # the fresh module is initialised at random
        module = build_arch(arch, given, working_folder())
    state = _reshape_scales(state, module, notes)
    load_state(module, state, {}, str(source))
    if arch == "batmann":
        _signed_maximum(module, notes)
    card = _write(source, folder, arch, given, module)
    return ImportReport(card, folder, len(state), sum(v.numel() for v in state.values()), tuple(notes))


def infer_batmann(state: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """Arguments of BatmannController from the keys and shapes of an original state dict.

    kind: a scale `alpha` on conv2 means XNOR, or RBNN with `rotate` beside it; one on fc1 a binary last layer too.
    size: the smallest image whose feature map fits fc1 (pooling loses remainders, so up to three larger sizes would
    fit as well).
    """
    conv, fc = state.get("features.conv1.weight"), state.get("fc1.weight")
    if conv is None or fc is None or conv.ndim != 4 or fc.ndim != 2:
        got = f"keys {', '.join(list(state)[:4])}, …"
        step = "Give the architecture that made it, `--arch ./my_net.py:Net`."
        raise CheckpointError(where, got, "the BATMANN layout: features.conv1.weight, …, fc1.weight", step)
    kind = _kind(state)
    width = conv.shape[0]
    side = round((fc.shape[1] / width) ** 0.5)
    sizes = {"width": width, "dim": fc.shape[0], "size": 4 * side + 16}
    return {"kind": kind, "channels_in": conv.shape[1], **sizes}


def _kind(state: Mapping[str, Tensor]) -> str:
    if "features.conv2.alpha" not in state:
        return "float"
    family = "rbnn" if "features.conv2.rotate" in state else "xnor"
    return f"{family}_binary_fc" if "fc1.alpha" in state else family


def _reshape_scales(state: dict[str, Tensor], module: nn.Module, notes: list[str]) -> dict[str, Tensor]:
    """Scales `alpha` and angles `rotate` shaped as in `module`: [out], [out, 1, 1], [1, out, 1, 1] say the same."""
    own, shaped = module.state_dict(), dict(state)
    for key in [k for k in state if k.endswith(("alpha", "rotate")) and k in own]:
        if state[key].shape != own[key].shape and state[key].numel() == own[key].numel():
            notes.append(f"{key}: {tuple(state[key].shape)} taken as {tuple(own[key].shape)}")
            shaped[key] = state[key].reshape(own[key].shape)
    return shaped


def _signed_maximum(module: nn.Module, notes: list[str]) -> None:
    """Give 8-bit layers the original's scale; note what exceeds 8 bits by it."""
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
    """The model folder, with the file of a user's own architecture in it."""
    name = folder.resolve().name
    known = arch in ARCHS
    card = ModelCard(
        name=name,
        summary=f"imported from {source.name}",
        arch=Arch(name=arch if known else f"./{Path(arch).name}", args=args),
        command=shlex.join(["imc-sim", "import", source.name, "--arch", arch, "--out", str(folder)]),
        source=source.name,
    )
    return save_model(folder, module, card, extra=arch_files(arch, working_folder()))
