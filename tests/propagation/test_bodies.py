"""If, Loop and Scan: gradients against central differences in float64, relevance against the same
network without control flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models import Array, assert_close
from reference import finite_difference

import lrp_onnx

HEAD = '<ir_version: 8, opset_import: ["": 18]>'
WEIGHTS = {
    "w": (3, 4),
    "u": (4, 4),
    "b": (4,),
    "v": (4, 2),
}


@dataclass(frozen=True)
class Row:
    """A model in text over float64 inputs (name → shape) and further inputs as they are."""

    name: str
    text: str
    inputs: dict[str, tuple[int, ...]]
    others: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


CELL = """{ p = MatMul(x, w)  q = MatMul(h, u)  s = Add(p, q)  z = Add(s, b)  a = Tanh(z)
    ho = Identity(a)  y = Identity(a) }"""
SCAN = f"body = step (double[N,4] h, double[N,3] x) => (double[N,4] ho, double[N,4] y) {CELL}"
IN, OUT = "double[T,N,3] xs, double[N,4] h0", "double[N,2] out"
LOOP = """body = step (int64 i, bool c, double[N,4] h) => (bool co, double[N,4] ho, double[N,4] y)
    { co = Identity(c)  x = Gather(xs, i)  p = MatMul(x, w)  q = MatMul(h, u)  s = Add(p, q)
      a = Tanh(s)  ho = Add(a, h)  y = Mul(a, a) }"""

ROWS = [
    Row("Scan",
        f"g ({IN}) => ({OUT}) {{ hn, ys = Scan<num_scan_inputs=1, {SCAN}>(h0, xs)"
        " out = MatMul(hn, v) }",
        {"xs": (3, 2, 3), "h0": (2, 4)}),
    Row("Scan-all-outputs",
        f"g ({IN}) => ({OUT}) {{ hn, ys = Scan<num_scan_inputs=1, {SCAN}>(h0, xs)"
        " axes = Constant<value_ints=[0]>() m = ReduceSum<keepdims=0>(ys, axes) t = Add(m, hn)"
        " out = MatMul(t, v) }",
        {"xs": (3, 2, 3), "h0": (2, 4)}),
    Row("Scan-reverse",
        f"g ({IN}) => ({OUT}) {{ hn, ys = Scan<num_scan_inputs=1, scan_input_directions=[1],"
        f" scan_output_directions=[1], {SCAN}>(h0, xs)"
        " k = Constant<value_int=0>() t = Gather(ys, k)  out = MatMul(t, v) }",
        {"xs": (3, 2, 3), "h0": (2, 4)}),
    Row("Scan-axes",
        f"g (double[N,T,3] xs, double[N,4] h0) => ({OUT}) {{"
        f" hn, ys = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[2], {SCAN}>"
        "(h0, xs)  axes = Constant<value_ints=[2]>() m = ReduceMean<keepdims=0>(ys, axes)"
        " out = MatMul(m, v) }",
        {"xs": (2, 3, 3), "h0": (2, 4)}),
    Row("Scan-growing",
        f"g (double[N,3] m, double[N,4] h0, int64[T] ks) => ({OUT}) {{"
        " hn = Scan<num_scan_inputs=1, body = step (double[N,4] h, int64 k) => (double[N,4] ho) {"
        " zero = Constant<value_ints=[0]>() one = Constant<value_ints=[1]>() e = Reshape(k, one)"
        " s = Slice(m, zero, e, zero)  p = MatMul(s, w)  a = Tanh(p)"
        " t = ReduceSum<keepdims=1>(a, zero)  q = MatMul(h, u)  r = Add(q, t)"
        " ho = Tanh(r) }>(h0, ks) out = MatMul(hn, v) }",
        {"m": (3, 3), "h0": (3, 4)}, {"ks": np.array([1, 3, 2])}),
    Row("Scan-constant-state",
        f"g (double[T,2,3] xs, double[4,4] m) => ({OUT}) {{"
        " shape = Constant<value_ints=[2,4]>() zero = ConstantOfShape"
        "<value=double[1]{0}>(shape)"
        " hn, ys = Scan<num_scan_inputs=1, body = step (double[2,4] h, double[2,3] x) =>"
        " (double[2,4] ho, double[2,4] y) { p = MatMul(x, w)  q = MatMul(h, m)  s = Add(p, q)"
        " ho = Sin(s)  y = Identity(ho) }>(zero, xs) out = MatMul(hn, v) }",
        {"xs": (4, 2, 3), "m": (4, 4)}),
    Row("Loop",
        f"g ({IN}) => ({OUT}) {{ shape = Shape(xs) k = Constant<value_int=0>()"
        f" n = Gather(shape, k) c = Constant<value=bool {{1}}>()"
        f" hn, ys = Loop<{LOOP}>(n, c, h0)"
        " axes = Constant<value_ints=[0]>() m = ReduceSum<keepdims=0>(ys, axes) t = Add(m, hn)"
        " out = MatMul(t, v) }",
        {"xs": (3, 2, 3), "h0": (2, 4)}),
    Row("If",
        "g (double[N,4] x, bool c) => (double[N,2] out) { k = Tanh(x)"
        " r = If<then_branch = yes () => (double[N,4] r1) { t = MatMul(k, u)  r1 = Mul(t, t) },"
        " else_branch = no () => (double[N,4] r2) { r2 = Mul(k, x) }>(c)  out = MatMul(r, v) }",
        {"x": (2, 4)}, {"c": np.array(True)}),
    Row("If-else",
        "g (double[N,4] x, bool c) => (double[N,2] out) { k = Tanh(x)"
        " r = If<then_branch = yes () => (double[N,4] r1) { t = MatMul(k, u)  r1 = Mul(t, t) },"
        " else_branch = no () => (double[N,4] r2) { r2 = Mul(k, x) }>(c)  out = MatMul(r, v) }",
        {"x": (2, 4)}, {"c": np.array(False)}),
    Row("If-in-Scan",
        f"g ({IN}, bool c) => ({OUT}) {{ hn = Scan<num_scan_inputs=1,"
        " body = step (double[N,4] h, double[N,3] x) => (double[N,4] ho) {"
        " p = MatMul(x, w)  q = Add(p, h)"
        " ho = If<then_branch = yes () => (double[N,4] r1) { r1 = Tanh(q) },"
        " else_branch = no () => (double[N,4] r2) { t = Mul(q, h)  r2 = MatMul(t, u) }>(c) }>"
        "(h0, xs) out = MatMul(hn, v) }",
        {"xs": (3, 2, 3), "h0": (2, 4)}, {"c": np.array(False)}),
    Row("Scan-in-Scan",
        "g (double[S,T,N,3] xs, double[N,4] h0) => (double[N,2] out) {"
        " hn = Scan<num_scan_inputs=1, body = outer (double[N,4] h, double[T,N,3] x) =>"
        " (double[N,4] ho) { ho = Scan<num_scan_inputs=1, body = inner (double[N,4] k,"
        " double[N,3] e) => (double[N,4] ko) { p = MatMul(e, w)  q = Mul(k, h)  s = Add(p, q)"
        " ko = Tanh(s) }>(h, x) }>(h0, xs)  out = MatMul(hn, v) }",
        {"xs": (2, 3, 2, 3), "h0": (2, 4)}),
    Row("Loop-in-Loop",
        f"g ({IN}) => ({OUT}) {{ n = Constant<value_int=3>() go = Constant<value=bool {{1}}>()"
        " hn = Loop<body = outer (int64 i, bool c, double[N,4] h) => (bool c1, double[N,4] h1) {"
        " c1 = Identity(c)  x = Gather(xs, i)  p = MatMul(x, w)  m = Constant<value_int=2>()"
        " h1 = Loop<body = inner (int64 j, bool d, double[N,4] k) => (bool d1, double[N,4] k1) {"
        " d1 = Identity(d)  q = Mul(k, h)  s = Add(q, p)  t = Add(s, h0)  k1 = Tanh(t) }>(m, c, h)"
        " }>(n, go, h0)  out = MatMul(hn, v) }",
        {"xs": (3, 2, 3), "h0": (2, 4)}),
]  # fmt: skip


def model_of(row: Row) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEAD + row.text)
    rng = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        array = rng.standard_normal(shape) * 0.5
        if f", {name})" in row.text:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def feeds_of(row: Row) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape) for name, shape in row.inputs.items()}


@lru_cache(maxsize=4)
def opened(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, ort.SessionOptions(), ["CPUExecutionProvider"])


def outputs_of(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    session = opened(model.SerializeToString(deterministic=True))
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gradient(row: Row) -> None:
    model, feeds = model_of(row), feeds_of(row)
    compiled = lrp_onnx.compile(model, "gradient", start="one", target="seed").model
    onnx.checker.check_model(compiled, full_check=True)
    y = outputs_of(model, {**feeds, **row.others})["out"]
    seed = np.random.default_rng(2).standard_normal(y.shape)
    found = outputs_of(compiled, {**feeds, **row.others, "out_seed": seed})
    assert_close(found["out"], y)
    for name, x in feeds.items():

        def forward(value: Array, name: str = name) -> Array:
            return outputs_of(model, {**feeds, **row.others, name: value})["out"]

        expected = finite_difference(forward, x, seed)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(
            found[f"{name}_relevance"], expected, atol=1e-7 * np.abs(expected).max()
        )


@pytest.mark.parametrize("count", [0, 1, 7])
def test_trip_count_at_run_time(count: int) -> None:
    text = """g (int64 n, double[B,4] h0, double[B,4] x) => (double[B,4] h) {
      c = Constant<value=bool {1}>()
      h = Loop<body = step (int64 i, bool c0, double[B,4] s) => (bool c1, double[B,4] s1) {
        c1 = Identity(c0)  p = Mul(s, x)  s1 = Tanh(p) }>(n, c, h0) }"""
    model = onnx.parser.parse_model(HEAD + text)
    compiled = lrp_onnx.compile(model, "gradient", start="one", target="all").model
    rng = np.random.default_rng(0)
    feeds = {"n": np.array(count), **{k: rng.standard_normal((3, 4)) for k in ("h0", "x")}}
    found = outputs_of(compiled, feeds)
    for name in ("h0", "x"):

        def forward(value: Array, name: str = name) -> Array:
            return outputs_of(model, {**feeds, name: value})["h"]

        expected = finite_difference(forward, feeds[name], np.ones((3, 4)))
        np.testing.assert_allclose(found[f"{name}_relevance"], expected, atol=1e-8)
