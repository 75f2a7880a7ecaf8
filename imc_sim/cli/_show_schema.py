"""`imc-sim show schema`: JSON schemas, with which editors complete and check YAML."""

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


def schema(kind: Annotated[SchemaOf, typer.Argument(help="Kind of YAML file.")], quiet: Quiet = False) -> None:
    """Print the JSON schema of a kind of file.

    Editors complete and check a study that has `# yaml-language-server: $schema=study.schema.json` as first line.

    Examples:
      imc-sim show schema study > study.schema.json
    """
    import json

    from imc_sim.cli._console import working

    with working(f"collecting the keys of a {kind} file"):
        from imc_sim.study import json_schema

        found = json_schema(kind.value)
    print(json.dumps(found, indent=2, ensure_ascii=False))
