"""Peak memory against the number of chips in one call: it grows up to the limit that is set, and no further.

    python benchmarks/memory.py

Each number is the peak of a separate process, programming and one forward of 4 images included.
"""

from __future__ import annotations

import subprocess
import sys

LIMIT_GIB = 4.0

PROGRAM = """
import resource, sys, torch
import imc_sim as imc

chips, limit = int(sys.argv[1]), int(float(sys.argv[2]) * 1e9)
chip = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.1)
images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    model = imc.nn.networks.BatmannController("xnor").eval()
    analog = imc.map_model(model, chip, chips=chips, memory_limit_bytes=limit)
    assert analog(images).shape == (chips, 4, 512)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def peak_gib(chips: int, limit_gb: float) -> float:
    """Peak resident memory of a fresh process that runs that many chips."""
    argv = [sys.executable, "-c", PROGRAM, str(chips), str(limit_gb)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Print the table; exit 1 if 1,000 chips need 4 GiB or more."""
    print(f"{'chips':>8}{'bound set (GB)':>16}{'peak (GiB)':>12}")
    peak = 0.0
    for chips, limit in ((1, 2.0), (16, 2.0), (64, 2.0), (64, 0.5), (1000, 2.0)):
        peak = peak_gib(chips, limit)
        print(f"{chips:>8}{limit:>16.1f}{peak:>12.2f}", flush=True)
    return int(peak >= LIMIT_GIB)


if __name__ == "__main__":
    raise SystemExit(main())
