"""The commands in their groups, and how errors of any of them are reported."""

from __future__ import annotations

import contextvars
import errno
import functools
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from imc_sim._errors import ImcSimError, printable
from imc_sim.cli._console import remarks
from imc_sim.cli._cost import cost
from imc_sim.cli._data import data_app
from imc_sim.cli._device import device_app
from imc_sim.cli._doctor import doctor
from imc_sim.cli._evaluate import evaluate
from imc_sim.cli._help import GroupedCommands, add_command, usage_error
from imc_sim.cli._import import import_
from imc_sim.cli._list import list_
from imc_sim.cli._map import map_
from imc_sim.cli._old_names import with_new_names
from imc_sim.cli._plot import plot
from imc_sim.cli._report import report
from imc_sim.cli._run import run
from imc_sim.cli._show import show_app
from imc_sim.cli._status import status
from imc_sim.cli._train import train

_command_line = functools.cache(typer.main.get_command)  # it reads the signatures of all commands
_FULL = {errno.ENOSPC, errno.EDQUOT}

_HELP = "Simulate binarized neural networks on in-memory-computing hardware."

app = typer.Typer(
    name="imc-sim",
    cls=GroupedCommands,
    help=_HELP,
    epilog="\b\nExamples:\n  imc-sim run quickstart\n  imc-sim list models\n  imc-sim run --help",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from imc_sim.cli._versions import version

        typer.echo(f"imc-sim {version('imc-sim')}")
        raise typer.Exit


@app.callback(help=_HELP)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Handle the options before a command."""


_STUDIES, _MODELS, _ABOUT = "Studies", "Models", "Content and installation"
for _name, _command in {"run": run, "status": status, "plot": plot, "report": report}.items():
    add_command(app, _name, _command, _STUDIES)
for _name, _command in {"train": train, "evaluate": evaluate, "map": map_, "cost": cost, "import": import_}.items():
    add_command(app, _name, _command, _MODELS)
app.add_typer(device_app, name="device", rich_help_panel=_MODELS)
add_command(app, "list", list_, _ABOUT)
app.add_typer(show_app, name="show", rich_help_panel=_ABOUT)
app.add_typer(data_app, name="data", rich_help_panel=_ABOUT)
add_command(app, "doctor", doctor, _ABOUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line. Errors are printed in one line, with `IMC_SIM_DEBUG=1` as tracebacks.

    Args:
        argv: the words after `imc-sim`; None: those of this process.

    Returns:
        The exit code: 0 done, 1 failed trials or a failed check, 2 bad input or interrupted.
    """
    _make_streams_safe()
    try:
        _working_folder()
        words = with_new_names(sys.argv[1:] if argv is None else argv)
        # `--quiet` must not outlast this call: run in a copy of the context.
        run = contextvars.copy_context().run
        with remarks():
            code = run(_command_line(app), args=list(map(_expanded, words)), prog_name="imc-sim", standalone_mode=False)
        return _interrupted() if code == 130 else code or 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            return 2
        if os.environ.get("IMC_SIM_DEBUG", "") not in ("", "0"):
            raise
        text, code = _explained(error)
        print(f"imc-sim: {printable(text)}", file=sys.stderr)
        return code


def _expanded(argument: str) -> str:
    """Expand `~` at the start of an argument, and of the value in `--option=value`, where shells do not expand it."""
    from imc_sim.config import user_path

    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{user_path(value, option or 'argument')}" if value.startswith("~") else argument


def _make_streams_safe() -> None:
    """Open standard streams that the caller closed, and escape characters that their encoding lacks.

    Otherwise the next file opened would become stderr for libraries.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    while handle <= 2:
        handle = os.dup(handle)
    os.close(handle)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # open until the end
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        from imc_sim.config import working_folder  # takes a tenth of a second to import

        return working_folder()


def _interrupted() -> int:
    print("imc-sim: interrupted; what was finished is kept", file=sys.stderr)
    return 2


def _explained(error: Exception) -> tuple[str, int]:
    """Return the message of an error in one line, and the exit code."""
    if isinstance(error, ImcSimError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # of typer's own click, or click
        return usage_error(error), 2
    if isinstance(error, OSError):
        place = error.filename or f"an output of this command (started in {str(_working_folder())!r})"
        if error.errno in _FULL:
            step = "Free some space, or write elsewhere (--out); then run the command again."
            return f"{place}: no space left on the disk. {step}", 2
        return f"{place}: {error.strerror or error}. Check the path, its rights and its disk.", 2
    kind = type(error).__name__
    return f"{kind}: {error}. This is a bug in imc_sim; IMC_SIM_DEBUG=1 shows the traceback.", 1
