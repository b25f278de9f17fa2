"""Scales and shifts that go into a weight: which weight takes them, and what it is then."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from canonical import as_proto, assert_same_forward, canonized, counts
from models import assert_close, model_of, network, run
from test_canonize import BATCHNORM, BN, CONV, IMAGE, Row, W, positive, signed


def test_computed_weight_is_not_multiplied() -> None:
    """A weight that only the run knows takes no scale; a shift alone goes into the bias."""
    nodes = "q = Mul(u, u) w = Reshape(q, n) c = MatMul(x, w) {} y = Add(h, s)"
    u = {"u": (4, 300), "n": [4, 300], "s": (300,), "g": (300,)}
    scaled = network(nodes.format("h = Mul(c, g)"), (2, 4), **u, r=(1,))
    assert {"MatMul", "Gemm"} & set(counts(canonized(scaled)))
    assert_same_forward(scaled, as_proto(canonized(scaled)), {"x": (2, 4)})


def test_weight_of_an_input_takes_no_scale() -> None:
    body = "c = Conv(x, k) y = BatchNormalization(c, g, s, m, v)"
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    model = model_of(nodes, BN, {"x": IMAGE, "k": (6, 4, 3, 3)})
    result = canonized(model)
    assert counts(result) == {"Conv": 1, "BatchNormalization": 1}


def test_shared_weight_is_copied_only_where_needed() -> None:
    text = ("a = Conv<pads=[1, 1, 1, 1]>(x, w) b = BatchNormalization(a, g, s, m, v) "
            "c = Conv<pads=[1, 1, 1, 1]>(x, w) y = Max(b, c)")  # fmt: skip
    model = network(text, IMAGE, **W, **BN)
    result = canonized(model)
    assert counts(result) == {"Conv": 2, "Max": 1}
    weights = [v for v in result.graph.initializers.values() if len(v.shape or ()) == 4]
    assert len(weights) == 2
    assert_same_forward(model, as_proto(result), {"x": IMAGE})


def test_weights_replace_the_old_ones() -> None:
    row = Row(f"{CONV} y = {BATCHNORM.format('c')}", IMAGE, {}, **W, **BN)
    result = canonized(row.model())
    assert sorted(list(v.shape) for v in result.graph.initializers.values()) == [[6], [6, 4, 3, 3]]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_dtype_of_weights_is_kept(dtype: str) -> None:
    body = "c = Gemm(x, w) h = Mul(c, g) y = Add(h, s)"
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    constants = {"w": signed(4, 6), "g": positive(6), "s": signed(6)}
    cast = {k: a.astype(dtype) for k, a in constants.items()}
    model = model_of(nodes, cast, {"x": (2, 4)}, dtype=np.dtype(dtype))
    result = canonized(model)
    assert counts(result) == {"Gemm": 1}
    x = signed(2, 4).astype(dtype)
    actual, expected = run(as_proto(result), {"x": x})["y"], run(model, {"x": x})["y"]
    assert actual.dtype == dtype
    assert_close(actual, expected, 3e-3 if dtype == "float16" else 1e-12)


def test_scale_that_overflows_half_precision_stays() -> None:
    body = "c = Gemm(x, w) y = Mul(c, g)"
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    constants = {"w": np.full((2, 2), 900, np.float16), "g": np.full(2, 900, np.float16)}
    model = model_of(nodes, constants, {"x": (2, 2)}, dtype=np.dtype("float16"))
    assert counts(canonized(model)) == {"Gemm": 1, "Mul": 1}
