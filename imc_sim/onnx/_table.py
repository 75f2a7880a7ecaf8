"""Operators by name: the one place that says which ones can be read."""

from __future__ import annotations

from imc_sim.onnx._node import Operator
from imc_sim.onnx._norms import NORMS
from imc_sim.onnx._pointwise import POINTWISE
from imc_sim.onnx._pooling import POOLING
from imc_sim.onnx._products import PRODUCTS
from imc_sim.onnx._quantized import QONNX, QUANTIZED
from imc_sim.onnx._shapes import SHAPES

#: operator, with its domain unless that is ONNX's own -> function
OPERATORS: dict[str, Operator] = POINTWISE | SHAPES | PRODUCTS | POOLING | NORMS | QUANTIZED | QONNX
