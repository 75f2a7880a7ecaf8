"""Wires: the circuit of a tile, effective conductances, and the rows that inputs switch on."""
