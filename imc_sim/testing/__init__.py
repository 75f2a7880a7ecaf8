"""Contract suites for those who add an encoding or a way of programming: subclass, name the spec, run pytest.

class TestMine(EncodingContract):
    encoding = MyEncoding()
"""

from imc_sim.testing._contracts import EncodingContract, ProgrammingContract
from imc_sim.testing._stand_in import stand_in_evaluator

__all__ = ["EncodingContract", "ProgrammingContract", "stand_in_evaluator"]
