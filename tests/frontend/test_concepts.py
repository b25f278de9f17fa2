"""A concept in many spellings has the relevance of its operator, under every composite.

Each fragment reads `a`, of shape (2, 4, 6), and writes `n`; the first of a table is the reference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx.analysis import path
from lrp_onnx.frontend import canonize
from lrp_onnx.frontend.canonize import probe

SHAPE = (2, 4, 6)
METHODS = ("attnlrp", "cp-lrp", "epsilon", "epsilon-plus-flat", "gamma", "gradient")
SIGNED = {"another's gate", "Relu", "Clip", "Softplus", "permuted", "upsampled"}
"""Whose spellings alpha-beta tells apart: they turn a sign, or may pass for a layer."""
rng = np.random.default_rng(5)
GAIN = rng.uniform(0.5, 2, 6).astype(np.float32)
SHIFT = rng.standard_normal(6).astype(np.float32)
MASK = np.tril(np.ones((6, 6)))[-4:] > 0
ROWS_G, ROWS_B = np.float32([0.5, 2, 1.5, 0.8]), np.float32([1, -0.3, 0.7, -1.2])
TURNING = np.eye(6, dtype=np.float32)[:, [5, 0, 0, 3, 1, 4]]
CONSTANTS = {
    "last": [-1], "rows": [1], "space": [2], "both": [1, 2], "first": [0], "one": 1.0, "two": 2.0,
    "half": 0.5, "minus": -0.5, "neg": -1.0, "zero": 0.0, "six": 6.0, "root": 6**0.5, "eps": 1e-3,
    "tiny": 1e-12, "low": -1e9,
    "low_seen": -1.0, "count": 1.2, "ln2": float(np.log(2)), "base": float(np.e),
    "ones": np.ones((6, 1), np.float32), "mean": np.full((6, 1), 1 / 6, np.float32),
    "center": (np.eye(6) - 1 / 6).astype(np.float32), "front": [0, 1], "by_columns": [6, 2, 4],
    "mask": MASK, "numbers": MASK.astype(np.float32),
    "gone": np.where(MASK, 0, -np.inf).astype(np.float32),
    "g": GAIN, "b": SHIFT, "less": -SHIFT, "parted": SHIFT / GAIN,
    "gr": ROWS_G, "br": ROWS_B, "gc": ROWS_G.reshape(4, 1), "bc": ROWS_B.reshape(4, 1),
    "o6": np.ones(6, np.float32), "or": np.ones(4, np.float32), "zr": np.zeros(4, np.float32),
    "gg": ROWS_G.reshape(2, 2, 1), "bg": ROWS_B.reshape(2, 2, 1),
    "grouped": [0, 2, -1], "shape": [0, 4, 6], "og": np.ones(2, np.float32),
    "zg": np.zeros(2, np.float32), "halves": [0, 2, 2, 6], "inner": [2, 3],
    "flat": [0, -1], "pad": [0, 0, 0, 0, 0, 1],
    "start": [0], "end": [6], "axis": [2], "wide": [0, 4, 6, 1], "drop": [3],
    "by_rows": [-1, 6], "tall": np.ones((1, 6, 1), np.float32), "warm": 0.6, "tileby": [1, 1, 6],
    "along": np.int64(2), "fifth": [5], "two_off": np.int64(2),
    "late3": [0, 4, 3, 2], "around": [1, 3], "three_groups": [0, 3, -1], "turned": [0, 6, 4],
    "o3": np.ones(3, np.float32), "z3": np.zeros(3, np.float32),
    "g32": GAIN.reshape(3, 2), "b32": SHIFT.reshape(3, 2),
    "by_hand": [5, 0, 0, 3, 1, 4], "turning": TURNING, "turning_kernel": TURNING.T[..., None, None],
    "doubled": np.float32([1, 1, 2]), "spread_each": np.ones((4, 1, 2), np.float32),
    "spread": np.eye(4, dtype=np.float32)[..., None] * np.ones(2, np.float32),
    "less6": -6.0, "pad_one": [0] * 7 + [1], "fourth": [3], "along_one": [1],
    "zero_at": np.int64(0),
    "c1": 2**-0.5, "c2": 0.7978845608, "c3": 0.044715, "three": 3.0, "less3": -3.0,
}  # fmt: skip

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
W = "w0 = MatMul(x, w_other) w = Softplus(w0)"
GATE = {
    "u·SiLU(w)": f"{W} s = Sigmoid(a) k = Mul(a, s) n = Mul(w, k)",
    "(u·w)·σ(w)": f"{W} p = Mul(w, a) s = Sigmoid(a) n = Mul(p, s)",
    "(u·σ(w))·w": f"{W} s = Sigmoid(a) p = Mul(w, s) n = Mul(p, a)",
    "w·(σ(w)·u)": f"{W} s = Sigmoid(a) p = Mul(s, w) n = Mul(a, p)",
    "by tanh": f"{W} h = Mul(a, half) t = Tanh(h) o = Add(t, one) s = Mul(o, half) k = Mul(a, s) "
        "n = Mul(k, w)",
    "by exp": f"{W} m = Neg(a) e = Exp(m) o = Add(e, one) k = Div(a, o) n = Mul(w, k)",
    "reciprocal": f"{W} m = Neg(a) e = Exp(m) o = Add(one, e) s = Reciprocal(o) k = Mul(s, a) "
        "n = Mul(k, w)",
    "exp over exp": f"{W} e = Exp(a) o = Add(e, one) s = Div(e, o) p = Mul(w, s) n = Mul(p, a)",
    "w less w·σ(-w)": f"{W} m = Neg(a) s = Sigmoid(m) p = Mul(a, s) k = Sub(a, p) n = Mul(w, k)",
    "halved": f"{W} h = Mul(a, half) t = Tanh(h) o = Mul(h, t) k = Add(h, o) n = Mul(w, k)",
    "three factors": f"{W} s = Sigmoid(a) h = Mul(w, half) p = Mul(h, s) k = Mul(p, a) n = Mul(k, "
        "two)",
}  # fmt: skip
U = "u = MatMul(x, w_other)"
GLU = {
    "operator": f"{U} s = Sigmoid(a) n = Mul(u, s)",
    "quotient": f"{U} m = Neg(a) e = Exp(m) o = Add(one, e) n = Div(u, o)",
    "reciprocal": f"{U} m = Neg(a) e = Exp(m) o = Add(e, one) s = Reciprocal(o) n = Mul(s, u)",
    "of minus": f"{U} m = Neg(a) p = Sigmoid(m) s = Sub(one, p) n = Mul(u, s)",
    "softplus": f"{U} m = Neg(a) p = Softplus(m) k = Neg(p) s = Exp(k) n = Mul(u, s)",
    "halved": f"{U} h = Mul(a, half) v = Mul(u, half) t = Tanh(h) p = Mul(v, t) n = Add(p, v)",
    "halved behind": f"{U} h = Mul(a, half) t = Tanh(h) p = Mul(u, t) q = Add(p, u) "
        "n = Mul(half, q)",
    "u less u·σ(-w)": f"{U} m = Neg(a) s = Sigmoid(m) p = Mul(u, s) n = Sub(u, p)",
    "two classes": f"{U} k = Unsqueeze(a, last) q = Mul(k, zero) j = Concat<axis=-1>(k, q) "
        "p = Softmax<axis=-1>(j) s = Gather<axis=3>(p, zero_at) n = Mul(u, s)",
    "padded": f"{U} k = Unsqueeze(a, last) j = Pad(k, pad_one, zero) p = Softmax<axis=-1>(j) "
        "f = Slice(p, start, along_one, fourth) s = Squeeze(f, fourth) n = Mul(s, u)",
}  # fmt: skip
HARD = {
    "operator": "n = HardSigmoid<alpha=0.16666667, beta=0.5>(a)",
    "Clip": "p = Add(a, three) c = Clip(p, zero, six) n = Div(c, six)",
    "Clip to one": "p = Div(a, six) q = Add(p, half) n = Clip(q, zero, one)",
    "ReLU and Min": "p = Add(three, a) c = Relu(p) d = Min(c, six) n = Div(d, six)",
    "Max and Min": "p = Sub(a, less3) c = Max(p, zero) d = Min(six, c) n = Div(d, six)",
}  # fmt: skip

RECTIFIED = {
    "operator": "n = Relu(a)",
    "least": "m = Neg(a) c = Min(m, zero) n = Neg(c)",
    "clipped": "m = Mul(a, neg) c = Clip(m, , zero) n = Sub(zero, c)",
}
BOUNDED = {
    "operator": "n = Clip(a, zero, six)",
    "Min": "r = Relu(a) n = Min(six, r)",
    "turned twice": "m = Neg(a) c = Max(m, less6) d = Min(zero, c) n = Mul(d, neg)",
}
SOFT = {
    "operator": "n = Softplus(a)",
    "log of a sigmoid": "m = Neg(a) s = Sigmoid(m) l = Log(s) n = Neg(l)",
}
TURNED = {
    "operator": "n = Gather<axis=2>(a, by_hand)",
    "product": "n = MatMul(a, turning)",
    "kernel": "t = Transpose<perm=[0, 2, 1]>(a) u = Unsqueeze(t, last) c = Conv(u, turning_kernel) "
    "s = Squeeze(c, last) n = Transpose<perm=[0, 2, 1]>(s)",
}
POOLED = "n = MaxPool<kernel_shape=[2], strides=[2]>(r)"
UPSAMPLED = {
    "operator": 'r = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", '
    f'nearest_mode="floor">(a, , doubled) {POOLED}',
    "kernel": f"r = ConvTranspose<strides=[2]>(a, spread) {POOLED}",
    "kernel by channel": f"r = ConvTranspose<strides=[2], group=4>(a, spread_each) {POOLED}",
}

TABLES = {
    "Relu": RECTIFIED, "Clip": BOUNDED, "Softplus": SOFT,
    "permuted": TURNED, "upsampled": UPSAMPLED,
    "softmax": SOFTMAX, "axis one": AXIS_ONE, "two axes": TWO_AXES, "warm": WARM,
    "logarithm": LOGARITHM, "last groups": LAST_GROUPS, "quiet": QUIET,
    "masked": MASKED, "masked by an input": MASKED_BY_INPUT,
    "divided late": LATE, "LayerNorm": LAYER_NORM, "RMSNorm": RMS_NORM,
    "shifted RMSNorm": SHIFTED_RMS_NORM,
    "InstanceNorm": INSTANCE_NORM, "GroupNorm": GROUP_NORM, "standardized": STANDARDIZED,
    "gate": GATE, "another's gate": GLU, "HardSigmoid": HARD,
    "the first axes": FRONT_AXES, "its mean read": MEAN_READ,
    "its deviation read": DEVIATION_READ,
    "its exponentials read": SOFTMAX_READ,
}  # fmt: skip
ALIKE = ("epsilon-plus-flat", "gamma")
"""They differ from epsilon in the rules of linear layers alone, which a table's rows share: of a
concept that becomes an operator one spelling does for them.
"""
CASES = [
    (table, name, method)
    for table, rows in TABLES.items()
    for name in list(rows)[1:]
    for method in (*METHODS, *["alpha2-beta1"] * (table in SIGNED))
    if method not in ALIKE or table == "gate" or name in (list(rows)[1], "shifted by a number")
]


def model_with(fragment: str) -> onnx.ModelProto:
    """The fragment between layers."""
    body = f"a = MatMul(x, w_in) {fragment} t_out = Tanh(n) y = MatMul(t_out, w_out)"
    rows = (
        4
        if "Transpose<perm=[0, 2, 1]>(a) n = MatMul" in body
        or re.search(r"MatMul\(e, t\)|bkj", body)
        else 6
    )
    given = {**CONSTANTS, **WEIGHTS, "w_out": WEIGHTS["w_out"][:rows]}
    used = {k: c for k, c in given.items() if re.search(rf"\b{k}[,)]", body)}
    return network(body, SHAPE, **used)


WEIGHTS = {
    k: rng.standard_normal((6, m)).astype(np.float32)
    for k, m in {"w_in": 6, "w_out": 3, "w_other": 6}.items()
}


@cache
def explained(table: str, name: str, method: str) -> tuple[np.ndarray, Sequence[str]]:
    """Relevance, and what the compilation told."""
    model = model_with(TABLES[table][name])
    how = {"method": "gradient"} if method == "gradient" else {"composite": method}
    compiled = lrp_onnx.compile(model, target="all", check=False, **how)  # type: ignore[arg-type]
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = run(compiled.model, {"x": x})
    assert_close(found["y"], run(model, {"x": x})["y"])
    return found["x_relevance"], compiled.warnings


@pytest.mark.parametrize(("table", "name", "method"), CASES)
def test_a_spelling_has_the_relevance_of_the_operator(table: str, name: str, method: str) -> None:
    reference = next(iter(TABLES[table]))
    found, expected = (explained(table, k, method)[0] for k in (name, reference))
    assert_close(found, expected, 1e-4)


RESEMBLING = {
    "a mask of any numbers": "e = Exp(a) f = Relu(x) k = Mul(e, f) s = ReduceSum(k, last) "
        "n = Div(k, s)",
    "another's exponential": "t = Tanh(a) e = Exp(t) s = ReduceSum(e, last) f = Exp(a) n = Div(f, "
        "s)",
    "a sum of squares of exponentials": "e = Exp(a) q = Mul(e, e) s = ReduceSum(q, last) "
        "n = Div(e, s)",
    "a cube": f"{CENTERED} q = Pow(d, three) v = ReduceMean(q, last) o = Abs(v) e = Add(o, eps) "
        "r = Sqrt(e) n = Div(d, r)",
    "another's deviation": "t = Tanh(a) m = ReduceMean(t, last) c = Sub(t, m) q = Mul(c, c) "
        "v = ReduceMean(q, last) r = Sqrt(v) w = ReduceMean(a, last) d = Sub(a, w) n = Div(d, r)",
    "one over": "e = Exp(a) q = Sqrt(e) s = ReduceSum(q, last) r = Reciprocal(s) n = Mul(e, r)",
}  # fmt: skip


@pytest.mark.parametrize("name", RESEMBLING)
def test_what_looks_like_one_is_told(name: str) -> None:
    compiled = lrp_onnx.compile(model_with(RESEMBLING[name]), "attnlrp", check=False)
    assert any("'n' (" in text and "looks like" in text for text in compiled.warnings)
    assert [line.name for line in compiled.report if "looks like" in line.reason] == ["n"]


@pytest.mark.parametrize("table", TABLES)
def test_what_is_one_is_not_told(table: str) -> None:
    for name in TABLES[table]:
        assert not any("looks like" in text for text in explained(table, name, "attnlrp")[1])


@pytest.mark.parametrize("name", ["softmax", "LayerNorm", "gate"])
def test_a_difference_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without recognition the spellings differ."""
    kept = tuple(r for r in canonize.REWRITES if r.__name__ != "recognize")
    monkeypatch.setattr(canonize, "REWRITES", kept)
    monkeypatch.setattr(path._Flow, "factors", lambda self, value: {value})
    expected, *found = (explained.__wrapped__(name, k, "attnlrp")[0] for k in TABLES[name])
    assert any(np.abs(r - expected).max() > 0.05 * np.abs(expected).max() for r in found)


def evaluations(count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a region is evaluated in a row of that many softmaxes."""
    rows = [
        f"e{k} = Exp(t{k}) s{k} = ReduceSum(e{k}, last) n{k} = Div(e{k}, s{k}) "
        f"t{k + 1} = Tanh(n{k})"
        for k in range(count)
    ]
    model = network(f"t0 = Neg(x) {' '.join(rows)} y = Neg(t{count})", SHAPE, last=[-1])
    calls, evaluated = [], probe.Probe.any
    monkeypatch.setattr(probe.Probe, "any", lambda p, x: calls.append(1) or evaluated(p, x))
    lrp_onnx.compile(model, "attnlrp", check=False)
    monkeypatch.undo()
    return len(calls)


def test_equal_regions_are_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < evaluations(2, monkeypatch) == evaluations(20, monkeypatch)


@pytest.mark.parametrize("bound", [20.0, 65504.0])
@pytest.mark.parametrize("spelling", ["r = Max(h, zero)", "t = Neg(h) m = Min(t, zero) r = Neg(m)"])
def test_a_bound_is_seen_however_far(spelling: str, bound: float) -> None:
    model = network(
        f"h = MatMul(x, w) {spelling} a = Min(r, bound) y = MatMul(a, v)", ("N", 3),
        w=2 * np.eye(3), v=np.ones((3, 2)), zero=np.array(0.0), bound=np.array(bound),
    )  # fmt: skip
    compiled = lrp_onnx.compile(model, method="gradient", target=0).model
    x = np.float32([[-1, 0.3 * bound, 0.7 * bound]])
    assert run(compiled, {"x": x})["x_relevance"].tolist() == [[0, 2, 0]]
