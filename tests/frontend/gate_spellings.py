"""Gates, activations and layers that only move in many spellings: see test_concepts.py.

Each fragment reads `a`, of shape (2, 4, 6), and writes `n`; the first of a table is the reference.
"""

from __future__ import annotations

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
RESIDUAL = {
    "one more than the factor": f"{U} f = Add(a, one) n = Mul(u, f)",
    "the product and itself": f"{U} p = Mul(u, a) n = Add(u, p)",
    "itself and the product": f"{U} p = Mul(a, u) n = Add(p, u)",
    "less of minus": f"{U} m = Neg(a) p = Mul(u, m) n = Sub(u, p)",
    "halved": f"{U} h = Mul(u, half) p = Mul(h, a) q = Add(h, p) n = Div(q, half)",
}
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
