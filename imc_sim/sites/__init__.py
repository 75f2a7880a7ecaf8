"""Find the matrix products of any torch module by watching the calls that it makes, not the classes of its layers."""

from imc_sim.sites._calls import Call
from imc_sim.sites._mode import ProductMode
from imc_sim.sites._probe import Products, Site, find_products
from imc_sim.sites._values import Values, inputs_of, weights_of

__all__ = [
    "Call",
    "ProductMode",
    "Products",
    "Site",
    "Values",
    "find_products",
    "inputs_of",
    "weights_of",
]
