"""Ranks that shape inference alone does not tell: bodies that read axes from around them, and
choices by a size of the run that one way alone survives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models import Array
from reference import finite_difference
from test_bodies import HEAD, outputs_of

import lrp_onnx
from lrp_onnx.errors import UnsupportedError


@dataclass(frozen=True)
class Row:
    """A model in text over a float64 input x, and its shape in the run."""

    name: str
    text: str
    shape: tuple[int, ...]
    condition: bool = True

    def __str__(self) -> str:
        return self.name


def squeezed(rest: str, size: str = "T") -> str:
    """x without its last axis if the run has size 1 there, as `squeeze(-1)` is exported."""
    return (
        f"g (double[2,3,{size}] x) => (double[] out) {{"
        " last = Constant<value_ints=[-1]>() one = Constant<value_ints=[1]>() sizes = Shape(x)"
        " end = Gather(sizes, last) alone = Equal(end, one)"
        " s = If<then_branch = yes () => (double[] s1) { a = Constant<value_ints=[-1]>()"
        " s1 = Squeeze(x, a) }, else_branch = no () => (double[] s2) { s2 = Identity(x) }>(alone)"
        f" w = Constant<value=double[3,2]{{1,2,3,4,5,6}}>() {rest} }}"
    )


BY_RANK = (
    " shape = Shape(s) rank = Shape(shape) two = Constant<value_ints=[2]>() flat = Equal(rank, two)"
    " out = If<then_branch = yes2 () => (double[] o1) { o1 = Gemm(s, w) },"
    " else_branch = no2 () => (double[] o2) { o2 = Gemm(s, s) }>(flat)"
)
"""What the rank decides: behind a rank of 3 stands what no run survives."""

BRANCHES = squeezed(
    " r = If<then_branch = yes2 () => (double[] o1) { o1 = Gemm(s, w) },"
    " else_branch = no2 () => (double[] o2) { o2 = Softmax<axis=1>(s) }>(c)"
    " all = Constant<value_ints=[-1]>() out = Reshape(r, all)"
).replace("x) => (double[] out)", "x, bool c) => (double[K] out)")
"""A rank of 3 does not survive where c holds: that rules nothing out."""

ROWS = [
    Row("axes-around-a-Scan",
        "g (double[3,2] x) => (double[1,3] out) {"
        " first = Constant<value_ints=[0]>() w = Constant<value=double[2,3]{1,2,3,4,5,6}>()"
        " start = Constant<value=double[1,3]{0.3,0.2,0.1}>()"
        " out = Scan<num_scan_inputs=1, body = step (double[1,3] h, double[2] e) =>"
        " (double[1,3] ho) { r = Unsqueeze(e, first) p = MatMul(r, w) m = Mul(p, h)"
        " ho = Tanh(m) }>(start, x) }",
        (3, 2)),
    Row("axes-around-an-If-in-an-If",
        "g (double[2,3] x, bool c) => (double[] out) { last = Constant<value_ints=[-1]>()"
        " out = If<then_branch = a () => (double[] o1) {"
        " o1 = If<then_branch = b () => (double[] i1) { u = Unsqueeze(x, last)"
        " v = Transpose<perm=[0,2,1]>(u)  i1 = MatMul(u, v) },"
        " else_branch = d () => (double[] i2) { i2 = Unsqueeze(x, last) }>(c) },"
        " else_branch = e () => (double[] o2) { o2 = Unsqueeze(x, last) }>(c) }",
        (2, 3)),
    Row("one-rank-survives", squeezed("m = Gemm(s, w) out = Tanh(m)"), (2, 3, 1)),
    Row("one-rank-survives-what-it-decides", squeezed(BY_RANK), (2, 3, 1)),
    Row("other-rank-survives",
        squeezed("m = Transpose<perm=[0,2,1]>(s) p = MatMul(m, w) out = Tanh(p)"), (2, 3, 4)),
    Row("Squeeze-without-axes",
        "g (double[N,1,3] x) => (double[] out) { s = Squeeze(x)"
        " a, b, c = Split<axis=1, num_outputs=3>(s) m = Mul(a, b) out = Concat<axis=1>(m, c, m) }",
        (2, 1, 3)),
    Row("both-ranks-survive-one", BRANCHES, (2, 3, 1)),
    Row("both-ranks-survive-the-other", BRANCHES, (2, 3, 4), condition=False),
]  # fmt: skip


def model_of(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEAD + text)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gradient(row: Row) -> None:
    model = model_of(row.text)
    x = np.random.default_rng(1).standard_normal(row.shape)
    others: dict[str, Array] = {"c": np.array(row.condition)} if "bool c" in row.text else {}
    compiled = lrp_onnx.compile(model, "gradient", start="one", target="seed").model
    y = outputs_of(model, {"x": x, **others})["out"]
    seed = np.random.default_rng(2).standard_normal(y.shape)
    found = outputs_of(compiled, {"x": x, "out_seed": seed, **others})
    np.testing.assert_array_equal(found["out"], y)
    expected = finite_difference(lambda v: outputs_of(model, {"x": v, **others})["out"], x, seed)
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found["x_relevance"], expected, atol=1e-7 * scale)


def test_the_way_that_no_run_survives_fails_as_before():
    model = model_of(squeezed(BY_RANK))
    compiled = lrp_onnx.compile(model, "gradient", start="one", target="seed").model
    x = np.ones((2, 3, 4))
    for each, more in ((model, {}), (compiled, {"out_seed": np.ones((2, 2))})):
        with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail):
            outputs_of(each, {"x": x, **more})


@pytest.mark.parametrize("size", ["1", "4"])
def test_declared_sizes_are_a_remedy(size: str) -> None:
    rest = (
        "z = Concat<axis=-1>(s, s) r = Tanh(z) all = Constant<value_ints=[-1]>()"
        " out = Reshape(r, all)"
    )
    open_, declared = (
        model_of(squeezed(rest, n).replace("(double[] out)", "(double[K] out)"))
        for n in ("T", size)
    )
    with pytest.raises(UnsupportedError, match="Export the model with input shapes"):
        lrp_onnx.compile(open_, "gradient")
    assert lrp_onnx.compile(declared, "gradient", start="one", target="seed").report
