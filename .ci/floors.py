"""Write the lowest versions that pyproject.toml allows as constraints for pip, one `name==version` a line.

Usage: floors.py [torch==VERSION] [EXTRA ...]. Of the dependencies and of the extras. `torch==VERSION` takes the place
of the floor of torch, whose old builds are several GB on some platforms.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def floors(extras: list[str]) -> list[str]:
    """`name==version` of every requirement `name>=version` of the project and of the extras."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", text) for text in wanted]
    unread = [text for text, match in zip(wanted, found, strict=True) if match is None]
    if unread:
        sys.exit(f"pyproject.toml: got {', '.join(unread)}; expected name>=version. Give each dependency a floor.")
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


if __name__ == "__main__":
    torch = [word for word in sys.argv[1:] if word.startswith("torch==")]
    found = floors([word for word in sys.argv[1:] if word not in torch])
    print("\n".join([line for line in found if not (torch and line.startswith("torch=="))] + torch))
