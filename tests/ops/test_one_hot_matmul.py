"""Relevance of one class a sample goes back through a dense layer by a row of its weight."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

CLASSES, FEATURES = 256, 160
GEMM = network(
    "h = Gemm<transB=1>(x, u) r = Relu(h) y = Gemm<transB=1>(r, w, b)",
    (3, 8), u=(FEATURES, 8), w=(CLASSES, FEATURES), b=(CLASSES,),
)  # fmt: skip
TURNED = network(
    "h = Gemm<transB=1>(x, u) r = Relu(h) y = Gemm(r, w)",
    (3, 8), u=(FEATURES, 8), w=(FEATURES, CLASSES),
)  # fmt: skip
TOKENS = network(
    "h = MatMul(x, u) r = Relu(h) z = MatMul(r, w) y = Add(z, b)",
    (2, 5, 8), u=(8, FEATURES), w=(FEATURES, CLASSES), b=(CLASSES,),
)  # fmt: skip
SOFTMAX = network(
    "h = Gemm<transB=1>(x, u) z = Gemm<transB=1>(h, w) y = Softmax(z)",
    (3, 8), u=(FEATURES, 8), w=(CLASSES, FEATURES),
)  # fmt: skip
SMALL = network("y = Gemm<transB=1>(x, w)", (3, 8), w=(CLASSES, 8))
MAP = network("y = MatMul(x, w)", (2, 5, FEATURES), w=(FEATURES, CLASSES))

ROWS = {
    "argmax": (GEMM, {}),
    "class": (GEMM, {"target": 7}),
    "top": (GEMM, {"target": "top-3"}),
    "start-one": (GEMM, {"start": "one"}),
    "transposed": (TURNED, {}),
    "tokens": (TOKENS, {}),
    "tokens-class": (TOKENS, {"target": 255}),
    "softmax": (SOFTMAX, {}),
    "lrp-0": (SOFTMAX, {"parameters": {"epsilon": 0.0}}),
    "alpha-beta": (GEMM, {"composite": "alpha2-beta1"}),
    "gradient": (GEMM, {"method": "input-x-gradient"}),
}
WHOLE = {
    "difference": (GEMM, {"target": "3-9"}),
    "all": (GEMM, {"target": "all"}),
    "max": (GEMM, {"target": "max"}),
    "input": (GEMM, {"target": "input"}),
    "other-axis": (MAP, {"class_axis": 1}),
    "small": (SMALL, {}),
}


def explained(model: onnx.ModelProto, options: dict, optimize: bool) -> tuple[bool, np.ndarray]:
    """Whether a row of the last layer's weight is read, and the relevance."""
    if "method" not in options:
        options = {"composite": "epsilon", **options}
    compiled = lrp_onnx.compile(
        model, check=False, optimize=optimize, fold="never", **options
    ).model
    shape = [d.dim_value or 3 for d in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(3).standard_normal(shape).astype(np.float32)}
    if options.get("target") == "input":
        feeds["target"] = np.array([4, 0, 255])
    reads_row = any(n.name in ("lrp/y/Gather", "lrp/z/Gather") for n in compiled.graph.node)
    return reads_row, run(compiled, feeds)["x_relevance"]


@pytest.mark.parametrize(("model", "options"), ROWS.values(), ids=ROWS)
def test_a_row_gives_what_the_whole_weight_does(model, options):
    reads_row, relevance = explained(model, options, True)
    without, whole = explained(model, options, False)
    assert reads_row
    assert not without
    assert np.abs(whole).max() > 0
    assert_close(relevance, whole)


@pytest.mark.parametrize(("model", "options"), WHOLE.values(), ids=WHOLE)
def test_elsewhere_the_whole_weight_is_read(model, options):
    reads_row, relevance = explained(model, options, True)
    _, whole = explained(model, options, False)
    assert not reads_row
    assert np.abs(whole).max() > 0
    assert_close(relevance, whole)
