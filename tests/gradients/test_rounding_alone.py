"""Where a gradient is 0 but for rounding, that is said."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network, run
from onnx import numpy_helper

import lrp_onnx
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

NORM = "LayerNormalization<axis=-1>"
FRAGMENTS = {  # from the embeddings p to f, whether the gradient is rounding
    "behind the embedding": (f"f = {NORM}(p, s)", True),
    "moved": (f"t = Transpose<perm=[1, 0, 2]>(p) u = {NORM}(t, s) "
              "f = Transpose<perm=[1, 0, 2]>(u)", True),
    "a residual sum": (f"n = {NORM}(p, s) l = MatMul(n, w) h = Add(l, p) f = {NORM}(h, s)", True),
    "read by a layer": (f"l = MatMul(p, w) f = {NORM}(l, s)", False),
    "read beside the norm": (f"n = {NORM}(p, s) l = Relu(p) f = Add(n, l)", False),
    "a norm without the mean": ("q = Mul(p, p) r = ReduceMean(q, last) t = Sqrt(r) d = Div(p, t) "
                                "f = Mul(d, s)", False),
    "turned": (f"t = Transpose<perm=[0, 2, 1]>(p) u = {NORM}(t, rows) "
               "f = Transpose<perm=[0, 2, 1]>(u)", False),
}  # fmt: skip
SHAPES = {"table": (7, 4), "places": (3, 4), "s": (4,), "w": (4, 4), "v": (4, 2), "rows": (3,)}


def model_of(name: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (int64[N,3] x) => (float[N,2] y) {'
        f" e = Gather(table, x) p = Add(e, places) {FRAGMENTS[name][0]}"
        " m = ReduceMean<keepdims=0>(f, one) y = Gemm(m, v) }"
    )
    arrays = {"one": np.array([1]), "last": np.array([-1])}
    for k, (weight, shape) in enumerate(SHAPES.items()):
        arrays[weight] = np.random.default_rng(k).standard_normal(shape).astype(np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(a, k) for k, a in arrays.items())
    return model


@pytest.mark.parametrize("name", FRAGMENTS)
def test_the_gradient_of_tokens(name: str) -> None:
    model, told = model_of(name), FRAGMENTS[name][1]
    compiled = lrp_onnx.compile(model, method="gradient", target=1)
    assert any("what is left is rounding" in text for text in compiled.warnings) is told
    found = run(compiled.model, {"x": np.array([[1, 2, 3], [6, 0, 2]])})["x_relevance"]
    assert bool(np.abs(found).max() < 1e-5) is told
    for method in ("saliency", "input-x-gradient"):
        warnings = lrp_onnx.compile(model, method=method, target=1).warnings
        assert not any("rounding" in text for text in warnings)


@pytest.mark.parametrize("constant", [True, False])
def test_integrated_gradients_of_what_does_not_change(constant: bool) -> None:
    start = "a = Abs(x) n = Neg(a) h = Relu(n)" if constant else "h = Relu(x)"
    model = network(f"{start} y = Gemm(h, w, b)", (2, 3), w=(3, 2), b=(2,))
    options = CompileOptions(method="integrated-gradients", target=1, steps=4)
    verdict = verify(model, options)
    assert verdict.problems == ()
    assert ("no more than f is rounded by" in verdict.ill_conditioned) is constant
    assert verdict.holds_fully is not constant


def test_integrated_gradients_of_no_sample() -> None:
    model = network("h = Relu(x) y = Gemm(h, w)", (2, 3), (0,), w=(3, 2))
    compiled = lrp_onnx.compile(model, method="integrated-gradients", target=1, steps=4)
    found = run(compiled.model, {"x": np.zeros((0, 3), np.float32)})
    assert found["x_relevance"].shape == (0, 3)
