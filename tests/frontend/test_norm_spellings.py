"""Softmax, norms and products of matrices: spellings agree, the formulas and their sums hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

MEAN = "m = ReduceMean<keepdims=1>(a, axes) d = Sub(a, m)"
NORMS = {
    "one operator": "y = LayerNormalization<axis=-1, epsilon=0.001>(a, gamma, beta)",
    "PyTorch legacy": f"{MEAN} q = Pow(d, two) v = ReduceMean<keepdims=1>(q, axes) "
        "e = Add(v, eps) s = Sqrt(e) n = Div(d, s) g = Mul(n, gamma) y = Add(g, beta)",
    "square as a product": f"{MEAN} q = Mul(d, d) v = ReduceMean<keepdims=1>(q, axes) "
        "e = Add(eps, v) s = Sqrt(e) n = Div(d, s) g = Mul(gamma, n) y = Add(beta, g)",
    "centered twice": f"{MEAN} d2 = Sub(a, m) q = Mul(d, d2) v = ReduceMean<keepdims=1>(q, axes) "
        "e = Add(v, eps) s = Sqrt(e) n = Div(d2, s) g = Mul(n, gamma) y = Add(g, beta)",
    "reciprocal": f"{MEAN} q = Mul(d, d) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) r = Reciprocal(s) n = Mul(d, r) g = Mul(n, gamma) y = Add(g, beta)",
    "one over": f"{MEAN} q = Mul(d, d) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) r = Div(one, s) n = Mul(r, d) g = Mul(n, gamma) y = Add(g, beta)",
    "power": f"{MEAN} q = Pow(d, two) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "r = Pow(e, minus) n = Mul(d, r) g = Mul(n, gamma) y = Add(g, beta)",
    "scale first": f"{MEAN} q = Mul(d, d) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) r = Reciprocal(s) h = Mul(r, gamma) n = Mul(d, h) y = Add(n, beta)",
    "Keras": f"{MEAN} q = Mul(d, d) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) r = Reciprocal(s) h = Mul(r, gamma) p = Mul(a, h) o = Mul(m, h) "
        "b = Sub(beta, o) y = Add(p, b)",
}  # fmt: skip
EMPTY = {"one": 1.0, "two": 2.0, "minus": -0.5, "eps": 0.001, "axes": [-1], "zero": 0.0,
         "gamma": np.linspace(0.5, 2, 4, dtype=np.float32),
         "beta": np.linspace(-1, 1, 4, dtype=np.float32)}  # fmt: skip
SHAPE = (2, 3, 4)


def tiny(body: str, **constants: object) -> onnx.ModelProto:
    """A model of the body; of the constants, those that it reads."""
    given = {**EMPTY, **constants}
    used = {k: v for k, v in given.items() if f"{k}," in body or f"{k})" in body}
    return network(body, SHAPE, **used)


def explained(
    model: onnx.ModelProto, composite: str = "attnlrp", seed: int = 1
) -> tuple[np.ndarray, dict[str, np.ndarray], lrp_onnx.Compiled]:
    """The starting relevance, the outputs with `x_relevance`, and what was compiled."""
    compiled = lrp_onnx.compile(model, composite=composite, target="seed", start="one", check=False)
    onnx.checker.check_model(compiled.model, full_check=True)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(SHAPE).astype(np.float32)
    y = run(model, {"x": x})["y"]
    start = rng.standard_normal(y.shape).astype(np.float32)
    found = run(compiled.model, {"x": x, "y_seed": start})
    assert_close(found["y"], y)
    return start, {"x": x, **found}, compiled


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_in_any_spelling_is_a_norm(name: str) -> None:
    start, found, compiled = explained(tiny(f"a = Identity(x) {NORMS[name]}"))
    lines = [(line.kind, line.rule) for line in compiled.report if line.kind]
    assert ("norm", "norm") in lines
    x = found["x"].astype(float)
    centered = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(-1, keepdims=True) + 0.001)
    y = centered / deviation * EMPTY["gamma"] + EMPTY["beta"]
    g = EMPTY["gamma"] * start / (y + np.where(y >= 0, 1e-6, -1e-6)) / deviation
    assert_close(found["x_relevance"], x * (g - g.mean(-1, keepdims=True)), 1e-4)


NO_NORMS = {
    "another's deviation": f"{MEAN} b = Tanh(a) m2 = ReduceMean<keepdims=1>(b, axes) "
        "d2 = Sub(b, m2) q = Mul(d2, d2) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) y = Div(d, s)",
    "mean over one axis, variance over two": f"{MEAN} q = Mul(d, d) "
        "v = ReduceMean<keepdims=1>(q, both) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)",
    "a cube": f"{MEAN} q = Pow(d, three) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "w = Abs(e) s = Sqrt(w) y = Div(d, s)",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_NORMS)
def test_what_looks_like_a_norm_is_none(name: str) -> None:
    body = f"a = Identity(x) {NO_NORMS[name]}"
    _, found, compiled = explained(tiny(body, both=[1, 2], three=3.0))
    assert "norm" not in {line.kind for line in compiled.report}
    assert np.isfinite(found["x_relevance"]).all()


def test_the_scale_of_another_axis_stays_outside() -> None:
    body = f"a = Identity(x) {NORMS['PyTorch legacy']}"
    rows = np.linspace(1, 2, 2, dtype=np.float32).reshape(2, 1, 1)
    _, _, compiled = explained(tiny(body, gamma=rows, beta=rows))
    assert Counter(line.op_type for line in compiled.report)["LayerNormalization"] == 1
    assert {line.kind for line in compiled.report} >= {"norm", "scale"}


SQUARES = "q = Mul(a, a) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps)"
PASSING = {
    "RMSNorm, quotient": f"{SQUARES} s = Sqrt(e) y = Div(a, s)",
    "RMSNorm, Pow and Reciprocal":
        "q = Pow(a, two) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) s = Sqrt(e) "
        "r = Reciprocal(s) y = Mul(a, r)",
    "RMSNorm, power": f"{SQUARES} r = Pow(e, minus) y = Mul(r, a)",
    "RMSNorm, one over": f"{SQUARES} s = Sqrt(e) r = Div(one, s) y = Mul(a, r)",
    "RMSNorm, gained": f"{SQUARES} s = Sqrt(e) r = Reciprocal(s) n = Mul(a, r) y = Mul(n, gamma)",
    "RMSNorm, gain first": f"{SQUARES} s = Sqrt(e) r = Reciprocal(s) h = Mul(r, gamma) "
        "y = Mul(a, h)",
    "RMSNorm, cast around": "c = Cast<to=1>(a) q = Mul(c, c) v = ReduceMean<keepdims=1>(q, axes) "
        "e = Add(v, eps) s = Sqrt(e) r = Reciprocal(s) n = Mul(c, r) y = Cast<to=1>(n)",
    "L2, ReduceL2": "s = ReduceL2<keepdims=1>(a, axes) t = Max(s, eps) y = Div(a, t)",
    "L2, expanded": "s = ReduceL2<keepdims=1>(a, axes) t = Clip(s, eps) h = Shape(a) "
        "u = Expand(t, h) y = Div(a, u)",
    "L2, reciprocal expanded": "q = Mul(a, a) v = ReduceSum<keepdims=1>(q, axes) "
        "s = Sqrt(v) r = Reciprocal(s) h = Shape(a) "
        "u = Expand(r, h) y = Mul(a, u)",
    "L2, dims dropped": "q = Mul(a, a) v = ReduceSum<keepdims=0>(q, axes) "
        "s = Sqrt(v) r = Reciprocal(s) "
        "u = Unsqueeze(r, axes) y = Mul(a, u)",
    "L2, squares summed": "q = Mul(a, a) v = ReduceSum<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) r = Reciprocal(s) y = Mul(a, r)",
    "maximum norm": "s = Abs(a) t = ReduceMax<keepdims=1>(s, axes) r = Reciprocal(t) "
        "y = Mul(a, r)",
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_a_norm_by_its_own_size_passes(name: str) -> None:
    start, found, _ = explained(tiny(f"a = Identity(x) {PASSING[name]}"))
    np.testing.assert_array_equal(found["x_relevance"], start)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_by_its_formula(axis: int) -> None:
    """Also where scores are masked, and what is masked gets nothing; a shift costs x·(R - y·ΣR)."""
    start, found, _ = explained(tiny(f"p = Softmax<axis={axis}>(x) y = Neg(p)"))
    x = found["x"].astype(float)
    e = np.exp(x)
    p = e / e.sum(axis, keepdims=True)
    assert_close(found["x_relevance"], x * (start - p * start.sum(axis, keepdims=True)), 1e-5)


def test_a_masked_score_gets_nothing() -> None:
    mask = np.where(np.arange(4) < 2, 0.0, -np.inf).astype(np.float32)
    start, found, _ = explained(tiny("s = Add(x, mask) p = Softmax(s) y = Neg(p)", mask=mask))
    x = found["x"].astype(float)[..., :2]
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    expected = x * (start[..., :2] - p * start.sum(-1, keepdims=True))
    assert_close(found["x_relevance"][..., :2], expected)
    np.testing.assert_array_equal(found["x_relevance"][..., 2:], 0)


def halves(z: np.ndarray, start: np.ndarray) -> np.ndarray:
    return start / (2 * (z + np.where(z >= 0, 1e-6, -1e-6)))


PRODUCT = "a = MatMul(x, v) b = Transpose<perm=[0, 2, 1]>(x) y = MatMul(a, b)"


def test_a_product_of_matrices_shares_in_halves() -> None:
    """Conserving, up to ε: the two halves of Σ a·b = z."""
    w = np.random.default_rng(2).standard_normal((4, 4)).astype(np.float32)
    start, found, _ = explained(tiny(PRODUCT, v=w))
    x, wide = found["x"].astype(float), w.astype(float)
    a = x @ wide
    s = halves(a @ x.transpose(0, 2, 1), start.astype(float))
    of_a, of_b = a * (s @ x), (x.transpose(0, 2, 1) * (a.transpose(0, 2, 1) @ s))
    s = of_a / (a + np.where(a >= 0, 1e-6, -1e-6))
    assert_close(found["x_relevance"], x * (s @ wide.T) + of_b.transpose(0, 2, 1), 1e-4)
    assert np.isclose(found["x_relevance"].sum(), start.sum(), rtol=1e-3)


def test_the_softmax_of_equal_scores_conserves_nothing() -> None:
    """Σ x·(R - y·ΣR) is x·(ΣR - ΣR) where all x of a row are equal: the softmax's output does not
    depend on what they share (Achtibat et al. 2024, section 3.1).
    """
    _, found, _ = explained(tiny("s = Mul(x, zero) t = Add(s, two) p = Softmax(t) y = Neg(p)"))
    np.testing.assert_allclose(found["x_relevance"].sum(-1), 0, atol=1e-5)


def test_the_norm_keeps_what_the_bias_does_not_absorb() -> None:
    """Σ R in = Σ R · (y - bias)/y, since Σ x·vjp(s) = Σ s·(y - bias) (Ali et al. 2022)."""
    start, found, _ = explained(tiny(f"a = Identity(x) {NORMS['one operator']}"))
    y = found["y"].astype(float)
    kept = (start * (y - EMPTY["beta"]) / y).sum(-1)
    np.testing.assert_allclose(found["x_relevance"].sum(-1), kept, rtol=1e-4, atol=1e-5)


ATTENDED = {
    "softmax times values": "k = MatMul(x, v) t = Transpose<perm=[0, 2, 1]>(k) s = MatMul(x, t) "
        "p = Softmax(s) y = MatMul(p, x)",
    "scaled and moved": "k = MatMul(x, v) t = Transpose<perm=[0, 2, 1]>(k) s = MatMul(x, t) "
        "h = Mul(s, minus) p = Softmax(h) q = Mul(p, two) r = Unsqueeze(q, first) "
        "c = Cast<to=1>(r) d = Squeeze(c, first) y = MatMul(d, x)",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTENDED)
def test_cp_lrp_gives_all_to_the_values(name: str) -> None:
    w = np.random.default_rng(2).standard_normal((4, 4)).astype(np.float32)
    start, found, compiled = explained(tiny(ATTENDED[name], v=w, first=[1]), "cp-lrp")
    rules = {line.rule for line in compiled.report if line.op_type in ("MatMul", "Softmax")}
    x = found["x"].astype(float)
    scores = x @ (x @ w.astype(float)).transpose(0, 2, 1) * (-0.5 if "scaled" in name else 1)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True) * (2 if "scaled" in name else 1)
    z = p @ x
    s = start / (z + np.where(z >= 0, 1e-6, -1e-6))
    assert rules == {"", "epsilon"}  # nothing reaches what leads to the weights
    assert_close(found["x_relevance"], x * (p.transpose(0, 2, 1) @ s), 1e-4)


def test_cp_lrp_lets_a_softmax_through_that_weighs_nothing() -> None:
    """As the distribution over distances in a detector's head: a constant weight follows."""
    w = np.random.default_rng(2).standard_normal((4, 1)).astype(np.float32)
    _, found, compiled = explained(tiny("p = Softmax(x) y = MatMul(p, v)", v=w), "cp-lrp")
    assert {line.rule for line in compiled.report} == {"softmax", "epsilon"}
    assert np.abs(found["x_relevance"]).max() > 0
