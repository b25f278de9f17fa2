"""A dense layer with its bias, by MatMul or Einsum, its channels parted or not: one relevance."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

SHAPE = (2, 5, 6)
rng = np.random.default_rng(4)
W, B = (rng.standard_normal(size).astype(np.float32) for size in ((6, 12), 12))
V, C = (rng.standard_normal(size).astype(np.float32) for size in ((12, 4), 4))
CONSTANTS = {
    "w": W, "b": B, "w3": W.reshape(6, 3, 4), "b2": B.reshape(3, 4), "v": V, "c": C,
    "w_out_first": W.reshape(6, 3, 4).transpose(1, 2, 0).copy(), "v3": V.reshape(3, 4, 4),
    "b4": B.reshape(1, 1, 3, 4), "part": [0, 5, 3, 4], "whole": [0, 5, 12],
}  # fmt: skip
IN = {
    "MatMul": "m = MatMul(x, w) a = Add(m, b) h = Reshape(a, part)",
    "bias behind a Reshape": "m = MatMul(x, w) r = Reshape(m, part) h = Add(r, b2)",
    "bias in front": "m = MatMul(x, w) r = Reshape(m, part) h = Add(b4, r)",
    "Einsum": 'm = Einsum<equation="btc,chd->bthd">(x, w3) h = Add(m, b2)',
    "Einsum, weight first": 'm = Einsum<equation="chd,btc->bthd">(w3, x) h = Add(m, b2)',
    "Einsum, channels first": 'm = Einsum<equation="btc,hdc->bthd">(x, w_out_first) h = Add(m, b2)',
}  # fmt: skip
OUT = {
    "MatMul": "f = Reshape(t, whole) o = MatMul(f, v) y = Add(o, c)",
    "Einsum": 'o = Einsum<equation="bthd,hdo->bto">(t, v3) y = Add(o, c)',
}  # fmt: skip
ROWS = [(name, "MatMul") for name in list(IN)[1:]] + [("MatMul", "Einsum"), ("Einsum", "Einsum")]
LEFT = {
    "a position code": "m = MatMul(x, w) r = Reshape(m, part) h = Add(r, code)",
    "a head's number": "m = MatMul(x, w) r = Reshape(m, part) h = Add(r, rows)",
}
MORE = {"code": rng.standard_normal((5, 1, 4)).astype(np.float32),
        "rows": rng.standard_normal((5, 1, 1)).astype(np.float32)}  # fmt: skip


def relevance(first: str, last: str, composite: str, symbolic: tuple[int, ...] = (0,)):
    body = f"{first} t = Tanh(h) {last}"
    known = {**CONSTANTS, **MORE}
    used = {k: v for k, v in known.items() if re.search(rf"[(\s]{k}[,)]", body)}
    model = network(body, SHAPE, symbolic, **used)
    compiled = lrp_onnx.compile(model, composite, target="all", check=False)
    onnx.checker.check_model(compiled.model, full_check=True)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = run(compiled.model, {"x": x})
    assert_close(found["y"], run(model, {"x": x})["y"])
    return found["x_relevance"], compiled


@pytest.mark.parametrize("composite", ["attnlrp", "epsilon-plus-flat", "gamma", "zplus"])
@pytest.mark.parametrize(("first", "last"), ROWS)
def test_one_layer_has_one_relevance(first: str, last: str, composite: str) -> None:
    expected, _ = relevance(IN["MatMul"], OUT["MatMul"], composite)
    for symbolic in ((0,), ()):
        assert_close(relevance(IN[first], OUT[last], composite, symbolic)[0], expected)


@pytest.mark.parametrize("name", LEFT)
def test_what_varies_along_the_data_is_no_bias(name: str) -> None:
    _, compiled = relevance(LEFT[name], OUT["MatMul"], "epsilon")
    assert ("Add", "scale") in {(line.op_type, line.kind) for line in compiled.report}
