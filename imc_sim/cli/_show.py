"""`imc-sim show`: inspect chips, models and file formats."""

from __future__ import annotations

import typer

from imc_sim.cli._help import GroupedCommands, add_command
from imc_sim.cli._show_device import device
from imc_sim.cli._show_forgetting import forgetting
from imc_sim.cli._show_model import confusion, converters, sensitivity, tsne
from imc_sim.cli._show_schema import schema
from imc_sim.cli._show_signs import quadratic, sign_flips
from imc_sim.cli._show_spikes import spikes

show_app = typer.Typer(
    cls=GroupedCommands,
    help="Inspect a chip, a model or a file format.",
    epilog="\b\nExamples:\n  imc-sim show device rram_hfo2_1t1r\n"
    "  imc-sim show sensitivity batmann_small_xnor rram_hfo2_1t1r",
    rich_markup_mode=None,
    no_args_is_help=True,
)

for _heading, _commands in {
    "Chips": {"device": device},
    "Models on chips": {
        "converters": converters,
        "confusion": confusion,
        "sensitivity": sensitivity,
        "tsne": tsne,
    },
    "Models": {"spikes": spikes, "forgetting": forgetting, "sign-flips": sign_flips, "quadratic": quadratic},
    "Files": {"schema": schema},
}.items():
    for _name, _command in _commands.items():
        add_command(show_app, _name, _command, _heading)
