"""Networks from ONNX and QONNX files, as torch modules whose products can be mapped."""

from imc_sim.onnx._load import load_onnx, operators
from imc_sim.onnx._network import OnnxNetwork, file_name

__all__ = ["OnnxNetwork", "file_name", "load_onnx", "operators"]
