"""Cases of operators of ONNX: one node each, with its inputs, attributes and operator set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LOW = -(2**62)
rng = np.random.default_rng(0)


class Case(NamedTuple):
    """One node and its inputs; `stored` says how many of the last ones are tensors of the file."""

    operator: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = MappingProxyType({})
    version: int = 17
    outputs: int = 1
    stored: int = 0


def real(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def whole(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def i8(values: Any) -> np.ndarray:
    return np.array(values, np.int8)


def some(*shape: int) -> np.ndarray:
    return rng.integers(-9, 10, shape)


x, images, positive = real(2, 3, 4), real(2, 3, 7, 8), np.abs(real(2, 3, 4)) + 0.1
unit = np.clip(x / 3, -0.99, 0.99)
steps = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.0, np.inf, -np.inf], np.float32)
flags = x > 0
lstm = (real(5, 2, 3), real(2, 16, 3), real(2, 16, 4), real(2, 32), None, real(2, 2, 4), real(2, 2, 4))
gru = (real(5, 2, 3), real(1, 12, 3), real(1, 12, 4), real(1, 24))
rnn = (real(5, 2, 3), real(1, 4, 3), real(1, 4, 4), real(1, 8))

POINTWISE = [
    *[
        Case(name, (x,))
        for name in [
            "Abs",
            "Atan",
            "Ceil",
            "Cos",
            "Cosh",
            "Asinh",
            "Erf",
            "Exp",
            "Floor",
            "HardSwish",
            "Identity",
            "LeakyRelu",
            "LogSoftmax",
            "Neg",
            "Relu",
            "Selu",
            "Sigmoid",
            "Sin",
            "Sinh",
            "Elu",
            "HardSigmoid",
            "Hardmax",
            "Softmax",
            "Softplus",
            "Softsign",
            "Tan",
            "Tanh",
            "ThresholdedRelu",
            "Celu",
        ]
    ],
    *[Case(name, (positive,)) for name in ("Log", "Reciprocal", "Sqrt")],
    *[Case(name, (unit,)) for name in ("Acos", "Asin", "Atanh")],
    *[Case(name, (steps,)) for name in ("IsInf", "IsNaN", "Round", "Sign")],
    *[
        Case(name, (x, real(3, 1)))
        for name in ("Add", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "PRelu", "Sub")
    ],
    *[Case(name, (flags, flags[:, ::-1])) for name in ("And", "Or", "Xor")],
    *[Case(name, (x, real(4), real(3, 1))) for name in ("Max", "Mean", "Min", "Sum")],
    Case("Acosh", (positive + 1,)),
    Case("Mish", (x,), version=18),
    Case("Swish", (x,), {"alpha": 1.5}, 24),
    Case("Not", (flags,)),
    Case("Equal", (some(4, 5), some(5))),
    Case("Where", (flags, x, real(4))),
    Case("Div", (whole(6, 8, 9), whole(3, -4, 2))),
    Case("Pow", (positive, np.float32(1.5))),
    Case("Pow", (np.array([7, 8, 9, -3]), np.array([0.5, 1.5, 0.5, 3.0], np.float32))),
    Case(
        "Pow",
        (x, whole(2)),
    ),
    Case("Mod", (some(4, 5), whole(3))),
    Case("Mod", (some(4, 5), whole(-3))),
    Case("Mod", (x, real(4)), {"fmod": 1}),
    Case("Gelu", (x,), version=20),
    Case("Gelu", (x,), {"approximate": "tanh"}, 20),
    Case("LeakyRelu", (x,), {"alpha": 0.3}),
    Case("HardSigmoid", (x,), {"alpha": 0.3, "beta": 0.4}),
    Case("Clip", (x, np.float32(-0.5), np.float32(0.5))),
    Case("Clip", (x, None, np.float32(0.5))),
    Case("Clip", (some(4), whole(1).reshape(()), None)),
    Case("IsInf", (steps,), {"detect_negative": 0}),
    Case("Softmax", (x,), {"axis": 1}),
    Case("Cast", (x,), {"to": 7}),
    Case("Cast", (x,), {"to": 9}),
    Case("Cast", (some(4),), {"to": 1}),
    Case("CastLike", (x, whole(1))),
]

MOVED = [
    Case("Concat", (x, real(2, 1, 4)), {"axis": -2}),
    Case("ConstantOfShape", (whole(2, 3),)),
    Case("CumSum", (x, whole(1).reshape(()))),
    Case("CumSum", (x, whole(-1).reshape(())), {"reverse": 1}),
    Case("DepthToSpace", (real(2, 8, 3, 2),), {"blocksize": 2}),
    Case("DepthToSpace", (real(2, 8, 3, 2),), {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", (real(2, 3, 4, 6),), {"blocksize": 2}),
    Case("Dropout", (x,)),
    Case("Expand", (real(3, 1), whole(2, 1, 4))),
    Case("Expand", (x, whole(1, 1))),
    Case("Flatten", (x,)),
    Case("Flatten", (x,), {"axis": -1}),
    Case("Flatten", (x,), {"axis": 0}),
    Case("Gather", (x, whole(0, -1)), {"axis": 2}),
    Case("Gather", (x, whole([2, 0], [-3, 1])), {"axis": 1}),
    Case("Gather", (x, np.int64(-1))),
    Case("GatherElements", (x, some(2, 3, 4) % 3 - 1), {"axis": 1}),
    Case("GatherND", (x, whole([0, 1], [1, -1]))),
    Case("ScatterElements", (x, whole([[1]], [[-1]]), real(2, 1, 1)), {"axis": 1}),
    Case("ScatterND", (x, whole([0, 1], [1, -1]), real(2, 4))),
    Case("NonZero", (some(3, 4) % 2,)),
    Case("OneHot", (some(3, 2) % 4 - 2, whole(4).reshape(()), f32([0.5, 2])), {"axis": 1}),
    Case("OneHot", (whole(0, 5, -7), whole(4).reshape(()), whole(3, 8))),
    Case("Range", (np.float32(1), np.float32(-2), np.float32(-0.5))),
    Case("Range", (np.int64(0), np.int64(7), np.int64(3))),
    Case("Reshape", (x, whole(0, -1)), stored=1),
    Case("Reshape", (x, whole(4, 2, -1))),
    Case("Reshape", (np.zeros((0, 3), np.float32), whole(3, 0)), {"allowzero": 1}),
    Case("Shape", (x,)),
    Case("Shape", (x,), {"start": 1, "end": -1}),
    Case("Size", (x,)),
    Case("Squeeze", (real(1, 3, 1),)),
    Case("Squeeze", (real(1, 3, 1), whole(-1))),
    Case("Squeeze", (real(1, 3, 1),), {"axes": [0]}, 11),
    Case("Unsqueeze", (x, whole(-1, 1))),
    Case("Unsqueeze", (x,), {"axes": [0, 4]}, 11),
    Case("Tile", (x, whole(2, 1, 3))),
    Case("Transpose", (x,)),
    Case("Transpose", (x,), {"perm": [1, 2, 0]}),
    Case("Trilu", (x,)),
    Case("Trilu", (x, whole(-1).reshape(())), {"upper": 0}),
    Case("Split", (x,), {"axis": 2}, outputs=2),
    Case("Split", (x, whole(1, 3)), {"axis": -1}, outputs=2),
    Case("Split", (x,), {"axis": 1, "split": [2, 1]}, 11, 2),
    Case("Split", (x,), {"axis": 1, "num_outputs": 2}, 18, 2),
    Case("Slice", (images, whole(1, -3), whole(2**62, -1), whole(2, -1))),
    Case("Slice", (images, whole(-1, 5), whole(LOW, 1), whole(2, 3), whole(-2, -1))),
    Case("Slice", (images, whole(0, 1), whole(7, 8), whole(-2, -1), whole(3, 2))),
    Case("Slice", (images,), {"starts": [1], "ends": [-1], "axes": [3]}, 9),
    *[Case("Pad", (real(1, 2, 5), whole(0, 1, 3, 0, 1, 2)), {"mode": mode}) for mode in ("reflect", "edge")],
    Case("Pad", (real(1, 2, 5), whole(1, 3, 1, 2)), {"mode": "wrap"}, 19)._replace(
        inputs=(real(1, 2, 5), whole(1, 3, 1, 2), None, whole(-2, 2))
    ),
    Case("Pad", (x,), {"pads": [0, 1, 0, 0, 0, 2], "value": 2.0}, 10),
]

COMPUTED = [
    Case("ArgMax", (some(3, 9) % 3,), {"axis": 1}),
    Case("ArgMin", (some(3, 9) % 3,), {"keepdims": 0}),
    Case("ArgMax", (some(3, 9) % 3,), {"axis": -1, "select_last_index": 1}),
    Case("TopK", (some(3, 9), whole(4)), outputs=2),
    Case("TopK", (x, whole(2)), {"axis": 1, "largest": 0}, outputs=2),
    *[
        Case(f"Reduce{name}", (positive,), {"axes": [1, -1]}, 11)
        for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    ],
    *[Case(f"Reduce{name}", (x, whole(1)), {"keepdims": 0}, 18) for name in ("L2", "Max", "Mean", "Prod", "Sum")],
    Case("ReduceSum", (x,), {"noop_with_empty_axes": 1}),
    Case("ReduceSum", (x,)),
    Case("ReduceMean", (x,), {}, 18),
    Case("BatchNormalization", (images, real(3), real(3), real(3), np.abs(real(3))), {"epsilon": 1e-3}, 15, 1, 4),
    Case("InstanceNormalization", (images, real(3), real(3))),
    Case("LayerNormalization", (x, real(4), real(4))),
    Case("LayerNormalization", (x, real(3, 1)), {"axis": 1}, outputs=3),
    Case("GroupNormalization", (real(2, 4, 3), real(4), real(4)), {"num_groups": 2}, 21),
    Case("RMSNormalization", (x, real(4)), {}, 23),
    Case("LpNormalization", (x,), {"axis": 1}),
    Case("GlobalAveragePool", (images,)),
    Case("GlobalMaxPool", (images,)),
    Case("MaxPool", (images,), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
    Case("MaxPool", (images,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", (images,), {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    Case("MaxPool", ((10 * real(1, 2, 9)).astype(np.int8),), {"kernel_shape": [3], "strides": [2]}),
    Case("AveragePool", (images,), {"kernel_shape": [3, 2], "pads": [1, 1, 0, 0]}),
    Case("AveragePool", (images,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", (images,), {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", (real(1, 2, 5, 4, 3),), {"kernel_shape": [2, 2, 2]}),
    Case("AveragePool", (real(1, 2, 9),), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, 19),
    Case("Conv", (images, real(4, 3, 3, 2), real(4)), {"pads": [1, 0, 1, 0]}, stored=2),
    Case("Conv", (images, real(6, 1, 3, 3)), {"group": 3, "strides": [2, 1], "dilations": [1, 2]}, stored=1),
    Case("Conv", (images, real(4, 3, 3, 3)), {"pads": [2, 0, 1, 1]}),
    Case("Conv", (images, real(4, 3, 3, 2)), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", (images, real(4, 3, 3, 2)), {"auto_pad": "SAME_LOWER"}),
    Case("Conv", (images, real(4, 3, 3, 2)), {"auto_pad": "SAME_UPPER", "dilations": [2, 3]}),
    Case("Conv", (real(2, 3, 9), real(4, 3, 3))),
    Case("Conv", (images, real(4, 3, 3, 2)), {"auto_pad": "VALID"}),
    Case("Conv", (real(1, 2, 4, 5, 3), real(4, 2, 3, 2, 2))),
    Case("ConvTranspose", (images, real(3, 4, 3, 2), real(4)), {"strides": [2, 1], "pads": [1, 0, 1, 0]}),
    Case("ConvTranspose", (images, real(3, 2, 3, 3)), {"pads": [2, 0, 1, 1], "strides": [2, 2]}),
    Case(
        "ConvTranspose", (images, real(3, 4, 3, 3)), {"strides": [3, 2], "output_padding": [1, 1], "dilations": [2, 1]}
    ),
    Case("Gemm", (real(3, 4), real(4, 5), real(5)), stored=2),
    Case("Gemm", (real(3, 4), real(5, 4)), {"transB": 1}),
    Case("Gemm", (real(4, 3), real(5, 4), real(3, 1)), {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("MatMul", (real(2, 1, 3, 4), real(5, 4, 2))),
    Case("MatMul", (real(4), real(2, 4, 3))),
    Case("Einsum", (real(2, 3, 4), real(2, 5, 4)), {"equation": "bij, bkj -> bik"}),
    Case("LSTM", lstm, {"hidden_size": 4, "direction": "bidirectional"}, 14, 3, 0),
    Case("LSTM", tuple(v if k > 3 else v[:1] if k else v for k, v in enumerate(lstm[:4])), {"hidden_size": 4}, 14, 3),
    Case("GRU", gru, {"hidden_size": 4, "linear_before_reset": 1}, 14, 2),
    Case("GRU", gru, {"hidden_size": 4}, 14, 2),
    Case("RNN", rnn, {"hidden_size": 4}, 14, 2),
    *[
        Case("Resize", (images, None, f32([1, 1, *scale])), {"mode": mode, **more}, 13)
        for scale in ([2, 1.5], [0.625, 1])
        for mode in ("nearest", "linear", "cubic")
        for more in (
            {},
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            {"coordinate_transformation_mode": "align_corners", "nearest_mode": "ceil"},
            {"coordinate_transformation_mode": "pytorch_half_pixel", "nearest_mode": "round_prefer_ceil"},
        )
    ],
    Case("Resize", (images, None, None, whole(2, 3, 14, 5)), {"mode": "linear"}, 13),
    Case("QuantizeLinear", (4 * x, np.float32(0.1), np.uint8(7)), stored=2),
    Case("QuantizeLinear", (4 * x, f32([0.1, 0.3, 1]), i8([0, 1, 2])), {"axis": 1}),
    Case("QuantizeLinear", (4 * x, np.float32(0.01), np.int16(7)), {}, 21),
    Case("DynamicQuantizeLinear", (x,), outputs=3),
    Case("QuantizeLinear", (4 * x, np.float32(0.05)), {}),
    Case("DequantizeLinear", (some(2, 3, 4).astype(np.int8), f32([0.1, 0.3, 1]), i8([0, 1, 2])), {}, 19),
    Case("DequantizeLinear", (some(2, 4).astype(np.int8), real(2, 2)), {"axis": 1, "block_size": 2}, 21),
    Case("DequantizeLinear", (some(5).astype(np.int32), np.float32(0.5)), {}, 19),
]


def hardmax(x: torch.Tensor) -> torch.Tensor:
    """Return 1 at the largest element of each row, and 0 elsewhere."""
    return F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)


#: cases that the reference evaluator of onnx 1.23 computes wrongly or not at all -> the same by torch
BY_TORCH: list[tuple[Case, Callable[..., torch.Tensor]]] = [
    (Case("Softmax", (x,), {"axis": 1}, 11), lambda x: x.flatten(1).softmax(1).reshape(x.shape)),
    (Case("LogSoftmax", (x,), {"axis": -2}, 11), lambda x: x.flatten(1).log_softmax(1).reshape(x.shape)),
    *[  # before set 13, also without the axis, which is 1
        (Case(name, (x,), version=12), lambda x, f=f: f(x.flatten(1)).reshape(x.shape))
        for name, f in (("Softmax", nn.Softmax(-1)), ("LogSoftmax", nn.LogSoftmax(-1)), ("Hardmax", hardmax))
    ],
    (
        Case("Pad", (x, whole(0, 1, 2, 1, 0, -1), np.float32(0.5))),
        lambda x, *_: F.pad(x[..., :-1], (2, 0, 1, 0, 0, 1), value=0.5),
    ),
    (
        Case("LRN", (images,), {"size": 3, "alpha": 0.1, "bias": 2.0}),
        lambda x: F.local_response_norm(x, 3, 0.1, 0.75, 2.0),
    ),
    (  # an even size reaches one channel further behind, and in torch before
        Case("LRN", (images,), {"size": 2, "alpha": 0.1, "bias": 2.0}),
        lambda x: F.local_response_norm(x.flip(1), 2, 0.1, 0.75, 2.0).flip(1),
    ),
    (  # no window begins behind the input
        Case("MaxPool", (images,), {"kernel_shape": [1, 1], "strides": [2, 3], "ceil_mode": 1}),
        lambda x: F.max_pool2d(x, 1, (2, 3), ceil_mode=True),
    ),
    (  # but one may begin within it after the padding
        Case("MaxPool", (images,), {"kernel_shape": [1, 2], "strides": [1, 4], "pads": [0, 1, 0, 0], "ceil_mode": 1}),
        lambda x: F.max_pool2d(F.pad(x, (1, 1), value=-9.0), (1, 2), (1, 4)),
    ),
    (  # nor in the padding behind it
        Case("MaxPool", (images,), {"kernel_shape": [1, 2], "strides": [1, 4], "pads": [0, 0, 0, 1], "ceil_mode": 1}),
        lambda x: F.max_pool2d(x, (1, 2), (1, 4)),
    ),
    (
        Case("AveragePool", (images,), {"kernel_shape": [1, 2], "strides": [2, 4], "ceil_mode": 1}),
        lambda x: F.avg_pool2d(x, (1, 2), (2, 4), ceil_mode=True),
    ),
    (  # places of the padding count, but not those behind it
        Case(
            "AveragePool",
            (images,),
            {"kernel_shape": [1, 3], "strides": [1, 2], "pads": [0, 1, 0, 1], "ceil_mode": 1, "count_include_pad": 1},
        ),
        lambda x: F.avg_pool2d(x, (1, 3), (1, 2), (0, 1), ceil_mode=True, count_include_pad=True),
    ),
    (
        Case("MaxPool", (images,), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        lambda x: F.max_pool2d(F.pad(x, (1, 0, 1, 1), value=-9.0), 3, 2),
    ),
    (
        Case("ConvTranspose", (images, real(3, 4, 3, 3)), {"strides": [2, 2], "output_shape": [14, 16]}),
        lambda x, w: F.conv_transpose2d(x, w, stride=2)[..., 1:, 1:],
    ),
    (
        Case("ConvTranspose", (images, real(3, 4, 3, 3)), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        lambda x, w: F.conv_transpose2d(x, w, stride=2)[..., :-1, :-1],
    ),
    (
        Case("ConvTranspose", (real(2, 4, 5), real(4, 3, 3)), {"group": 2, "strides": [2]}),
        lambda x, w: F.conv_transpose1d(x, w, stride=2, groups=2),
    ),
    (
        Case("Upsample", (images, f32([1, 1, 2, 2])), {"mode": "nearest"}, 9),
        lambda x, _: F.interpolate(x, scale_factor=2),
    ),
    (
        Case("Resize", (images, f32([1, 1, 2, 3])), {"mode": "nearest"}, 10),
        lambda x, _: F.interpolate(x, scale_factor=(2.0, 3.0)),
    ),
    (Case("Clip", (x,), {"min": -0.5, "max": 0.25}, 9), lambda x: x.clamp(-0.5, 0.25)),
    (Case("TopK", (x, whole(2)), {"axis": 1}, 10, 2), lambda x, _: x.topk(2, 1).values),
]

CASES = POINTWISE + MOVED + COMPUTED
