"""Other simulators that can compute the products of a chip's crossbars, each in a separate package."""
