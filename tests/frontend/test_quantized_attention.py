"""A quantized transformer block has the relevance of its float model, as near as its error allows.

The measure is the float model with noise of half a step at each quantizer: rounding is such noise.
Integrated gradients from zero are not among them: near it all is rounded to 0, and a LayerNorm of
zeros is steep.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from models import Array, network, run

import lrp_onnx

STEP = 0.06
BLOCK = """
    a0 = ROUND(x) n = LayerNormalization<axis=-1>(a0, g, b) a1 = ROUND(n)
    q0 = MatMul(a1, wq) q = ROUND(q0) k0 = MatMul(a1, wk) k = ROUND(k0)
    v0 = MatMul(a1, wv) v = ROUND(v0) t = Transpose<perm=[0, 2, 1]>(k) s0 = MatMul(q, t)
    s = ROUND(s0) p0 = Softmax(s) p = ROUND(p0) o0 = MatMul(p, v) o = ROUND(o0) h0 = Add(o, a0)
    h = ROUND(h0) f0 = LayerNormalization<axis=-1>(h, g, b) f = ROUND(f0) c = HardSwish(f)
    e = ROUND(c) m = ReduceMean<keepdims=0>(e, one) y = Gemm(m, u)"""
SHAPES = {"g": (6,), "b": (6,), "wq": (6, 6), "wk": (6, 6), "wv": (6, 6), "u": (6, 3)}
SHAPE = (1, 5, 6)
METHODS = [
    *({"composite": name} for name in ("attnlrp", "cp-lrp", "epsilon")),
    {"composite": "attnlrp", "parameters": {"epsilon": "0.25*rms(z)"}},
    *({"method": name} for name in ("gradient", "input-x-gradient")),
]
X = np.random.default_rng(7).standard_normal(SHAPE).astype(np.float32)


def model_of(rounded: str, noise: int | None = None) -> onnx.ModelProto:
    """With ROUND spelled so; noise: a seed."""
    rng = np.random.default_rng(noise)
    constants: dict[str, Array] = {"one": np.array([1])}
    for k, (name, shape) in enumerate(SHAPES.items()):
        constants[name] = np.random.default_rng(k).standard_normal(shape).astype(np.float32) / 2
    constants["g"] = 1 + np.abs(constants["g"])
    if "step" in rounded:
        constants |= {"step": np.float32(STEP), "point": np.array(128, np.uint8)}

    def spelled(match: re.Match[str]) -> str:
        y, x = match.groups()
        if "noise" in rounded:
            square = (1, 5, 5) if y in "sp" else SHAPE
            around = rng.uniform(-STEP / 2, STEP / 2, square)
            constants[f"noise_{y}"] = around.astype(np.float32)
        return rounded.replace("Y", y).replace("X", x)

    body = re.sub(r"(\w+) = ROUND\((\w+)\)", spelled, BLOCK)
    return network(body, SHAPE, **constants)


QUANTIZED = "i_Y = QuantizeLinear(X, step, point) Y = DequantizeLinear(i_Y, step, point)"


@pytest.mark.parametrize("how", METHODS, ids=str)
def test_as_near_as_noise_of_half_a_step(how: dict[str, object]) -> None:
    def relevance(model: onnx.ModelProto) -> Array:
        compiled = lrp_onnx.compile(model, target=1, **how)
        return run(compiled.model, {"x": X})["x_relevance"]

    exact = relevance(model_of("Y = Identity(X)"))
    moved = [relevance(model_of("Y = Add(X, noise_Y)", seed)) - exact for seed in range(6)]
    found = relevance(model_of(QUANTIZED)) - exact
    assert 0 < np.abs(found).max() <= 1.5 * max(np.abs(d).max() for d in moved)
