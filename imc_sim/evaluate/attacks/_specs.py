"""Specifications of attacks on the queries of few-shot episodes. Importing this loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Spec


class AttackSpec(Spec):
    """Settings of every attack: its strength, the network that its gradients are computed through, and where it is
    evaluated.

    Queries are attacked, each in its own episode; keys stay clean. epsilon: largest change of a pixel, as a fraction of
    the range from ink to paper. through: the digital network, or the network on a chip (forward as on the crossbars,
    backward straight through to the digital layers, read noise sampled again at every step). transfer, of attacks
    computed through a chip: `none` evaluates them on that chip, `chip` on another one, `digital` on the digital
    network. loss: cross-entropy over the cosine similarity of float features (`cosine`), or over the read-out of the
    task, straight through the signs (`memory`).
    """

    epsilon: float = Field(default=0.1, ge=0.0, le=1.0, description="largest change of a pixel")
    through: Literal["digital", "analog"] = Field(
        default="digital", description="network that the gradients are computed through"
    )
    transfer: Literal["none", "chip", "digital"] = Field(
        default="none", description="where an attack that was made through a chip is evaluated; none: on that chip"
    )
    loss: Literal["cosine", "memory"] = Field(default="cosine", description="loss whose gradient is computed")

    @model_validator(mode="after")
    def _made_on_a_chip(self) -> Self:
        if self.transfer != "none" and self.through == "digital":
            raise ValueError(f"through: analog with transfer: {self.transfer}, which is for attacks made on a chip")
        return self

    @property
    def is_ideal(self) -> bool:
        """Tell whether the images stay unchanged to the bit."""
        return self.epsilon == 0.0

    @property
    def made_on_chips(self) -> bool:
        """Tell whether the attacked images differ from chip to chip.

        Unchanged images are those of a clean task, unless they are transferred.
        """
        return self.through == "analog" and not (self.is_ideal and self.transfer != "digital")


@final
class Fgsm(AttackSpec):
    """One step of size epsilon along the sign of the gradient.

    space `pixels`: in pixels from 0 to 1, which are then normalised. `normalised`: as published with BATMANN, where
    epsilon is added to the normalised image, which is then clamped to [0, 1]: ink, at -10.9, becomes 0, so the image
    changes even at epsilon 0. Attacked queries are then compared with float keys, whatever form the task has.

    Reference: Goodfellow et al., ICLR 2015.
    """

    kind: Literal["fgsm"] = "fgsm"
    space: Literal["pixels", "normalised"] = Field(
        default="pixels", description="where epsilon is added and the image clamped; normalised: as published"
    )

    @property
    def is_ideal(self) -> bool:
        return self.epsilon == 0.0 and self.space == "pixels"


@final
class Pgd(AttackSpec):
    """Steps along the sign of the gradient, each projected to within epsilon of the image and to pixels in [0, 1].

    Args:
        steps: number of steps.
        step: change of a pixel per step; None: 2.5 epsilon / steps.
        random_start: start anywhere within epsilon.
        seed: seed of the random start.

    Reference: Madry et al., ICLR 2018.
    """

    kind: Literal["pgd"] = "pgd"
    steps: int = Field(default=10, ge=1, le=10_000)
    step: float | None = Field(default=None, gt=0.0, le=1.0, description="change of a pixel per step")
    random_start: bool = True
    seed: int = Field(default=0, ge=0, description="of the random start")

    @property
    def step_size(self) -> float:
        """Return the change of a pixel per step."""
        return 2.5 * self.epsilon / self.steps if self.step is None else self.step


Attack = Annotated[Fgsm | Pgd, Field(discriminator="kind")]
