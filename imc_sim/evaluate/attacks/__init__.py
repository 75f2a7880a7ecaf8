"""Attacks on images: their specifications, and their steps along a gradient (in `steps`, which loads torch).

The task that uses them decides what is attacked, and through which network the gradient is computed.
"""

from imc_sim.evaluate.attacks._specs import Attack, AttackSpec, Fgsm, Pgd

__all__ = ["Attack", "AttackSpec", "Fgsm", "Pgd"]
