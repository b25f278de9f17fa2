"""Parallel linear branches of one tensor are one linear node, with its relevance."""

from __future__ import annotations

import numpy as np
import pytest
from canonical import as_proto, assert_same_forward, canonized, counts
from models import assert_close, network, run

import lrp_onnx

SHAPE = (2, 4, 6, 5)
rng = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


STATISTICS = {f"{part}{k}": normal(4) for k in range(3) for part in "gbm"} | {
    f"v{k}": rng.uniform(0.5, 2, 4).astype(np.float32) for k in range(3)
}
CONSTANTS = {
    "w": normal(4, 4, 3, 3), "p": normal(4, 4, 1, 1), "c": normal(4), "w2": normal(4, 2, 3, 3),
    "d": normal(4, 1, 3, 3), "d1": normal(4, 1, 1, 1), "big": normal(4, 1, 5, 5),
    "half1": normal(4, 2, 3, 3), "half2": normal(4, 2, 3, 3), "most": normal(4, 3, 3, 3),
    "one": [1], "four": [4], "gain": normal(4, 1, 1), "row": normal(4, 4, 1, 3),
    "whole": normal(4, 4, 6, 5), **STATISTICS,
}  # fmt: skip
NORM = "BatchNormalization({0}, g{1}, b{1}, m{1}, v{1})"
THREE = (
    f"s = Conv<pads=[1,1,1,1]>(a, w) s1 = {NORM.format('s', 0)} o = Conv(a, p) "
    f"o1 = {NORM.format('o', 1)}"
)
BRANCHES = {
    "RepVGG": f"{THREE} i = {NORM.format('a', 2)} t = Add(s1, o1) n = Add(t, i)",
    "RepVGG, summed at once": f"{THREE} i = {NORM.format('a', 2)} n = Sum(i, s1, o1)",
    "no norm of the input": f"{THREE} n = Add(s1, o1)",
    "the input itself": f"{THREE} t = Add(a, s1) n = Add(t, o1)",
    "biases": "s = Conv<pads=[1,1,1,1]>(a, w, c) o = Conv(a, p, c) n = Add(s, o)",
    "strided": "s = Conv<pads=[1,1,1,1], strides=[2,2]>(a, w) o = Conv<strides=[2,2]>(a, p, c) "
        "n = Add(o, s)",
    "depthwise": "s = Conv<pads=[1,1,1,1], group=4>(a, d) o = Conv<group=4>(a, d1, c) t = Add(s, "
        "o) "
        "n = Add(t, a)",
    "large and small kernel": "s = Conv<pads=[2,2,2,2], group=4>(a, big) "
        "o = Conv<pads=[1,1,1,1], group=4>(a, d) n = Add(s, o)",
    "dilated": "s = Conv<pads=[2,2,2,2], group=4>(a, big) "
        "o = Conv<pads=[2,2,2,2], dilations=[2,2], group=4>(a, d) n = Add(s, o)",
    "groups of two sizes": "s = Conv<pads=[1,1,1,1], group=2>(a, w2) "
        "o = Conv<pads=[1,1,1,1], group=4>(a, d) n = Add(s, o)",
    "a row and a square": "s = Conv<pads=[1,1,1,1]>(a, w) o = Conv<pads=[0,1,0,1]>(a, row) "
        "n = Add(s, o)",
    "windows beside each other": "s = Conv<pads=[1,1,1,1]>(a, w) o = Conv<pads=[0,0,2,2]>(a, w) "
        "n = Add(s, o)",
    "gained input": "s = Conv<pads=[1,1,1,1], group=4>(a, d) o = Mul(a, gain) n = Add(s, o)",
    "less its mean over windows": "s = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], "
        "count_include_pad=1>(a) n = Sub(s, a)",
    "a sum of sums, scaled": "s = Conv<pads=[1,1,1,1], group=4>(a, d) "
        f"o = {NORM.format('a', 0)} t = Sub(s, o) r = Mul(t, gain) u = Conv<group=4>(a, d1) j = "
        "Add(r, u) n = Add(a, j)",
    "parts of the input": "u, v = Split<axis=1, num_outputs=2>(a) "
        "s = Conv<pads=[1,1,1,1]>(u, half1, c) o = Conv<pads=[1,1,1,1]>(v, half2) n = Add(s, o)",
    "parts by Slice, and all of it": "u = Slice(a, one, four, one) "
        "s = Conv<pads=[1,1,1,1]>(u, most) o = Conv(a, p) n = Add(s, o)",
    "norm behind": f"s = Conv<pads=[1,1,1,1]>(a, w) o = Conv(a, p) t = Add(s, o) "
        f"n = {NORM.format('t', 0)}",
}  # fmt: skip
APART = {
    "rows of another number": "s = Conv<pads=[1,1,1,1], strides=[6,5]>(a, w) "
        "o = Conv<kernel_shape=[6,5]>(a, whole) n = Add(s, o)",
    "another input": "r = Tanh(a) s = Conv<pads=[1,1,1,1]>(a, w) o = Conv(r, p) n = Add(s, o)",
    "read elsewhere": "s = Conv<pads=[1,1,1,1]>(a, w) o = Conv(a, p) t = Add(s, o) r = Tanh(o) "
        "n = Add(t, r)",
}  # fmt: skip


def model_with(branches: str, **more: object):  # type: ignore[no-untyped-def]
    body = f"a = Relu(x) {branches} y = Relu(n)"
    given = {**CONSTANTS, **more}
    used = {k: v for k, v in given.items() if f" {k}," in body or f" {k})" in body}
    return network(body, SHAPE, **used)


@pytest.mark.parametrize("name", BRANCHES)
def test_they_are_one(name: str) -> None:
    model = model_with(BRANCHES[name])
    result = canonized(model)
    assert counts(result) == {"Relu": 2, "Conv": 1}
    assert_same_forward(model, as_proto(result), {"x": SHAPE})


@pytest.mark.parametrize("name", APART)
def test_what_is_none_stays(name: str) -> None:
    model = model_with(APART[name])
    result = canonized(model)
    assert counts(result)["Conv"] == 2
    assert_same_forward(model, as_proto(result), {"x": SHAPE})


def test_a_residual_sum_stays_one() -> None:
    result = canonized(model_with("s = Conv<pads=[1,1,1,1]>(a, w) n = Add(a, s)"))
    assert counts(result) == {"Relu": 2, "Conv": 1, "Add": 1}


def test_what_is_no_branch_is_added_behind() -> None:
    model = model_with("t = Tanh(x) s = Conv<pads=[1,1,1,1]>(a, w) u = Add(s, t) o = Conv(a, p) "
                       "n = Add(u, o)")  # fmt: skip
    result = canonized(model)
    assert counts(result) == {"Relu": 2, "Conv": 1, "Tanh": 1, "Add": 1}
    assert_same_forward(model, as_proto(result), {"x": SHAPE})


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat", "gamma", "gradient"])
def test_relevance_is_that_of_the_merged_network(composite: str) -> None:
    """RepVGG's block, merged as its authors do (section 3.3)."""
    parts = {k: CONSTANTS[k].astype(np.float64) for k in ("w", "p", *STATISTICS)}
    scale = [parts[f"g{k}"] / np.sqrt(parts[f"v{k}"] + 1e-5) for k in range(3)]
    kernel = parts["w"] * scale[0].reshape(-1, 1, 1, 1)
    kernel[:, :, 1:2, 1:2] += parts["p"] * scale[1].reshape(-1, 1, 1, 1)
    kernel[range(4), range(4), 1, 1] += scale[2]
    bias = sum(parts[f"b{k}"] - parts[f"m{k}"] * scale[k] for k in range(3))
    merged = model_with("n = Conv<pads=[1,1,1,1]>(a, kernel, bias)",
                        kernel=kernel.astype(np.float32), bias=np.float32(bias))  # fmt: skip
    how = {"method": "gradient"} if composite == "gradient" else {"composite": composite}
    feeds = {"x": np.random.default_rng(11).standard_normal(SHAPE).astype(np.float32)}
    found = []
    for model in (model_with(BRANCHES["RepVGG"]), merged):
        compiled = lrp_onnx.compile(model, target="all", **how)  # type: ignore[arg-type]
        found.append(run(compiled.model, feeds)["x_relevance"])
    assert_close(found[0], found[1], 1e-4)


DENSE = {
    "two": "l = MatMul(a, q) r = MatMul(a, u) n = Add(l, r)",
    "biases": "l0 = MatMul(a, q) l = Add(l0, c5) r0 = MatMul(a, u) r = Add(c5, r0) n = Add(l, r)",
    "less": "l = MatMul(a, q) r = MatMul(a, u) n = Sub(r, l)",
    "low rank": "l = MatMul(a, q) e = MatMul(a, f) g = MatMul(e, h) r = Mul(g, half) n = Add(l, r)",
    "parts": "u1, u2 = Split<axis=2>(a, parts) l = MatMul(u1, f1) r = MatMul(u2, f2) n = Add(l, r)",
    "parts by Slice": "u1 = Slice(a, zero, two, last) u2 = Slice(a, two, five, last) "
    "l = MatMul(u1, f1) r = MatMul(u2, f2) k = Add(l, r) n = Add(k, c5)",
    "and itself": "l = MatMul(a, q) k = Add(a, l) r = MatMul(a, u) n = Add(k, r)",
    "and itself, scaled": "l = MatMul(a, q) r = Mul(a, c5) k = MatMul(a, u) p = Add(l, r) "
    "n = Sub(p, k)",
}
WEIGHTS = {"q": normal(5, 5), "u": normal(5, 5), "f": normal(5, 2), "h": normal(2, 5),
           "f1": normal(2, 5), "f2": normal(3, 5), "parts": [2, 3], "zero": [0], "two": [2],
           "five": [5], "last": [-1], "front": np.array([[0.1, 0.2, 0.3, 0.4]]), "c5": normal(5),
           "half": 0.5, "out": normal(5, 3)}  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
def test_products_of_one_tensor_are_one(name: str) -> None:
    body = f"a = Relu(x) {DENSE[name]} t = Tanh(n) y = MatMul(t, out)"
    used = {
        k: v for k, v in WEIGHTS.items() if f" {k}," in body or f" {k})" in body or f"({k}," in body
    }
    model = network(body, (2, 4, 5), **used)
    result = canonized(model)
    kinds = counts(result)
    assert kinds["MatMul"] + kinds.get("MatMulAdd", 0) == 2
    assert not set(kinds) & {"Add", "Sub", "Mul"}
    assert_same_forward(model, as_proto(result), {"x": (2, 4, 5)})


def test_layers_in_front_stay_apart() -> None:
    """The nearest tensor that both products are of is the one whose products are added up."""
    body = (
        "a = MatMul(x, q) u1, u2 = Split<axis=2>(a, parts) l = MatMul(u1, f1) r = MatMul(u2, f2) "
        "n = Add(l, r) y = Tanh(n)"
    )
    used = {k: WEIGHTS[k] for k in ("q", "parts", "f1", "f2")}
    assert counts(canonized(network(body, (2, 4, 5), **used)))["MatMul"] == 2


def test_what_has_another_rank_stays() -> None:
    body = (
        "l = MatMul(x, q) r = MatMul(x, u) k = Add(l, r) m = MatMul(front, x) n = Add(k, m) "
        "y = Tanh(n)"
    )
    used = {k: WEIGHTS[k] for k in ("q", "u", "front")}
    model = network(body, (2, 4, 5), **used)
    result = canonized(model)
    assert counts(result) == {"MatMul": 2, "Add": 1, "Tanh": 1}
    assert_same_forward(model, as_proto(result), {"x": (2, 4, 5)})
