"""Relevance through softmax, norms and products of matrices: spellings agree, formulas hold."""

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
    "centred twice": f"{MEAN} d2 = Sub(a, m) q = Mul(d, d2) v = ReduceMean<keepdims=1>(q, axes) "
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
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 0.001)
    y = centred / deviation * EMPTY["gamma"] + EMPTY["beta"]
    g = EMPTY["gamma"] * start / (y + np.where(y >= 0, 1e-6, -1e-6)) / deviation
    assert_close(found["x_relevance"], x * (g - g.mean(-1, keepdims=True)), 1e-4)


NO_NORMS = {
    "another's deviation": f"{MEAN} b = Tanh(a) m2 = ReduceMean<keepdims=1>(b, axes) "
        "d2 = Sub(b, m2) q = Mul(d2, d2) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "s = Sqrt(e) y = Div(d, s)",
    "not the last axes": "m = ReduceMean<keepdims=1>(a, first) d = Sub(a, m) q = Mul(d, d) "
        "v = ReduceMean<keepdims=1>(q, first) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)",
    "mean over one axis, variance over two": f"{MEAN} q = Mul(d, d) "
        "v = ReduceMean<keepdims=1>(q, both) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)",
    "a cube": f"{MEAN} q = Pow(d, three) v = ReduceMean<keepdims=1>(q, axes) e = Add(v, eps) "
        "w = Abs(e) s = Sqrt(w) y = Div(d, s)",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_NORMS)
def test_what_looks_like_a_norm_is_none(name: str) -> None:
    body = f"a = Identity(x) {NO_NORMS[name]}"
    _, found, compiled = explained(tiny(body, first=[1], both=[1, 2], three=3.0))
    assert "norm" not in {line.kind for line in compiled.report}
    assert np.isfinite(found["x_relevance"]).all()


def test_the_scale_of_another_axis_stays_outside() -> None:
    body = f"a = Identity(x) {NORMS['PyTorch legacy']}"
    rows = np.linspace(1, 2, 3, dtype=np.float32).reshape(3, 1)
    _, _, compiled = explained(tiny(body, gamma=rows, beta=rows))
    assert Counter(n.op_type for n in compiled.model.graph.node)["LayerNormalization"] == 1
    assert {line.kind for line in compiled.report} >= {"norm", "scale"}
