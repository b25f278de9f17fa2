"""Every standard operator with an older or newer form: the old model against the converted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, defs, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from opset_models import converted as convert

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.opset.convert import CEILING, FLOOR, NEWEST, OLDEST

Array = np.ndarray
TOLERANCE = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-12}  # of the largest value
ORT_NEWEST = 26  # ONNX Runtime 1.31 refuses later opsets; there the reference evaluator judges


class Row:
    """One node: operator, the opsets it is tried at, attributes, inputs.

    A tuple is a random float32 input of that shape, "" an absent one, a list or number a
    constant (ints become int64, floats float32), an array of any type an input. `open` leaves
    input shapes unknown.
    """

    def __init__(
        self,
        op: str,
        opsets: Sequence[int],
        *inputs: object,
        outputs: int = 1,
        open: bool = False,
        judge: str = "ort",
        **attributes: object,
    ) -> None:
        self.op, self.opsets, self.inputs = op, opsets, inputs
        self.outputs, self.open, self.judge, self.attributes = outputs, open, judge, attributes

    def __str__(self) -> str:
        parts = [self.op, *(f"{i.dtype}{i.shape}" if isinstance(i, (np.ndarray, np.generic)) else
                            str(i) for i in self.inputs)]  # fmt: skip
        parts += [f"{k}={v}" for k, v in self.attributes.items()]
        return "-".join(parts + ["open"] * self.open).replace(" ", "")

    def model(self, opset: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
        rng = np.random.default_rng(sum(map(ord, str(self))))
        feeds, constants, names = {}, [], []
        for position, given in enumerate(self.inputs):
            name = "" if isinstance(given, str) else f"i{position}"
            names.append(name)
            if isinstance(given, (list, int, float)):
                constants.append(numpy_helper.from_array(literal(given), name))
            elif isinstance(given, tuple):
                feeds[name] = rng.standard_normal(given).astype(np.float32)
            elif name:
                feeds[name] = np.asarray(given)
        results = [f"o{k}" for k in range(self.outputs)]
        node = helper.make_node(self.op, names, results, "the/node", **self.attributes)
        return graph_of([node], feeds, results, opset, constants, self.open, self.judge), feeds


def literal(value: list | float) -> Array:
    array = np.array(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, Array],
    results: Sequence[str],
    opset: int,
    constants: Sequence[TensorProto] = (),
    open: bool = False,
    judge: str = "ort",
) -> onnx.ModelProto:
    """A model of these nodes whose outputs have the types they turn out to have."""
    inputs = [
        helper.make_tensor_value_info(
            k, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.ndim if open else v.shape
        )
        for k, v in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    for value, array in zip(graph.output, run(model, feeds, judge), strict=True):
        element_type = helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype)
        value.type.CopyFrom(helper.make_tensor_type_proto(element_type, [None] * np.ndim(array)))
    model.graph.CopyFrom(graph)
    return model


def run(model: onnx.ModelProto, feeds: Mapping[str, Array], judge: str = "ort") -> list[Array]:
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    if judge == "reference" or opset > ORT_NEWEST:
        return ReferenceEvaluator(model).run(None, dict(feeds))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))


def agree(got: Sequence[Array], want: Sequence[Array]) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
        else:
            scale = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[a.dtype.name] * scale)


def check(
    model: onnx.ModelProto, feeds: Mapping[str, Array], judge: str = "ort"
) -> onnx.ModelProto:
    """Old and converted model agree; the converted one is valid at its opset."""
    converted = convert(model)
    opset = converted.opset_import[0].version
    assert opset == (FLOOR if model.opset_import[0].version < FLOOR else CEILING)
    full = converted.graph.node[0].op_type != "MeanVarianceNormalization"  # onnx cannot infer it
    onnx.checker.check_model(converted, full_check=full)
    assert [v.name for v in converted.graph.output] == [v.name for v in model.graph.output]
    want = run(model, feeds, judge)
    agree(run(converted, feeds, judge), want)
    return converted


X = (2, 3, 4, 5)
IMAGE = (1, 2, 6, 7)
HALVES = np.linspace(-3, 3, 24).reshape(2, 3, 4).astype(np.float16)
FLOATS = np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 3, 4)
DOUBLES = np.linspace(-3, 3, 24).reshape(2, 3, 4)
BYTES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
TRUTH = np.arange(12).reshape(3, 4) % 3 == 0
BEFORE_11, BEFORE_12, BEFORE_13, BEFORE_18 = (
    (7, 9, 10),
    (7, 10, 11),
    (7, 9, 11, 12),
    (7, 11, 13, 17),
)
POOL = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}

UP = [
    # axes and other attributes that became inputs
    *[
        Row(f"Reduce{kind}", (7, 11, 12, 13, 17), np.abs(FLOATS) + 1, **attributes)
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum",
                     "SumSquare")
        for attributes in ({}, {"axes": [0, 2]}, {"axes": [1], "keepdims": 0})
        if not (kind == "Sum" and attributes)
    ],
    Row("ReduceSum", BEFORE_13, X, axes=[1, 3]),
    Row("ReduceSum", BEFORE_13, X, axes=[2], keepdims=0),
    Row("ReduceSum", (13, 17), X, [1, -1], keepdims=0),
    Row("ReduceSum", (13, 17), X, np.zeros(0, np.int64), noop_with_empty_axes=1),
    Row("ReduceMean", (11, 13), X, axes=[-1, -2]),
    Row("Squeeze", BEFORE_13, (1, 3, 1, 4), axes=[0, 2]),
    Row("Squeeze", (7, 11, 13), (1, 3, 1, 4)),
    Row("Squeeze", (11, 12), (1, 3, 1, 4), axes=[-2]),
    Row("Squeeze", (13, 15), (1, 3, 1, 4), [0]),
    Row("Unsqueeze", BEFORE_13, (3, 4), axes=[0, 3]),
    Row("Unsqueeze", (11, 12), (3, 4), axes=[-1]),
    Row("Unsqueeze", (13, 17), (3, 4), [1]),
    Row("Slice", (7, 9), X, starts=[1, 0], ends=[2, -1]),
    Row("Slice", (7, 9), X, starts=[-3, 0], ends=[9223372036854775807, 2], axes=[3, 1]),
    Row("Slice", (10, 11, 13), X, [1, 0], [3, 4], [1, 3], [1, 2]),
    Row("Split", (7, 11), (2, 7), outputs=2, axis=1, split=[3, 4]),
    Row("Split", (7, 12, 13, 17), (2, 6), outputs=3, axis=1),
    Row("Split", (7, 12, 13), (4, 3), outputs=2),
    Row("Split", (13, 17), (2, 7), [3, 4], outputs=2, axis=1),
    Row("Pad", (7, 10), X, pads=[0, 1, 2, 0, 0, 0, 1, 3]),
    Row("Pad", (7, 10), X, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=1.5),
    Row("Pad", (7, 10), X, pads=[0, 0, -1, 1, 0, 0, 1, -1]),
    Row("Pad", (7, 10), X, pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
    Row("Pad", (7, 10), X, pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="edge"),
    Row("Pad", (7, 10), DOUBLES, pads=[0, 0, 1, 1, 0, 0], value=-2.0),
    Row("Pad", (11, 13, 17), X, [0, 0, 1, 1, 0, 0, 1, 1]),
    Row("Clip", BEFORE_11, X, min=-0.5, max=0.25),
    Row("Clip", BEFORE_11, X),
    Row("Clip", BEFORE_11, X, max=0.5),
    Row("Clip", BEFORE_11, X, min=0.0, max=3.4028234663852886e38),
    Row("Clip", BEFORE_11, HALVES, min=-1.0, max=6.0, judge="reference"),
    Row("Clip", BEFORE_11, DOUBLES, min=-1.0, max=1.5, judge="reference"),
    Row("Clip", (11, 12, 13), X, np.float32(-0.5), np.float32(0.5)),
    Row("TopK", (7, 9), (3, 5), outputs=2, k=2),
    Row("TopK", (7, 9), (3, 5), outputs=2, k=2, axis=0),
    Row("TopK", (10, 11), (3, 5), [2], outputs=2),
    Row("TopK", (11, 13), (3, 5), [2], outputs=2, largest=0),
    Row("Dropout", BEFORE_12, X),
    Row("Dropout", BEFORE_12, X, ratio=0.3),
    Row("Dropout", (12, 13, 17), X, np.float32(0.3)),
    # the flattening softmax
    *[
        Row(op, BEFORE_13, shape, open=open, **attributes)
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for shape, attributes, open in [
            ((2, 5), {}, False),
            (X, {}, False),
            (X, {"axis": 2}, True),
            (X, {"axis": 3}, False),
            (X, {"axis": 0}, False),
            ((2, 5, 1, 1), {"axis": 1}, False),
            ((2, 5, 1, 1), {"axis": 1}, True),
            ((1, 5), {"axis": 0}, False),
            ((2, 1, 1), {"axis": 1}, False),
        ]
    ],
    *[Row(op, (11, 12), X, axis=-2) for op in ("Softmax", "LogSoftmax", "Hardmax")],
    *[Row(op, (13, 17), X, axis=1) for op in ("Softmax", "LogSoftmax", "Hardmax")],
    # resampling
    *[
        Row(op, opsets, (1, 2, 3, 4), factors, mode=mode)
        for op, opsets in (("Upsample", (9,)), ("Resize", (10,)))
        for factors in ([1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.3, 1.7])
        for mode in ("nearest", "linear")
    ],
    Row("Upsample", (7, 8), (1, 2, 3, 4), scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
    Row("Upsample", (7, 8), (1, 2, 3, 4), scales=[1.0, 1.0, 1.5, 2.5], mode="linear"),
    Row("Upsample", (9,), (1, 2, 3, 4), np.array([1, 1, 2, 2], np.float32)),
    *[
        Row("Resize", (10,), IMAGE, factors, mode=mode)
        for factors in ([1.0, 1.0, 0.6, 0.6], [1.0, 1.0, 0.9, 2.3], [1.0, 1.0, 0.3, 1.0])
        for mode in ("nearest", "linear")
    ],
    Row("Resize", (10,), IMAGE, np.array([1, 1, 0.7, 1.6], np.float32), mode="nearest"),
    Row("Resize", (10,), IMAGE, np.array([1, 1, 0.7, 1.6], np.float32), mode="linear"),
    *[
        Row("Resize", (11, 13, 17), IMAGE, *rest, mode=mode,
            coordinate_transformation_mode=how, **more)
        for rest in (([], [1.0, 1.0, 0.6, 1.7]), ([], [], [1, 2, 4, 9]))
        for mode, more in (
            ("nearest", {}),
            ("nearest", {"nearest_mode": "floor"}),
            ("nearest", {"nearest_mode": "ceil"}),
            ("nearest", {"nearest_mode": "round_prefer_ceil"}),
            ("linear", {}),
            ("cubic", {"exclude_outside": 1, "cubic_coeff_a": -0.5}),
        )
        for how in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    ],
    Row("Resize", (11, 13), IMAGE, [0.0, 0.0, 0.1, 0.2, 1.0, 1.0, 0.9, 0.8], [], [1, 2, 4, 9],
        coordinate_transformation_mode="tf_crop_and_resize", mode="linear",
        extrapolation_value=2.0),
    *[
        Row("Resize", (11, 12), IMAGE, [], [], [1, 2, height, width], mode="nearest",
            coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor")
        for height, width in ((12, 21), (4, 3), (9, 7))
    ],
    # normalization
    Row("BatchNormalization", (7, 8, 9, 13, 14, 15), X, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3],
        [0.5, 0.0, -1.0], [1.0, 0.5, 2.0], epsilon=0.01, momentum=0.8),
    Row("BatchNormalization", (7, 8), X, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [0.5, 0.0, -1.0],
        [1.0, 0.5, 2.0], spatial=1),
    Row("BatchNormalization", (7, 8), (2, 3, 4), *[np.linspace(0.1, 2, 12, dtype=np.float32)
        .reshape(3, 4)] * 4, spatial=0),
    Row("InstanceNormalization", (7, 17), X, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], epsilon=0.1),
    Row("LRN", (7, 12, 13), (1, 6, 3, 3), size=3, alpha=0.1, beta=0.6, bias=1.5),
    Row("LpNormalization", (7, 17), X, axis=1, p=1),
    Row("MeanVarianceNormalization", (9, 13), X),
    # linear layers and pools
    *[
        Row("Conv", (7, 11, 17), IMAGE, (4, 2, 3, 3), (4,), **attributes)
        for attributes in ({"strides": [2, 1], "pads": [0, 1, 2, 1]}, {"auto_pad": "SAME_LOWER"},
                           {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]})
    ],
    *[
        Row("ConvTranspose", (7, 11, 17), IMAGE, (2, 3, 3, 2), **attributes)
        for attributes in ({"strides": [2, 3], "output_padding": [1, 0]}, {"pads": [1, 0, 0, 1]},
                           {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
                           {"auto_pad": "SAME_LOWER", "strides": [2, 3]})
    ],
    Row("Gemm", (7, 9, 11, 13), (2, 3), (4, 3), (4,), transB=1, alpha=0.5, beta=2.0),
    Row("Gemm", (7, 9, 11, 13), (3, 2), (3, 4), (2, 1), transA=1),
    Row("Gemm", (11, 13), (2, 3), (3, 4)),
    Row("MatMul", (7, 9, 13), (2, 1, 3, 4), (5, 4, 2)),
    *[Row(op, (7, 10, 11, 17), IMAGE, **POOL) for op in ("AveragePool", "MaxPool", "LpPool")],
    *[
        Row(op, (7, 10, 11, 17), IMAGE, kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto_pad)
        for op in ("AveragePool", "MaxPool", "LpPool")
        for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ],
    *[Row(op, (10, 11, 12, 17), IMAGE, ceil_mode=1, **POOL) for op in ("AveragePool", "MaxPool")],
    Row("AveragePool", (7, 11, 17), IMAGE, count_include_pad=1, **POOL),
    Row("AveragePool", (10, 11), IMAGE, ceil_mode=1, kernel_shape=[2, 2], strides=[3, 3],
        pads=[0, 0, 1, 1], count_include_pad=1),
    Row("MaxPool", (8, 10, 12), IMAGE, outputs=2, **POOL),
    Row("MaxPool", (10, 12), IMAGE, kernel_shape=[2, 2], dilations=[2, 3]),
    Row("MaxUnpool", (9, 11), np.ones((1, 1, 2, 2), np.float32), np.array([[[[5, 7], [13, 15]]]]),
        kernel_shape=[2, 2], strides=[2, 2]),
    *[Row(f"Global{kind}Pool", (7, 17), IMAGE) for kind in ("Average", "Max", "Lp")],
    *[
        Row("RoiAlign", (10, 15, 16), IMAGE, [[0.0, 0.0, 3.0, 3.0], [1.0, 1.0, 4.0, 4.5]], [0, 0],
            mode=mode, output_height=2, output_width=2, sampling_ratio=2)
        for mode in ("avg", "max")
    ],
    # elementwise
    *[Row(op, (7, 12, 13, 17), X, (3, 1, 5)) for op in ("Add", "Sub", "Mul", "Div")],
    *[Row(op, (8, 12, 13), X, (3, 1, 5), (1,)) for op in ("Max", "Mean", "Min", "Sum")],
    *[Row(op, (7,), X, X) for op in ("Max", "Mean", "Min", "Sum")],
    Row("Pow", (7, 12, 13, 15), np.abs(FLOATS), [2.0]),
    *[Row(op, (7, 9, 13), X, (3, 1, 5)) for op in ("Greater", "Less")],
    *[Row(op, (12, 16), X, (5,)) for op in ("GreaterOrEqual", "LessOrEqual")],
    Row("Equal", (7, 11, 13), np.arange(6).reshape(2, 3), np.array([0, 4, 2])),
    *[Row(op, (7, 17), TRUTH, ~TRUTH[:1]) for op in ("And", "Or", "Xor")],
    *[
        Row(op, (7, 12, 13, 17), X)
        for op in ("Abs", "Ceil", "Exp", "Floor", "Identity", "LeakyRelu", "Neg", "Reciprocal",
                   "Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid",
                   "Sin", "Cos")
    ],
    *[Row(op, (7, 13), np.abs(FLOATS) + 0.1) for op in ("Log", "Sqrt")],
    *[Row(op, (9, 13), X) for op in ("Erf", "IsNaN", "Sign", "NonZero")],
    Row("PRelu", (7, 9, 16), X, (3, 1, 1)),
    Row("PRelu", (7, 9, 16), X, (1,)),
    Row("Where", (9, 16), TRUTH, (3, 4), (4,)),
    *[Row("Mod", (10, 13), (3, 4), [1.5], fmod=1)],
    Row("ThresholdedRelu", (10, 17), X, alpha=0.3),
    Row("HardSwish", (14, 17), X),
    Row("Celu", (12, 17), X, alpha=0.5),
    # moves
    Row("Cast", (7, 9, 13), X, to=TensorProto.INT32),
    Row("Concat", (7, 11, 13), X, X, axis=2),
    Row("Concat", (11, 13), X, X, axis=-1),
    *[Row("DepthToSpace", (7, 11, 13), (1, 8, 2, 3), blocksize=2)],
    *[Row("DepthToSpace", (11, 13), (1, 8, 2, 3), blocksize=2, mode="CRD")],
    Row("SpaceToDepth", (7, 13), (1, 2, 4, 6), blocksize=2),
    Row("Expand", (8, 13), (3, 1), [2, 1, 4]),
    Row("Tile", (7, 13), (3, 1), [2, 3]),
    Row("Flatten", (7, 9, 11, 13), X, axis=2),
    Row("Flatten", (7, 9, 11, 13), X, axis=0),
    Row("Flatten", (11, 13), X, axis=-1),
    Row("Gather", (7, 11, 13), X, [[0, 2], [1, 0]], axis=1),
    Row("Gather", (11, 13), X, [-1], axis=-2),
    Row("GatherElements", (11, 13), (3, 4), [[0, 2, 1, 0]]),
    Row("GatherND", (11, 12, 13), (3, 4), [[0, 2], [1, 0]]),
    Row("GatherND", (12, 13), (2, 4), [[2], [3]], batch_dims=1),
    Row("Reshape", (7, 13, 14), X, [0, -1, 5]),
    Row("Shape", (7, 13, 15), X),
    Row("Constant", (7, 9, 11, 12), value=numpy_helper.from_array(DOUBLES)),
    Row("Constant", (12,), value_floats=[1.0, 2.0]),
    Row("Size", (7, 13), X),
    Row("Transpose", (7, 13), X, perm=[0, 2, 3, 1]),
    Row("Scatter", (9, 10), (3, 4), [[0, 2, 1, 0]], (1, 4)),
    Row("ScatterElements", (11, 13, 16), (3, 4), [[0, 2, 1, 0]], (1, 4)),
    Row("ScatterElements", (16,), (3, 4), [[0, 0, 1, 0]], (1, 4), reduction="add"),
    Row("ScatterND", (11, 13, 16), (3, 4), [[0], [2]], (2, 4)),
    Row("Compress", (9, 11), (3, 4), TRUTH[0, :3], axis=0),
    Row("OneHot", (9, 11), [-1, 0, 2, 3, -4], [3], [2.0, 5.0]),
    Row("ConstantOfShape", (9, 17), [2, 3]),
    Row("EyeLike", (9, 17), (3, 4), k=1),
    *[Row(op, (7, 11, 12, 13), (3, 4), axis=1, keepdims=0) for op in ("ArgMax", "ArgMin")],
    Row("CumSum", (11, 14), (3, 4), [1], exclusive=1),
    Row("NonMaxSuppression", (10, 11),
        [[[0.0, 0.0, 1.0, 1.0], [0.0, 0.1, 1.0, 1.1], [2.0, 2.0, 3.0, 3.0]]],
        [[[0.9, 0.8, 0.7]]], [3], [0.5], [0.0]),
    Row("ReverseSequence", (10, 17), (4, 3), [1, 4, 2]),
    Row("Unique", (11, 17), (5,), outputs=4),
    # quantization
    Row("QuantizeLinear", (10, 13), X, np.float32(0.1), np.uint8(7)),
    Row("DequantizeLinear", (10, 13), BYTES, np.float32(0.1), np.uint8(7)),
    Row("DequantizeLinear", (13, 17), BYTES, [0.1, 0.2, 0.3], axis=1),
    # recurrent cells
    *[
        Row(op, (7, 14, 17), (4, 2, 3), (1, gates * 5, 3), (1, gates * 5, 5), outputs=2,
            hidden_size=5)
        for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    ],
    # losses and the like
    Row("NegativeLogLikelihoodLoss", (12, 13), (2, 3), [0, 2], judge="reference"),
    Row("SoftmaxCrossEntropyLoss", (12, 13), (2, 3), [0, 2], judge="reference"),
]  # fmt: skip


def cases(rows: Sequence[Row]) -> list[object]:
    return [pytest.param(r, o, id=f"{o}-{r}"[:100]) for r in rows for o in r.opsets]


@pytest.mark.parametrize(("row", "opset"), cases(UP))
def test_up(row: Row, opset: int) -> None:
    model, feeds = row.model(opset)
    converted = check(model, feeds, row.judge)
    assert "the/node" in [node.name for node in converted.graph.node]


LATE = (22, 24, 26, 28)
SEQUENCE = (2, 4, 6, 8)  # batch, heads, tokens, head size

DOWN = [
    # the same operator with more element types
    *[
        Row(op, LATE, np.abs(FLOATS) / 5 + (op == "Acosh"))
        for op in ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Sin", "Sinh",
                   "Tan")
    ],
    *[
        Row(op, LATE, FLOATS)
        for op in ("Celu", "Dropout", "Elu", "HardSigmoid", "HardSwish", "Mish", "Round", "Selu",
                   "Softplus", "Softsign", "ThresholdedRelu", "Identity", "Flatten", "Shape",
                   "Size", "Transpose", "ReduceLogSumExp")
    ],
    Row("ReduceLogSum", LATE, np.abs(FLOATS) + 1, [1]),
    *[
        Row(op, LATE, IMAGE, **POOL, **attributes)
        for op in ("AveragePool", "LpPool", "MaxPool")
        for attributes in ({}, {"dilations": [1, 2]})
    ],
    *[Row(op, LATE[:3], IMAGE, ceil_mode=1, **POOL) for op in ("AveragePool", "LpPool", "MaxPool")],
    *[
        Row(op, LATE[:3], (1, 1, 5, 5), kernel_shape=[2, 2], strides=[3, 3],
            pads=[0, 0, 1, 1], ceil_mode=1)
        for op in ("AveragePool", "LpPool", "MaxPool")
    ],
    *[Row(f"Global{kind}Pool", LATE, IMAGE) for kind in ("Average", "Max")],
    Row("MaxUnpool", LATE, np.ones((1, 1, 2, 2), np.float32), np.array([[[[5, 7], [13, 15]]]]),
        kernel_shape=[2, 2], strides=[2, 2]),
    Row("RoiAlign", LATE, IMAGE, [[0.0, 0.0, 3.0, 3.0]], [0], output_height=2, output_width=2,
        judge="reference"),
    Row("Conv", LATE, IMAGE, (4, 2, 3, 3), (4,), strides=[2, 1], pads=[0, 1, 2, 1]),
    Row("ConvTranspose", LATE, IMAGE, (2, 3, 3, 2), strides=[2, 3], output_padding=[1, 0]),
    Row("DeformConv", LATE, (1, 1, 3, 3), (1, 1, 2, 2), (1, 8, 2, 2), kernel_shape=[2, 2]),
    Row("InstanceNormalization", LATE, X, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3]),
    Row("LpNormalization", LATE, X, axis=1),
    Row("GridSample", LATE, (1, 1, 3, 3), (1, 2, 2, 2), mode="cubic"),
    Row("Det", LATE, (2, 3, 3)),
    Row("EyeLike", LATE, (3, 4), k=1),
    Row("NegativeLogLikelihoodLoss", LATE, (2, 3), [0, 2], judge="reference"),
    *[
        Row(op, LATE, (4, 2, 3), (1, gates * 5, 3), (1, gates * 5, 5), outputs=2, hidden_size=5)
        for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    ],
    Row("Cast", LATE, FLOATS, to=TensorProto.INT32),
    Row("Cast", (24, 28), FLOATS, to=TensorProto.FLOAT16, round_mode="up", saturate=1),
    Row("CastLike", LATE, FLOATS, np.float16(0)),
    Row("Constant", LATE, value_floats=[1.0, 2.0]),
    Row("ConstantOfShape", LATE, [2, 3]),
    Row("Pad", LATE, X, [1, 1], "", [-1], mode="wrap"),
    Row("Reshape", LATE, X, [0, -1, 5]),
    Row("Squeeze", LATE, (1, 3, 1, 4), [0, 2]),
    Row("Unsqueeze", LATE, (3, 4), [0]),
    Row("TopK", LATE, (3, 5), [2], outputs=2),
    Row("SpaceToDepth", LATE, (1, 2, 4, 6), blocksize=2),
    Row("DepthToSpace", LATE, (1, 8, 2, 3), blocksize=2, mode="CRD"),
    Row("Compress", LATE, (3, 4), TRUTH[0, :3], axis=0),
    Row("Einsum", LATE, (3, 4), (4, 5), equation="ij,jk->ki"),
    Row("OneHot", LATE, [-1, 0, 2, 3, -4], 3, [2.0, 5.0]),
    Row("ReverseSequence", LATE, (4, 3), [1, 4, 2]),
    Row("Unique", LATE, (5,), outputs=4),
    Row("BitShift", LATE, BYTES, np.uint8(2), direction="RIGHT"),
    Row("Mod", LATE, FLOATS, [1.5], fmod=1),
    Row("Mod", LATE, np.arange(-6, 6), np.array([5])),
    Row("Range", (22, 26, 27, 28), np.float32(1), np.float32(7), np.float32(2)),
    Row("QuantizeLinear", LATE, X, np.float32(0.1), np.uint8(7)),
    Row("DequantizeLinear", LATE, BYTES, [0.1, 0.2, 0.3], axis=1),
    # a further meaning, spelled out in older words
    Row("SpaceToDepth", (28,), (1, 2, 4, 6), blocksize=2, mode="CRD"),
    Row("SpaceToDepth", (28,), (1, 2, 4, 6), blocksize=2, mode="DCR"),
    Row("Mod", (28,), FLOATS, [1.5]),
    Row("Mod", (28,), FLOATS, np.array([-1.5], np.float32)),
    Row("Mod", (28,), np.array([-1, 1, 0, -6], np.float32),
        np.array([np.inf, -np.inf, 3, 2], np.float32)),
    Row("Range", (27, 28), np.float16(1), np.float16(7), np.float16(2)),
    Row("Range", (27, 28), np.float32(1), np.float32(7), np.float32(2), stash_type=1),
    Row("Celu", (28,), HALVES, alpha=0.5),
    Row("QuantizeLinear", (23, 25), X, np.float32(0.1), np.uint8(7), precision=TensorProto.FLOAT),
    Row("QuantizeLinear", (23, 25), HALVES, np.float32(0.1), np.uint8(7), judge="reference"),
    Row("DequantizeLinear", (23, 25), BYTES, np.float32(0.1), output_dtype=TensorProto.FLOAT),
    Row("DequantizeLinear", (23, 25), BYTES, np.float32(0.125), output_dtype=TensorProto.FLOAT16,
        judge="reference"),
    # operators that opset 21 lacks
    Row("Swish", (24, 28), FLOATS),
    Row("Swish", (24, 28), FLOATS, alpha=1.7),
    Row("Swish", (24,), FLOATS, alpha=1.7, open=True),
    Row("SwiGLU", (28,), FLOATS, (2, 3, 4)),
    Row("SwiGLU", (28,), FLOATS, (2, 3, 4), alpha=0.5),
    *[
        Row("RMSNormalization", (23, 26, 28), given, scale, **attributes)
        for given, scale, attributes in [
            (FLOATS, (4,), {}),
            (FLOATS, (4,), {"epsilon": 0.1}),
            (FLOATS, (3, 4), {"axis": 1}),
            (FLOATS, (3, 4), {"axis": -2}),
            (HALVES, np.ones(4, np.float16), {}),
        ]
    ],
    Row("RotaryEmbedding", (23, 26), SEQUENCE, (10, 4), (10, 4), np.arange(12).reshape(2, 6) % 10),
    Row("RotaryEmbedding", (23,), SEQUENCE, (2, 6, 4), (2, 6, 4), interleaved=1),
    Row("RotaryEmbedding", (23,), (2, 6, 32), (2, 6, 4), (2, 6, 4), num_heads=4),
    *[
        Row("Attention", (23, 24, 26, 28), query, SEQUENCE, SEQUENCE, *rest, **attributes)
        for query, rest, attributes in [
            (SEQUENCE, (), {}),
            (SEQUENCE, (), {"is_causal": 1, "scale": 0.3}),
            (SEQUENCE, ((6, 6),), {"softcap": 2.0}),
            (SEQUENCE, (np.tril(np.ones((6, 6), bool)),), {}),
            ((2, 8, 6, 8), (), {}),
        ]
    ],
    Row("Attention", (23, 26), (2, 6, 32), (2, 6, 16), (2, 6, 16), q_num_heads=4, kv_num_heads=2),
    Row("Attention", (25, 28), SEQUENCE, SEQUENCE, SEQUENCE, left_window_size=2,
        right_window_size=1, judge="reference"),
    Row("Attention", (24,), SEQUENCE, (2, 4, 5, 8), (2, 4, 5, 8), "", (2, 4, 3, 8), (2, 4, 3, 8),
        outputs=3, is_causal=1),
    Row("CausalConvWithState", (27, 28), (2, 3, 5), (3, 1, 4), (3,), outputs=2),
    Row("LinearAttention", (27, 28), (1, 3, 8), (1, 3, 8), (1, 3, 8), outputs=2, q_num_heads=2,
        kv_num_heads=2, update_rule="linear"),
    Row("TensorScatter", (24, 28), (2, 3, 6, 4), (2, 3, 2, 4), [1, 4], judge="reference"),
    Row("TensorScatter", (24,), (2, 3, 6, 4), (2, 3, 2, 4), judge="reference"),
    Row("TensorScatter", (24,), (2, 6, 4), (2, 3, 4), np.array([4, 1]), axis=1, mode="circular",
        judge="reference"),
    *[
        Row("CumProd", (26, 28), FLOATS, axis, exclusive=exclusive, reverse=reverse)
        for axis, exclusive, reverse in (
            *((1, 0, 0), (-1, 1, 0), (0, 0, 1), (2, 1, 1)),
            *((np.array(-2, np.int32), 1, 0), (np.array(0), 0, 1), (np.array(2), 1, 1)),
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize(("row", "opset"), cases(DOWN))
def test_down(row: Row, opset: int) -> None:
    model, feeds = row.model(opset)
    converted = check(model, feeds, row.judge)
    assert "the/node" in [node.name for node in converted.graph.node]


IF = """agraph (bool c, float[2,3,4] x) => (float[2,3,4] y) {
  y = If (c) <then_branch = t () => (float[2,3,4] a) { a = %s (x) },
              else_branch = e () => (float[2,3,4] b) { b = %s (x) }> }"""
LOOP = """agraph (float[2,3,4] x) => (float[2,3,4] y, float[3,2,3,4] all)
  <int64 n = {3}, bool go = {1}> {
  y, all = Loop (n, go, x) <body = step (int64 i, bool more, float[2,3,4] s)
    => (bool still, float[2,3,4] t, float[2,3,4] u) {
      still = Identity (more) t = %s (s) u = Neg (s) }>
}"""
SCAN = """agraph (float[2,4] x) => (float[4] y, float[2,4] all) <float[4] zero = {0,0,0,0}> {
  y, all = Scan <num_scan_inputs = 1, body = step (float[4] s, float[4] part)
    => (float[4] t, float[4] u) { a = %s (part) t = Add (s, a) u = Neg (t) }> (zero, x)
}"""
OPTIONAL = """agraph (float[2,3,4] x) => (bool known, float[2,3,4] y) {
  o = Optional (x) known = OptionalHasElement (o) y = OptionalGetElement (o) }"""
SEQUENCE_OF = """agraph (float[2,3,4] x) => (float[1,3,4] y) <int64 at = {1}> {
  parts = SplitToSequence (x) y = SequenceAt (parts, at) }"""
OLD, NEW = ("Softmax <axis = 1>", "Clip <min = -0.5, max = 0.5>"), ("Swish <alpha = 2.0>", "Swish")

TEXTS = [
    *[(opset, IF % OLD, value) for opset in (7, 10) for value in (True, False)],
    *[(opset, IF % ("Relu", "Softmax <axis = 1>"), False) for opset in (7, 10, 11, 12, 13, 15)],
    *[(opset, IF % NEW, value) for opset in (24, 25, 26) for value in (True, False)],
    *[(opset, LOOP % OLD[0], None) for opset in (7, 10, 11, 12, 13, 15)],
    *[(opset, LOOP % "Elu", None) for opset in (22, 23)],
    *[(opset, LOOP % NEW[0], None) for opset in (24, 25)],
    *[(opset, SCAN % "Softmax <axis = 0>", None) for opset in (9, 10, 11, 12, 13, 15)],
    *[(opset, SCAN % "Elu", None) for opset in (22, 23)],
    *[(opset, SCAN % NEW[0], None) for opset in (24, 25)],
    (15, OPTIONAL, None),
    (17, OPTIONAL, None),
    (26, SEQUENCE_OF, None),
]


def text_model(opset: int, text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


IN_TEXTS = {(node.op_type, o) for o, t, _ in TEXTS for node in text_model(o, t).graph.node}


@pytest.mark.parametrize(("opset", "text", "condition"), TEXTS)
def test_graphs_inside_nodes(opset: int, text: str, condition: bool | None) -> None:
    model = text_model(opset, text)
    shape = [dim.dim_value for dim in model.graph.input[-1].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(opset).standard_normal(shape).astype(np.float32)}
    if condition is not None:
        feeds["c"] = np.array(condition)
    check(model, feeds, "reference" if opset >= 25 and "Swish" in text else "ort")


def test_scan_over_a_batch() -> None:
    text = """agraph (float[2,3,4] x, float[2,4] s0) => (float[2,4] y, float[2,3,4] all) {
      y, all = Scan <num_scan_inputs = 1, directions = [1], body = step (float[4] s, float[4] part)
        => (float[4] t, float[4] u) { a = Softmax <axis = 0> (part) t = Add (s, a) u = Neg (t) }>
        ("", s0, x) }"""
    rng = np.random.default_rng(0)
    feeds = {k: rng.standard_normal(shape).astype(np.float32)
             for k, shape in (("x", (2, 3, 4)), ("s0", (2, 4)))}  # fmt: skip
    check(text_model(8, text), feeds)


# what no runtime here judges: the node must come through as it was
UNTOUCHED = {
    "Bernoulli": {},
    "GlobalLpPool": {"p": 3},
    "MaxRoiPool": {"pooled_shape": [2, 2]},
    "Multinomial": {"sample_size": 2},
    "RandomNormal": {"shape": [2, 3]},
    "RandomNormalLike": {"mean": 1.0},
    "RandomUniform": {"shape": [2, 3]},
    "RandomUniformLike": {"high": 2.0},
}


@pytest.mark.parametrize("op", UNTOUCHED)
def test_node_is_untouched(op: str) -> None:
    count = defs.get_schema(op).min_input
    node = helper.make_node(op, ["x", "x"][:count], ["y"], "n", **UNTOUCHED[op])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph([node], "g", [value], [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 26)])
    assert list(convert(model).graph.node) == [node]


def test_optional_values_are_untouched() -> None:
    model = text_model(28, OPTIONAL)
    for node in model.graph.node:
        node.ClearField("domain")
    assert list(convert(model).graph.node) == list(model.graph.node)


def changed_between(low: int, high: int) -> list[tuple[str, int]]:
    """Every (operator, version) of the standard domain with an older version, in (low, high]."""
    versions: dict[str, list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if not schema.domain:
            versions.setdefault(schema.name, []).append(schema.since_version)
    return [
        (op, new)
        for op, known in sorted(versions.items())
        for old, new in pairwise(sorted(known))
        if low < new <= high and new > OLDEST
    ]


def test_every_operator_changed_by_opset_18_has_a_row() -> None:
    tried = {(row.op, opset) for row in UP for opset in row.opsets} | IN_TEXTS | {("Scan", 8)}
    missing = [
        f"{op}-{new}"
        for op, new in changed_between(OLDEST, FLOOR)
        if not any(name == op and opset < new for name, opset in tried)
    ]
    assert missing == []


def test_every_operator_changed_after_opset_21_has_a_row() -> None:
    tried = {(row.op, opset) for row in DOWN for opset in row.opsets} | IN_TEXTS
    optionals = ("Optional", "OptionalGetElement", "OptionalHasElement")
    tried |= {(op, NEWEST) for op in (*UNTOUCHED, *optionals)}
    missing = [
        f"{op}-{new}"
        for op, new in changed_between(CEILING, NEWEST)
        if not any(name == op and opset >= new for name, opset in tried)
    ]
    assert missing == []


@pytest.mark.parametrize("opset", [*range(18, 22)])
def test_model_in_range_is_left_alone(opset: int) -> None:
    model = text_model(opset, IF % ("Relu", "Neg"))
    assert convert(model) == ir.serde.serialize_model(ir.serde.deserialize_model(model))


DESCRIBED = """<ir_version: %d, opset_import: ["ai.onnx" : %d, "com.acme" : 3, "ai.onnx.ml" : 2],
  producer_name: "us", doc_string: "text", model_version: 4, metadata_props: ["k": "v"]>
agraph (float[N,3,4] x) => (float[N,3,4] y) {
  [first] a = Softmax (x) [own] b = com.acme.Thing <axes = [1]> (a) [last] y = Identity (b) }"""


@pytest.mark.parametrize(("opset", "version"), [(7, 3), (12, 7), (20, 14), (26, 13)])
def test_description_names_and_domains_survive(opset: int, version: int) -> None:
    model = parser.parse_model(DESCRIBED % (version, opset))
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "origin", "line 3"
    before = model.SerializeToString()
    converted = convert(model)
    assert model.SerializeToString() == before
    domains = {entry.domain: entry.version for entry in converted.opset_import}
    assert (domains["com.acme"], domains["ai.onnx.ml"]) == (3, 2)
    for part in ("producer_name", "doc_string", "model_version", "metadata_props"):
        assert getattr(converted, part) == getattr(model, part)
    assert list(converted.graph.input) == list(model.graph.input)
    assert list(converted.graph.output) == list(model.graph.output)
    nodes = {node.name: node for node in converted.graph.node}
    assert {"first", "own", "last"} <= set(nodes)
    assert nodes["first"].op_type == "Softmax"
    assert list(nodes["first"].metadata_props) == [entry]
    assert nodes["own"] == model.graph.node[1]


def test_large_weights_may_be_missing() -> None:
    text = """agraph (float[N,2,8,8] x, float[4,2,3,3] w) => (float[N,4,12,12] y)
      <float[4] s = {1,1,2,2}> {
      a = Conv (x, w) y = Upsample <mode = "linear"> (a, s) }"""
    converted = convert(text_model(9, text))
    assert [node.op_type for node in converted.graph.node] == ["Conv", "Resize"]


def test_constants_are_read_from_constant_nodes_and_outer_graphs() -> None:
    text = """agraph (bool c, float[1,1,2,2] x) => (float[1,1,H,W] y) {
      s = Constant <value = float[4] {1,1,2,2}> ()
      y = If (c) <then_branch = t () => (float[1,1,H,W] a) { a = Resize (x, s) },
                  else_branch = e () => (float[1,1,H,W] b) {
                    b = Resize <mode = "linear"> (x, s) }> }"""
    model = text_model(10, text)
    check(model, {"c": np.array(True), "x": np.ones((1, 1, 2, 2), np.float32)})
    branch = convert(model).graph.node[-1].attribute[0].g
    assert [node.op_type for node in branch.node] == ["Resize"]


def test_names_stay_unique() -> None:
    text = """agraph (float[2,3,4] x) => (float[2,3,4] y, float[2,3,4] z) {
      [n] y = Softmax (x) [n_2] z = Softmax (x) }"""
    model = text_model(11, text)
    model.graph.node[1].name = "n/Softmax"
    converted = check(model, {"x": np.ones((2, 3, 4), np.float32)})
    names = [node.name for node in converted.graph.node]
    assert len(set(names)) == len(names)


REFUSED = [
    (6, "y = Relu (x)", ["opset 6", "7 to 28"]),
    (29, "y = Relu (x)", ["opset 29", "7 to 28"]),
    (9, "[d] y, m = Dropout (x) [e] z = Not (m)", ["'d' (Dropout)", "mask"]),
    (9, "[b] y, a, b, c, d = BatchNormalization (x, x, x, x, x) z = Neg (d)",
     ["'b' (Batch", "training"]),
    (8, "[s] y = Scan <num_scan_inputs = 1, body = g (float u) => (float v) {v = Neg (u)}> (x, x)",
     ["'s' (Scan)", "lengths"]),
    (12, """[r] y = Resize <mode = "linear",
     coordinate_transformation_mode = "tf_half_pixel_for_nn"> (x, x, x)""",
     ["'r' (Resize)", "tf_half_pixel_for_nn"]),
    (9, "[c] y = Clip ()", ["Clip", "not valid ONNX"]),
    (9, "[p] y = Pad (x)", ["'p' (Pad)", "pads"]),
    (8, "[u] y = Upsample (x)", ["'u' (Upsample)", "scales"]),
    (25, "[s] y = Swish (x, x)", ["'s' (Swish)", "input size"]),
    (25, "[u] y = Thing <to = 1> (x) z = com.other.Thing (x)", ["com.other", "not valid ONNX"]),
    (9, "a = com.acme.Thing (x) [c] y = Clip <min = 1.0> (a)", ["'c' (Clip)", "element type"]),
    (26, "[c] a = BitCast <to = 6> (x) [i] y = BitCast <to = 1> (a)",
     ["'c' (BitCast)", "'i' (BitCast)"]),
    (26, "[c] a = Cast <to = 23> (x) [d] y = Cast <to = 1> (a)", ["'c' (Cast)", "float4e2m1"]),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "nodes", "parts"), REFUSED)
def test_refusals_name_node_and_fact(opset: int, nodes: str, parts: list[str]) -> None:
    model = text_model(min(opset, NEWEST), f"agraph (float[3,4] x) => (float[3,4] y) {{ {nodes} }}")
    model.opset_import[0].version = opset
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(ModelError) as refusal:
        convert(model)
    assert [part for part in parts if part not in str(refusal.value)] == []


def test_half_precision_that_is_too_new_is_cast() -> None:
    text = """agraph (float[3,4] x) => (bfloat16[3,4] i, float[3,4] y) {
      h = Cast <to = 16> (x) i = Cos (h) y = Cast <to = 1> (i) }"""
    model = text_model(25, text)
    converted = convert(model)
    assert [n.op_type for n in converted.graph.node] == ["Cast", "Cast", "Cos", "Cast", "Cast"]
    assert list(converted.graph.output) == list(model.graph.output)
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    agree(
        ReferenceEvaluator(converted).run(["y"], {"x": x}),
        ReferenceEvaluator(model).run(["y"], {"x": x}),
    )


def test_checking_helper_sees_one_percent() -> None:
    values = np.linspace(-1, 1, 5, dtype=np.float32)
    agree([values], [values])
    with pytest.raises(AssertionError):
        agree([values * np.float32(1.01)], [values])


def test_training_batch_normalization_keeps_its_outputs() -> None:
    text = """agraph (float[4,3] x, float[3] c) => (float[4,3] y, float[3] m, float[3] v) {
      y, m, v, k, l = BatchNormalization <momentum = 0.8> (x, c, c, c, c) }"""
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((4, 3)).astype(np.float32), "c": np.ones(3, np.float32)}
    got = run(convert(text_model(9, text)), feeds)
    mean, variance = feeds["x"].mean(0), feeds["x"].var(0)
    agree(got[:1], [(feeds["x"] - mean) / np.sqrt(variance + np.float32(1e-5)) + 1])
    agree(got[1:], [np.float32(0.8) + mean / 5, np.float32(0.8) + variance / 5])
