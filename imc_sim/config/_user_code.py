"""Python code of the user, named as FILE.py:NAME: load it, identify it by its digest, and point to its errors."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, final

from imc_sim._errors import InputError, nearest
from imc_sim.config._code import Code, code_of, local_name, names_code
from imc_sim.config._content import user_path

FUNCTION = "FILE.py:FUNCTION"
_PREFIX = "imc_sim_user_"
#: package of the modules of some code -> the code
_CODES: dict[str, Code] = {}


def split_code(text: str, where: str, allowed: str = "FILE.py:NAME") -> tuple[str, str]:
    """Split the name of code into its file and the name in it.

    Args:
        text: such as `./my_net.py:Net`.
        where: source for errors.
        allowed: what is allowed, for errors.

    Returns:
        The path as written, and the name.

    Raises:
        InputError: the text is not of this form.
    """
    if not names_code(text):
        raise InputError(where, repr(text), allowed, "Write the path of a Python file, a colon and a name in it.")
    file, _, name = text.rpartition(":")
    return file, name


def function_code(call: str, where: str) -> Code:
    """Return the code of a function of the user: its file, and the files next to it that it imports.

    Args:
        call: `FILE.py:FUNCTION`.
        where: source for errors.

    Returns:
        The code; `sha256` identifies it.

    Raises:
        InputError: the name is not of this form, or there is no such file.
    """
    file, name = split_code(call, where, FUNCTION)
    path = user_path(file, where)
    if not path.is_file():
        raise InputError(where, f"no file {str(path)!r}", FUNCTION, "Put the file there, or fix the path.")
    return code_of(f"./{path.name}:{name}", path.absolute().parent, where)


def load_function(call: str, where: str) -> tuple[Callable[..., Any], str]:
    """Run the file of a function of the user, and return the function.

    Args:
        call: `FILE.py:FUNCTION`.
        where: source for errors.

    Returns:
        The function, and the path of its file as tracebacks name it.

    Raises:
        InputError: there is no such file or function, or the file cannot be run.
    """
    code = function_code(call, where)
    module, file = run_code(code, where), str(code.root / code.entry)
    found = getattr(module, code.name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        step = f"{nearest(code.name, known)}Name a function of that file."
        raise InputError(where, f"{code.name!r} in {file!r}", ", ".join(known) or "a function", step)
    return found, file


def run_code(code: Code, where: str) -> ModuleType:
    """Run the file of a user as a module, with the files next to it that it imports.

    The modules get names that no other code uses. What they print goes to stderr.

    Args:
        code: the files.
        where: source for errors.

    Returns:
        The module of the file.

    Raises:
        InputError: the file cannot be run.
    """
    package = _PREFIX + hashlib.sha256(repr([str(code.root), code.sha256]).encode()).hexdigest()[:16]
    _CODES[package] = code
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    path = str(code.root / code.entry)
    with code_errors(f"running {path!r}", where, "Fix the file, or install what it imports.", path, package):
        return importlib.import_module(f"{package}.{code.entry.removesuffix('.py').replace('/', '.')}")


@contextlib.contextmanager
def code_errors(action: str, where: str, step: str, file: str = "", package: str = "") -> Iterator[None]:
    """Raise what the code of a user raises as an InputError; let it print to stderr, and see no options.

    Args:
        action: what the block does, for errors.
        where: source for errors.
        step: what to do about an error.
        file: path of the file, whose line an error names.
        package: name that errors leave out.

    Yields:
        Nothing.

    Raises:
        InputError: the block raised an error, or ended the program.
    """
    words, sys.argv = sys.argv, sys.argv[:1]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except InputError:
        raise
    except SystemExit as error:
        step = "Move code that parses arguments below `if __name__ == '__main__':`."
        raise InputError(where, f"code that ends the program while {action}", "code that returns", step) from error
    except Exception as error:
        got = f"{type(error).__name__} while {action}{place_of_error(error, file)}: {error}".replace(f"{package}.", "")
        raise InputError(where, got, "code that runs without an error", step) from error
    finally:
        sys.argv = words


def place_of_error(error: BaseException, file: str) -> str:
    """Return `, line N (code)` of the innermost frame of a traceback in a file; empty if there is none.

    Args:
        error: what was raised.
        file: path of the file as Python knows it.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {frames[-1].lineno} ({frames[-1].line})" if frames else ""


@final
class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of users' networks."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the specification of a module of some code; a folder of it is a package."""
        code = _CODES.get(name.partition(".")[0])
        if code is None:
            return None
        stem = "/".join(name.split(".")[1:])
        files = (f"{stem}/__init__.py".lstrip("/"), f"{stem}.py")
        file = next((each for each in files if each in code.files), None)
        if file is None and not any(each.startswith(f"{stem}/".lstrip("/")) for each in code.files):
            return None
        loader = _Loader(code, file)
        return importlib.util.spec_from_loader(name, loader, is_package=file != files[1])


@final
class _Loader(importlib.abc.Loader):
    """Runs one file exactly as it was read; None: a folder without `__init__.py`."""

    def __init__(self, code: Code, file: str | None) -> None:
        self.code, self.file = code, file

    def exec_module(self, module: ModuleType) -> None:
        """Run the file in its module, with an `__import__` that finds the files next to it."""
        if self.file is None:
            return
        path = str(self.code.root / self.file)
        package, file = module.__name__.partition(".")[0], self.file
        module.__file__ = path
        own = {"__import__": _import_of(self.code, package, file)}
        module.__dict__["__builtins__"] = vars(builtins) | own
        exec(compile(self.code.files[file], path, "exec"), module.__dict__)  # noqa: S102  # code that the user named


def _import_of(code: Code, package: str, file: str) -> Callable[..., Any]:
    """Return the `__import__` of a file, which finds the files next to it under the names of its network."""

    def find(name: str, globals_: Any = None, locals_: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        """Import a module as Python's `__import__` does."""
        prefix = None if level else local_name(code.files, file, name.partition(".")[0])
        if prefix is None:
            return builtins.__import__(name, globals_, locals_, fromlist, level)
        found = importlib.import_module(f"{package}.{prefix}{name}")
        if not fromlist:
            return sys.modules[f"{package}.{prefix}{name.partition('.')[0]}"]
        for each in fromlist:
            if not hasattr(found, each) and hasattr(found, "__path__"):
                with contextlib.suppress(ModuleNotFoundError):
                    importlib.import_module(f"{found.__name__}.{each}")
        return found

    return find


_FINDER = _Finder()
