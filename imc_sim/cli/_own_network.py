"""Options of commands that take the network of a user's file, and the model folder that is made of it."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim._errors import InputError


def _trust(wanted: bool) -> bool:
    from imc_sim.config import trust_all

    return trust_all(wanted)


Trust = Annotated[
    bool,
    typer.Option("--trust", callback=_trust, help="Run the code that a card or study names, wherever it is."),
]
Weights = Annotated[
    Path | None, typer.Option(help="Checkpoint of the network in FILE.py:NAME; read without running code in it.")
]
Inputs = Annotated[
    Path | None,
    typer.Option(help="Some real inputs of the network (.npy, .npz, .pt, .safetensors), two or more, batch first."),
]
Conductances = Annotated[
    Path | None,
    typer.Option(help=".npz with measured conductances LAYER/conductance_S [chip, tile, row, column], in S."),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(help="old=new, names of tensors or the part before a dot; old= leaves it out. Repeat it for more."),
]
Prefix = Annotated[
    str | None, typer.Option(help="Read only tensors whose names begin with this, without it, such as model.")
]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", help="key=value, an argument of the network. Repeat it for more.")
]


def arguments(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return the arguments of a network from `key=value` texts."""
    from imc_sim.config import parse_setting

    return dict(parse_setting(pair, "--arg", "key=value") for pair in pairs or ())


def renamed_pairs(pairs: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return (old, new) names of tensors from `old=new` texts."""
    found = [pair.partition("=") for pair in pairs or ()]
    wrong = next((old for old, equals, _ in found if not equals or not old), None)
    if wrong is not None:
        raise InputError("--rename", repr(wrong), "old=new", "Write for example --rename encoder=features.")
    return [(old, new) for old, _, new in found]


@contextlib.contextmanager
def naming_inputs(inputs: Path) -> Iterator[None]:
    """Name the file of inputs in errors about them, and about a network that does not take them.

    Args:
        inputs: the file.

    Yields:
        Nothing.
    """
    try:
        yield
    except InputError as error:
        about = re.fullmatch(r"(?:--)?inputs(.*)|(network .*)", error.where)
        if about is None:
            raise
        rest = about[1] or (f", {about[2]}" if about[2] else "")
        where = f"--inputs {inputs}{rest}"
        raise type(error)(where, error.got, error.allowed, error.next_step) from error


@contextlib.contextmanager
def model_of(
    model: str, weights: Path | None, inputs: Path | None, pairs: Sequence[str] | None = None,
    rename: Sequence[str] | None = None, prefix: str | None = None,
) -> Iterator[str]:  # fmt: skip
    """Yield the name of a model: the one that was given, or a folder of a network, FILE.py:NAME or FILE.onnx.

    Args:
        model: name or path of a model, or a network, FILE.py:NAME or FILE.onnx.
        weights: checkpoint of the network.
        inputs: file of some inputs.
        pairs: `key=value` arguments of the network.
        rename: `old=new` names of tensors.
        prefix: of the names of tensors.

    Yields:
        The name or path of a model.

    Raises:
        InputError: options of a network with the name of a model, or a network that cannot be imported.
    """
    from imc_sim.config import is_code, is_onnx, trusting

    if not is_code(model):
        given = {"--weights": weights, "--arg": pairs, "--rename": rename, "--prefix": prefix}
        given |= {} if is_onnx(model) else {"--inputs": inputs}
        for option, value in given.items():
            if value:
                step = "Leave it out, or name a network: ./my_net.py:NAME."
                raise InputError(option, f"model {model!r}", "a network FILE.py:NAME", step)
        if not is_onnx(model):
            yield model
            return
    from imc_sim.mapping import import_checkpoint

    with tempfile.TemporaryDirectory(prefix="imc-sim-") as folder, trusting():
        out = Path(folder) / (Path(model).stem if is_onnx(model) else model.rpartition(":")[2])
        with contextlib.nullcontext() if inputs is None else naming_inputs(inputs):
            import_checkpoint(
                weights, model, out, arguments(pairs), inputs=inputs, renames=renamed_pairs(rename), prefix=prefix
            )
            yield str(out)
