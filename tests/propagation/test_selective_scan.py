"""Selective scans, in whatever spelling, by MambaLRP: against a float64 oracle of loops.

Source: Jafari et al. 2024, MambaLRP: explaining selective state space sequence models.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Array, assert_close, run
from onnx import numpy_helper
from reference import finite_difference

import lrp_onnx

STEPS, CHANNELS, WIDTH, STATE, CLASSES = 4, 3, 5, 2, 3
HEAD = '<ir_version: 8, opset_import: ["": 18]>'
SHAPES = {
    "wi": (CHANNELS, WIDTH), "wz": (CHANNELS, WIDTH), "wd": (WIDTH, WIDTH), "wb": (WIDTH, STATE),
    "wc": (WIDTH, STATE), "bd": (WIDTH,), "skip": (WIDTH,), "wo": (WIDTH, CLASSES),
}  # fmt: skip
WEIGHTS = {
    name: np.random.default_rng(k).standard_normal(shape).astype(np.float32)
    for k, (name, shape) in enumerate(SHAPES.items())
}
WEIGHTS["decay"] = -np.random.default_rng(9).uniform(0.2, 1.5, (WIDTH, STATE)).astype(np.float32)
NUMBERS = {
    "one": [1], "two": [2], "three": [3], "zero": [0], "last": [-1],
}  # fmt: skip
BEGIN = """
    u0 = MatMul(x, wi) us = Sigmoid(u0) u = Mul(u0, us) z0 = MatMul(x, wz) zs = Sigmoid(z0)
    z = Mul(z0, zs) batch = Shape<start=0, end=1>(x)
    sizes = Constant<value_ints=[5, 2]>() all = Concat<axis=0>(batch, sizes)
    h0 = ConstantOfShape<value=float[1] {0}>(all)"""
GATES = """
    d0 = MatMul(u, wd) d1 = Add(d0, bd) d2 = Softplus(d1) d = Unsqueeze(d2, three)
    b0 = MatMul(u, wb) b = Unsqueeze(b0, two) c0 = MatMul(u, wc) e = Mul(d, decay) a = Exp(e)
    uu = Unsqueeze(u, three)"""
ADDED = "db = Mul(d, b) q = Mul(db, uu)"
END = """
    du = Mul(u, skip) v = Add(y, du) o = Mul(v, z) k3 = Constant<value_int=3>()
    l = Gather<axis=1>(o, k3) logits = MatMul(l, wo) }"""
FIRST = """
    af = Transpose<perm=[1,0,2,3]>(a) qf = Transpose<perm=[1,0,2,3]>(q)
    cf = Transpose<perm=[1,0,2]>(c0)"""
INSIDE = """{ t0 = MatMul(ut, wd) t1 = Add(t0, bd) t2 = Softplus(t1) dt = Unsqueeze(t2, two)
    t3 = MatMul(ut, wb) bt = Unsqueeze(t3, one) t4 = MatMul(ut, wc) ct = Unsqueeze(t4, two)
    t5 = Mul(dt, decay) at = Exp(t5) t6 = Unsqueeze(ut, two) t7 = Mul(dt, t6) qt = Mul(t7, bt)
    t8 = Mul(h, at) h1 = Add(qt, t8) hc = MatMul(h1, ct) yt = Squeeze(hc, two) }"""
H, Y = "float[N,5,2]", "float[N,5]"
AC, C = f"{H} at, {H} qt", "float[N,2] ct"
SCANNED = "y = Transpose<perm=[1,0,2]>(yf)"


EINSUM = """
    d0 = MatMul(u, wd) d1 = Add(d0, bd) d2 = Softplus(d1) b0 = MatMul(u, wb) c0 = MatMul(u, wc)
    e = Einsum<equation="nti,is->ntis">(d2, decay) a = Exp(e)
    q = Einsum<equation="nti,nts,nti->ntis">(d2, b0, u)"""


AT_ONCE = f"""{GATES} d4 = Squeeze(d, three) du0 = Mul(d4, u)
    sums = CumSum(e, one) later = Unsqueeze(sums, two) earlier = Unsqueeze(sums, one)
    past = Sub(later, earlier) held = Where(lower, past, never) decays = Exp(held)
    c2 = Unsqueeze(c0, two) b2 = Unsqueeze(b0, one) g = Mul(c2, b2)
    g1 = Unsqueeze(g, three) m = Mul(g1, decays)"""
"""Without a recurrence, as Mamba-2 within a chunk."""


def written_out(stacked: bool = False, by: str = "matmul") -> str:
    """Every step as nodes of its own; the product with c at each, or of all states at once."""
    steps, before = [], "h0"
    for t in range(STEPS):
        steps.append(
            f"k_{t} = Constant<value_int={t}>() a_{t} = Gather<axis=1>(a, k_{t}) "
            f"q_{t} = Gather<axis=1>(q, k_{t}) p_{t} = Mul(a_{t}, {before}) "
            f"h_{t} = Add(p_{t}, q_{t})"
        )
        before = f"h_{t}"
        if stacked:
            steps.append(f"s_{t} = Unsqueeze(h_{t}, one)")
        elif by == "einsum":
            steps.append(
                f"c_{t} = Gather<axis=1>(c0, k_{t}) "
                f'y_{t} = Einsum<equation="nis,ns->ni">(h_{t}, c_{t}) s_{t} = Unsqueeze(y_{t}, one)'
            )
        else:
            steps.append(
                f"c_{t} = Gather<axis=1>(c0, k_{t}) cu_{t} = Unsqueeze(c_{t}, two) "
                f"y_{t} = MatMul(h_{t}, cu_{t}) s_{t} = Transpose<perm=[0,2,1]>(y_{t})"
            )
    joined = f"s = Concat<axis=1>({', '.join(f's_{t}' for t in range(STEPS))})"
    if not stacked:
        return f"{' '.join(steps)} {joined} y = Identity(s)"
    product = "c1 = Unsqueeze(c0, three) m = MatMul(s, c1) y = Squeeze(m, three)"
    return f"{' '.join(steps)} {joined} {product}"


SPELLINGS = {
    "written out": f"{GATES} {ADDED} {written_out()}",
    "states stacked": f"{GATES} {ADDED} {written_out(stacked=True)}",
    "the signal first": f"{GATES} du0 = Mul(d, uu) q = Mul(du0, b) {written_out()}",
    "the signal inside": f"{GATES} bu = Mul(b, uu) q = Mul(bu, d) {written_out()}",
    "an outer product": f"{GATES} dt = Mul(d, uu) bt = Unsqueeze(b0, two) q = MatMul(dt, bt) "
        f"{written_out()}",
    "Einsum": f"{EINSUM} {written_out(by='einsum')}",
    "at once": f"{AT_ONCE} y = Einsum<equation=\"ntris,nri->nti\">(m, du0)",
    "at once, summed up": f"{AT_ONCE} du1 = Unsqueeze(du0, one) du2 = Unsqueeze(du1, last)"
        " p = Mul(m, du2) p0 = ReduceSum<keepdims=0>(p, last) y = ReduceSum<keepdims=0>(p0, two)",
    "Scan": f"{GATES} {ADDED} {FIRST} hn, yf = Scan<num_scan_inputs=3, body ="
        f" step ({H} h, {AC}, {C}) => ({H} h1, {Y} yt) {{ p = Mul(at, h)"
        f" h1 = Add(p, qt) cu = Unsqueeze(ct, one) m = Mul(h1, cu)"
        f" yt = ReduceSum<keepdims=0>(m, two) }}>(h0, af, qf, cf) {SCANNED}",
    "Scan of states": f"{GATES} {ADDED} {FIRST} hn, hf = Scan<num_scan_inputs=2, body ="
        f" step ({H} h, {AC}) => ({H} h1, {H} h2) {{ p = Mul(at, h)"
        " h1 = Add(p, qt) h2 = Identity(h1) }>"
        "(h0, af, qf) cu = Unsqueeze(cf, three) m = MatMul(hf, cu) yf = Squeeze(m, three)"
        f" {SCANNED}",
    "Scan that projects": "uf = Transpose<perm=[1,0,2]>(u) hn, yf = Scan<num_scan_inputs=1, body ="
        f" step ({H} h, {Y} ut) => ({H} h1, {Y} yt) {INSIDE}>(h0, uf) {SCANNED}",
    "Loop": f"{GATES} {ADDED} n = Constant<value_int=4>() go = Constant<value=bool {{1}}>()"
        f" hn, yf = Loop<body = step (int64 i, bool c, {H} h) => (bool c1, {H} h1, {Y} yt) {{"
        " c1 = Identity(c) at = Gather<axis=1>(a, i) qt = Gather<axis=1>(q, i) p = Mul(at, h)"
        " h1 = Add(p, qt) ct = Gather<axis=1>(c0, i) cu = Unsqueeze(ct, two) m = MatMul(h1, cu)"
        f" yt = Squeeze(m, two) }}>(n, go, h0) {SCANNED}",
}  # fmt: skip


def model_of(spelling: str) -> onnx.ModelProto:
    return built(SPELLINGS[spelling])


def built(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        f"{HEAD} g (float[N,4,3] x) => (float[N,3] logits) {{ {BEGIN} {text} {END}"
    )
    arrays = {**WEIGHTS, **{k: np.array(v, np.int64) for k, v in NUMBERS.items()}}
    arrays["lower"] = np.tri(STEPS, dtype=bool)[:, :, None, None]
    arrays["never"] = np.float32(-np.inf)
    model.graph.initializer.extend(numpy_helper.from_array(a, k) for k, a in arrays.items())
    return model


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


class Oracle:
    """One sample in float64, forward and back, step by step."""

    def __init__(self, x: Array) -> None:
        w = {k: v.astype(np.float64) for k, v in WEIGHTS.items()}
        self.w, self.x = w, x
        self.u0, self.z0 = x @ w["wi"], x @ w["wz"]
        self.u, self.z = self.u0 * sigmoid(self.u0), self.z0 * sigmoid(self.z0)
        delta = np.log1p(np.exp(self.u @ w["wd"] + w["bd"]))
        b, self.c = self.u @ w["wb"], self.u @ w["wc"]
        self.a = np.exp(delta[:, :, None] * w["decay"])
        self.b = delta[:, :, None] * b[:, None, :]
        self.h = [np.zeros((WIDTH, STATE))]
        for t in range(STEPS):
            self.h.append(self.a[t] * self.h[-1] + self.b[t] * self.u[t][:, None])
        self.y = np.stack([self.h[t + 1] @ self.c[t] for t in range(STEPS)])
        self.v = self.y + self.u * w["skip"]
        self.o = self.v * self.z
        self.logits = self.o[-1] @ w["wo"]

    def relevance(self, target: int, epsilon: float = 1e-6) -> Array:
        """The gates a, b and c get none; v and z half each; silu passes; the rest by epsilon."""

        def over(r: Array, z: Array) -> Array:
            return r / (z + epsilon * np.where(z >= 0, 1.0, -1.0))

        w, r_logit = self.w, np.zeros(CLASSES)
        r_logit[target] = self.logits[target]
        r_o = np.zeros((STEPS, WIDTH))
        r_o[-1] = self.o[-1] * (w["wo"] @ over(r_logit, self.logits))
        r_v, r_z, r_u = r_o / 2, r_o / 2, np.zeros((STEPS, WIDTH))
        share = over(r_v, self.v)
        r_y, r_u = self.y * share, r_u + self.u * w["skip"] * share
        r_h = np.zeros((WIDTH, STATE))
        for t in reversed(range(STEPS)):
            r_h = r_h + self.h[t + 1] * self.c[t] * over(r_y[t], self.y[t])[:, None]
            share_h = over(r_h, self.h[t + 1])
            r_u[t] += (self.b[t] * self.u[t][:, None] * share_h).sum(1)
            r_h = self.a[t] * self.h[t] * share_h
        back_u, back_z = over(r_u, self.u0) @ w["wi"].T, over(r_z, self.z0) @ w["wz"].T
        return self.x * (back_u + back_z)


X = np.random.default_rng(20).standard_normal((2, STEPS, CHANNELS))


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "epsilon"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_gates_get_none(spelling: str, composite: str) -> None:
    compiled = lrp_onnx.compile(model_of(spelling), composite, target=1)
    found = run(compiled.model, {"x": X.astype(np.float32)})
    samples = [Oracle(x) for x in X]
    assert_close(found["logits"], np.stack([s.logits for s in samples]))
    assert_close(found["x_relevance"], np.stack([s.relevance(1) for s in samples]), 2e-5)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_gradient_goes_through_the_gates(spelling: str) -> None:
    compiled = lrp_onnx.compile(model_of(spelling), method="gradient", target=1)
    found = run(compiled.model, {"x": X.astype(np.float32)})["x_relevance"]
    one = np.eye(CLASSES)[1]
    expected = [finite_difference(lambda v: Oracle(v).logits, x, one) for x in X]
    assert_close(found, np.stack(expected), 2e-5)


def test_what_is_no_function_of_the_signal_is_no_gate() -> None:
    """Coefficients b of the input itself, not of u, are a factor like any other."""
    text = SPELLINGS["written out"].replace("MatMul(u, wd)", "MatMul(x, wdx)")
    model = built(text.replace("MatMul(u, wb)", "MatMul(x, wbx)"))
    for name, width in (("wdx", WIDTH), ("wbx", STATE)):
        array = np.ones((CHANNELS, width), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    report = lrp_onnx.compile(model, "attnlrp", target=1).report
    assert [line.outputs for line in report if line.rule == "half"] == [("db",), ("q",), ("o",)]


def test_the_oracle_refuses_1_percent() -> None:
    sample = Oracle(X[0])
    with pytest.raises(AssertionError, match="max"):
        assert_close(1.01 * sample.relevance(1), sample.relevance(1), 2e-5)
