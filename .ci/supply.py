"""Check the versions that the project is installed with.

Usage:
    supply.py --lock             compare requirements.lock with constraints.txt; end with 1 if they differ
    supply.py --audit < REPORT   read the JSON of pip-audit: end with 1 for known vulnerabilities, and with 2 where its
                                 database was not reached
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK, CONSTRAINTS = "requirements.lock", "constraints.txt"


def _versions(text: str) -> dict[str, str]:
    """Return the version of every package of a file, by its normalised name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def lock_faults(root: Path) -> list[str]:
    """Return what is wrong with the lock: other versions than constraints.txt, no hashes, or places of packages."""
    text = (root / LOCK).read_text(encoding="utf-8")
    locked, wanted = _versions(text), _versions((root / CONSTRAINTS).read_text(encoding="utf-8"))
    faults = [
        f"{name}: {LOCK} has {locked.get(name, 'nothing')}, {CONSTRAINTS} has {version}"
        for name, version in wanted.items()
        if locked.get(name) != version
    ]
    entries = [entry for entry in re.split(r"\n(?=[^\s#])", text) if re.match(r"[\w.-]+==", entry)]
    faults += [f"{entry.split()[0]}: no hash" for entry in entries if "--hash=sha256:" not in entry]
    places = re.findall(r"^.*(?:://|^-|--index|--find-links|--trusted-host| @ ).*$", text, re.MULTILINE)
    return faults + [f"a place of packages: {line}" for line in places]


def audit_verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and the lines for a report of pip-audit."""
    each = report["dependencies"]
    skipped = [d["name"] for d in each if "skip_reason" in d]
    known = [f"{d['name']} {d['version']}: {v['id']}" for d in each for v in d.get("vulns", ())]
    lines = [f"{len(each) - len(skipped)} of {len(each)} packages were audited"]
    if skipped:
        lines.append(f"the database of vulnerabilities knows nothing of {len(skipped)} packages, or was not reached")
    return 1 if known else 2 if skipped else 0, known + lines


def main(option: str) -> int:
    """Run one of the checks."""
    if option == "--lock":
        faults = lock_faults(ROOT)
        print(
            "\n".join([*faults, "Write it again: make lock"]) if faults else f"{LOCK} has the versions of {CONSTRAINTS}"
        )
        return int(bool(faults))
    try:
        code, lines = audit_verdict(json.load(sys.stdin))
    except ValueError:
        code, lines = 2, ["nothing was audited: pip-audit wrote no report; does it reach its database?"]
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
