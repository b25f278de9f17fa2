"""Where relevance starts: behind a final softmax or sigmoid, in any spelling, at the logits."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import assert_close, network, normalized, run

import lrp_onnx
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.graph.model_file import load
from lrp_onnx.lrp.logits import logits_behind
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

SHAPE = (3, 4)
NUMBERS = {"one": 1.0, "zero": 0.0, "minus": -1.0, "axes": [1], "ax": [-1], "half": 0.5}
CENTERED = "m = ReduceMax<keepdims=1>(z, axes) a = Sub(z, m) e = Exp(a) t = ReduceSum(e, axes) "
PLAIN = "e = Exp(z) t = ReduceSum<keepdims=1>(e, axes) "

SPELLINGS = {
    "Softmax": "y = Softmax<axis=1>(z)",
    "LogSoftmax": "y = LogSoftmax<axis=1>(z)",
    "Sigmoid": "y = Sigmoid(z)",
    "softmax": PLAIN + "y = Div(e, t)",
    "softmax, centered": CENTERED + "y = Div(e, t)",
    "softmax, by Reciprocal": CENTERED + "r = Reciprocal(t) y = Mul(e, r)",
    "softmax, Reciprocal first": PLAIN + "r = Reciprocal(t) y = Mul(r, e)",
    "softmax, of LogSoftmax": "l = LogSoftmax(z) y = Exp(l)",
    "softmax, by ReduceLogSumExp": "l = ReduceLogSumExp(z, axes) d = Sub(z, l) y = Exp(d)",
    "softmax, over its sum": "p = Softmax<axis=1>(z) t = ReduceL1(p, axes) y = Div(p, t)",
    "softmax, over its sum or 1": (
        "p = Softmax(z) t = ReduceSum(p, axes) e = Equal(t, zero) d = Where(e, one, t) "
        "y = Div(p, d)"
    ),
    "log-softmax, Log of Softmax": "p = Softmax(z) y = Log(p)",
    "log-softmax, Log of the quotient": CENTERED + "p = Div(e, t) y = Log(p)",
    "log-softmax, difference": PLAIN + "l = Log(t) y = Sub(z, l)",
    "log-softmax, centered difference": CENTERED + "l = Log(t) y = Sub(a, l)",
    "sigmoid": "n = Neg(z) e = Exp(n) d = Add(one, e) y = Div(one, d)",
    "sigmoid, by Reciprocal": "n = Neg(z) e = Exp(n) d = Add(e, one) y = Reciprocal(d)",
    "sigmoid, times -1": "n = Mul(minus, z) e = Exp(n) d = Add(e, one) y = Div(one, d)",
    "sigmoid, over -1": "n = Div(z, minus) e = Exp(n) d = Add(e, one) y = Div(one, d)",
    "sigmoid, from 0": "n = Sub(zero, z) e = Exp(n) d = Add(e, one) y = Reciprocal(d)",
    "sigmoid, positive exponent": "e = Exp(z) d = Add(e, one) y = Div(e, d)",
}  # fmt: skip
FUNCTIONS = {
    "Softmax": lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True),
    "log-softmax": lambda z: z - np.log(np.exp(z).sum(1, keepdims=True)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}
OTHERS = {
    "another sum": PLAIN.replace("(e, axes)", "(z, axes)") + "y = Div(e, t)",
    "over the sum of each class": "p = Softmax<axis=1>(z) t = ReduceSum(p, rows) y = Div(p, t)",
    "over another's sum": "p = Softmax(z) q = Sigmoid(z) t = ReduceSum(q, axes) y = Div(p, t)",
    "another exponent": "u = Mul(z, half) f = Exp(u) " + PLAIN + "y = Div(f, t)",
    "a product": PLAIN + "y = Mul(e, t)",
    "the quotient the other way": PLAIN + "y = Div(t, e)",
    "2 in place of 1": "n = Neg(z) e = Exp(n) two = Add(one, one) d = Add(two, e) y = Div(one, d)",
    "half of it": "n = Neg(z) e = Exp(n) d = Add(one, e) y = Div(half, d)",
    "tanh": "y = Tanh(z)",
    "scaled afterwards": "p = Sigmoid(z) y = Mul(p, half)",
    "in the middle": "p = Softmax(z) y = MatMul(p, v)",
    "another's difference": PLAIN + "u = Mul(z, half) l = Log(t) y = Sub(u, l)",
}  # fmt: skip
MOVES = {
    "Reshape": "y = Reshape(p, flat)",
    "Transpose and Slice": "q = Transpose<perm=[1, 0]>(p) y = Slice(q, first, last, rows)",
    "Cast there and back": "q = Cast<to=11>(p) y = Cast<to=1>(q)",
    "Identity": "y = Identity(p)",
    "Squeeze, Unsqueeze": "q = Unsqueeze(p, rows) y = Squeeze(q, rows)",
}
# z is [3, 4]: what becomes of the first of its columns, or of all of them, and the logits of that
FIRST = "z1 = Slice(z, nought, first, first) s = Sigmoid(z1) "
SIDES = {
    "1 - s, s": (FIRST + "q = Sub(one, s) y = Concat<axis=1>(q, s)", [-1, 1]),
    "s, 1 - s": (FIRST + "q = Sub(one, s) y = Concat<axis=-1>(s, q)", [1, -1]),
    "1 + -s": (FIRST + "n = Neg(s) q = Add(one, n) y = Concat<axis=1>(q, s)", [-1, 1]),
    "-s + 1": (FIRST + "n = Mul(s, minus) q = Add(n, one) y = Concat<axis=1>(q, s)", [-1, 1]),
    "a sigmoid spelled out": (
        "z1 = Slice(z, nought, first, first) n = Neg(z1) e = Exp(n) d = Add(e, one) "
        "s = Reciprocal(d) q = Sub(one, s) y = Concat<axis=1>(q, s)",
        [-1, 1],
    ),
    "stacked": (
        FIRST + "v1 = Squeeze(s, first) q = Sub(one, v1) a = Unsqueeze(q, first) "
        "b1 = Unsqueeze(v1, first) y = Concat<axis=1>(a, b1)",
        [-1, 1],
    ),
    "through casts and a reshape": (
        FIRST + "c = Cast<to=11>(s) o = Cast<to=11>(one) q = Sub(o, c) a = Cast<to=1>(q) "
        "t = Reshape(s, column) p = Concat<axis=1>(a, t) y = Identity(p)",
        [-1, 1],
    ),
    "a number of rank 2": (FIRST + "q = Sub(ones, s) y = Concat<axis=1>(q, s)", [-1, 1]),
    "the complement alone": ("s = Sigmoid(z) y = Sub(one, s)", None),
    "twice": (FIRST + "q = Sub(one, s) r = Sub(one, q) y = Concat<axis=1>(q, r)", [-1, 1]),
    "sigmoids of their own": (
        FIRST + "n = Neg(z1) p = Sigmoid(n) y = Concat<axis=1>(p, s)",
        [-1, 1],
    ),
}  # fmt: skip
NEITHER = {
    "beside another number": FIRST + "y = Concat<axis=1>(s, z1)",
    "2 - s": FIRST + "two = Add(one, one) q = Sub(two, s) y = Concat<axis=1>(q, s)",
    "s - 1": FIRST + "q = Sub(s, one) y = Concat<axis=1>(q, s)",
    "1 - softmax": "s = Softmax(z) y = Sub(one, s)",
    "softmaxes side by side": "s = Softmax(z) y = Concat<axis=1>(s, s)",
    "1 - z": "q = Sub(one, z) y = Concat<axis=1>(q, z)",
    "1 of a higher rank": "s = Sigmoid(z) y = Sub(cube, s)",
}
TWO_CLASSES = ("1 - s, s", "s, 1 - s", "stacked", "through casts and a reshape")
MORE = {"flat": [2, 6], "first": [1], "last": [3], "rows": [0], "nought": [0], "column": [3, 1],
        "ones": np.ones((1, 1), np.float32), "cube": np.ones((1, 1, 1), np.float32),
        "v": np.eye(4, dtype=np.float32)}  # fmt: skip


def tiny(body: str) -> onnx.ModelProto:
    """Gemm → z → `body` → y."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((6, 4)).astype(np.float32)
    return network(f"z = Gemm(x, w, b) {body}", (3, 6), (), w=w, b=w[0], **NUMBERS, **MORE)


def start_of(model: onnx.ModelProto) -> tuple[ir.Graph, ir.Value]:
    canonical = normalized(load(model))
    canonize(canonical)
    output = canonical.graph.outputs[0]
    return canonical.graph, logits_behind(canonical.graph, output)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_is_known(spelling: str) -> None:
    _, start = start_of(tiny(SPELLINGS[spelling]))
    assert start.name == "z"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_is_what_it_says(spelling: str) -> None:
    """The rows themselves compute a softmax, its logarithm or a sigmoid."""
    model = tiny(SPELLINGS[spelling])
    x = np.random.default_rng(6).standard_normal((3, 6)).astype(np.float32)
    name = next((k for k in FUNCTIONS if spelling.lower().startswith(k.lower())), "log-softmax")
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [3, 4]))
    found = run(model, {"x": x})
    assert_close(found["y"], FUNCTIONS[name](found["z"]), 1e-5)


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_none_starts_at_the_output(other: str) -> None:
    _, start = start_of(tiny(OTHERS[other]))
    assert start.name == "y"


@pytest.mark.parametrize("spelling", ["Softmax", "softmax, centered", "sigmoid"])
@pytest.mark.parametrize("moves", MOVES)
def test_moves_are_replayed_on_the_logits(moves: str, spelling: str) -> None:
    body = SPELLINGS[spelling].replace("y =", "p =")
    model = tiny(f"{body} {MOVES[moves]}")
    plain = tiny(MOVES[moves].replace("(p", "(z"))
    x = np.random.default_rng(6).standard_normal((3, 6)).astype(np.float32)
    compiled = lrp_onnx.compile(model, composite="epsilon", target="seed", check=False).model
    expected = lrp_onnx.compile(plain, composite="epsilon", target="seed", check=False).model
    feeds = {"x": x, "y_seed": np.ones_like(run(model, {"x": x})["y"])}
    assert_close(run(compiled, feeds)["x_relevance"], run(expected, feeds)["x_relevance"])
    assert_close(run(compiled, feeds)["y"], run(model, {"x": x})["y"])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_relevance_sums_to_the_logit(spelling: str) -> None:
    """Without a bias the relevance of the chosen class sums to its logit, not its probability."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((6, 4)).astype(np.float32)
    model = network(f"z = MatMul(x, w) {SPELLINGS[spelling]}", (3, 6), (0,), w=w, **NUMBERS)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    compiled = lrp_onnx.compile(
        model, composite="epsilon", target=2, start="logit", check=False
    ).model
    found = run(compiled, {"x": x})["x_relevance"].sum(1)
    assert_close(found, (x @ w)[:, 2], 1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_sigmoids_side_by_side_start_at_their_logits(side: str) -> None:
    """`seed` weighs each entry: the relevance of z is that of the logits in the output's layout."""
    body, signs = SIDES[side]
    x = np.random.default_rng(6).standard_normal((3, 6)).astype(np.float32)
    model = tiny(body)
    expected = run(model, {"x": x})["y"]
    seed = np.random.default_rng(7).standard_normal(expected.shape).astype(np.float32)
    compiled = lrp_onnx.compile(model, "epsilon", target="seed", relevance_at="z").model
    found = run(compiled, {"x": x, "y_seed": seed})
    compiled.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [3, 4]))
    z = run(compiled, {"x": x, "y_seed": seed})["z"]
    if signs is None:
        relevance = seed * -z
    else:
        relevance = np.zeros_like(z)
        relevance[:, 0] = (seed * signs).sum(1) * z[:, 0]
    assert_close(found["z_relevance"], relevance)
    assert_close(found["y"], expected)


@pytest.mark.parametrize("side", SIDES)
def test_sigmoids_side_by_side_are_what_their_row_says(side: str) -> None:
    """The rows themselves compute the sigmoid of these logits."""
    body, signs = SIDES[side]
    model = tiny(body)
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [3, 4]))
    x = np.random.default_rng(6).standard_normal((3, 6)).astype(np.float32)
    found = run(model, {"x": x})
    logits = -found["z"] if signs is None else found["z"][:, :1] * signs
    assert_close(found["y"], FUNCTIONS["sigmoid"](logits), 1e-5)


@pytest.mark.parametrize("other", NEITHER)
def test_what_only_looks_like_it_starts_at_the_output(other: str) -> None:
    model = tiny(NEITHER[other])
    graph, start = start_of(model)
    assert start.name == "y"
    assert not any("logits" in (node.name or "") for node in graph)  # nothing is left of the try


METHODS = ({"composite": "epsilon"}, {"method": "input-x-gradient"}, {"method": "gradient"},
           {"method": "integrated-gradients"})  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda m: next(iter(m.values())))
@pytest.mark.parametrize("side", TWO_CLASSES)
def test_two_classes_are_explained_with_opposite_signs(side: str, method: dict[str, str]) -> None:
    """Class against class is ±2z; argmax takes the class that is the more probable."""
    model = tiny(SIDES[side][0])
    x = np.random.default_rng(6).standard_normal((3, 6)).astype(np.float32)

    def relevance(target: str) -> np.ndarray:
        compiled = lrp_onnx.compile(model, target=target, **method).model
        return run(compiled, {"x": x})["x_relevance"]

    first, second = relevance("0"), relevance("1")
    assert np.abs(first).max() > 1e-3
    assert_close(first, -second)
    assert_close(relevance("0-1"), 2 * first)
    y = run(model, {"x": x})["y"]
    assert len(set(y.argmax(1))) == 2  # both classes win somewhere
    assert_close(relevance("argmax"), np.where(y.argmax(1)[:, None] == 1, second, first))


@pytest.mark.parametrize("side", TWO_CLASSES)
def test_the_account_of_two_classes_closes(side: str) -> None:
    model = tiny(SIDES[side][0])
    x = np.random.default_rng(6).standard_normal((3, 6)).astype(np.float32)
    verdict = verify(model, CompileOptions(composite="epsilon", target="0-1"), {"x": x})
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [3, 4]))
    z = run(model, {"x": x})["z"][:, 0]
    assert not verdict.problems
    assert_close(np.array(verdict.explained), 2 * SIDES[side][1][0] * z.sum(dtype=np.float64))
