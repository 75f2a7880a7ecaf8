"""Wires: the circuit of a tile, what the ends of its lines see, and the rows that inputs switch on."""
