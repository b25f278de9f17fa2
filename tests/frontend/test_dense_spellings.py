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
    "taps": V.T.reshape(4, 12, 1).copy(), "wt": W.T.copy(), "end": [-1], "two": [2],
    "w1": W[:, :5].copy(), "w2": W[:, 5:].copy(), "d1": 2 * W[:, :5], "d2": 2 * W[:, 5:],
    "b1": 2 * B[:5], "b2only": np.r_[np.zeros(5), 2 * B[5:]].astype(np.float32), "half": 0.5,
    "z": rng.standard_normal((6, 12)).astype(np.float32), "less": -B,
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
IN |= {
    "spread and summed": "u = Unsqueeze(x, end) p0 = Mul(u, w) m = ReduceSum<keepdims=0>(p0, two) "
        "a = Add(m, b) h = Reshape(a, part)",
    "spread in front and summed": "u = Unsqueeze(x, two) p0 = Mul(wt, u) "
        "m = ReduceSum<keepdims=0>(p0, end) a = Add(m, b) h = Reshape(a, part)",
    "bias at all places": "m = MatMul(x, w) s = Shape(m) e = Expand(b, s) a = Add(e, m) "
        "h = Reshape(a, part)",
    "joined, then the bias": "m1 = MatMul(x, w1) m2 = MatMul(x, w2) m = Concat<axis=-1>(m1, m2) "
        "a = Add(m, b) h = Reshape(a, part)",
    "joined, biased, scaled": "m1 = MatMul(x, d1) k1 = Add(m1, b1) m2 = MatMul(x, d2) "
        "m = Concat<axis=-1>(k1, m2) k = Add(m, b2only) a = Mul(k, half) h = Reshape(a, part)",
}  # fmt: skip
SUMS = {
    "bias first": "m = MatMul(x, w) k = Add(m, b) tx = Tanh(x) oz = MatMul(tx, z) a = Add(k, oz)",
    "bias last": "m = MatMul(x, w) tx = Tanh(x) oz = MatMul(tx, z) k = Add(m, oz) a = Add(k, b)",
    "subtracted": "m = MatMul(x, w) tx = Tanh(x) oz = MatMul(tx, z) k = Add(m, oz) "
        "a = Sub(k, less)",
}  # fmt: skip
OUT = {
    "MatMul": "f = Reshape(t, whole) o = MatMul(f, v) y = Add(o, c)",
    "Einsum": 'o = Einsum<equation="bthd,hdo->bto">(t, v3) y = Add(o, c)',
}  # fmt: skip
OUT["a kernel of one tap"] = (
    "f = Reshape(t, whole) f1 = Transpose<perm=[0, 2, 1]>(f) c1 = Conv(f1, taps, c) "
    "y = Transpose<perm=[0, 2, 1]>(c1)"
)
ROWS = [(name, "MatMul") for name in list(IN)[1:]] + [
    ("MatMul", "Einsum"),
    ("Einsum", "Einsum"),
    ("MatMul", "a kernel of one tap"),
]
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


@pytest.mark.parametrize("composite", ["attnlrp", "gamma"])
@pytest.mark.parametrize("name", list(SUMS)[1:])
def test_a_bias_of_a_sum_is_that_of_its_first_layer(name: str, composite: str) -> None:
    found = [
        relevance(f"{SUMS[k]} h = Reshape(a, part)", OUT["MatMul"], composite)[0]
        for k in ("bias first", name)
    ]
    assert_close(found[1], found[0])


AVERAGES = {
    "mean": "r = ReduceMean(x, two)",
    "column": "r = MatMul(x, sixth)",
    "row": "u = Transpose<perm=[0, 2, 1]>(x) r0 = MatMul(level, u) "
        "r = Transpose<perm=[0, 2, 1]>(r0)",
    "pool": "r = AveragePool<kernel_shape=[6]>(x)",
    "kernel a channel": "r = Conv<group=5>(x, boxes)",
    "pointwise": "u = Transpose<perm=[0, 2, 1]>(x) c0 = Conv(u, point) r = Transpose<perm=[0, 2, "
        "1]>(c0)",
}  # fmt: skip


@pytest.mark.parametrize("name", list(AVERAGES)[1:])
def test_weights_that_are_all_alike_are_an_average(name: str) -> None:
    constants = {
        "two": [2], "sixth": np.full((6, 1), 1 / 6), "boxes": np.full((5, 1, 6), 1 / 6),
        "level": np.full((1, 6), 1 / 6), "point": np.full((1, 6, 1), 1 / 6),
        "o": rng.standard_normal((1, 3)).astype(np.float32),
    }  # fmt: skip
    found = []
    for fragment in (AVERAGES["mean"], AVERAGES[name]):
        body = f"{fragment} t = Tanh(r) y = MatMul(t, o)"
        used = {k: v for k, v in constants.items() if re.search(rf"[(\s]{k}[,)]", body)}
        compiled = lrp_onnx.compile(network(body, SHAPE, **used), "alpha2-beta1", target="all")
        x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
        found.append(run(compiled.model, {"x": x})["x_relevance"])
    assert_close(found[1], found[0])


@pytest.mark.parametrize("name", LEFT)
def test_what_varies_along_the_data_is_no_bias(name: str) -> None:
    _, compiled = relevance(LEFT[name], OUT["MatMul"], "epsilon")
    assert ("Add", "scale") in {(line.op_type, line.kind) for line in compiled.report}


def test_an_axis_that_einsum_repeats_is_summed_over_as_often() -> None:
    """A size of 1 where the weight has 6, which only the run knows, is repeated."""
    body = 'm = Einsum<equation="btc,cd->btd">(x, w) y = ReduceSum<keepdims=0>(m)'
    compiled = lrp_onnx.compile(network(body, SHAPE, (2,), w=W), method="gradient", explain="x")
    found = run(compiled.model, {"x": np.ones((2, 5, 1), np.float32)})["x_relevance"]
    assert_close(found, np.full((2, 5, 1), W.sum()))
