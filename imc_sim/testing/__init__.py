"""Contract suites for those who add an encoding or a way of programming: subclass, name the spec, run pytest.

class TestMine(EncodingContract):
    encoding = MyEncoding()
"""

from imc_sim.testing._contracts import EncodingContract, ProgrammingContract

__all__ = ["EncodingContract", "ProgrammingContract"]
