"""The backend that computes the products of crossbars (`engine` in YAML)."""

from __future__ import annotations

from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config._spec import Spec, build


@final
class Engine(Spec):
    """A backend. A file may state its kind alone: `engine: memtorch`.

    Attributes:
        kind: `native`, the crossbars of this package, or `memtorch`, the patched layers of MemTorch, for chips that
            both can express.
        adc_overflow_rate: fraction of outputs that an ADC of MemTorch may clip when it chooses its range.
    """

    kind: Literal["native", "memtorch"] = "native"
    adc_overflow_rate: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="fraction of outputs that an ADC of MemTorch may clip"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.kind == "native" and self.adc_overflow_rate > 0.0:
            raise ValueError("adc_overflow_rate of 0 with the native backend, whose ADCs take their range from chips")
        return self

    @property
    def native(self) -> bool:
        """Tell whether this package computes the products."""
        return self.kind == "native"


NATIVE = Engine()


def as_engine(engine: Engine | str | dict[str, Any], where: str = "engine") -> Engine:
    """Build a backend.

    Args:
        engine: a backend, its kind, or a mapping.
        where: source for errors.

    Returns:
        The backend.
    """
    if isinstance(engine, Engine):
        return engine
    return build(Engine, {"kind": engine} if isinstance(engine, str) else engine, where)
