"""Networks that the code of a user makes."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from imc_sim._errors import InputError, nearest
from imc_sim._quantities import type_of
from imc_sim.config import Code, code_errors, run_code


def maker_in(code: Code, where: str) -> Any:
    """Return the class, function or network that the code of a user names, after running its file.

    Args:
        code: the files.
        where: source of the name in errors.

    Raises:
        InputError: the file cannot be run, or has no such name.
    """
    module = run_code(code, where)
    found = getattr(module, code.name, None)
    if callable(found):
        return found
    own = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    known = [key for key, value in own.items() if _makes_networks(value, module.__name__)]
    step = f"{nearest(code.name, known)}Name a class or function of that file."
    got = f"{code.name!r} in {str(code.root / code.entry)!r}"
    raise InputError(where, got, ", ".join(known) or "a torch.nn.Module", step)


def made_network(make: Any, args: Mapping[str, Any], where: str) -> nn.Module:
    """Return the network that a class or function of a user makes.

    Args:
        make: the class or function, or a network, which is copied.
        args: keyword arguments.
        where: source of the name in errors.

    Raises:
        InputError: the arguments do not fit, the code fails, or it makes no network.
    """
    name = getattr(make, "__name__", type(make).__name__)
    if isinstance(make, nn.Module):
        return copy.deepcopy(make)
    _check_args(make, name, args, where)
    file = getattr(getattr(make, "__code__", None), "co_filename", "")
    with code_errors(f"calling {name}", where, "Fix it, or give other arguments with --arg.", file):
        made = make(**args)
    if not isinstance(made, nn.Module):
        step = "Name a class of networks, or a function that returns one."
        raise InputError(where, f"{name!r}, which returns {type_of(made)}", "a torch.nn.Module", step)
    lazy = next((key for key, value in made.named_parameters() if is_lazy(value)), None)
    if lazy is not None:
        step = "Call the network on some inputs in the function that returns it, or give its layers their sizes."
        raise InputError(where, f"{name!r} with {lazy!r}, which has no size yet", "a network with all sizes", step)
    return made.module if isinstance(made, nn.DataParallel) else made


def _check_args(make: Any, name: str, args: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless a class or function takes these arguments."""
    try:
        signature = inspect.signature(make)
    except ValueError:
        return
    taken = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in taken if p.default is p.empty and p.name not in args]
    if missing:
        step = f"Add {' '.join(f'--arg {each}=…' for each in missing)}, or write a function without arguments."
        raise InputError(f"{where}.args", f"no {', '.join(missing)}", f"arguments of {name}{signature}", step)
    try:
        signature.bind(**args)
    except TypeError as error:
        step = "Remove it, or fix its name."
        raise InputError(f"{where}.args", dict(args), f"arguments of {name}{signature} ({error})", step) from error


def _makes_networks(value: Any, module: str) -> bool:
    """Tell whether a network can be made of a value: a network, a class of networks, or a function of the file."""
    kind = isinstance(value, nn.Module) or (isinstance(value, type) and issubclass(value, nn.Module))
    return kind or (inspect.isfunction(value) and value.__module__ == module)


@contextlib.contextmanager
def default_float32() -> Iterator[None]:
    """Make new tensors float32, as images and stored weights are, whatever torch's default is."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
