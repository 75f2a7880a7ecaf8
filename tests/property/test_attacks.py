"""No attack leaves its allowed region, whatever its gradient is."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from imc_sim.evaluate.attacks.steps import PixelSpace, fgsm, pgd

SPACE = PixelSpace(0.9219, 0.2403)


@given(
    seed=st.integers(0, 2**31),
    epsilon=st.floats(0.0, 1.0),
    step=st.floats(1e-6, 1.0),
    steps=st.integers(1, 6),
    started=st.booleans(),
)
def test_pgd_stays_within_epsilon_and_in_the_box(
    seed: int, epsilon: float, step: float, steps: int, started: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (2, 30), generator=generator).double() / 255
    start = 2 * torch.rand(2, 30, dtype=torch.float64, generator=generator) - 1 if started else None
    found = pgd(pixels, lambda x: torch.randn(x.shape, dtype=x.dtype, generator=generator), epsilon, steps, step, start)
    assert float(found.min()) >= 0.0
    assert float(found.max()) <= 1.0
    assert (found >= pixels - epsilon).all(), "equal: the bound is computed once"
    assert (found <= pixels + epsilon).all()
    again = SPACE.pixels(SPACE.images(found.clamp(0, 1)))
    assert float((again - found).abs().max()) <= 0.5 / 255 + 1e-6
    step_once = fgsm(pixels, torch.ones_like(pixels), epsilon)
    assert (found <= step_once).all()
