"""Print findings, or remove from the table of pending files what passes (--prune)."""

import sys

from tests.language.check import prune, report

if sys.argv[1:] == ["--prune"]:
    prune()
else:
    print("\n".join(report(sys.argv[1:])))
