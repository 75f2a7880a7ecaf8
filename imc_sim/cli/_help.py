"""Help texts: commands in groups, with examples, and completion of names in the shell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, final

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from imc_sim.config import Kind

_EXAMPLES = "\nExamples:\n"


@final
class GroupedCommands(TyperGroup):
    """A group of commands, listed under their headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # typer's own click, or click
        """Write one section per heading, in the order of the commands."""
        width = max(map(len, self.commands))
        headings = dict.fromkeys(_heading(command) for command in self.commands.values())
        for heading in headings:
            with formatter.section(heading):
                formatter.write_dl([
                    (name.ljust(width), command.get_short_help_str(formatter.width - 6 - width))
                    for name, command in self.commands.items() if _heading(command) == heading
                ])  # fmt: skip


def _heading(command: Any) -> str:
    return str(getattr(command, "rich_help_panel", None) or "Commands")


def add_command(group: typer.Typer, name: str, function: Callable[..., None], heading: str = "Commands") -> None:
    """Add a command. Lines below `Examples:` in its docstring are printed unchanged after the options."""
    text, _, examples = inspect.cleandoc(function.__doc__ or "").partition(_EXAMPLES)
    epilog = f"\b{_EXAMPLES}{examples}" if examples else None
    group.command(name, help=text.strip(), epilog=epilog, rich_help_panel=heading)(function)


def usage_error(error: Any) -> str:
    """Return a wrong command line as one line, with the nearest option or command.

    error: of typer's own click, or click.
    """
    from imc_sim._errors import nearest

    context = error.ctx
    path = "imc-sim" if context is None else context.command_path
    message = re.split(r" \(Possible|\.? Did you mean", " ".join(error.format_message().split()))[0].rstrip(".")
    message = message.replace(": Value error, ", ": ")  # of pydantic, by which typer reads options
    wrong = re.search(r"No such (?:command|option):? '?([^']+)", message)
    commands = getattr(context.command, "commands", {}) if context is not None else {}
    options = (
        [name for each in context.command.get_params(context) for name in each.opts] if context is not None else []
    )
    found = nearest(wrong[1], [*commands, *(name for name in options if name.startswith("--"))]) if wrong else ""
    return f"{path.removeprefix('imc-sim').strip()}: {message}. {found}See `{path} --help`.".removeprefix(": ")


def _names_of(kind: Kind) -> Callable[[str], list[str]]:
    """Return a function that lists the names of this kind with a given beginning."""

    def complete(incomplete: str) -> list[str]:
        from imc_sim.config import content_names

        return [name for name in content_names(kind) if name.startswith(incomplete)]

    return complete


complete_model, complete_chip, complete_study = map(_names_of, ("model", "chip", "study"))
#: arguments of several commands
ModelName = Annotated[
    str,
    typer.Argument(
        help="A model of `imc-sim list models`, its folder, or a network FILE.py:NAME or FILE.onnx.",
        autocompletion=complete_model,
    ),
]
ChipName = Annotated[
    str,
    typer.Argument(help="A chip of `imc-sim list chips`, its YAML file, or an .npz map.", autocompletion=complete_chip),
]
