"""How far roundings decide a relevance, against the same graph in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network, run
from onnx import TensorProto, numpy_helper

import lrp_onnx
from lrp_onnx.graph.session import Runtime
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.other_digits import sensitivity, with_other_digits
from lrp_onnx.validate.verdict import unsteady_map
from lrp_onnx.validate.verify import verify

WIDTH = 32


def deep(layers: int, normed: bool, residual: bool) -> onnx.ModelProto:
    """Dense layers with ReLUs; with norms relevance is shared out by ever smaller sums."""
    lines, value, shapes = [], "x", {"g": (WIDTH,), "c": (WIDTH,)}
    for k in range(layers):
        shapes[f"w{k}"] = (WIDTH, WIDTH)
        lines.append(f"n{k} = LayerNormalization({value}, g, c)" if normed else "")
        lines.append(f"m{k} = MatMul({f'n{k}' if normed else value}, w{k}) a{k} = Relu(m{k})")
        lines.append(f"s{k} = Add(a{k}, {value})" if residual else "")
        value = f"s{k}" if residual else f"a{k}"
    model = network(f"{' '.join(lines)} y = Identity({value})", (2, WIDTH), **shapes)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("w"):
            rng = np.random.default_rng(int(tensor.name[1:]))
            w = rng.standard_normal((WIDTH, WIDTH)) * (2 / WIDTH) ** 0.5
            tensor.CopyFrom(numpy_helper.from_array(w.astype(np.float32), tensor.name))
    return model


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in float64."""
    double = onnx.ModelProto.FromString(model.SerializeToString())
    del double.graph.value_info[:]
    for value in (*double.graph.input, *double.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in double.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in double.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "stash_type") and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return double


V = np.array([[1e6], [1]], np.float32)
X = np.random.default_rng(3).standard_normal((2, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("composite", ["epsilon", "gamma", "alpha2-beta1"])
@pytest.mark.parametrize(
    ("layers", "normed", "residual"),
    [(4, False, False), (12, False, True), (24, True, True), (24, True, False), (48, True, False)],
    ids=str,
)
def test_it_is_what_float64_differs_by(
    layers: int, normed: bool, residual: bool, composite: str
) -> None:
    compiled = lrp_onnx.compile(deep(layers, normed, residual), composite, check=False)
    runtime = Runtime(compiled.model.SerializeToString())
    found = sensitivity(compiled.graph, runtime.run, {"x": X}).change
    r = run(compiled.model, {"x": X})["x_relevance"].astype(np.float64)
    exact = run(in_double(compiled.model), {"x": X.astype(np.float64)})["x_relevance"]
    off = np.max(np.abs(r - exact).max(1) / np.abs(exact).max(1))
    assert off / 5 <= found <= 30 * off


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_other_digits_are_the_last_ones(dtype: type) -> None:
    x = np.array([1.5, 1.5, -3.25, 0, np.inf, -np.inf, np.nan], dtype)
    other = with_other_digits(x, 3)
    assert np.array_equal(other[4:], x[4:], equal_nan=True)
    assert other[0] == other[1] != x[0]
    assert np.all(np.abs(other[:3] - x[:3]) <= 4 * np.spacing(np.abs(x[:3])))
    assert np.array_equal(with_other_digits(np.arange(3)), np.arange(3))


def test_verify_tells_where_roundings_decide_the_map() -> None:
    options = CompileOptions(composite="epsilon", target="max")
    steady = verify(deep(4, normed=False, residual=False), options, {"x": X})
    assert steady.holds_fully
    assert 0 < steady.sensitivity.change < 1e-4
    left = np.array([[1, 0.5], [2.0**-20 - 1, 0.5]], np.float32)  # of the first sum: 2^-20
    cancels = network("h = MatMul(x, w) y = MatMul(h, v)", (1, 2), w=left, v=V)
    unsteady = verify(cancels, options, {"x": np.array([[1.5, 1.5 + 2.0**-23]], np.float32)})
    assert unsteady.sensitivity.unsteady
    assert not unsteady.holds_fully
    assert "Try a larger stabilizer" in unsteady_map(unsteady.sensitivity, "lrp")
    assert "another --method" in unsteady_map(unsteady.sensitivity, "gradient")
    assert not unsteady_map(steady.sensitivity, "lrp")


def test_of_token_ids_the_weights_change() -> None:
    body = "e = Gather(w, ids) r = Relu(e) y = MatMul(r, v)"
    graph = onnx.parser.parse_graph(f"g (int64[2, 3] ids) => (float[2, 3, 2] y) {{ {body} }}")
    rng = np.random.default_rng(0)
    for name, shape in {"w": (7, 4), "v": (4, 2)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    ids = np.array([[0, 5, 2], [3, 3, 1]])
    compiled = lrp_onnx.compile(model, "epsilon", check=False)
    before = compiled.model.SerializeToString()
    found = sensitivity(compiled.graph, Runtime(before).run, {"ids": ids})
    assert found.of == "weights"
    assert 0 < found.change < 1e-5
    assert "in the weights" in str(found)
    assert compiled.model.SerializeToString() == before
