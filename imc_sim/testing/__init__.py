"""Contract suites: subclass one, say what is tested, and run pytest.

class TestMine(EncodingContract):
    encoding = MyEncoding()

Docs: docs/extending/.
"""

from typing import TYPE_CHECKING, Any

from imc_sim.testing._executor_contract import ExecutorContract
from imc_sim.testing._stand_in import stand_in_evaluator

if TYPE_CHECKING:
    from imc_sim.testing._contracts import EncodingContract, ProgrammingContract
    from imc_sim.testing._effect_contract import DeviceEffectContract
    from imc_sim.testing._network_contract import NetworkContract

__all__ = [
    "DeviceEffectContract",
    "EncodingContract",
    "ExecutorContract",
    "NetworkContract",
    "ProgrammingContract",
    "stand_in_evaluator",
]
#: contracts that need torch, which the workers of a test do not load
_HOME = {
    "DeviceEffectContract": "_effect_contract",
    "EncodingContract": "_contracts",
    "NetworkContract": "_network_contract",
    "ProgrammingContract": "_contracts",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"imc_sim.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
