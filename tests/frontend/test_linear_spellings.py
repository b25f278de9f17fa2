"""A linear map has one relevance, whether it is written as the operator or by what it does.

The first of each table is the reference; each reads `a` and writes `n`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from canonical import canonized, counts
from models import assert_close, network, run

import lrp_onnx

METHODS = ("attnlrp", "epsilon-plus-flat", "gamma", "alpha2-beta1", "gradient")
rng = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


K, B, P, D = normal(4, 3, 3, 3), normal(4), normal(5, 3, 2, 2), normal(6, 5)
MEAN = np.zeros((3, 3, 3, 3), np.float32)
MEAN[range(3), range(3)] = 1 / 9
SHUFFLE = np.zeros((12, 3, 2, 2), np.float32)
for c, i, j in np.ndindex(3, 2, 2):
    SHUFFLE[4 * (2 - c) + 2 * i + j, c, i, j] = 1
TAPS = [(i, j) for i in range(3) for j in range(3)]
CONSTANTS = {
    "k": K, "b": B, "mean": MEAN,
    "around": [0, 0, 1, 1, 0, 0, 1, 1], "space": [2, 3],
    "kr": K.reshape(4, 27), "kc": K.reshape(4, 27).T.copy(), "bc": B.reshape(4, 1),
    "bc3": B.reshape(4, 1, 1),
    "flat": [0, 3, 64], "columns": [0, 27, 36], "back": [0, 4, 6, 6], "rows": [0, 36, 27],
    "places": [8 * (y + i) + x + j for i, j in TAPS for y in range(6) for x in range(6)],
    "lines": [[y + i for y in range(6)] for i in range(3)], "last": [0, 6, 6, 4],
    "p": P, "pb": normal(5), "pc": P.reshape(5, 12).T.copy(), "patches": [0, 3, 3, 2, 3, 2],
    "ps": P.transpose(0, 2, 3, 1).reshape(5, 12, 1, 1), "pu": P.reshape(5, 12, 1, 1),
    "pe": P.transpose(1, 2, 3, 0).copy(), "deep": [0, 12, 3, 3],
    "patch": [0, 9, 12], "grid": [0, 3, 3, 5], "w12": normal(12, 3, 1, 1),
    "shuffle": SHUFFLE, "turned": [8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3],
    "d": D, "db": normal(5), "one": 1.0, "beside": [0, 0, 0, 1], "ones": np.ones((2, 1)),
    **{f"t{i}{j}": K[:, :, i : i + 1, j : j + 1] for i, j in TAPS},
    **{f"s{i}{j}": [i, j] for i, j in TAPS}, **{f"e{i}{j}": [i + 6, j + 6] for i, j in TAPS},
}  # fmt: skip
CONSTANTS |= {
    "none": [0] * 8, "far": [99, 99], "starts": [0, 0], "ends": [-1, -1],
    "row": [2], "row12": [1, 2],
    "early": [0, 0, 2, 0, 0, 0], "k1": K[:, :, 0], "k2": K[:, :, :1], "b1": B.reshape(4, 1),
    "kt": normal(3, 4, 3, 3),
}  # fmt: skip
CONSTANTS["pb3"] = CONSTANTS["pb"].reshape(5, 1, 1)
CONSTANTS["db1"] = np.concatenate([CONSTANTS["d"], CONSTANTS["db"][None]])
CONSTANTS["bd"] = CONSTANTS["db1"][[6, *range(6)]]
UNFOLDED = "q = Pad(a, around) f = Reshape(q, flat) u = Gather<axis=2>(f, places) "
BY_TAPS = "q = Pad(a, around) " + " ".join(
    f"c{i}{j} = Slice(q, s{i}{j}, e{i}{j}, space) d{i}{j} = Conv(c{i}{j}, t{i}{j})" for i, j in TAPS
)
SPELLINGS = {
    "convolution": (
        (2, 3, 6, 6),
        "n = Conv<pads=[1,1,1,1]>(a, k, b)",
        UNFOLDED + "v = Reshape(u, columns) m = MatMul(kr, v) r = Add(m, bc) n = Reshape(r, back)",
        "q = Pad(a, around) i = Gather<axis=2>(q, lines) h = Gather<axis=4>(i, lines) "
        "t = Transpose<perm=[0,3,5,1,2,4]>(h) r = Reshape(t, rows) m = MatMul(r, kc) "
        "o = Add(m, b) l = Reshape(o, last) n = Transpose<perm=[0,3,1,2]>(l)",
        f"{BY_TAPS} m = Sum({', '.join(f'd{i}{j}' for i, j in TAPS)}) n = Add(m, bc3)",
        "m = Conv<pads=[1,1,1,1]>(a, k) s = Slice(m, starts, far, space) q = Pad(s, none) "
        "n = Add(q, bc3)",
        "m = Conv<pads=[1,1,1,1]>(a, k) w = Cast<to=11>(m) v = Cast<to=11>( bc3) s = Add(w, v) "
        "n = Cast<to=1>(s)",
    ),
    "causal": (
        (2, 3, 3),
        "n = Conv<pads=[2,0]>(a, k1, b)",
        "q = Pad(a, early) u = Unsqueeze(q, row) m = Conv(u, k2) s = Squeeze(m, row) "
        "n = Add(s, b1)",
        "q = Pad(a, early) m = Conv(q, k1) n = Add(m, b1)",
    ),
    "cut": (
        (2, 3, 4, 4),
        "n = ConvTranspose<strides=[2,2], pads=[0,0,1,1]>(a, kt, b)",
        "m = ConvTranspose<strides=[2,2]>(a, kt) s = Slice(m, starts, ends, space) n = Add(s, bc3)",
        "m = ConvTranspose<strides=[2,2]>(a, kt) t = Transpose<perm=[0,2,3,1]>(m) "
        "s = Slice(t, starts, ends, row12) o = Add(s, b) n = Transpose<perm=[0,3,1,2]>(o)",
    ),
    "patches": (
        (2, 3, 6, 6),
        "n = Conv<strides=[2,2]>(a, p, pb)",
        "r = Reshape(a, patches) t = Transpose<perm=[0,2,4,1,3,5]>(r) f = Reshape(t, patch) "
        "m = MatMul(f, pc) o = Add(m, pb) l = Reshape(o, grid) n = Transpose<perm=[0,3,1,2]>(l)",
        "s = SpaceToDepth<blocksize=2>(a) n = Conv(s, ps, pb)",
        "r = Reshape(a, patches) t = Transpose<perm=[0,1,3,5,2,4]>(r) s = Reshape(t, deep) "
        "n = Conv(s, pu, pb)",
        'r = Reshape(a, patches) m = Einsum<equation="bchpwq,ocpq->bohw">(r, p) n = Add(m, pb3)',
        'r = Reshape(a, patches) m = Einsum<equation="cpqo,bchpwq->bhwo">(pe, r) o = Add(m, pb) '
        "n = Transpose<perm=[0,3,1,2]>(o)",
    ),
    "average": ((2, 3, 6, 6), "n = AveragePool<kernel_shape=[3,3]>(a)", "n = Conv(a, mean)"),
    "shuffled": (
        (2, 3, 4, 4),
        "c = Conv(a, w12) h = Gather<axis=1>(c, turned) "
        'n = DepthToSpace<blocksize=2, mode="CRD">(h)',
        "c = Conv(a, w12) n = ConvTranspose<strides=[2,2]>(c, shuffle)",
    ),
    "bias": (
        (2, 6),
        "m = MatMul(a, d) n = Add(m, db)",
        "h = Concat<axis=1>(a, ones) n = MatMul(h, db1)",
        "h = Concat<axis=-1>(ones, a) n = MatMul(h, bd)",
        "h = Pad(a, beside, one) n = MatMul(h, db1)",
    ),
}  # fmt: skip
FRONTS = {
    "first": "a = Identity(x)",
    "second": "s0 = Conv(x, own) a = Relu(s0)",
    "second of vectors": "s0 = MatMul(x, own) a = Relu(s0)",
}
ROWS = [(name, k, front) for name, (shape, _, *others) in SPELLINGS.items()
        for k in range(len(others))
        for front in ("first", "second" if len(shape) == 4 else "second of vectors")]  # fmt: skip


def model_of_spelling(name: str, k: int, front: str) -> onnx.ModelProto:
    shape, *bodies = SPELLINGS[name]
    text = f"{FRONTS[front]} {bodies[k]} h9 = Tanh(n) y = Flatten(h9)"
    c = shape[1]
    own = np.random.default_rng(1).standard_normal((c, c) + (1, 1) * (len(shape) == 4))
    given = {**CONSTANTS, "own": np.float32(own)}
    used = {key: v for key, v in given.items() if f" {key}," in text or f" {key})" in text
            or f"({key}, " in text}  # fmt: skip
    return network(text, shape, **used)


@cache
def relevance(name: str, k: int, front: str, method: str) -> np.ndarray:
    model, shape = model_of_spelling(name, k, front), SPELLINGS[name][0]
    how = {"method": method} if method == "gradient" else {"composite": method}
    compiled = lrp_onnx.compile(model, target=1, **how)
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    return run(compiled.model, {"x": x})["x_relevance"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1] + 1} {row[2]}")
def test_relevance_is_that_of_the_operator(row: tuple[str, int, str], method: str) -> None:
    name, k, front = row
    found = relevance(name, k + 1, front, method)
    assert_close(found, relevance(name, 0, front, method), 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_patches_of_a_picture_of_any_size(method: str) -> None:
    found = []
    for k in (0, 2):
        model = model_of_spelling("patches", k, "second")
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"size_{axis}"
        how = {"method": method} if method == "gradient" else {"composite": method}
        x = np.random.default_rng(2).standard_normal((2, 3, 8, 6)).astype(np.float32)
        compiled = lrp_onnx.compile(model, target=1, **how)
        found.append(run(compiled.model, {"x": x})["x_relevance"])
    assert_close(found[1], found[0], 1e-5)


APART = {
    "a part of the windows": "f = Flatten(a) h = Gather<axis=1>(f, some) n = MatMul(h, kc)",
    "windows in another order": UNFOLDED.replace("places", "mixed")
        + "v = Reshape(u, columns) n = MatMul(kr, v)",
    "one element at each place": "r = Reshape(a, six) t = Transpose<perm=[0,2,4,3,5,1]>(r) "
        "f = Reshape(t, tokens) n = MatMul(f, w35)",
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_other_products_stay(name: str) -> None:
    mixed = np.random.default_rng(3).permutation(CONSTANTS["places"])
    more = {"some": np.arange(27), "mixed": mixed, "six": [0, 3, 2, 3, 2, 3],
            "tokens": [0, 36, 3], "w35": normal(3, 5)}  # fmt: skip
    text = f"a = Relu(x) {APART[name]} y = Flatten(n)"
    given = {k: v for k, v in (CONSTANTS | more).items() if f" {k})" in text or f"({k}, " in text}
    found = counts(canonized(network(text, (2, 3, 6, 6), **given)))
    assert "Conv" not in found
    assert "MatMul" in found
