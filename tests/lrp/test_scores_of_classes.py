"""Outputs that look like heads of detectors and are scores of classes, and those of several."""

from __future__ import annotations

import numpy as np
import pytest
from head_models import QUERIES, QUERIES_WEIGHTS, SSD, SSD_WEIGHTS, Row, conv, drawn, maps, model_of
from models import run

import lrp_onnx
from lrp_onnx.errors import TargetError

ROWS = "l = MatMul(x, w) "
CTC = maps("m") + "p = ReduceMax<keepdims=0>(m, high) t = Transpose<perm=[0,2,1]>(p) "
PLAIN = {
    "classifier": Row("y = MatMul(x, w)", weights={"w": (4, 8)}, x=(2, 4)),
    "classifier by softmax": Row(ROWS + "y = Softmax(l)", weights={"w": (4, 8)}, x=(2, 4)),
    "multi-label": Row(ROWS + "y = Sigmoid(l)", weights={"w": (4, 8)}, x=(2, 4)),
    "two softmaxes side by side": Row(
        ROWS + "k = MatMul(x, v) p = Softmax(l) q = Softmax(k) y = Concat<axis=1>(p, q)",
        weights={"w": (4, 8), "v": (4, 3)}, x=(2, 4)),
    "two classes of one sigmoid": Row(
        ROWS + "p = Sigmoid(l) q = Sub(one, p) y = Concat<axis=1>(q, p)",
        weights={"w": (4, 1), "one": np.float32(1)}, x=(2, 4)),
    "four numbers": Row("y = MatMul(x, w)", weights={"w": (4, 4)}, x=(2, 4)),
    "box of a picture": Row("f = Flatten(x) y = MatMul(f, w)", weights={"w": (192, 4)}),
    "landmarks in a row": Row("f = Flatten(x) y = MatMul(f, w)", weights={"w": (192, 136)}),
    "tagging": Row("y = MatMul(x, w)", weights={"w": (4, 9)}, x=(2, 5, 4)),
    "tagging with four tags": Row("y = MatMul(x, w)", weights={"w": (4, 4)}, x=(2, 5, 4)),
    "tagging with two tags, reshaped": Row(
        "r = Reshape(x, rows) l = MatMul(r, w) y = Reshape(l, to)", x=(2, 5, 4),
        weights={"w": (4, 2), "rows": [-1, 4], "to": [-1, 5, 2]}),
    "language model": Row("h = MatMul(x, w) t = Tanh(h) y = MatMul(t, v)",
                          weights={"w": (4, 6), "v": (6, 30)}, x=(2, 5, 4)),
    "gated linear unit": Row("l = MatMul(x, w) a, b = Split<axis=2>(l, parts) g = Sigmoid(b) "
                             "y = Mul(a, g)", weights={"w": (4, 12), "parts": [6, 6]},
                             x=(2, 5, 4)),
    "events by frame": Row(ROWS + "y = Sigmoid(l)", weights={"w": (4, 9)}, x=(2, 5, 4)),
    "CTC of a picture": Row(CTC + "y = MatMul(t, w)",
                            weights={**conv(5), "high": [2], "w": (5, 7)}),
    "CTC of a picture by softmax": Row(CTC + "l = MatMul(t, w) y = Softmax(l)",
                                       weights={**conv(5), "high": [2], "w": (5, 7)}),
    "CTC, convolutions alone": Row(maps("m") + "y = ReduceMean<keepdims=0>(m, high)",
                                   weights={**conv(7), "high": [2]}),
    "CTC, height of one": Row(maps("m") + "y = ReduceMean<keepdims=1>(m, high)",
                              weights={**conv(7), "high": [2]}),
    "frames of a convolution": Row("y = Conv<pads=[1,1]>(x, v)", weights={"v": (7, 4, 3)},
                                   x=(2, 4, 9)),
    "characters of a captcha": Row(
        "f = Flatten(x) l = Gemm(f, w) y = Reshape(l, to)",
        weights={"w": (192, 24), "to": [-1, 4, 6]}),
    "classifier with places of size one": Row(maps("m") + "y = GlobalAveragePool(m)",
                                              weights=conv(7)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_others_keep_their_meaning(name: str) -> None:
    row = PLAIN[name]
    compiled = lrp_onnx.compile(model_of(row, symbolic=True), "epsilon", relevance_at="y",
                                start="one")  # fmt: skip
    assert "lrp.head" not in compiled.graph.metadata_props
    found = run(compiled.model, {"x": drawn(row)})
    y, start = found["y"], found["y_relevance"]
    axis = 1 if y.ndim in (2, 4) else 2
    expected = np.zeros_like(y)
    np.put_along_axis(expected, np.expand_dims(y.argmax(axis), axis), 1, axis)
    np.testing.assert_array_equal(start, expected)


SEVERAL = {
    "two tasks of tags": Row(ROWS + "y = MatMul(x, v)", ["l", "y"], {"w": (4, 9), "v": (4, 4)},
                             x=(2, 5, 4)),
    "where an answer begins and ends": Row(
        "a = MatMul(x, w) y = Squeeze(a, two) b = MatMul(x, v) z = Squeeze(b, two)", ["y", "z"],
        {"w": (4, 1), "v": (4, 1), "two": [2]}, x=(2, 5, 4)),
    "two classifiers of pictures": Row(
        maps("m") + "p = GlobalAveragePool(m) f = Flatten(p) y = MatMul(f, w) z = MatMul(f, u)",
        ["y", "z"], {**conv(5), "w": (5, 4), "u": (5, 2)}),
    "logits and features": Row("h = MatMul(x, w) y = MatMul(h, v)", ["y", "h"],
                               {"w": (4, 6), "v": (6, 3)}, x=(2, 4)),
    "probabilities and logits": Row(ROWS + "y = Softmax(l)", ["y", "l"], {"w": (4, 6)}, x=(2, 4)),
    "boxes of three sizes": Row(maps("y", "z"), ["y", "z"], conv(4, 3)),
    "four classes beside sigmoid boxes": Row(
        QUERIES.replace("wc)", "wd)") + "y = Identity(c)", ["boxes", "y"],
        {**QUERIES_WEIGHTS, "wd": (5, 4)}),
    "four classes beside boxes": Row(
        SSD + "y = Identity(c)", ["boxes", "y"], {**SSD_WEIGHTS, "v1": (8, 3, 3, 3),
                                                   "of_class": [0, -1, 4]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_outputs_are_an_error_where_none_is_the_scores(name: str) -> None:
    with pytest.raises(TargetError, match="Choose one with --output"):
        lrp_onnx.compile(model_of(SEVERAL[name]), "epsilon")


def test_several_scores_are_named() -> None:
    body = SSD + "y = Sigmoid(c) z = Neg(boxes) q = Sigmoid(z) k = Concat<axis=2>(boxes, y)"
    row = Row(body, ["boxes", "y", "k"], SSD_WEIGHTS)
    with pytest.raises(TargetError, match=r"several have scores \('y', 'k'\)"):
        lrp_onnx.compile(model_of(row), "epsilon")
