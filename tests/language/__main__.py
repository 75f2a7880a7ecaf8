"""Print findings in files and folders: `python -m tests.language imc_sim/array docs/wires.md`."""

import sys

from tests.language.check import report

print("\n".join(report(sys.argv[1:])))
