"""FlexAttention with functions of its own for scores and probabilities, against its formula."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Array, assert_close, run
from reference import finite_difference

import lrp_onnx

CAP = "score_mod = cap (float[B,H,L,S] s) => (float[B,H,L,S] t) { t = Tanh (s) }"
KEEP = """prob_mod = keep (float[B,H,L,S] p) => (float[B,H,L,S] q)
  <float half = {0.5}> { q = Mul (p, half) }"""
MODEL = """<ir_version: 13, opset_import: ["" : 26, "ai.onnx.preview" : 1]>
g (float[B,4,L,6] Q, float[B,%s,S,6] K, float[B,%s,S,5] V) => (float[B,4,L,5] Y) {
  Y = ai.onnx.preview.FlexAttention %s (Q, K, V)
}"""
CASES = {
    "plain": (4, []),
    "grouped": (2, ["scale = 0.3"]),
    "score_mod": (4, [CAP]),
    "prob_mod": (1, [KEEP]),
    "both": (4, [KEEP, CAP, "scale = 2.0"]),
}


def expected(given: list[str], q: Array, k: Array, v: Array) -> Array:
    """The operator's definition.  Spec: ONNX FlexAttention-1."""
    k, v = (np.repeat(part, q.shape[1] // k.shape[1], axis=1) for part in (k, v))
    scales = [float(text[8:]) for text in given if text.startswith("scale")]
    scores = q @ k.swapaxes(2, 3) * (*scales, q.shape[3] ** -0.5)[0]
    scores = np.tanh(scores) if CAP in given else scores
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights * 0.5 if KEEP in given else weights) @ v


@pytest.mark.parametrize("name", CASES)
def test_vjp_is_the_jacobian(name: str) -> None:
    heads, given = CASES[name]
    model = onnx.parser.parse_model(
        MODEL % (heads, heads, f"<{', '.join(given)}>" if given else "")
    )
    rng = np.random.default_rng(len(name))
    shapes = {"Q": (2, 4, 3, 6), "K": (2, heads, 5, 6), "V": (2, heads, 5, 5)}
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    seed = rng.standard_normal((2, 4, 3, 5)).astype(np.float32)
    compiled = lrp_onnx.compile(model, "gradient", target="seed", start="one", check=False)
    outputs = run(compiled.model, {**feeds, "Y_seed": seed})
    assert_close(outputs["Y"], expected(given, *feeds.values()))
    wide = {n: x.astype(float) for n, x in feeds.items()}
    for n, x in wide.items():
        slopes = finite_difference(
            lambda v, n=n: expected(given, *{**wide, n: v}.values()), x, seed
        )
        assert_close(outputs[f"{n}_relevance"], slopes, what=n)
