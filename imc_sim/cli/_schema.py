"""`imc-sim schema`: what editors need to complete and check YAML."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


class SchemaOf(StrEnum):
    """Kinds of files that have a schema."""

    study = "study"
    chip = "chip"
    model = "model"


def schema(kind: Annotated[SchemaOf, typer.Argument(help="What kind of YAML file.")], quiet: Quiet = False) -> None:
    """Print the JSON schema of a kind of file.

    For editors: `imc-sim schema study > study.schema.json`, then `# yaml-language-server: $schema=study.schema.json`
    as the first line of a study.
    """
    import json

    from imc_sim.cli._console import working

    with working(f"gathering what a {kind} may hold"):
        from imc_sim.study import json_schema

        found = json_schema(kind.value)
    print(json.dumps(found, indent=2, ensure_ascii=False))
