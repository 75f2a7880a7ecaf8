"""Attacks on images: their specifications, and their steps along a gradient. Importing this loads no torch.

What is attacked, and through what the gradient is computed, is up to the task that uses them.
"""

from imc_sim.evaluate.attacks._specs import Attack, AttackSpec, Fgsm, Pgd

__all__ = ["Attack", "AttackSpec", "Fgsm", "Pgd"]
