"""Compact weights: the weight operands that cells store, in few bytes and exactly.

A safetensors file. For a layer NAME with weights of +-1 it holds `NAME.weight#bits` (uint8, eight signs per byte, the
first weight in the highest bit); for 8-bit weights `NAME.weight#int8` (or `#int16`, where integers exceed 127 by a
signed maximum) and `NAME.weight#max` (float32, the magnitude that the scale was derived from, so that step = max / 127
is equal to the bit). Other tensors have their own names. For a rotated layer (rbnn) the bits are those of its rotated
weights, and it loads without a rotation. The metadata hold one JSON text, key `imc_sim`, with the version of the format
and the form, shape and scale rule of each packed layer.

A packed layer has the `weight_operand()` and the step of the saved one to the bit; a layer for which packing cannot do
that (such as one with a constant filter) is stored as float32 instead.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, reason_of
from imc_sim._files import regular
from imc_sim.config import SHUFFLED, canonical_json, read_stored
from imc_sim.nn._product_layer import ProductLayer
from imc_sim.nn.rotation import fold_rotation

FORMAT = "imc_sim-weights-1"
_TOP = 127
_FOLDED = ("rotate", "R1", "R2")
_WHOLE = {"int8": torch.int8, "int16": torch.int16}
_RETRAIN = "Use an undamaged copy, or train the model again."

Header = dict[str, Any]


def pack(module: nn.Module, half: bool = False) -> bytes:
    """Return the bytes of the safetensors file of a network, in float32; equal networks give equal bytes.

    Args:
        module: The network.
        half: Store tensors that are not packed as float16 (relative error up to 5e-4), for float controllers.
    """
    module = copy.deepcopy(module).to("cpu", torch.float32)
    state: dict[str, Tensor] = module.state_dict()
    refuse_not_finite(state, "the model to save")
    tensors: dict[str, Tensor] = {}
    layers: Header = {}
    for name, value in state.items():
        owner, _, leaf = name.rpartition(".")
        layer = module.get_submodule(owner)
        if leaf in _FOLDED and isinstance(layer, ProductLayer):
            continue  # the bits are those of the rotated weights
        if leaf != "weight" or not isinstance(layer, ProductLayer) or layer.kind.stored == "plain":
            tensors[name] = _plain(value, half)
            continue
        layers[owner], parts = _pack_layer(layer)
        tensors |= {f"{name}{part}": tensor for part, tensor in parts.items()}
    refuse_not_finite(tensors, "the model to save, as float16" if half else "the model to save")
    return save(tensors, metadata={"imc_sim": canonical_json({"format": FORMAT, "layers": layers})})


def unpack(path: Path, content: bytes | None = None) -> tuple[dict[str, Tensor], Header]:
    """Return the full state dict of a weights file, and {layer: {form, shape, scale}} of its packed layers.

    Args:
        path: The file.
        content: Its content, decompressed; None: the file is read.

    Raises:
        CheckpointError: The file is damaged or of another format.
    """
    tensors, header = read_tensors(path, content)
    layers = _header(header, path)
    for name, entry in layers.items():
        key = f"{name}.weight".lstrip(".")  # the module itself has the empty name
        try:
            tensors[key] = _unpack_layer(key, entry, tensors)
            if entry.get("rotated"):
                fold_rotation(tensors, name, tensors[key])
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(
                str(path), f"layer {name!r}: {reason_of(error)}", "the packed form", _RETRAIN
            ) from error
    refuse_not_finite(tensors, str(path))
    return tensors, layers


def read_tensors(path: Path, content: bytes | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a safetensors file, unchanged.

    Args:
        path: The file, or its compressed form.
        content: The content of the compressed form, decompressed; None: it is read.

    Raises:
        CheckpointError: The file cannot be read or is damaged.
    """
    try:
        if path.name.endswith(SHUFFLED):
            content = read_stored(path) if content is None else content
            length = int.from_bytes(content[:8], "little")
            return load(content), json.loads(content[8 : 8 + length]).get("__metadata__", {})
        with safe_open(regular(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 no dict
    except SafetensorError as error:
        got = f"{path.stat().st_size} bytes that do not decode ({error})"
        raise CheckpointError(str(path), got, "a whole safetensors file", _RETRAIN) from error
    except OSError as error:
        raise CheckpointError(str(path), str(error), "a readable file", "Check the path and its rights.") from error


def refuse_not_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Reject weights that are NaN or infinite.

    Args:
        tensors: Weights by name.
        where: Name of their origin in errors.

    Raises:
        CheckpointError: A weight is NaN or infinite.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            got = f"{bad} of {tensor.numel()} values of {name!r} NaN or infinite"
            raise CheckpointError(where, got, "finite weights", "Use a checkpoint from before training diverged.")


def _plain(value: Tensor, half: bool) -> Tensor:
    value = value.detach().clone().contiguous()
    return value.to(torch.float16) if half and value.is_floating_point() else value


def _pack_layer(layer: ProductLayer) -> tuple[Header, dict[str, Tensor]]:
    """Return entry and parts (suffix of the key -> tensor) of a layer, in the smallest form with equal results."""
    with torch.no_grad():
        entry, parts = _bits(layer) if layer.kind.stored == "bits" else _integers(layer)
        if _same(layer, _unpack_layer("", entry, dict(parts))):
            return entry, parts
    # the plain weight of a rotated layer would be another one
    if layer.kind.rotated:
        got, step = "a rotated layer whose filter has one sign throughout", "Train longer, or from another seed."
        raise CheckpointError("the model to save", got, "weights of both signs in every output unit", step)
    return entry | {"form": "plain"}, {"": _plain(layer.weight, half=False)}


def _bits(layer: ProductLayer) -> tuple[Header, dict[str, Tensor]]:
    positive = (layer.weight_operand() > 0).numpy().reshape(-1)
    entry: Header = {"form": "bits", "shape": list(layer.weight.shape)}
    if layer.kind.rotated:
        entry["rotated"] = True
    return entry, {"#bits": torch.from_numpy(np.packbits(positive))}


def _integers(layer: ProductLayer) -> tuple[Header, dict[str, Tensor]]:
    whole, weight = layer.weight_operand(), layer.weight.detach()
    form = "int8" if whole.abs().max() <= _TOP else "int16"
    largest = weight.abs().max() if layer.int8_scale == "absmax" else weight.max()
    limits = torch.iinfo(_WHOLE[form])
    entry = {"form": form, "shape": list(weight.shape), "scale": layer.int8_scale}
    integers = whole.round().clamp(limits.min, limits.max).to(_WHOLE[form])
    return entry, {f"#{form}": integers, "#max": largest.clone()}


def _unpack_layer(key: str, entry: Header, tensors: dict[str, Tensor]) -> Tensor:
    """Return the weight of a packed layer, and remove its parts from `tensors`."""
    form, shape = entry["form"], tuple(entry["shape"])
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"shape {list(shape)}")
    if form == "plain":
        return tensors.pop(key)
    if form == "bits":
        stored, count = tensors.pop(f"{key}#bits").numpy(), math.prod(shape)
        if 8 * stored.size < count:  # NumPy would add zeros
            raise ValueError(f"{8 * stored.size} bits for shape {list(shape)}")
        bits = np.unpackbits(stored, count=count)
        return torch.from_numpy(bits.astype(np.float32) * 2 - 1).reshape(shape)
    if form not in _WHOLE:
        raise ValueError(f"form {form!r}")
    whole, largest = tensors.pop(f"{key}#{form}").float(), tensors.pop(f"{key}#max")
    # at 127 the weight is the magnitude, not 127 times a rounded step, so that the step is the same float
    return torch.where(whole.abs() == _TOP, largest * whole.sign(), whole * (largest / _TOP)).reshape(shape)


def _same(layer: ProductLayer, decoded: Tensor) -> bool:
    """Tell if a layer with the `decoded` weight stores and rescales exactly as `layer` does."""
    twin = copy.deepcopy(layer)
    twin.weight.data = decoded
    if layer.kind.rotated:
        folded: dict[str, Tensor] = {}
        fold_rotation(folded, "", decoded)
        twin.load_state_dict({key.lstrip("."): value for key, value in folded.items()}, strict=False)
    if not torch.equal(twin.weight_operand(), layer.weight_operand()):
        return False
    return layer.kind.stored != "integers" or torch.equal(twin.integers()[1], layer.integers()[1])


def _header(metadata: dict[str, str], path: Path) -> Header:
    """Return the entries of the packed layers from the metadata of a file."""
    try:
        header = json.loads(metadata["imc_sim"])
        layers, version = dict(header["layers"]), header["format"]
    except (KeyError, TypeError, ValueError) as error:
        step = "Import foreign weights with `imc-sim import`."
        raise CheckpointError(str(path), "a safetensors file without the header of imc_sim", FORMAT, step) from error
    if version != FORMAT:
        raise CheckpointError(str(path), f"format {version!r}", FORMAT, "Update imc_sim.")
    return layers
