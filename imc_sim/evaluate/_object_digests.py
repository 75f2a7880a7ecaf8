"""Digests of networks and functions of a Python session, by what they compute with."""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.config import digest, function_code

_PLAIN = (bool, int, float, complex, str, type(None), torch.dtype, torch.device, torch.Size, range, slice, Path)
#: owners of methods of Python itself, such as `{1: 2}.get`, whose content counts
_OWNERS = (str, bytes, bytearray, Mapping, set, frozenset, list, tuple, np.ndarray, Tensor)
#: functions of numpy that other types of arrays can replace
_DISPATCHED = type(np.mean)
#: folders of installed code, which is identified by its names; pip has more, for users and for system packages
_INSTALLED = (Path(__file__).resolve().parents[1], *{
    Path(sysconfig.get_paths()[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")
})  # fmt: skip
_PACKAGES = {"site-packages", "dist-packages"}


def object_digest(value: Any, where: str, version: str = "") -> str:
    """Return the SHA-256 of the content of a network, a function or data.

    Functions and classes of the user count with their code, with the variables that they use and with the objects in
    them; those of installed packages with their names.

    Args:
        value: the object.
        where: source for errors.
        version: text that identifies objects whose content cannot be read.

    Raises:
        InputError: the object uses something whose content cannot be read, and no version is given.
    """
    return digest([version, _Reader(where, version).content(value)])


@final
class _Reader:
    """Reads the content of objects as plain data; an object that contains itself is named by its number."""

    def __init__(self, where: str, version: str) -> None:
        self.where, self.version = where, version
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is used again

    def content(self, value: Any) -> Any:
        """Return plain data that are equal for equal content."""
        if isinstance(value, _PLAIN):
            return [type(value).__name__, repr(value)]
        if isinstance(value, bytes | bytearray):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if id(value) in self._seen:
            return ["again", self._seen[id(value)]]
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return [_name(type(value)), self._parts(value)]

    def _parts(self, value: Any) -> Any:
        """Return the content of data; of other objects that of their code."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            if value.dtype == torch.bfloat16:
                return ["bfloat16", self._array(value.view(torch.int16).numpy())]
            return self._array(value.numpy())
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value))
        if isinstance(value, torch.Generator):
            return self._array(value.get_state().numpy())
        if isinstance(value, np.random.Generator):
            return self.content(dict(value.bit_generator.state))
        if isinstance(value, Mapping):
            return [[self.content(key), self.content(item)] for key, item in value.items()]
        if isinstance(value, weakref.ReferenceType):
            return self.content(value())
        if isinstance(value, set | frozenset):
            return sorted(digest(_Reader(self.where, self.version).content(item)) for item in value)
        if isinstance(value, list | tuple):
            return [self.content(item) for item in value]
        return self._code(value)

    def _array(self, array: np.ndarray) -> Any:
        if array.dtype.hasobject:
            return [self.content(item) for item in array.ravel().tolist()]
        return [array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()]

    def _code(self, value: Any) -> Any:
        """Return the content of functions, classes, modules and other objects."""
        if isinstance(value, MethodType):
            return [self.content(value.__self__), self.content(value.__func__)]
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, _OWNERS):
            return [_name(value), self.content(value.__self__)]
        if isinstance(value, _DISPATCHED):
            return _name(value)
        if isinstance(value, functools.partial):
            return [self.content(part) for part in (value.func, value.args, value.keywords)]
        if isinstance(value, property):
            return [self.content(part) for part in (value.fget, value.fset, value.fdel)]
        if isinstance(value, MemberDescriptorType | GetSetDescriptorType):
            return value.__name__
        if isinstance(value, FunctionType | type | BuiltinFunctionType | ModuleType):
            if _is_installed(value):
                return _name(value)
            return self._function(value) if isinstance(value, FunctionType) else self._namespace(value)
        return self._object(value)

    def _function(self, function: FunctionType) -> Any:
        """Return the code of a function, its defaults, and the variables that it uses."""
        code = function.__code__
        cells = [cell.cell_contents for cell in function.__closure__ or () if cell.cell_contents is not function]
        used = {name: function.__globals__[name] for name in sorted(_names(code)) if name in function.__globals__}
        parts = (function.__defaults__, function.__kwdefaults__, cells, used)
        return [_instructions(code), *(self.content(part) for part in parts)]

    def _namespace(self, value: Any) -> Any:
        """Return what a class or a module of the user holds."""
        if isinstance(value, ModuleType):
            file = getattr(value, "__file__", None) or ""
            return function_code(f"{file}:module", self.where).sha256 if file.endswith(".py") else value.__name__
        if not isinstance(value, type):
            return _name(value)
        held = {key: item for key, item in sorted(vars(value).items()) if key not in _HIDDEN}
        held = {key: getattr(item, "__func__", item) for key, item in held.items()}
        return [[self.content(base) for base in value.__bases__], self.content(held)]

    def _object(self, value: Any) -> Any:
        """Return class and attributes of any other object."""
        made = isinstance(value, np.ufunc) and value.__name__.endswith(" (vectorized)")  # its function cannot be read
        state = None if made else getattr(value, "__dict__", None)
        slots = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
        if state is None and not slots:
            if self.version:
                return "by version"
            step = "Give version='…', a text that you change with it, or use arrays, tensors and plain values instead."
            got = f"an object of type {_name(type(value))}, whose content cannot be read"
            raise InputError(self.where, got, "objects whose content identifies results", step)
        own = [] if _is_installed(type(value)) else [self.content(type(value))]
        kept = _in_eval_mode(state or {}) if isinstance(value, nn.Module) else state or {}
        return [*own, self.content(kept | slots)]


#: parts of classes that are no content
_HIDDEN = {
    "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__", "__static_attributes__",
    "_abc_impl",
}  # fmt: skip
#: ends of the names of attributes of modules that hold hooks by number
_HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
#: attributes of modules that change no result in eval mode
_LIVE = ("training", "_is_full_backward_hook", "_non_persistent_buffers_set")


def _in_eval_mode(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a module that count, with its hooks by their order instead of numbers of the process."""
    hooks = {key: held for key, held in state.items() if key.endswith(_HOOKS) and isinstance(held, dict) and held}
    places = {number: place for place, number in enumerate(sorted(set().union(*hooks.values())))}
    ordered = {key: {places[number]: hook for number, hook in held.items()} for key, held in hooks.items()}
    return {key: ordered.get(key, item) for key, item in state.items() if key not in _LIVE}


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from [slots] if isinstance(slots, str) else slots


def _name(value: Any) -> str:
    return (
        f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', repr(value)))}"
    )


def _is_installed(value: Any) -> bool:
    """Tell whether code is of an installed package, of Python or of this package."""
    if isinstance(value, BuiltinFunctionType):
        return True
    if isinstance(value, FunctionType):
        file = value.__code__.co_filename
        return file.startswith("<frozen") or _in_a_package(file)
    module = value if isinstance(value, ModuleType) else sys.modules.get(value.__module__)
    if isinstance(value, type) and getattr(module, value.__qualname__.partition(".")[0], None) is None:
        return False  # made by code that no module holds, such as that of a notebook
    file = getattr(module, "__file__", None)
    if file is None:
        return getattr(module, "__name__", "__main__") != "__main__"
    return _in_a_package(file)


@functools.lru_cache(maxsize=4096)
def _in_a_package(file: str) -> bool:
    """Tell whether a file is of an installed package, of Python or of this package."""
    path = Path(file).resolve()
    return not _PACKAGES.isdisjoint(path.parts) or any(path.is_relative_to(folder) for folder in _INSTALLED)


def _names(code: CodeType) -> set[str]:
    """Return the names that a function and the functions in it look up."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _instructions(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _instructions(code: CodeType) -> Any:
    """Return the instructions and constants of code, without its line numbers."""
    constants = [_constant(constant) for constant in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars]
