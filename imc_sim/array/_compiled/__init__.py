"""Products of whole numbers in one compiled pass; numba, if installed, is imported inside functions."""

#: columns whose weights the compiled product keeps next to each other
COLUMNS = 64
