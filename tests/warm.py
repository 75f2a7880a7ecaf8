"""Run Python programs in processes that are forked from one that has imported torch and this package.

Importing them takes seconds of processor time in every new process. Tests of what a new process imports, of signals and
of whole process groups start their own.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
#: all that the programs of tests import; the last names import most of this package
_IMPORTS = (
    "numpy", "pandas", "scipy.stats", "scipy.sparse.linalg", "torch", "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg", "imc_sim.cli", "imc_sim.study", "imc_sim.train", "imc_sim.mapping",
    "imc_sim.report", "imc_sim.plotting", "imc_sim.testing", "sklearn.datasets",
)  # fmt: skip
#: seconds after which a program is ended
_LIMIT_S = 600


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the process that the others are forked from, and end it with this one."""
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, __file__]
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd="/")
    atexit.register(server.communicate)
    return server


def run_python(
    *argv: str | Path, cwd: str | Path | None = None, env: dict[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `python ARGV` to its end in a process that has imported torch and the package.

    Args:
        argv: a file, `-m module` or `-c code`, and its arguments; `-W` and a filter may come before them.
        cwd: working folder.
        env: environment. A copy of the package in the first folder of PYTHONPATH is imported instead.

    Returns:
        The exit code, and what the program printed.
    """
    words, server = [str(word) for word in argv], _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        request = {"argv": words, "cwd": str(cwd or Path.cwd()), "env": env or dict(os.environ), "streams": streams}
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        for file in (out, err):
            file.seek(0)
        return CompletedProcess([sys.executable, *words], code, out.read(), err.read())


def _serve() -> None:
    """Fork a process for each request, wait for its end, and write its exit code."""
    for name in _IMPORTS:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(argv: list[str], cwd: str, env: dict[str, str], streams: list[str]) -> NoReturn:
    """Run the program in this process, and end the process."""
    signal.alarm(_LIMIT_S)
    for number, path in enumerate(["/dev/null", *streams]):
        handle = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
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
    sys.path[sys.path.index(str(REPOSITORY))] = folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "imc_sim"]:
        del sys.modules[name]


def _run(argv: list[str]) -> None:
    """Run a program as the interpreter does with these words."""
    while argv[0] == "-W":
        warnings._setoption(argv[1])  # type: ignore[attr-defined]
        argv = argv[2:]
    if argv[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *argv[2:]], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(argv[1], "<string>", "exec"), vars(main))
    elif argv[0] == "-m":
        sys.argv, sys.path[0] = argv[1:], os.getcwd()  # noqa: PTH109
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        path = Path(argv[0]).resolve()
        sys.argv, sys.path[0] = argv, str(path.parent)
        runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    _serve()
