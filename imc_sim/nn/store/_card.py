"""The model store: a folder with `model.yaml` (the card) and `weights.safetensors`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from imc_sim._arguments import checked
from imc_sim._errors import CheckpointError, InputError, nearest
from imc_sim._files import write_folder
from imc_sim._typing import PathLike
from imc_sim.config import (
    REINSTALL,
    SHUFFLED,
    FileSpec,
    Place,
    Spec,
    beside,
    build,
    check_trusted,
    find_card,
    is_code,
    is_shipped,
    read_stored,
    shuffled,
    stored_file,
    trusting,
    user_path,
    warn_if_shadowed,
    write_yaml,
)
from imc_sim.nn._images import checked_images
from imc_sim.nn._layers import product_layers
from imc_sim.nn._product_layer import ProductLayer
from imc_sim.nn.networks import build_arch
from imc_sim.nn.store._inputs import pack_inputs, unpack_inputs
from imc_sim.nn.store._weights import FORMAT, Header, pack, unpack

#: widths above which the size of a network is compared with its weights before it is built
_WIDE = 4_096
#: weights above this may overflow when they are squared
_HUGE = 1e15
CARD, WEIGHTS, INPUTS = "model.yaml", "weights.safetensors", "inputs.safetensors"
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@final
class Arch(Spec):
    """Name an architecture and its arguments.

    Attributes:
        name: A name of `imc-sim list archs`, or `./my_net.py:Net`.
        args: Keyword arguments.
    """

    name: str
    args: dict[str, Any] = Field(default_factory=dict)


@final
class Measured(Spec):
    """State one measured accuracy, as fractions of 1.

    Attributes:
        task: Task that was evaluated.
        accuracy: Measured accuracy.
        interval: Its 95 % interval.
        published: Published accuracy of the task.
        note: Remark.
    """

    task: dict[str, Any] = Field(description="dataset, split, way, shot, queries, episodes, seed, keys, similarity, …")
    accuracy: Fraction
    interval: tuple[Fraction, Fraction]
    published: Fraction | None = None
    note: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Measured:
        if not self.interval[0] <= self.accuracy <= self.interval[1]:
            raise ValueError(f"an interval [low, high] around the accuracy {self.accuracy}")
        return self


@final
class WeightsFile(Spec):
    """Name the weights file, next to the card, with its size and digest."""

    file: str = WEIGHTS
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    format: Literal["imc_sim-weights-1"] = FORMAT


@final
class InputsFile(Spec):
    """Name the file of inputs, next to the card, with its size and digest."""

    file: str = INPUTS
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)


@final
class ModelCard(FileSpec):
    """Describe a model, as `model.yaml` does.

    Attributes:
        name: Name of the model.
        summary: One line about it.
        arch: Its architecture.
        recipe: How it is trained, resolved.
        command: Command that made the weights.
        episodes: Number of training episodes (few-shot).
        epochs: Number of training epochs.
        curve: Columns of the training log by name, such as episode, loss since the row before, validation accuracy.
        measured: Measured accuracies.
        weights: The weights file; None until the model has been trained.
        inputs: Some inputs of a network of any modules, with which it is mapped; None: images of its task.
        source: Origin of the model.
        licence: Licence of the weights.
    """

    name: str
    summary: str
    arch: Arch
    recipe: dict[str, Any] = Field(default_factory=dict)
    command: str = ""
    episodes: int | None = Field(default=None, ge=0)
    epochs: int | None = Field(default=None, ge=0)
    curve: dict[str, tuple[int | float, ...]] = Field(default_factory=dict)
    measured: tuple[Measured, ...] = ()
    weights: WeightsFile | None = None
    inputs: InputsFile | None = None
    source: str = ""
    licence: str = ""


def load_card(name: PathLike) -> tuple[ModelCard, Path]:
    """Return the card of a model and the folder of its weights.

    Args:
        name: Name or path of the model.
    """
    found = find_card(name)
    warn_if_shadowed("model", name, found.place)
    with found.origin.naming(found.where):
        return build(ModelCard, found.data, found.where).with_origin(found.origin), found.folder


def build_model(card: ModelCard, folder: Path) -> nn.Module:
    """Return a new, untrained network of a card's architecture.

    Args:
        card: The card.
        folder: Its folder.

    Raises:
        InputError: The card names code in a folder that is not trusted, or an architecture that cannot be built.
    """
    where = f"model {card.name!r}"
    places = [Place(file, "arch.args", "arch") for file in dict.fromkeys(each.file for each in card.origin.places)]
    with card.origin.first(*places).naming(where):
        if is_code(card.arch.name) or is_code(str(card.arch.args.get("arch"))):
            check_trusted(folder, f"{where}, arch")
        try:
            return build_arch(card.arch.name, card.arch.args, folder, where=f"{where}, arch")
        except InputError as error:
            if is_code(card.arch.name) or error.where.startswith(where):
                raise
            place = error.where if error.where.startswith("arch.") else f"arch.args, {error.where}"
            parts = error.got, error.allowed, error.next_step
            raise type(error)(f"{where}, {place}", *parts) from error.__cause__


@checked
@torch.inference_mode(False)  # what is loaded in inference mode could not be attacked later
def load_model(name: PathLike, trust: bool = False) -> nn.Module:
    """Load a trained network in eval mode, with its card as `.card`.

    The weights are checked against the card's SHA-256, and the network rejects NaN and infinite inputs. torch's global
    random generator is unchanged.

    Args:
        name: Name or path of the model.
        trust: Run the code that its card names wherever its folder is.

    Returns:
        The network.

    Raises:
        InputError: The card names code in a folder that is not trusted.
        CheckpointError: The weights are missing, damaged or of another architecture.
    """
    card, folder = load_card(name)
    path, content = _verified(folder, _weights_of(card))
    state, layers = unpack(path, content)
    with torch.random.fork_rng(devices=[]), trusting(trust):  # the fresh module is initialised at random
        if _widest(card.arch.args) > _WIDE and not is_code(card.arch.name):
            with torch.device("meta"):  # shapes without memory
                _check_size(build_model(card, folder), state, str(path))
        module = build_model(card, folder)
    load_state(module, state, layers, str(path))
    module.register_forward_pre_hook(_checked_input)
    object.__setattr__(module, "card", card)
    if card.inputs is not None:
        object.__setattr__(module, "probe_inputs", unpack_inputs(_verified(folder, card.inputs)[0]))
    return module.eval()


def _widest(value: Any) -> int:
    """Return the largest whole number in the arguments of an architecture."""
    if isinstance(value, dict | list | tuple):
        return max(map(_widest, value.values() if isinstance(value, dict) else value), default=0)
    return value if isinstance(value, int) else 0


def _check_size(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError for a network with far more values than its file, before it takes memory."""
    needed = sum(each.numel() for each in module.state_dict().values())
    held = sum(each.numel() for each in state.values())
    if needed > 2 * held + _WIDE:
        step = "Fix arch.args, or use the weights of this card."
        raise CheckpointError(where, f"{held:,} values for a network of {needed:,}", "all values", step)


def inputs_of(module: nn.Module) -> Any:
    """Return the inputs that are stored with a network for mapping, None without any.

    Args:
        module: The network.
    """
    return vars(module).get("probe_inputs")


def _checked_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Check and cast the images, as a forward pre-hook; a network of any modules may take whole numbers or others."""
    own = args and isinstance(args[0], Tensor) and args[0].is_floating_point()
    return (checked_images(module, args[0]), *args[1:]) if args and (own or product_layers(module)) else args


def save_model(
    folder: PathLike, module: nn.Module, card: ModelCard, half: bool = False, extra: Mapping[str, bytes] | None = None,
    inputs: Any = None,
) -> ModelCard:  # fmt: skip
    """Write a model folder with packed weights and a card.

    A new folder appears complete or not at all; in an existing one the card is replaced last.

    Args:
        folder: The folder.
        module: The trained network.
        card: Its card.
        half: Store tensors that are not packed as float16, and compress the file (float controllers).
        extra: Further files, name -> content.
        inputs: Some inputs of a network of any modules: a tensor, or a tuple or dict of tensors.

    Returns:
        The card with its entries of weights and inputs.
    """
    weights, compressed = pack(module, half), f"{WEIGHTS}{SHUFFLED}"
    files = {**(extra or {}), **({compressed: shuffled(weights)} if half else {WEIGHTS: weights})}
    files |= {} if inputs is None else {INPUTS: pack_inputs(inputs)}
    entries: dict[str, Any] = {"weights": WeightsFile(**_facts(weights))}
    entries |= {} if inputs is None else {"inputs": InputsFile(**_facts(files[INPUTS]))}
    card = card.model_copy(update=entries)
    place = user_path(folder, "folder")
    write_folder(place, {**files, CARD: card_text(card).encode()})
    (place / (WEIGHTS if half else compressed)).unlink(
        missing_ok=True
    )  # weights that stood here before, in the other form
    return card


def _facts(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def card_text(card: ModelCard) -> str:
    """Return the YAML of a card, without optional keys that are empty."""
    needed = {name for name, field in ModelCard.model_fields.items() if field.is_required()}
    items = card.to_dict().items()
    return write_yaml({key: value for key, value in items if key in needed or value not in (None, "", [], {})})


def verify_weights(card: ModelCard, folder: Path) -> Path:
    """Return the path of the weights of a card, after comparing their size and SHA-256 with the card.

    Args:
        card: The card.
        folder: Its folder.

    Raises:
        CheckpointError: There are no weights, or others.
    """
    return _verified(folder, _weights_of(card))[0]


def _weights_of(card: ModelCard) -> WeightsFile:
    """Return the entry of the weights of a card; raise CheckpointError where there is none."""
    if card.weights is None:
        step = f"Train it with `imc-sim train {card.name}`."
        raise CheckpointError(f"model {card.name!r}", "a card without weights", "a trained model", step)
    return card.weights


def _verified(folder: Path, entry: WeightsFile | InputsFile) -> tuple[Path, bytes]:
    """Return path and content of a file that a card names, after comparing its size and SHA-256 with the card."""
    path = stored_file(beside(folder, entry.file))
    step = "Use an undamaged copy, or write the card again if the change was intended."
    if not path.is_file():
        step = REINSTALL if is_shipped(path) else step
        raise CheckpointError(str(path), "no such file", "the file that the card names", step)
    content = read_stored(path, entry.bytes + 1)
    if len(content) != entry.bytes:
        got = f"{len(content)} bytes{' or more' * (len(content) > entry.bytes and path.name.endswith(SHUFFLED))}"
        raise CheckpointError(str(path), got, f"{entry.bytes} bytes, as its card says", step)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise CheckpointError(str(path), f"SHA-256 {sha256}", f"{entry.sha256}, as its card says", step)
    return path, content


def load_state(module: nn.Module, state: dict[str, Tensor], layers: Header, where: str) -> None:
    """Load a state dict and the scale rules of packed layers into a network.

    Args:
        module: The network, which is changed.
        state: The state dict.
        layers: Header of the weights file, see `unpack`.
        where: Name of the file in errors.

    Raises:
        CheckpointError: A key or a shape does not fit.
    """
    own = module.state_dict()
    wrong = [
        f"{k} {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    missing, extra = [k for k in own if k not in state], [k for k in state if k not in own]
    faults = [_few("missing", missing), _few("unexpected", extra), _few("wrong shape:", wrong)]
    if missing or extra or wrong:
        step = _renaming(missing, extra) or "Name the architecture that the weights were trained with."
        kind = type(module).__name__
        raise CheckpointError(where, "; ".join(f for f in faults if f), f"the {len(own)} tensors of {kind}", step)
    module.load_state_dict(state, strict=True)
    for name, entry in layers.items():
        layer = module.get_submodule(name)
        if isinstance(layer, ProductLayer) and "scale" in entry:
            layer.int8_scale = entry["scale"]
    _refuse_overflow(module, where)


@torch.no_grad()
def _refuse_overflow(module: nn.Module, where: str) -> None:
    """Reject finite weights that are too large to be normalised or scaled."""
    for name, layer in module.named_modules():
        if isinstance(layer, ProductLayer) and layer.weight.numel() and not layer.weight.is_meta:
            top = max(abs(float(end)) for end in layer.weight.aminmax())
            if top > _HUGE and not bool(layer.weight_operand().isfinite().all()):
                got = f"weights of {name!r} up to {top:.3g}, which overflow"
                raise CheckpointError(where, got, "weights of usual size", "Use an undamaged copy.")


def _renaming(missing: list[str], extra: list[str]) -> str:
    """Return the advice how to rename tensors, empty where no name in the file is similar."""
    ends = [key for key in extra if missing and key.endswith(f".{missing[0]}")]
    if ends:
        return f"Add --prefix {ends[0].removesuffix(missing[0])}"
    close = nearest(missing[0], extra) if missing and extra else ""
    return f"For {missing[0]!r}: {close.lower().strip()} Rename with --rename OLD=NEW." if close else ""


def card_of(module: nn.Module) -> ModelCard | None:
    """Return the card that a network was loaded with, None without one.

    Args:
        module: The network.
    """
    card = vars(module).get("card")
    return card if isinstance(card, ModelCard) else None


def _few(what: str, names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{what} {', '.join(names[:limit])}{more}" if names else ""
