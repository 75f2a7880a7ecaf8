"""`imc-sim show forgetting`: accuracy of continually trained networks on earlier tasks, from their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import complete_model
from imc_sim.cli._own_network import Trust


def forgetting(
    models: Annotated[
        list[str],
        typer.Argument(help="Trained models of continual recipes, by name or folder.", autocompletion=complete_model),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to; its name is the NAME of the table.")] = Path(
        "results/forgetting"
    ),
    page: Annotated[Path | None, typer.Option(help="Markdown page to write the table into.")] = None,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Show the accuracy of every task after each training.

    Prints the table after the last training, and the files written. With --page, also writes the table between the
    lines `<!-- made NAME -->` and `<!-- end -->` of the page, where NAME is the name of the folder.

    Examples:
      imc-sim show forgetting metaplastic_small_m0 metaplastic_small_m10
    """
    from imc_sim.cli._console import print_paths, print_rows
    from imc_sim.plotting import curves_of, draw_forgetting, forgetting_table, save_table
    from imc_sim.report import fill_made

    curves = curves_of(models)
    table = forgetting_table(curves)
    print_rows([{str(key): value for key, value in row.items()} for row in table.to_dict("records")])
    files = [save_table(table, out / "table"), *draw_forgetting(curves, out / "forgetting")]
    if page is not None:
        fill_made(page, out.name, table)
        files.append(page)
    print_paths(files)
