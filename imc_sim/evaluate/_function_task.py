"""Task whose result is computed by a function of the user. Importing this loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field, field_validator

from imc_sim._errors import InputError
from imc_sim._files import file_sha256
from imc_sim.config import FUNCTION, Label, Spec, function_code, held, is_held, split_code, user_path


@final
class FunctionTask(Spec):
    """Any metric: a Python function of the user that scores a network, digital or on a chip.

    The function is called as `score(model, chip_index)` and returns a number, or numbers by name. `model` is called
    like the network itself. `chip_index` is the number of the chip, None for the digital network. Gradients are off.

    Python's, NumPy's and torch's random numbers are seeded before each call from `seed` and the number of the chip, so
    that a function that uses them returns the same for the same chip, wherever and whenever it is called.

    Results are identified by the SHA-256 of the file of the function, of the files next to it that it imports, and of
    `files`, not by their paths.

    Args:
        call: the function, `FILE.py:FUNCTION`; in a study file relative to its folder, else to the working directory.
        metric: name of the score in tables and figures; of several scores, the one that is shown and that stopping
            rules use.
        unit: unit of the score.
        better: whether higher or lower scores are better.
        tolerance: difference from the digital score that counts as close, in the unit of the score; None: 5 % of the
            digital score.
        inputs: function without arguments that returns real inputs [batch, …], on which chips are calibrated and the
            products of networks of any modules are found, `FILE.py:FUNCTION`.
        files: files that the functions read, such as their data.
        seed: seed of the random numbers in the functions.
    """

    kind: Literal["function"] = "function"
    call: str = Field(description=f"function that scores a network: {FUNCTION}, called with (model, chip_index)")
    metric: Label = Field(default="score", min_length=1, description="name of the score that is shown")
    unit: Label = Field(default="", description="of the score")
    better: Literal["higher", "lower"] = Field(default="higher", description="which scores are better")
    tolerance: float | None = Field(
        default=None, ge=0.0, description="difference from the digital score that counts as close; null: 5 % of it"
    )
    inputs: str | None = Field(
        default=None, description=f"function that returns inputs of the network for its calibration: {FUNCTION}"
    )
    files: tuple[str, ...] = Field(default=(), description="files that the function reads, part of its identity")
    seed: int = Field(default=0, ge=0, description="of random numbers in the function")

    @field_validator("call", "inputs")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        """Return the name of a function with the absolute path of its file."""
        if value is None or is_held(value):
            return value
        file, name = split_code(value, "", FUNCTION)
        return f"{user_path(file, 'task').absolute()}:{name}"

    @field_validator("files")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(user_path(file, "task.files").absolute()) for file in value)

    @property
    def chance(self) -> None:
        """Return the accuracy of guessing, which a function does not have."""
        return

    def identity(self) -> dict[str, Any]:
        """Return all that affects the scores: names and content of the functions and content of their files.

        Raises:
            InputError: a file does not exist.
        """
        known: dict[str, Any] = {"kind": self.kind, "metric": self.metric, "seed": self.seed}
        for key, value in (("call", self.call), ("inputs", self.inputs)):
            if value is not None and is_held(value):
                known[key] = [held(value).sha256]
            elif value is not None:
                code = function_code(value, f"task.{key}")
                known[key] = [code.name, code.sha256]
        return known | ({"files": [_content(Path(file)) for file in self.files]} if self.files else {})


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        step = "Put the file there, or fix the path."
        raise InputError("task.files", f"{str(path)!r} ({error.strerror})", "a file that can be read", step) from error
