"""Find the matrix products of any torch module by watching the calls that it makes, not the classes of its layers."""

from imc_sim.sites._arguments import Arguments, joined, leaves
from imc_sim.sites._calls import Call
from imc_sim.sites._copy import content_of, own_copy
from imc_sim.sites._mode import ProductMode
from imc_sim.sites._probe import Products, Site, find_products
from imc_sim.sites._repeatable import check_watchable
from imc_sim.sites._samples import Samples
from imc_sim.sites._values import Values, inputs_of, nearly_equal, weights_of

__all__ = [
    "Arguments",
    "Call",
    "ProductMode",
    "Products",
    "Samples",
    "Site",
    "Values",
    "check_watchable",
    "content_of",
    "find_products",
    "inputs_of",
    "joined",
    "leaves",
    "nearly_equal",
    "own_copy",
    "weights_of",
]
