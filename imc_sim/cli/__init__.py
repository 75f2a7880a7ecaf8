"""The command `imc-sim`: one file per command. stdout is data, stderr is progress.

Exit codes: 0 done, 1 failed trials or a failed check, 2 bad input or interrupted.
"""

from imc_sim.cli._app import app, main

__all__ = ["app", "main"]
