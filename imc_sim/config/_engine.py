"""Engines: who computes what the crossbars of a chip give."""

from __future__ import annotations

from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config._spec import Spec, build


@final
class Engine(Spec):
    """`native`: this package's own crossbars. `memtorch`: MemTorch's patched layers, for chips that both can express.

    adc_overflow_rate: fraction of the outputs that a converter of MemTorch may clip when it chooses its range.
    A file may name an engine by its kind alone: `engine: memtorch`.
    """

    kind: Literal["native", "memtorch"] = "native"
    adc_overflow_rate: float = Field(default=0.0, ge=0.0, lt=1.0, description="of MemTorch's converters")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.kind == "native" and self.adc_overflow_rate > 0.0:
            raise ValueError("adc_overflow_rate of 0 with engine native, whose converters take their range from chips")
        return self

    @property
    def native(self) -> bool:
        return self.kind == "native"


NATIVE = Engine()


def as_engine(engine: Engine | str | dict[str, Any], where: str = "engine") -> Engine:
    """An engine from what a file or a caller says: a spec, a kind or a mapping; InputError for anything else."""
    if isinstance(engine, Engine):
        return engine
    return build(Engine, {"kind": engine} if isinstance(engine, str) else engine, where)
