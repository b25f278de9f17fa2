"""Every standard operator with a newer form: the new model against the converted one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, helper
from opset_models import (
    BYTES,
    FLOATS,
    HALVES,
    IMAGE,
    IN_TEXTS,
    POOL,
    TRUTH,
    Row,
    X,
    cases,
    changed_between,
    check,
    converted,
)

from lrp_onnx.frontend.opset import CEILING, NEWEST

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
    assert list(converted(model).graph.node) == [node]


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
