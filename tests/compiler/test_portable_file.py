"""What a runtime other than ONNX Runtime needs of the file, and what an old one refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network, run

import lrp_onnx

CNN = network(
    "z = Conv(x, w) r = Relu(z) f = Flatten(r) y = Gemm<transB=1>(f, v)",
    (2, 1, 4, 4), symbolic=(0,), w=(3, 1, 3, 3), v=(5, 12),
)  # fmt: skip


def test_a_free_batch_keeps_its_name_in_between() -> None:
    """ONNX Runtime removes moves of memory by it."""
    graph = lrp_onnx.compile(CNN).model.graph
    between, batch = graph.value_info, graph.input[0].type.tensor_type.shape.dim[0].dim_param
    named = [v for v in between for d in v.type.tensor_type.shape.dim if d.dim_param == batch]
    assert batch
    assert len(named) > 3


@pytest.mark.parametrize(("opset", "format"), [(18, 8), (19, 9), (20, 9), (21, 10)])
def test_the_format_is_the_oldest_that_has_the_opset(opset: int, format: int) -> None:
    assert lrp_onnx.compile(CNN, opset=opset).model.ir_version == format


FREE = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["": 18]> '
    "g (float[a,3,b] x, float[c,d] y) => (float[e,3,f] z) { z = Mul(x, y) }"
)
SIZES = [
    ((2, 3, 4), (3, 4)),
    ((2, 3, 4), (1, 4)),
    ((2, 3, 1), (3, 4)),
    ((2, 3, 4), (1, 1)),
    ((1, 3, 1), (3, 1)),
    ((0, 3, 4), (3, 4)),
    ((2, 3, 0), (3, 0)),
    ((2, 3, 0), (3, 1)),
]


def summed(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    value = value.sum(axis=tuple(range(value.ndim - len(shape))))
    return value.sum(axis=tuple(k for k, n in enumerate(shape) if n == 1), keepdims=True)


@pytest.mark.parametrize(("of_x", "of_y"), SIZES)
def test_what_the_run_broadcasts_is_summed_over_constant_axes(
    of_x: tuple[int, ...], of_y: tuple[int, ...]
) -> None:
    """OpenVINO refuses a ReduceSum whose axes are computed."""
    model = lrp_onnx.compile(FREE, method="gradient", target="all").model
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        assert not node.op_type.startswith("Reduce") or {*node.input[1:]} <= weights, node.name
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in (of_x, of_y))
    found, shape = run(model, {"x": x, "y": y}), np.broadcast_shapes(of_x, of_y)
    np.testing.assert_allclose(
        found["x_relevance"], summed(np.broadcast_to(y, shape), of_x), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        found["y_relevance"], summed(np.broadcast_to(x, shape), of_y), rtol=1e-5, atol=1e-6
    )


BRANCHES = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["": 18]>
    g (float[2,3] x, bool c) => (float[2,3] y) {
        y = If (c) <
            then_branch = t () => (float[2,3] a) <float[3,3] w = {1,2,3,4,5,6,7,8,9}> { a = MatMul(x, w) },
            else_branch = e () => (float[2,3] b) { b = Relu(x) }
        >
    }"""  # noqa: E501
)


def test_no_weight_of_a_body_is_unused() -> None:
    """ONNX Runtime prints a warning for each when it opens the file."""
    model = lrp_onnx.compile(BRANCHES, "zplus").model
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                read = {name for inner in attribute.g.node for name in inner.input}
                unused = {tensor.name for tensor in attribute.g.initializer} - read
                assert not unused, node.name


RESHAPED = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["": 18]>
    g (float[n,2,h,w] x, float[n,2] u) => (float[n,k] y) <float[2,2,3,3] f> {
        z = Conv<pads=[1,1,1,1], strides=[2,2]>(x, f) r = Relu(z) s = Shape<start=0,end=2>(r)
        m = GlobalAveragePool(r) p = Reshape(m, s) y = Mul(p, u)
    }"""
)
RESHAPED.graph.initializer.append(
    onnx.numpy_helper.from_array(
        np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32), "f"
    )
)


def test_fixed_sizes_are_known_everywhere() -> None:
    fixed = lrp_onnx.compile(RESHAPED, shape={"x": (3, 2, 6, 5)}).model
    free = lrp_onnx.compile(RESHAPED).model
    assert "Shape" in {node.op_type for node in free.graph.node}
    assert "Shape" not in {node.op_type for node in fixed.graph.node}
    sizes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*fixed.graph.input, *fixed.graph.output)
    ]
    assert sizes[:3] == [[3, 2, 6, 5], [3, 2], [3, 0]]  # k is nobody else's size
    rng = np.random.default_rng(1)
    feeds = {
        "x": rng.standard_normal((3, 2, 6, 5)).astype(np.float32),
        "u": rng.standard_normal((3, 2)).astype(np.float32),
    }
    for name, value in run(free, feeds).items():
        np.testing.assert_allclose(run(fixed, feeds)[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"q": (1,)}, "no such input. It has 'x', 'u'"),
        ({"x": (1, 3, 4, 4)}, r"\[1, 3, 4, 4\] was given, and the model declares \[n,2,h,w\]"),
        ({"x": (1, 2, 4)}, "a size from 1 on for each axis"),
        ({"x": (0, 2, 4, 4)}, "a size from 1 on"),
        ({"x": (1, 2, 4, 4), "u": (2, 2)}, "one size for each name"),
    ],
)
def test_sizes_that_an_input_cannot_have_are_refused(
    shape: dict[str, tuple[int, ...]], told: str
) -> None:
    with pytest.raises(lrp_onnx.ModelError, match=told):
        lrp_onnx.compile(RESHAPED, shape=shape)
