"""Softmaxes in many spellings: see test_concepts.py.

Each fragment reads `a`, of shape (2, 4, 6), and writes `n`; the first of a table is the reference.
"""

from __future__ import annotations

SOFTMAX = {
    "operator": "n = Softmax(a)",
    "exp over sum": "e = Exp(a) s = ReduceSum(e, last) n = Div(e, s)",
    "less the largest": "m = ReduceMax(a, last) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, last) "
        "n = Div(e, s)",
    "operator, less the largest": "m = ReduceMax(a, last) d = Sub(a, m) n = Softmax(d)",
    "reciprocal": "e = Exp(a) s = ReduceSum(e, last) r = Reciprocal(s) n = Mul(r, e)",
    "one over": "e = Exp(a) s = ReduceSum(e, last) r = Div(one, s) n = Mul(e, r)",
    "sum by MatMul": "e = Exp(a) s = MatMul(e, ones) n = Div(e, s)",
    "sum by Einsum": 'e = Exp(a) s = Einsum<equation="bij,jk->bik">(e, ones) n = Div(e, s)',
    "dims dropped": "e = Exp(a) s = ReduceSum<keepdims=0>(e, last) u = Unsqueeze(s, last) "
        "n = Div(e, u)",
    "exp of log-softmax": "l = LogSoftmax(a) n = Exp(l)",
    "exp of log-softmax, spelled": "e = Exp(a) s = ReduceSum(e, last) l = Log(s) d = Sub(a, l) "
        "n = Exp(d)",
    "log-sum-exp": "l = ReduceLogSumExp(a, last) d = Sub(a, l) n = Exp(d)",
    "power of e": "e = Pow(base, a) s = ReduceSum(e, last) n = Div(e, s)",
    "power of two": "t = Div(a, ln2) e = Pow(two, t) s = ReduceSum(e, last) n = Div(e, s)",
    "power minus one": "e = Exp(a) s = ReduceSum(e, last) r = Pow(s, neg) n = Mul(e, r)",
    "mean": "e = Exp(a) s = ReduceMean(e, last) q = Div(e, s) n = Div(q, six)",
    "expanded": "e = Exp(a) s = ReduceSum(e, last) h = Shape(a) u = Expand(s, h) n = Div(e, u)",
    "floor of the sum": "e = Exp(a) s = ReduceSum(e, last) t = Max(s, tiny) n = Div(e, t)",
    "sum of absolute values": "e = Exp(a) s = ReduceL1(e, last) n = Div(e, s)",
    "one over exp of minus": "k = Neg(a) e = Exp(k) r = Reciprocal(e) s = ReduceSum(r, last) "
        "n = Div(r, s)",
    "sum by a convolution": "t = Transpose<perm=[0, 2, 1]>(a) e = Exp(t) s = Conv(e, tall) "
        "q = Div(e, s) n = Transpose<perm=[0, 2, 1]>(q)",
    "last of the sums so far": "e = Exp(a) c = CumSum(e, along) s = Slice(c, fifth, end, axis) "
        "n = Div(e, s)",
    "exponentials scaled": "e = Exp(a) k = Mul(e, two) s = ReduceSum(k, last) n = Div(k, s)",
    "shifted by a number": "d = Sub(a, two) n = Softmax(d)",
    "rows in one batch": "f = Reshape(a, by_rows) e = Exp(f) s = ReduceSum(e, rows) q = Div(e, s) "
        "h = Shape(a) n = Reshape(q, h)",
    "tiled": "e = Exp(a) s = ReduceSum(e, last) t = Tile(s, tileby) n = Div(e, t)",
    "exp of log of the operator": "p = Softmax(a) l = Log(p) n = Exp(l)",
    "less the largest of all": "m = ReduceMax(a) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, last) "
        "n = Div(e, s)",
    "one over exp": "l = ReduceLogSumExp(a, last) d = Sub(a, l) m = Neg(d) e = Exp(m) "
        "n = Reciprocal(e)",
    "exp of minus": "l = ReduceLogSumExp(a, last) d = Sub(l, a) m = Neg(d) n = Exp(m)",
    "less the mean": "m = ReduceMean(a, last) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, last) "
        "n = Div(e, s)",
}  # fmt: skip
AXIS_ONE = {
    "operator": "n = Softmax<axis=1>(a)",
    "exp over sum": "e = Exp(a) s = ReduceSum(e, rows) n = Div(e, s)",
    "transposed": "t = Transpose<perm=[0, 2, 1]>(a) p = Softmax(t) n = Transpose<perm=[0, 2, "
        "1]>(p)",
    "transposed, exp over sum": "t = Transpose<perm=[0, 2, 1]>(a) e = Exp(t) s = ReduceSum(e, "
        "last) "
        "q = Div(e, s) n = Transpose<perm=[0, 2, 1]>(q)",
}  # fmt: skip
TWO_AXES = {
    "operator": "f = Reshape(a, flat) p = Softmax(f) n = Reshape(p, shape)",
    "exp over sum": "e = Exp(a) s = ReduceSum(e, both) n = Div(e, s)",
    "sum of sums": "e = Exp(a) r = ReduceSum(e, last) s = ReduceSum(r, rows) n = Div(e, s)",
    "less the largest": "m = ReduceMax(a, both) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, both) "
        "n = Div(e, s)",
}  # fmt: skip
WARM = {
    "operator": "d = Mul(a, warm) n = Softmax(d)",
    "power of exponentials": "e = Exp(a) k = Pow(e, warm) s = ReduceSum(k, last) n = Div(k, s)",
    "power of the operator": "p = Softmax(a) k = Pow(p, warm) s = ReduceSum(k, last) n = Div(k, s)",
}  # fmt: skip
LOGARITHM = {
    "operator": "n = LogSoftmax(a)",
    "of the operator": "p = Softmax(a) n = Log(p)",
    "of a quotient": "e = Exp(a) s = ReduceSum(e, last) q = Div(e, s) n = Log(q)",
}  # fmt: skip
QUIET = {
    "operator": "w = Pad(a, pad, zero) p = Softmax(w) n = Slice(p, start, end, axis)",
    "one in the sum": "e = Exp(a) s = ReduceSum(e, last) t = Add(s, one) n = Div(e, t)",
    "one first": "e = Exp(a) s = ReduceSum(e, last) t = Add(one, s) r = Reciprocal(t) n = Mul(e, "
        "r)",
    "less the largest": "m = ReduceMax(a, last) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, last) "
        "k = Neg(m) o = Exp(k) t = Add(s, o) n = Div(e, t)",
}  # fmt: skip
MASKED = {
    "operator": "s = Where(mask, a, low) n = Softmax(s)",
    "-inf": "s = Add(a, gone) n = Softmax(s)",
    "-inf, exp over sum": "s = Add(a, gone) e = Exp(s) t = ReduceSum(e, last) n = Div(e, t)",
    "exp masked by Where": "e = Exp(a) k = Where(mask, e, zero) t = ReduceSum(k, last) n = Div(k, "
        "t)",
    "exp times a mask": "e = Exp(a) k = Mul(e, numbers) t = ReduceSum(k, last) n = Div(k, t)",
    "exp times a cast": "e = Exp(a) c = Cast<to=1>(mask) k = Mul(c, e) t = ReduceSum(k, last) "
        "n = Div(k, t)",
    "less the largest": "m = ReduceMax(a, last) d = Sub(a, m) e = Exp(d) k = Mul(e, numbers) "
        "t = ReduceSum(k, last) n = Div(k, t)",
    "exp cut off": "e = Exp(a) k = Trilu<upper=0>(e, two_off) t = ReduceSum(k, last) n = Div(k, t)",
    "masked behind and divided again": "p = Softmax(a) k = Where(mask, p, zero) "
        "t = ReduceSum(k, last) n = Div(k, t)",
}  # fmt: skip
SEEN = "k0 = MatMul(x, w_other) c = Greater(k0, low_seen)"
MASKED_BY_INPUT = {
    "operator": f"{SEEN} s = Where(c, a, low) n = Softmax(s)",
    "exp masked by Where": f"{SEEN} e = Exp(a) k = Where(c, e, zero) t = ReduceSum(k, last) "
        "n = Div(k, t)",
    "exp times a cast": f"{SEEN} e = Exp(a) f = Cast<to=1>(c) k = Mul(e, f) t = ReduceSum(k, last) "
        "n = Div(k, t)",
    "exp times one less a cast": f"{SEEN} o = Not(c) f = Cast<to=1>(o) g0 = Sub(one, f) e = Exp(a) "
        "k = Mul(g0, e) t = ReduceSum(k, last) r = Reciprocal(t) n = Mul(k, r)",
    "exp times a moved cast": f"{SEEN} f = Cast<to=1>(c) g0 = Reshape(f, shape) e = Exp(a) "
        "k = Mul(g0, e) t = ReduceSum(k, last) n = Div(k, t)",
}  # fmt: skip
LATE = {
    "operator": "p = Softmax(a) t = Transpose<perm=[0, 2, 1]>(a) n = MatMul(p, t)",
    "divided behind": "e = Exp(a) s = ReduceSum(e, last) t = Transpose<perm=[0, 2, 1]>(a) "
        "v = MatMul(e, t) n = Div(v, s)",
    "times one over": "e = Exp(a) s = MatMul(e, ones) t = Transpose<perm=[0, 2, 1]>(a) "
        "v = MatMul(e, t) r = Reciprocal(s) n = Mul(v, r)",
    "less the largest": "m = ReduceMax(a, last) d = Sub(a, m) e = Exp(d) s = ReduceSum(e, last) "
        "t = Transpose<perm=[0, 2, 1]>(a) v = MatMul(e, t) n = Div(v, s)",
    "Einsum": "e = Exp(a) s = ReduceSum(e, last) "
        'v = Einsum<equation="bij,bkj->bik">(e, a) n = Div(v, s)',
    "transposed before": "e = Exp(a) s = ReduceSum(e, last) z = Transpose<perm=[1, 0, 2]>(s) "
        "t = Transpose<perm=[0, 2, 1]>(a) v = MatMul(e, t) u = Transpose<perm=[1, 0, 2]>(v) "
        "q = Div(u, z) n = Transpose<perm=[1, 0, 2]>(q)",
}  # fmt: skip
