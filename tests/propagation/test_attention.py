"""Softmax, products and norms of activations against AttnLRP's formulas, written out in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Case, assert_close, network, run
from onnx import numpy_helper

import lrp_onnx
from lrp_onnx import UnsupportedError

VJP_ROWS = [
    Case("Softmax", x=(2, 3, 4), then="Tanh"),
    Case("Softmax", {"axis": 1}, x=(2, 3, 4), then="Tanh"),
    Case("LogSoftmax", x=(2, 3, 4), then="Tanh"),
    Case("LogSoftmax", {"axis": -2}, x=(2, 3, 4), then="Tanh"),
    Case("LayerNormalization", x=(2, 3, 4), scale=(4,), b=(4,)),
    Case("LayerNormalization", {"axis": 1, "epsilon": 0.1}, x=(2, 3, 4), scale=(3, 4)),
    Case("InstanceNormalization", x=(2, 3, 2, 4), scale=(3,), b=(3,)),
    Case("MatMul", x=(2, 3, 4), x2=(2, 4, 5)),
    Case("MatMul", x=(2, 3, 4), x2=(4, 5)),
    Case("Gemm", {"transB": 1}, x=(3, 4), x2=(5, 4), b=(5,)),
]
RNG = np.random.default_rng(7)


def stabilized(z: np.ndarray) -> np.ndarray:
    return z + np.where(z < 0, -1e-6, 1e-6)


def found(body: str, feeds: dict, seed: np.ndarray, composite: str = "attnlrp", **constants):
    shapes = {k: v.shape for k, v in feeds.items()}
    assert set(shapes) == {"x"}
    compiled = lrp_onnx.compile(
        network(body, shapes["x"], (0,), **constants),
        composite=composite, target="seed", start="one", check=False,
    )  # fmt: skip
    return run(compiled.model, {**feeds, "y_seed": seed})["x_relevance"], compiled.report


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("masked", [False, True])
def test_softmax(masked: bool) -> None:
    x, R = drawn(2, 3, 4), drawn(2, 3, 4)
    if masked:
        x[..., -1] = -np.inf
    R_in, _ = found("s = Softmax(x) y = Tanh(s)", {"x": x}, R)
    finite = np.where(np.isfinite(x), x, 0).astype(float)
    expected = finite * (R - softmax(x.astype(float)) * R.sum(-1, keepdims=True, dtype=float))
    assert_close(R_in, expected)


def test_product_of_activations_halves() -> None:
    """x·x^T: both factors get their half, and all of R arrives."""
    x, R = drawn(2, 3, 4), drawn(2, 3, 3)
    R_in, _ = found("t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)", {"x": x}, R)
    a = x.astype(float)
    b = a.transpose(0, 2, 1)
    s = R / (2 * stabilized(a @ b))
    expected = a * (s @ a) + (b * (b @ s)).transpose(0, 2, 1)
    assert_close(R_in, expected)
    np.testing.assert_allclose(R_in.sum(), R.sum(), rtol=1e-3)


@pytest.mark.parametrize("biased", [False, True])
def test_layer_normalization_holds_the_deviation(biased: bool) -> None:
    x, R, g, h = drawn(2, 3, 4), drawn(2, 3, 4), drawn(4), drawn(4)
    inputs = "x, g, h" if biased else "x, g"
    R_in, _ = found(f"y = LayerNormalization({inputs})", {"x": x}, R,
                    **({"g": g, "h": h} if biased else {"g": g}))  # fmt: skip
    a = x.astype(float)
    r = 1 / np.sqrt(a.var(-1, keepdims=True) + 1e-5)
    y = (a - a.mean(-1, keepdims=True)) * r * g + (h if biased else 0)
    s = R / stabilized(y) * g * r
    assert_close(R_in, a * (s - s.mean(-1, keepdims=True)))
    if not biased:  # conserved without a bias (Ali et al. 2022)
        np.testing.assert_allclose(R_in.sum(), R.sum(), rtol=1e-3)


def test_constant_attention_gives_all_to_the_values() -> None:
    x, R = drawn(2, 3, 3), drawn(2, 3, 3)
    R_in, report = found("p = Softmax(x) y = MatMul(p, x)", {"x": x}, R, "cp-lrp")
    a = x.astype(float)
    p = softmax(a)
    assert_close(R_in, a * (p.transpose(0, 2, 1) @ (R / stabilized(p @ a))))
    assert [(n.op_type, n.kind) for n in report] == [("Softmax", ""), ("MatMul", "linear")]


def test_a_softmax_that_is_no_factor_still_propagates() -> None:
    x, R = drawn(2, 3, 4), drawn(2, 3, 2)
    R_in, report = found("p = Softmax(x) y = MatMul(p, w)", {"x": x}, R, "cp-lrp", w=drawn(4, 2))
    assert [n.rule for n in report] == ["softmax", "epsilon"]
    assert np.abs(R_in).max() > 0


RMS = {
    "divided": "q = Mul(x, x) m = ReduceMean<keepdims=1>(q, last) r = Sqrt(m) y = Div(x, r)",
    "inverse": "q = Mul(x, x) m = ReduceMean<keepdims=1>(q, last) r = Sqrt(m) "
    "i = Reciprocal(r) y = Mul(x, i)",
    "power": "q = Mul(x, x) m = ReduceMean<keepdims=1>(q, last) i = Pow(m, minus) y = Mul(x, i)",
}


@pytest.mark.parametrize("name", RMS)
def test_rms_norm_passes(name: str) -> None:
    x, R = drawn(2, 3, 4), drawn(2, 3, 4)
    constants = {"last": np.array([-1])}
    if name == "power":
        constants["minus"] = np.float32(-0.5)
    R_in, _ = found(RMS[name], {"x": x}, R, **constants)
    np.testing.assert_array_equal(R_in, R)


def test_comparison_refuses_1_percent() -> None:
    x, R = drawn(2, 3, 4), drawn(2, 3, 4)
    R_in, _ = found("s = Softmax(x) y = Tanh(s)", {"x": x}, R)
    with pytest.raises(AssertionError, match="max"):
        assert_close(1.01 * R_in, R_in)


MASKED = """<ir_version: 9, opset_import: ["": 18]>
g (float[1,3,3] x, bool[1,3,1] full) => (float[1,3,3] y) <float[1] zero = {0}, float[1] low = {-1},
 int64[3] whole = {1, 3, 3}>
{ b = Where(full, low, zero) m = Add(x, b) s = Softmax(m) %s y = Neg(p) }"""


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "gradient"])
@pytest.mark.parametrize(
    "kept",
    [
        "p = Where(full, zero, s)",
        "n = IsNaN(s) p = Where(n, zero, s)",
        "c = Cast<to=1>(s) p = Where(full, zero, c)",
        "c = Squeeze(s) d = Reshape(c, whole) p = Where(full, zero, d)",
    ],
)
def test_a_row_that_is_masked_whole_gets_nothing(kept: str, composite: str) -> None:
    """Its softmax is NaN, which the model drops: the other rows are as they are without it."""
    model = onnx.parser.parse_model(MASKED % kept)
    for tensor in model.graph.initializer:
        if tensor.name == "low":
            tensor.CopyFrom(numpy_helper.from_array(np.array([-np.inf], np.float32), "low"))
    compiled = lrp_onnx.compile(
        model, composite, target="seed", start="one", explain="x", check=False
    )
    x, seed = drawn(1, 3, 3), drawn(1, 3, 3)
    full = np.array([False, True, False]).reshape(1, 3, 1)
    masked = run(compiled.model, {"x": x, "full": full, "y_seed": seed})["x_relevance"]
    whole = run(compiled.model, {"x": x, "full": full & False, "y_seed": seed})["x_relevance"]
    np.testing.assert_array_equal(masked, np.where(full, 0, whole))


LATER = {
    "product": "o = MatMul(s, x) p = Where(full, zero, o)",
    "product and layer": "o = MatMul(s, x) l = MatMul(o, w) c = Add(l, x) p = Where(full, zero, c)",
    "gate": "o = Mul(s, x) p = Where(full, zero, o)",
    "norm": "o = MatMul(s, w) n = LayerNormalization(o, one) p = Where(full, zero, n)",
}


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "gradient"])
@pytest.mark.parametrize("later", LATER)
def test_a_masked_row_that_is_dropped_later_gives_nothing(later: str, composite: str) -> None:
    """Relevance is as if nothing were masked and none arrived at that row."""
    model = onnx.parser.parse_model(MASKED % LATER[later])
    constants = {"low": np.array([-np.inf]), "w": drawn(3, 3), "one": np.array([1, 2, 0.5])}
    del model.graph.initializer[1]
    model.graph.initializer.extend(
        numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()
    )
    compiled = lrp_onnx.compile(
        model, composite, target="seed", start="one", explain="x", check=False
    )
    x, seed = drawn(1, 3, 3), drawn(1, 3, 3)
    full = np.array([False, True, False]).reshape(1, 3, 1)
    masked = run(compiled.model, {"x": x, "full": full, "y_seed": seed})
    seed = np.where(full, np.float32(0), seed)
    expected = run(compiled.model, {"x": x, "full": full & False, "y_seed": seed})["x_relevance"]
    assert_close(masked["x_relevance"], expected)
    assert_close(masked["y"], run(model, {"x": x, "full": full})["y"])


UNSIZED = """<ir_version: 10, opset_import: ["": 23]>
g (float[N,H,S,D] x) => (float[N,H,S,D] y) { a = Attention(x, x, x) y = Neg(a) }"""


def test_a_use_of_attention_without_sizes_is_refused() -> None:
    """Its own function would take it, and give whatever its seventy nodes happen to give."""
    with pytest.raises(UnsupportedError, match=r"Attention\): its number of heads is unknown"):
        lrp_onnx.compile(onnx.parser.parse_model(UNSIZED), "attnlrp", target="all", check=False)
