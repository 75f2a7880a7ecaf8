"""Contract suites for those who add an encoding, a way of programming or an engine: subclass, name it, run pytest.

class TestMine(EncodingContract):
    encoding = MyEncoding()
"""

from typing import TYPE_CHECKING, Any

from imc_sim.testing._executor_contract import ExecutorContract
from imc_sim.testing._stand_in import stand_in_evaluator

if TYPE_CHECKING:
    from imc_sim.testing._contracts import EncodingContract, ProgrammingContract

__all__ = ["EncodingContract", "ExecutorContract", "ProgrammingContract", "stand_in_evaluator"]


def __getattr__(name: str) -> Any:
    if name in ("EncodingContract", "ProgrammingContract"):  # they need torch, which workers of a test do not
        from imc_sim.testing import _contracts

        return getattr(_contracts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
