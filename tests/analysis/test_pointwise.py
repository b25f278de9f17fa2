"""A layer at each place alone has one relevance, as a 1 × 1 convolution or as a product, in the
branches of an If too.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from models import network, run

import lrp_onnx

rng = np.random.default_rng(2)


def normal(*size: int):
    return rng.standard_normal(size).astype(np.float32)


W, V = normal(6, 4), normal(4, 6)
CONSTANTS = {
    "k": normal(4, 3, 3, 3), "w": W, "v": V, "wt": W.T.copy(), "vt": V.T.copy(),
    "w1": W[..., None, None], "v1": V[..., None, None], "wl": W[..., None], "vl": V[..., None],
    "flat": [0, 4, -1], "back": [0, 4, 6, 6], "o": normal(4, 2), "o1": normal(4, 4, 1, 1),
    "q": normal(4, 4), "u": normal(4, 4), "rows": [-1, 4],
    "zero": [0], "apart": [-1, 6, 6, 4], "apart2": [0, 6, 6, 6],
}  # fmt: skip
CONSTANTS["o2"] = CONSTANTS["o1"][..., 0, 0].T.copy()
SHAPE = {"picture": (2, 3, 8, 8), "tokens": (2, 5, 4)}
BLOCK = {
    "1 x 1 convolutions": "b = Conv(c, w1) h = Tanh(b) d = Conv(h, v1)",
    "products, channels last": "t = Transpose<perm=[0, 2, 3, 1]>(c) b = MatMul(t, wt) h = Tanh(b) "
    "s = MatMul(h, vt) d = Transpose<perm=[0, 3, 1, 2]>(s)",
    "products of flattened rows": "t = Transpose<perm=[0, 2, 3, 1]>(c) r0 = Reshape(t, rows) "
    "b = MatMul(r0, wt) h = Tanh(b) m = Gemm<transB=1>(h, v) s = Reshape(m, apart) "
    "d = Transpose<perm=[0, 3, 1, 2]>(s)",
    "in both branches of an If": "s = ReduceSum<keepdims=0>(c) i = Less(s, none) d = If(i)<"
    "then_branch = yes () => (float[N,4,6,6] r1) { t = Reshape(c, flat) b = MatMul(w, t) "
    "h = Tanh(b) r0 = Reshape(h, apart2) r1 = Conv(r0, v1) }, "
    "else_branch = no () => (float[N,4,6,6] r2) { t = Reshape(c, flat) b = MatMul(w, t) "
    "h = Tanh(b) m = MatMul(v, h) r2 = Reshape(m, back) }>",
    "products, weight first": "t = Reshape(c, flat) b = MatMul(w, t) h = Tanh(b) "
    "s = MatMul(v, h) d = Reshape(s, back)",
}
POOLED = {
    "1 x 1 convolution": "g = GlobalAveragePool(e) p = Conv(g, o1) r = Tanh(p) f = Flatten(r)",
    "dense": "g = GlobalAveragePool(e) p = Flatten(g) r = MatMul(p, o2) f = Tanh(r)",
}
ATTENTION = (
    "q0 = MatMul(x, q) k0 = Transpose<perm=[0, 2, 1]>(x) s0 = MatMul(q0, k0) "
    "a = Softmax<axis=-1>(s0) m = MatMul(a, x) n = MatMul(m, u) "
)
FORWARD = {
    "products": "b = MatMul(n, wt) h = Tanh(b) d = MatMul(h, vt)",
    "1-tap convolutions, each moved": "t = Transpose<perm=[0, 2, 1]>(n) b = Conv(t, wl) "
    "h = Tanh(b) s = Conv(h, vl) d = Transpose<perm=[0, 2, 1]>(s)",
}
STEP = (
    "z = Unsqueeze(xt, zero) c = Conv(z, k) t = Reshape(c, flat) b = MatMul(w, t) h = Tanh(b)"
    " r = Reshape(h, apart2) d = Conv(r, v1) e = Add(c, d) g = GlobalAveragePool(e)"
    " p = Conv(g, o1) l = Tanh(p) i = Flatten(l) yt = Squeeze(i, zero)"
)
SCAN = f"num_scan_inputs = 1, body = step (float[3,8,8] xt) => (float[4] yt) {{ {STEP} }}"
ROWS = {
    f"{name}, {head}": ("picture", f"c = Conv(x, k) {body} e = Add(c, d) {POOLED[head]}")
    for name, body in BLOCK.items()
    for head in POOLED
} | {name: ("tokens", f"{ATTENTION} {body} e = Add(n, d) f = ReduceMean<keepdims=0>(e, one)")
     for name, body in FORWARD.items()} | {
    "sample by sample": ("picture", f"f = Scan(x)<{SCAN}>")}  # fmt: skip


def relevance(row: str, composite: str):
    kind, body = ROWS[row]
    body += " y = MatMul(f, o)"
    known = {**CONSTANTS, "one": [1], "none": np.float32(0)}
    used = {k: v for k, v in known.items() if re.search(rf"[(\s]{k}[,)]", body)}
    compiled = lrp_onnx.compile(network(body, SHAPE[kind], (0,), **used), composite, check=False)
    x = np.random.default_rng(1).standard_normal(SHAPE[kind]).astype(np.float32)
    rules = [line.rule for line in compiled.report if line.kind == "linear"]
    return run(compiled.model, {"x": x})["x_relevance"], rules


@pytest.mark.parametrize("composite", ["auto", "epsilon-plus-flat", "attnlrp-gamma"])
def test_one_relevance(composite: str):
    for kind in SHAPE:
        rows = [row for row in ROWS if ROWS[row][0] == kind]
        first, _ = relevance(rows[0], composite)
        for row in rows[1:]:
            error = np.abs(relevance(row, composite)[0] - first).max()
            assert error <= 1e-4 * np.abs(first).max(), row


def test_what_they_are():
    _, rules = relevance("products, channels last, dense", "epsilon-plus-flat")
    assert rules == ["flat", "zplus", "zplus", "epsilon", "epsilon"]
    assert relevance("sample by sample", "epsilon-plus-flat")[1] == rules
    _, rules = relevance("1-tap convolutions, each moved", "attnlrp-gamma")
    assert set(rules) == {"epsilon"}
