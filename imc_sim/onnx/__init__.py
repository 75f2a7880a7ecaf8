"""Networks from ONNX and QONNX files, as torch modules whose products can be mapped."""

from imc_sim.onnx._kept import GRAPH, graph_beside
from imc_sim.onnx._load import load_onnx, operators
from imc_sim.onnx._network import OnnxNetwork, file_name

__all__ = ["GRAPH", "OnnxNetwork", "file_name", "graph_beside", "load_onnx", "operators"]
