"""A layer, gate or attention of which a part alone stands in a body gets what it gets elsewhere."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from models import Array, assert_close, run

import lrp_onnx

HEAD = '<ir_version: 8, opset_import: ["": 18]> g (float[3,4,5] x, bool c) => (float[3,4,5] y) {'
X = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


def norm(x: str, y: str) -> str:
    """1 over the size of each row."""
    return (
        f"q{y} = Mul({x}, {x}) m{y} = ReduceMean(q{y}, last) n{y} = Sqrt(m{y}) {y} = Div(one, n{y})"
    )


def branch(wanted: str, taken: str, else_: str, size: int = 5) -> str:
    """By what the condition takes, and by the other one."""
    one = f"one_ () => (float[3,4,{size}] t1) {{ {taken} }}"
    two = f"two_ () => (float[3,4,{size}] t2) {{ {else_} }}"
    return f"{wanted} = If<then_branch = {one}, else_branch = {two}>(c) "


def steps(wanted: str, inner: str, *read: tuple[str, int], size: int = 5) -> str:
    """For each slice along the first axis of what is read: s0, s1."""
    slices = ", ".join(f"float[4,{n}] s{k}" for k, (_, n) in enumerate(read))
    body = f"step ({slices}) => (float[4,{size}] t) {{ {inner} }}"
    names = ", ".join(name for name, _ in read)
    return f"{wanted} = Scan<num_scan_inputs={len(read)}, body = {body}>({names}) "


def turns(wanted: str, inner: str, *read: str, size: int = 5) -> str:
    """The same in a Loop, which reads by its counter."""
    gathers = " ".join(f"s{k} = Gather<axis=0>({name}, i_)" for k, name in enumerate(read))
    body = f"turn (int64 i_, bool c_) => (bool d_, float[4,{size}] t)"
    return f"{wanted} = Loop<body = {body} {{ d_ = Identity(c_) {gathers} {inner} }}>(three, yes) "


H, GATE, P = ("h", 5), ("g", 1), ("p", 4)
NORM = f"{norm('h', 'g')} r = Mul(h, g)"
SCORES = "s = MatMul(h, k) "
ATTENTION = f"{SCORES} p = Softmax(s) r = MatMul(p, h)"
LAYER = "z = MatMul(h, k5) n = Add(z, b) r = Relu(n)"
SCALED = "z = MatMul(h, k5) m = Mul(b, z) n = Add(m, b) r = Relu(n)"
Z = ("z", 5)
CUT = {
    LAYER: {
        "bias behind a branch": branch("z", "t1 = MatMul(h, k5)", "t2 = Neg(h)")
        + "n = Add(z, b) r = Relu(n)",
        "bias in a branch": "z = MatMul(h, k5) " + branch("n", "t1 = Add(b, z)", "t2 = Neg(z)")
        + "r = Relu(n)",
        "bias and bend in a branch": "z = MatMul(h, k5) "
        + branch("r", "u = Add(z, b) t1 = Relu(u)", "t2 = Tanh(z)"),
        "bias behind steps": steps("z", "t = MatMul(s0, k5)", H) + "n = Add(z, b) r = Relu(n)",
        "bias behind turns": turns("z", "t = MatMul(s0, k5)", "h") + "n = Add(z, b) r = Relu(n)",
        "bias in turns": "z = MatMul(h, k5) " + turns("r", "u = Add(s0, b) t = Relu(u)", "z"),
        "weights carried by turns": "z1, z2, r = Loop<body = turn (int64 i_, bool c_,"
        " float[5,5] w0, float[5] b0) => (bool d_, float[5,5] w1, float[5] b1, float[4,5] t)"
        " { d_ = Identity(c_) w1 = Identity(w0) b1 = Identity(b0) s0 = Gather(h, i_)"
        " u0 = MatMul(s0, w0) u1 = Add(u0, b0) t = Relu(u1) }>(three, yes, k5, b)",
        "bias in steps": "z = MatMul(h, k5) " + steps("r", "u = Add(s0, b) t = Relu(u)", Z),
    },
    SCALED: {
        "scale in a branch": "z = MatMul(h, k5) "
        + branch("m", "t1 = Mul(b, z)", "t2 = Neg(z)") + "n = Add(m, b) r = Relu(n)",
        "all in steps": "z = MatMul(h, k5) "
        + steps("r", "u = Mul(s0, b) u2 = Add(u, b) t = Relu(u2)", Z),
        "behind steps": steps("z", "t = MatMul(s0, k5)", H) + "m = Mul(z, b) n = Add(m, b)"
        " r = Relu(n)",
    },
    NORM: {
        "gate in a branch": branch("g", norm("h", "t1"), "t2 = Tanh(h)", 1) + "r = Mul(h, g)",
        "product in a branch": norm("h", "g") + branch("r", "t1 = Mul(h, g)", "t2 = Neg(h)"),
        "gate in steps": steps("g", norm("s0", "t"), H, size=1) + "r = Mul(h, g)",
        "product in steps": norm("h", "g") + steps("r", "t = Mul(s0, s1)", H, GATE),
        "both in steps": steps("g", norm("s0", "t"), H, size=1)
        + steps("r", "t = Mul(s0, s1)", H, GATE),
        "gate in turns": turns("g", norm("s0", "t"), "h", size=1) + "r = Mul(h, g)",
        "product in turns": norm("h", "g") + turns("r", "t = Mul(s0, s1)", "h", "g"),
        "a branch in steps": steps(
            "r", branch("u", norm("s0", "t1"), "t2 = Tanh(s0)").replace("[3,4,5]", "[4,N]")
            + "t = Mul(u, s0)", H),
    },
    ATTENTION: {
        "softmax in a branch": SCORES
        + branch("p", "t1 = Softmax(s)", "q = Neg(s) t2 = Softmax(q)", 4) + "r = MatMul(p, h)",
        "product in a branch": SCORES + "p = Softmax(s) "
        + branch("r", "t1 = MatMul(p, h)", "t2 = Neg(h)"),
        "softmax in steps": SCORES + steps("p", "t = Softmax(s0)", ("s", 4), size=4)
        + "r = MatMul(p, h)",
        "softmax in turns": SCORES + turns("p", "t = Softmax(s0)", "s", size=4)
        + "r = MatMul(p, h)",
        "product in turns": SCORES + "p = Softmax(s)" + turns("r", "t = MatMul(s0, s1)", "p", "h"),
        "product in steps": SCORES + "p = Softmax(s)" + steps("r", "t = MatMul(s0, s1)", P, H),
    },
}  # fmt: skip
CONSTANTS = {
    "one": np.ones(()),
    "last": np.array([-1]),
    "three": np.array(3),
    "yes": np.array(True),
    "zeros": np.zeros((4, 5)),
    "b": np.linspace(-1, 2, 5),
}
ROWS = [(plain, name) for plain, rows in CUT.items() for name in rows]


FRONT = "h = MatMul(x, w)"


@cache
def relevance(body: str, composite: str, taken: bool = True, front: str = FRONT) -> Array:
    text = f"{HEAD} {front} {body} t_ = MatMul(r, v) y = Tanh(t_) }}"
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(1)
    weights = {k: rng.standard_normal((5, 5)) for k in ("w", "v", "k5")} | {
        "k": rng.random((3, 5, 4))
    }
    for name, array in (weights | CONSTANTS).items():
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    compiled = lrp_onnx.compile(model, composite, target="0,1").model
    given = {"x": X, "c": np.array(taken)}
    return run(compiled, {v.name: given[v.name] for v in compiled.graph.input})["x_relevance"]


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "epsilon", "gamma", "alpha2-beta1"])
@pytest.mark.parametrize(("plain", "name"), ROWS, ids=[name for _, name in ROWS])
def test_it_is_what_it_is_without_the_body(plain: str, name: str, composite: str) -> None:
    expected = relevance(plain, composite)
    assert_close(relevance(CUT[plain][name], composite), expected, 2e-5)


@pytest.mark.parametrize("other", ["Neg(q)", "Softmax(q)"])
def test_what_is_a_gate_in_one_branch_alone_is_none(other: str) -> None:
    """In the other one both factors have a share."""
    cut = branch("g", f"{norm('h', 'd')} t1 = Add(d, q)", f"t2 = {other}")
    expected = relevance(f"q = MatMul(x, v) g = {other} r = Mul(h, g)", "attnlrp")
    found = relevance(f"q = MatMul(x, v) {cut} r = Mul(h, g)", "attnlrp", taken=False)
    assert_close(found, expected, 2e-5)


RECURRENCE = (
    "h0, h1, h2 = Split<axis=0, num_outputs=3>(h) "
    "p0 = MatMul(h0, k5) q0 = Tanh(p0) p1 = MatMul(h1, k5) e1 = MatMul(q0, w) f1 = Add(p1, e1) "
    "q1 = Tanh(f1) p2 = MatMul(h2, k5) e2 = MatMul(q1, w) f2 = Add(p2, e2) q2 = Tanh(f2) "
    "r = Concat<axis=0>(q0, q1, q2)"
)
RECURRENT = (
    "z = Scan<num_scan_inputs=1, body = step (float[4,5] m, float[4,5] s) => (float[4,5] n,"
    " float[4,5] t) { a = MatMul(s, k5) d = MatMul(m, w) f = Add(a, d) n = Tanh(f) t = Identity(n)"
    " }>(zeros, h)"
)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat", "epsilon-gamma-box"])
def test_the_first_layer_of_steps_is_that_of_steps_written_out(composite: str) -> None:
    """What reads the state before is none, though the first state is a constant; the sum with that
    one has a stabilizer of its own.
    """
    front = "h = Identity(x)"
    scan = RECURRENT.replace("z =", "z, r =")
    expected = relevance(RECURRENCE, composite, front=front)
    assert_close(relevance(scan, composite, front=front), expected, 1e-4)


def test_a_mask_that_chooses_is_a_choice() -> None:
    mask = "m = Greater(x, b) f = Cast<to=1>(m) g = Not(m) n = Cast<to=1>(g) o = MatMul(h, k5) "
    chosen = relevance("m = Greater(x, b) o = MatMul(h, k5) r = Where(m, h, o)", "epsilon")
    summed = f"{mask} a = Mul(f, h) e = Mul(o, n) r = Add(a, e)"
    assert_close(relevance(summed, "epsilon"), chosen, 1e-6)
