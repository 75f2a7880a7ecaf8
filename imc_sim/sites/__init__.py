"""Find the matrix products of any torch module by watching the calls that it makes, not the classes of its layers."""

from imc_sim.sites._calls import COMPOSITES, Call, opened, product_of
from imc_sim.sites._probe import Products, Site, find_products, watch_paths
from imc_sim.sites._values import Values, inputs_of, weights_of

__all__ = [
    "COMPOSITES",
    "Call",
    "Products",
    "Site",
    "Values",
    "find_products",
    "inputs_of",
    "opened",
    "product_of",
    "watch_paths",
    "weights_of",
]
