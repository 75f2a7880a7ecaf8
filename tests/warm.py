"""Run Python programs, and workers, in processes that are forked from one that has imported torch and this package.

Importing them takes seconds of processor time in every new process. Tests of what a new process imports, of signals and
of whole process groups start their own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import runpy
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
#: all that the programs of tests import; an optimizer imports torch._dynamo
_IMPORTS = (
    "numpy", "pandas", "scipy.stats", "scipy.sparse.linalg", "sklearn.datasets", "torch", "torch._dynamo",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "pytest", "imc_sim.cli", "imc_sim.study",
    "imc_sim.train", "imc_sim.mapping", "imc_sim.report", "imc_sim.plotting", "imc_sim.testing",
)  # fmt: skip
_STARTING = threading.Lock()
#: seconds after which a program is killed
_LIMIT_S = 600.0


@functools.cache
def _context() -> ForkServerContext:
    """Start the process that the others are forked from; it ends with this one."""
    with _STARTING:  # threads that start workers would restore the working folder of each other
        return _started()


def _started() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTS])
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    try:
        with contextlib.chdir(REPOSITORY):  # it finds modules in the working folder too
            forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if path is not None:
            os.environ["PYTHONPATH"] = path
    return context


@contextlib.contextmanager
def started_python(
    *argv: str | Path, cwd: str | Path | None = None, env: dict[str, str] | None = None, streams: tuple[str, ...] = ()
) -> Iterator[BaseProcess]:
    """Start `python ARGV` in a process that has imported torch and the package; it is killed at the end.

    Args:
        argv: a file, `-m module` or `-c code`, and its arguments; `-W` and a filter may come before them.
        cwd: working folder.
        env: environment. A copy of the package in the first folder of PYTHONPATH is imported instead.
        streams: files that the standard output and the standard error are written to; those of this process otherwise.
    """
    words, where = [str(word) for word in argv], str(cwd or Path.cwd())
    process: ForkServerProcess = _context().Process(target=_become, args=(words, where, env or {**os.environ}, streams))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def run_python(
    *argv: str | Path, cwd: str | Path | None = None, env: dict[str, str] | None = None
) -> CompletedProcess[str]:
    """Run a program as `started_python` does to its end; return its exit code, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("out", "err")]
        for path in streams:
            path.touch()
        with started_python(*argv, cwd=cwd, env=env, streams=tuple(map(str, streams))) as process:
            process.join(_LIMIT_S)
            code = process.exitcode
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in streams)
    return CompletedProcess([*map(str, argv)], -9 if code is None else code, out, err)


def start_worker(work: Callable[..., None], name: str) -> tuple[BaseProcess, Any]:
    """Start a worker process of an executor as `imc_sim.runs._processes` does, but forked.

    Args:
        work: called with its end of the pipe.
        name: name of the process.
    """
    ours, theirs = _context().Pipe()
    process = _context().Process(target=_in_environment, args=({**os.environ}, work, theirs), name=name, daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _in_environment(env: dict[str, str], work: Callable[..., None], pipe: Any) -> None:
    os.environ.clear()
    os.environ.update(env)
    work(pipe)


def _become(argv: list[str], cwd: str, env: dict[str, str], streams: tuple[str, ...]) -> NoReturn:
    """Run the program in this process, and end the process."""
    for number, path in enumerate(streams, 1):
        handle = os.open(path, os.O_WRONLY)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path.insert(0, cwd)
    _find_package(env.get("PYTHONPATH", "").split(os.pathsep)[0])
    code: Any = 0
    try:
        _run(argv)
    except SystemExit as stop:
        code = stop.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _find_package(folder: str) -> None:
    """Let the package be imported from a folder that holds a copy of it."""
    if not Path(folder, "imc_sim").is_dir() or Path(folder).resolve() == REPOSITORY:
        return
    sys.path = [folder, *(path for path in sys.path if Path(path).resolve() != REPOSITORY)]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("imc_sim", "tests")]:
        del sys.modules[name]


def _run(argv: list[str]) -> None:
    """Run a program as the interpreter does with these words."""
    while argv[0] == "-W":
        warnings._setoption(argv[1])  # type: ignore[attr-defined]
        argv = argv[2:]
    if argv[0] == "-c":
        sys.argv, main = ["-c", *argv[2:]], types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(argv[1], "<string>", "exec"), vars(main))
    elif argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        path = Path(argv[0]).resolve()
        sys.argv = argv
        sys.path.insert(0, str(path.parent))
        runpy.run_path(str(path), run_name="__main__")
