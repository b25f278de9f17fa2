"""A bias behind a quantizer belongs to the layer in front of it, as where nothing is quantized."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, network, run

import lrp_onnx

rng = np.random.default_rng(0)
WEIGHTS = {"w": rng.standard_normal((6, 8)), "v": rng.standard_normal((8, 3)), "b": np.full(8, 0.7)}
WEIGHTS = {name: array.astype(np.float32) for name, array in WEIGHTS.items()}
QUANTIZED = (
    "p = Cast<to={}>(z) m = MatMul(x, w) q = QuantizeLinear(m, s, p) d = DequantizeLinear(q, s, p)"
    " n = Add(d, b)"
)
INT8, UINT8 = 3, 2
X = rng.standard_normal((64, 6)).astype(np.float32)


def relevance(body: str, composite: str, **constants: object) -> Array:
    model = network(f"{body} h = Tanh(n) y = MatMul(h, v)", (2, 6), (0,), **WEIGHTS, **constants)
    compiled = lrp_onnx.compile(model, composite, target=1).model
    return run(compiled, {"x": X})["x_relevance"]


def distance(found: Array, expected: Array) -> float:
    """That of half of the samples at most: a sum near 0 decides some others."""
    return float(np.median(np.abs(found - expected).max(1) / np.abs(expected).max(1)))


@pytest.mark.parametrize("zero", [-10, 3])
@pytest.mark.parametrize("composite", ["epsilon", "alpha2-beta1", "gamma"])
def test_relevance_is_near_that_of_floats(composite: str, zero: int) -> None:
    """Nothing but roundings of up to half a step lie between."""
    expected = relevance("m = MatMul(x, w) n = Add(m, b)", composite)
    found = relevance(QUANTIZED.format(INT8), composite, s=0.08, z=zero)
    assert distance(found, expected) < 0.05


@pytest.mark.parametrize("composite", ["epsilon", "alpha2-beta1", "gamma"])
def test_what_is_a_relu_stays_one(composite: str) -> None:
    """The integers begin at 0: a bias behind them is none of the layer's."""
    expected = relevance("m = MatMul(x, w) r = Relu(m) n = Add(r, b)", composite)
    found = relevance(QUANTIZED.format(UINT8), composite, s=0.04, z=0)
    assert distance(found, expected) < 0.05
