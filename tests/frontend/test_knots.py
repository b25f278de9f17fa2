"""Interpolation between knots, as of a QuantileTransformer: at a knot the slope of the piece."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network, run

import lrp_onnx

KNOTS = np.float32([-1, 0, 2])
VALUES = np.float32([0, 3, 4])
SLOPES = np.float32([3, 0.5, 0])
SEARCH = """c0 = GreaterOrEqual(x, k1) c1 = GreaterOrEqual(x, k2)
    i0 = Where(c0, one, zero) i = Where(c1, two, i0)
    k = Gather(knots, i) r = Gather(values, i) m = Gather(slopes, i)"""
LINES = {
    "below": "c = LessOrEqual(x, k) d = Sub(x, k) p = Mul(m, d) l = Add(r, p) y = Where(c, r, l)",
    "turned": "c = GreaterOrEqual(k, x) d = Sub(x, k) p = Mul(d, m) l = Add(p, r) "
    "y = Where(c, r, l)",
    "from behind": "c = LessOrEqual(x, k) d = Sub(k, x) n = Neg(m) p = Mul(n, d) l = Add(r, p) "
    "y = Where(c, r, l)",
}
CONSTANTS = {
    **{"knots": KNOTS, "values": VALUES, "slopes": SLOPES, "k1": KNOTS[1], "k2": KNOTS[2]},
    **{name: np.array(k) for k, name in enumerate(("zero", "one", "two"))},
}
X = np.float32([[-1], [-0.5], [0], [1], [1.5]])


def model_of(line: str) -> onnx.ModelProto:
    body = f"{SEARCH} {line}"
    return network(body, X.shape, (0,), **{k: v for k, v in CONSTANTS.items() if k in body})


@pytest.mark.parametrize("name", LINES)
def test_a_knot_has_a_slope(name: str) -> None:
    model = model_of(LINES[name])
    compiled = lrp_onnx.compile(model, "gradient", target="all", start="one")
    found = run(compiled.model, {"x": X})
    np.testing.assert_array_equal(found["y"], run(model, {"x": X})["y"])
    np.testing.assert_array_equal(found["x_relevance"], np.float32([[3], [3], [0.5], [0.5], [0.5]]))


def test_a_choice_that_jumps_stays() -> None:
    jump = "c = LessOrEqual(x, k) d = Sub(x, k) p = Mul(m, d) l = Add(r, p) y = Where(c, m, l)"
    model = model_of(jump)
    compiled = lrp_onnx.compile(model, "gradient", target="all", start="one")
    found = run(compiled.model, {"x": X})
    np.testing.assert_array_equal(found["y"], run(model, {"x": X})["y"])
    np.testing.assert_array_equal(found["x_relevance"], np.float32([[0], [3], [0], [0.5], [0.5]]))
