"""List the lowest versions that pyproject.toml allows, and remember for which of them `make floors` passed.

Usage:
    floors.py [torch==VERSION]   write the versions as constraints for pip, one `name==version` a line; with another
                                 torch than its floor, whose builds are several GB on some platforms
    floors.py --record           write what was tested to .ci/floors.tested
    floors.py --tested           end with 0 if the floors and constraints.txt are those that were tested, else with 1
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: the extras that `make floors` installs
EXTRAS = ("dask", "parquet", "fast", "onnx", "xlsx")
RECORD = ".ci/floors.tested"


def floors(root: Path) -> list[str]:
    """Return `name==version` of every requirement `name>=version` of the project and of the extras."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in EXTRAS for r in project["optional-dependencies"][extra])]
    found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", text) for text in wanted]
    unread = [text for text, match in zip(wanted, found, strict=True) if match is None]
    if unread:
        sys.exit(f"pyproject.toml: got {', '.join(unread)}; expected name>=version. Give each dependency a floor.")
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


def state(root: Path) -> str:
    """Return what a run of `make floors` tests: the floors, and the digest of the versions that the project pins."""
    digest = hashlib.sha256((root / "constraints.txt").read_bytes()).hexdigest()
    return "\n".join([*floors(root), f"constraints.txt sha256 {digest}", ""])


def tested(root: Path) -> bool:
    """Whether the floors and the pinned versions are those that were tested last."""
    record = root / RECORD
    return record.is_file() and record.read_text(encoding="utf-8") == state(root)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words == ["--tested"]:
        sys.exit(not tested(ROOT))
    if words == ["--record"]:
        (ROOT / RECORD).write_text(state(ROOT), encoding="utf-8")
    else:
        found = [line for line in floors(ROOT) if not (words and line.startswith("torch=="))]
        print("\n".join(found + words))
