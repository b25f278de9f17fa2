"""Where relevance starts: behind a final softmax or sigmoid, in any spelling, at the logits."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx.canonise import canonise
from lrp_onnx.model import load
from lrp_onnx.normalise import normalise
from lrp_onnx.tail import logits_behind

SHAPE = (3, 4)
NUMBERS = {"one": 1.0, "zero": 0.0, "minus": -1.0, "axes": [1], "ax": [-1], "half": 0.5}
CENTRED = "m = ReduceMax<keepdims=1>(z, axes) a = Sub(z, m) e = Exp(a) t = ReduceSum(e, axes) "
PLAIN = "e = Exp(z) t = ReduceSum<keepdims=1>(e, axes) "

SPELLINGS = {
    "Softmax": "y = Softmax<axis=1>(z)",
    "LogSoftmax": "y = LogSoftmax<axis=1>(z)",
    "Sigmoid": "y = Sigmoid(z)",
    "softmax": PLAIN + "y = Div(e, t)",
    "softmax, centred": CENTRED + "y = Div(e, t)",
    "softmax, by Reciprocal": CENTRED + "r = Reciprocal(t) y = Mul(e, r)",
    "softmax, Reciprocal first": PLAIN + "r = Reciprocal(t) y = Mul(r, e)",
    "softmax, of LogSoftmax": "l = LogSoftmax(z) y = Exp(l)",
    "softmax, by ReduceLogSumExp": "l = ReduceLogSumExp(z, axes) d = Sub(z, l) y = Exp(d)",
    "log-softmax, Log of Softmax": "p = Softmax(z) y = Log(p)",
    "log-softmax, Log of the quotient": CENTRED + "p = Div(e, t) y = Log(p)",
    "log-softmax, difference": PLAIN + "l = Log(t) y = Sub(z, l)",
    "log-softmax, centred difference": CENTRED + "l = Log(t) y = Sub(a, l)",
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
MORE = {"flat": [2, 6], "first": [1], "last": [3], "rows": [0], "v": np.eye(4, dtype=np.float32)}


def tiny(body: str) -> onnx.ModelProto:
    """Gemm → z → `body` → y."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((6, 4)).astype(np.float32)
    return network(f"z = Gemm(x, w, b) {body}", (3, 6), (), w=w, b=w[0], **NUMBERS, **MORE)


def start_of(model: onnx.ModelProto) -> tuple[ir.Graph, ir.Value]:
    canonical = normalise(load(model))
    canonise(canonical)
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


@pytest.mark.parametrize("spelling", ["Softmax", "softmax, centred", "sigmoid"])
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
    compiled = lrp_onnx.compile(model, composite="epsilon", target=2, check=False).model
    found = run(compiled, {"x": x})["x_relevance"].sum(1)
    assert_close(found, (x @ w)[:, 2], 1e-4)
