"""Peak memory against the number of chips in one call, and against the estimate of a study.

    python benchmarks/memory.py

Memory grows with chips up to the limit that is set, and no further. Each number is the peak of a separate process,
programming and one forward of 4 images included. A study takes no more than its estimate; its peak is that of the
digital baseline and a batch of 2 chips of one point.
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

#: shipped studies, the number of a point, and a setting that shortens its task
STUDIES = (
    ("quickstart", 3, "task.episodes=20"), ("effect_adc", 15, "task.episodes=20"), ("binact_variation", 2, "seed=0"),
    ("metaplastic_variation", 1, "seed=0"), ("bitnet_variation", 1, "task.images=100"),
)  # fmt: skip
ESTIMATE = """
import sys
from imc_sim.evaluate import evaluate_chips
from imc_sim.study import load_study, points_of, with_settings
from imc_sim.study._memory_use import estimated_memory
from imc_sim.study._probe import peak_bytes
from imc_sim.study._runner import check_study
from imc_sim.study._work import Batch, evaluate_batch

study = with_settings(load_study(sys.argv[1]), [sys.argv[3]])
point = points_of(study)[int(sys.argv[2])]
check_study(study, [point], "cpu")
estimate = estimated_memory([point], evaluate_chips, 2, study.memory_limit, 2, 1)
for which, chips in ((point.baseline(), [-1]), (point, [0, 1])):
    evaluate_batch(Batch.of([which.trial(chip) for chip in chips], evaluate_chips, "cpu"))
print(estimate.worker_bytes / 2**30, peak_bytes() / 2**30)
"""


def peak_gib(chips: int, limit_gb: float) -> float:
    """Peak resident memory of a fresh process that runs that many chips."""
    argv = [sys.executable, "-c", PROGRAM, str(chips), str(limit_gb)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def study_gib(study: str, point: int, setting: str) -> tuple[float, float]:
    """Estimate and peak of a worker of a study."""
    argv = [sys.executable, "-c", ESTIMATE, study, str(point), setting]
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return float(found[-2]), float(found[-1])


def main() -> int:
    """Print the tables; exit 1 if 1,000 chips need 4 GiB or more, or a study more than its estimate."""
    print(f"{'chips':>8}{'bound set (GB)':>16}{'peak (GiB)':>12}")
    peak = 0.0
    for chips, limit in ((1, 2.0), (16, 2.0), (64, 2.0), (64, 0.5), (1000, 2.0)):
        peak = peak_gib(chips, limit)
        print(f"{chips:>8}{limit:>16.1f}{peak:>12.2f}", flush=True)
    print(f"\n{'study':>22}{'estimate (GiB)':>16}{'peak (GiB)':>12}{'ratio':>8}")
    within = True
    for study in STUDIES:
        estimate, measured = study_gib(*study)
        within &= measured <= estimate
        print(f"{study[0]:>22}{estimate:>16.2f}{measured:>12.2f}{estimate / measured:>8.2f}", flush=True)
    return int(peak >= LIMIT_GIB or not within)


if __name__ == "__main__":
    raise SystemExit(main())
