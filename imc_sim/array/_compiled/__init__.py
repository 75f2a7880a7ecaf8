"""Products of whole numbers in one compiled pass; numba is imported inside functions, where it is installed."""

#: Columns whose weights the compiled product holds next to each other.
COLUMNS = 64
