"""`python -m imc_sim.cli`: the same as the command `imc-sim`."""

import sys

from imc_sim.cli import main

sys.exit(main())
