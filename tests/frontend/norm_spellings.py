"""Norms in many spellings: see test_concepts.py.

Each fragment reads `a`, of shape (2, 4, 6), and writes `n`; the first of a table is the reference.
"""

from __future__ import annotations

CENTERED = "m = ReduceMean(a, last) d = Sub(a, m)"
VARIANCE = f"{CENTERED} q = Mul(d, d) v = ReduceMean(q, last)"
SCALED = "h = Mul(k, g) n = Add(h, b)"
LAYER_NORM = {
    "operator": "n = LayerNormalization<epsilon=0.001>(a, g, b)",
    "scaled behind": f"k = LayerNormalization<epsilon=0.001>(a, o6) {SCALED}",
    "PyTorch": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) k = Div(d, r) {SCALED}",
    "mean of squares": "m = ReduceMean(a, last) q = Mul(a, a) o = ReduceMean(q, last) "
        f"p = Mul(m, m) v = Sub(o, p) d = Sub(a, m) e = Add(v, eps) r = Sqrt(e) k = Div(d, r) "
        f"{SCALED}",
    "Flax": "m = ReduceMean(a, last) q = Mul(a, a) o = ReduceMean(q, last) p = Mul(m, m) "
        "v = Sub(o, p) f = Clip(v, zero) d = Sub(a, m) e = Add(f, eps) r = Sqrt(e) "
        "i = Reciprocal(r) s = Mul(i, g) h = Mul(d, s) n = Add(h, b)",
    "Keras": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) s = Mul(i, g) "
        "o = Mul(a, s) j = Neg(m) p = Mul(j, s) t = Add(p, b) n = Add(o, t)",
    "sums over n": "s = ReduceSum(a, last) m = Div(s, six) d = Sub(a, m) q = Pow(d, two) "
        f"t = ReduceSum(q, last) v = Div(t, six) e = Add(v, eps) r = Sqrt(e) k = Div(d, r) "
        f"{SCALED}",
    "mean by MatMul": "m = MatMul(a, mean) d = Sub(a, m) q = Mul(d, d) v = MatMul(q, mean) "
        f"e = Add(v, eps) r = Sqrt(e) k = Div(d, r) {SCALED}",
    "centered by MatMul": "d = MatMul(a, center) q = Mul(d, d) v = ReduceMean(q, last) "
        f"e = Add(v, eps) r = Sqrt(e) k = Div(d, r) {SCALED}",
    "norm of x - m": f"{CENTERED} l = ReduceL2(d, last) o = Pow(l, two) v = Div(o, six) "
        f"e = Add(v, eps) r = Sqrt(e) k = Div(d, r) {SCALED}",
    "sum of squares": f"{CENTERED} o = ReduceSumSquare(d, last) v = Div(o, six) "
        f"e = Add(v, eps) r = Sqrt(e) k = Div(d, r) {SCALED}",
    "power": f"{VARIANCE} e = Add(v, eps) i = Pow(e, minus) k = Mul(d, i) {SCALED}",
    "exp of a log": f"{VARIANCE} e = Add(v, eps) l = Log(e) t = Mul(l, minus) i = Exp(t) "
        f"k = Mul(d, i) {SCALED}",
    "mean by a pool": f"w = GlobalAveragePool(a) d = Sub(a, w) q = Mul(d, d) "
        f"v = GlobalAveragePool(q) e = Add(v, eps) r = Sqrt(e) k = Div(d, r) {SCALED}",
    "standardized input": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) z = Neg(d) y1 = Neg(z) "
        f"k = Div(y1, r) {SCALED}",
    "transposed": "t0 = Transpose<perm=[0, 2, 1]>(a) m = ReduceMean(t0, rows) d = Sub(t0, m) "
        "q = Mul(d, d) v = ReduceMean(q, rows) e = Add(v, eps) r = Sqrt(e) k0 = Div(d, r) "
        f"k = Transpose<perm=[0, 2, 1]>(k0) {SCALED}",
    "operator, transposed": "t0 = Transpose<perm=[1, 0, 2]>(a) k0 = LayerNormalization"
        f"<epsilon=0.001>(t0, o6) k = Transpose<perm=[1, 0, 2]>(k0) {SCALED}",
    "constants within": f"{CENTERED} h = Mul(d, g) q = Mul(d, d) v = ReduceMean(q, last) "
        "e = Add(v, eps) r = Sqrt(e) k = Div(h, r) n = Add(k, b)",
}  # fmt: skip
INSTANCE_NORM = {
    "operator": "n = InstanceNormalization<epsilon=0.001>(a, gr, br)",
    "spelled": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) k = Div(d, r) h = Mul(k, gc) n = Add(h, "
        "bc)",
    "mean of squares": "m = ReduceMean(a, last) q = Mul(a, a) o = ReduceMean(q, last) "
        "p = Mul(m, m) v = Sub(o, p) d = Sub(a, m) e = Add(v, eps) r = Sqrt(e) k = Div(d, r) "
        "h = Mul(k, gc) n = Add(h, bc)",
    "scaled behind": "k = InstanceNormalization<epsilon=0.001>(a, or, zr) h = Mul(k, gc) "
        "n = Add(bc, h)",
    "scaled twice": "k = InstanceNormalization<epsilon=0.001>(a, gr, zr) h = Div(k, half) "
        "t = Mul(h, half) n = Add(t, bc)",
    "groups equal to channels": "u = Reshape(a, shape) k = InstanceNormalization<epsilon=0.001>"
        "(u, gr, br) n = Reshape(k, shape)",
}  # fmt: skip
GROUP_NORM = {
    "PyTorch": "f = Reshape(a, grouped) k = InstanceNormalization<epsilon=0.001>(f, og, zg) "
        "u = Reshape(k, shape) h = Mul(u, gc) n = Add(h, bc)",
    "spelled": "a2 = Reshape(a, grouped) m = ReduceMean(a2, last) d = Sub(a2, m) q = Mul(d, d) "
        "v = ReduceMean(q, last) e = Add(v, eps) r = Sqrt(e) k = Div(d, r) u = Reshape(k, shape) "
        "h = Mul(u, gc) n = Add(h, bc)",
    "rank four": "a2 = Reshape(a, halves) m = ReduceMean(a2, inner) d = Sub(a2, m) q = Mul(d, d) "
        "v = ReduceMean(q, inner) e = Add(v, eps) i = Pow(e, minus) k = Mul(d, i) "
        "u = Reshape(k, shape) h = Mul(u, gc) n = Add(h, bc)",
}  # fmt: skip
GROUP_NORM["halves"] = (
    "h0, h1 = Split<axis=1, num_outputs=2>(a) "
    + " ".join(
        f"m{k} = ReduceMean(h{k}, both) d{k} = Sub(h{k}, m{k}) q{k} = Mul(d{k}, d{k}) "
        f"v{k} = ReduceMean(q{k}, both) e{k} = Add(v{k}, eps) r{k} = Sqrt(e{k}) "
        f"k{k} = Div(d{k}, r{k})"
        for k in (0, 1)
    )
    + " k = Concat<axis=1>(k0, k1) h = Mul(k, gc) n = Add(h, bc)"
)
GROUP_NORM["scaled in groups"] = (
    "a2 = Reshape(a, halves) m = ReduceMean(a2, inner) d = Sub(a2, m) q = Mul(d, d) "
    "v = ReduceMean(q, inner) e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) s = Mul(i, gg) "
    "o = Mul(a2, s) j = Neg(m) p = Mul(j, s) t = Add(p, bg) k = Add(o, t) n = Reshape(k, shape)"
)
LAST_GROUPS = {
    "transposed": "t0 = Transpose<perm=[0, 2, 1]>(a) f = Reshape(t0, three_groups) k0 = "
        "InstanceNormalization<epsilon=0.001>(f, o3, z3) u = Reshape(k0, turned) "
        "k = Transpose<perm=[0, 2, 1]>(u) h = Mul(k, g) n = Add(h, b)",
    "channels last": "f = Reshape(a, late3) m = ReduceMean(f, around) d = Sub(f, m) q = Mul(d, d) "
        "v = ReduceMean(q, around) e = Add(v, eps) r = Sqrt(e) k0 = Div(d, r) "
        f"k = Reshape(k0, shape) {SCALED}",
    "Keras": "f = Reshape(a, late3) m = ReduceMean(f, around) d = Sub(f, m) q = Mul(d, d) "
        "v = ReduceMean(q, around) e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) s = Mul(i, g32) "
        "o = Mul(f, s) p = Mul(m, s) t = Sub(b32, p) k = Add(o, t) n = Reshape(k, shape)",
}  # fmt: skip
STANDARDIZED = {
    "σ + ε": f"{VARIANCE} r = Sqrt(v) e = Add(r, eps) k = Div(d, e) {SCALED}",
    "norm": f"{CENTERED} l = ReduceL2(d, last) r = Div(l, root) e = Add(r, eps) k = Div(d, e) "
        f"{SCALED}",
    "mean of squares": "m = ReduceMean(a, last) q = Mul(a, a) o = ReduceMean(q, last) "
        f"p = Mul(m, m) v = Sub(o, p) d = Sub(a, m) r = Sqrt(v) e = Add(r, eps) k = Div(d, e) "
        f"{SCALED}",
    "power": f"{VARIANCE} r = Pow(v, half) e = Add(r, eps) i = Reciprocal(e) k = Mul(d, i) "
        f"{SCALED}",
}  # fmt: skip
SQUARES = "q = Mul(a, a) v = ReduceMean(q, last) e = Add(v, eps)"
RMS_NORM = {
    "PyTorch": f"{SQUARES} r = Sqrt(e) i = Reciprocal(r) k = Mul(a, i) n = Mul(k, g)",
    "quotient": f"{SQUARES} r = Sqrt(e) k = Div(a, r) n = Mul(k, g)",
    "gain first": f"{SQUARES} r = Sqrt(e) i = Reciprocal(r) s = Mul(i, g) n = Mul(a, s)",
    "pool": "q = Mul(a, a) v = GlobalAveragePool(q) e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) "
        "s = Mul(i, g) n = Mul(a, s)",
    "MatMul": "q = Pow(a, two) v = MatMul(q, mean) e = Add(v, eps) i = Pow(e, minus) k = Mul(a, i) "
        "n = Mul(k, g)",
    "exp of a log": f"{SQUARES} l = Log(e) t = Mul(l, minus) i = Exp(t) k = Mul(a, i) n = Mul(k, "
        "g)",
    "sum": "q = ReduceSumSquare(a, last) v = Div(q, six) e = Add(v, eps) r = Sqrt(e) k = Div(a, r) "
        "n = Mul(g, k)",
    "norm": "l = ReduceL2(a, last) o = Mul(l, l) v = Div(o, six) e = Add(v, eps) r = Sqrt(e) "
        "k = Div(a, r) n = Mul(g, k)",
    "gained before": f"{SQUARES} r = Sqrt(e) i = Reciprocal(r) h = Mul(a, g) n = Mul(h, i)",
    "Einsum": 'q = Einsum<equation="bij,bij->bi">(a, a) u = Unsqueeze(q, last) v = Div(u, six) '
        "e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) k = Mul(a, i) n = Mul(k, g)",
}  # fmt: skip
NORMED = f"{SQUARES} r = Sqrt(e) i = Reciprocal(r) k = Mul(a, i)"
SHIFTED_RMS_NORM = {
    "operator": f"{NORMED} h = Mul(k, g) n = Add(h, b)",
    "shift first": f"{NORMED} h = Mul(g, k) n = Add(b, h)",
    "gain first": f"{SQUARES} r = Sqrt(e) i = Reciprocal(r) s = Mul(i, g) h = Mul(a, s) n = Add(h, "
        "b)",
    "subtracted": f"{NORMED} h = Mul(k, g) n = Sub(h, less)",
    "before the gain": f"{NORMED} o = Add(k, parted) n = Mul(o, g)",
    "quotient": f"{SQUARES} r = Sqrt(e) k = Div(a, r) h = Mul(k, g) n = Add(h, b)",
}  # fmt: skip
"""An RMSNorm has no shift of its own: what is added behind it passes, in every spelling."""
FRONT_AXES = {
    "operator": "u = Transpose<perm=[2, 0, 1]>(a) f = Reshape(u, flat) p = Softmax(f) "
        "r = Reshape(p, by_columns) n = Transpose<perm=[1, 2, 0]>(r)",
    "exp over sum": "e = Exp(a) s = ReduceSum(e, front) n = Div(e, s)",
    "less the largest": "m = ReduceMax(a, front) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, front) "
        "n = Div(e, s)",
}  # fmt: skip
MEAN_READ = {
    "operator": "k = LayerNormalization<epsilon=0.001>(a, g, b) m = ReduceMean(a, last) "
        "n = Add(k, m)",
    "the mean": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) k = Div(d, r) h = Mul(k, g) "
        "p = Add(h, b) n = Add(p, m)",
    "the mean, by Flax": "m = ReduceMean(a, last) q = Mul(a, a) o = ReduceMean(q, last) "
        "p = Mul(m, m) v = Sub(o, p) f = Clip(v, zero) d = Sub(a, m) e = Add(f, eps) r = Sqrt(e) "
        "i = Reciprocal(r) s = Mul(i, g) h = Mul(d, s) k = Add(h, b) n = Add(k, m)",
}  # fmt: skip
DEVIATION_READ = {
    "operator": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) k = LayerNormalization<epsilon=0.001>"
        "(a, o6) n = Add(k, r)",
    "spelled": f"{VARIANCE} e = Add(v, eps) r = Sqrt(e) k = Div(d, r) n = Add(k, r)",
    "power": f"{VARIANCE} e = Add(v, eps) i = Pow(e, minus) k = Mul(d, i) r = Sqrt(e) "
        "n = Add(k, r)",
}  # fmt: skip
SOFTMAX_READ = {
    "operator": "p = Softmax(a) e = Exp(a) h = Mul(e, minus) n = Add(p, h)",
    "exp over sum": "e = Exp(a) s = ReduceSum(e, last) p = Div(e, s) h = Mul(e, minus) "
        "n = Add(p, h)",
}  # fmt: skip
