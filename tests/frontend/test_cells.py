"""Recurrent cells in the spellings of exporters: the relevance of the operator, and no gates where
there is no cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
from models import Array, run
from onnx import helper, numpy_helper

import lrp_onnx
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

T, N, IN, H = 5, 3, 4, 3
RNG = np.random.default_rng(5)
LSTM = {"W": (1, 4 * H, IN), "R": (1, 4 * H, H), "B": (1, 8 * H)}
GRU = {"W": (1, 3 * H, IN), "R": (1, 3 * H, H), "B": (1, 6 * H)}
WEIGHTS = {
    name: {k: RNG.standard_normal(s).astype(np.float32) * 0.7 for k, s in shapes.items()}
    for name, shapes in (("LSTM", LSTM), ("GRU", GRU))
}
FEEDS = {"x": RNG.standard_normal((T, N, IN)).astype(np.float32)}
HEAD = '<ir_version: 8, opset_import: ["": 18]>'

LSTM_STEP = """
    a = Gemm<transB=1>({x}, w, wb)  b = Gemm<transB=1>({h}, r, rb)  s = Add(a, b)
    i0, o0, f0, g0 = Split<axis=1, num_outputs=4>(s)
    i = Sigmoid(i0)  o = Sigmoid(o0)  f = Sigmoid(f0)  g = Tanh(g0)
    p = Mul(f, {c})  q = Mul(i, g)  {c1} = Add(p, q)  t = Tanh({c1})  {h1} = Mul(o, t)"""
JOINED_STEP = """
    xh = Concat<axis=1>({x}, {h})  m = MatMul(xh, wr)  s = Add(m, wrb)
    i0, o0, f0, g0 = Split<axis=1, num_outputs=4>(s)
    i = Sigmoid(i0)  o = Sigmoid(o0)  f = Sigmoid(f0)  g = Tanh(g0)
    p = Mul({c}, f)  q = Mul(g, i)  {c1} = Add(q, p)  t = Tanh({c1})  {h1} = Mul(t, o)"""
BIAS_LAST_STEP = """
    a = MatMul({x}, wt)  b = MatMul({h}, rt)  ab = Add(a, b)  s = Add(ab, wrb)
    i0, o0, f0, g0 = Split<axis=1, num_outputs=4>(s)
    i = Sigmoid(i0)  o = Sigmoid(o0)  f = Sigmoid(f0)  g = Tanh(g0)
    p = Mul(f, {c})  q = Mul(i, g)  {c1} = Add(p, q)  t = Tanh({c1})  {h1} = Mul(o, t)"""
GRU_STEP = """
    a = Gemm<transB=1>({x}, w, wb)  z1, r1, n1 = Split<axis=1, num_outputs=3>(a)
    b = Gemm<transB=1>({h}, r, rb)  z2, r2, n2 = Split<axis=1, num_outputs=3>(b)
    zs = Add(z1, z2)  z = Sigmoid(zs)  rs = Add(r1, r2)  rr = Sigmoid(rs)
    nr = Mul(rr, n2)  ns = Add(n1, nr)  n = Tanh(ns)
    one = Constant<value_float=1.0>()  y = Sub(one, z)
    p = Mul(y, n)  q = Mul(z, {h})  {h1} = Add(p, q)"""
BEFORE_LAST = GRU_STEP[: GRU_STEP.index("    one =")]
INTERPOLATIONS = {
    "paddle": "d = Sub({h}, n)  dz = Mul(d, z)  {h1} = Add(dz, n)",
    "other-gate": "zm = Neg(zs)  y = Sigmoid(zm)"
    "  d = Sub(n, {h})  dy = Mul(y, d)  {h1} = Add({h}, dy)",
    "one-minus": "one = Constant<value_float=1.0>()  y = Sub(one, z)"
    "  d = Sub(n, {h})  dy = Mul(y, d)  {h1} = Add({h}, dy)",
    "negated": "one = Constant<value_float=1.0>()  zm = Neg(z)  y = Add(zm, one)"
    "  p = Mul(n, y)  q = Mul({h}, z)  {h1} = Add(q, p)",
    "complement": "zn = Mul(z, n)  p = Sub(n, zn)  q = Mul({h}, z)  {h1} = Add(q, p)",
}
STEPS = {
    "LSTM": ("LSTM", LSTM_STEP),
    "LSTM-joined": ("LSTM", JOINED_STEP),
    "LSTM-bias-last": ("LSTM", BIAS_LAST_STEP),
    "GRU": ("GRU", GRU_STEP),
    **{f"GRU-{name}": ("GRU", BEFORE_LAST + text) for name, text in INTERPOLATIONS.items()},
}


def constants(op: str) -> dict[str, Array]:
    w, r, b = (WEIGHTS[op][k][0] for k in "WRB")
    half = len(b) // 2
    return {"w": w, "r": r, "wb": b[:half], "rb": b[half:], "wt": w.T, "rt": r.T,
            "wr": np.concatenate([w, r], 1).T, "wrb": b[:half] + b[half:],
            "zero": np.zeros((N, H), np.float32)}  # fmt: skip


def operator(op: str) -> onnx.ModelProto:
    attributes = {"hidden_size": H, **({"linear_before_reset": 1} if op == "GRU" else {})}
    node = helper.make_node(op, ["x", "W", "R", "B"], ["", "yh"], op, **attributes)
    flat = helper.make_node("Squeeze", ["yh", "axis"], ["y"], "flat")
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, N, IN])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [N, H])
    stored = [*WEIGHTS[op].items(), ("axis", np.array([0]))]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in stored]
    graph = helper.make_graph([node, flat], "g", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def parsed(text: str, op: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEAD + text)
    for name, array in constants(op).items():
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return model


def unrolled(op: str, step: str) -> onnx.ModelProto:
    parts, h, c = [], "zero", "zero"
    for t in range(T):
        names = {"x": f"x{t}", "h": h, "c": c, "h1": f"h{t}", "c1": f"c{t}"}
        body = step.format(**names)
        results = re.findall(r"([a-z0-9, ]+?) = [A-Z]", body)
        for name in {part.strip() for found in results for part in found.split(",")}:
            if name not in names.values():
                body = _renamed(body, name, f"{name}_{t}")
        parts.append(f"k{t} = Constant<value_int={t}>()  x{t} = Gather(x, k{t}) {body}")
        h, c = f"h{t}", f"c{t}"
    text = " ".join(parts) + f" y = Identity({h})"
    return parsed(f"g (float[{T},{N},{IN}] x) => (float[{N},{H}] y) {{ {text} }}", op)


def _renamed(text: str, old: str, new: str) -> str:
    """A tensor's name replaced, an attribute's not."""
    return re.sub(rf"(?<![\w<]){old}(?=\s*[,=)])(?!\s*=\s*\d)", new, text)


def scanned(op: str, step: str) -> onnx.ModelProto:
    lstm = op == "LSTM"
    kind = f"float[{N},{H}]"
    body = step.format(x="e", h="h", c="c", h1="h1", c1="c1")
    inputs = f"{kind} h, {kind} c" if lstm else f"{kind} h"
    outputs = f"{kind} h1, {kind} c1" if lstm else f"{kind} h1"
    first, last = ("zero, zero", "y, cn") if lstm else ("zero", "y")
    return parsed(f"g (float[T,{N},{IN}] x) => ({kind} y) {{ {last} = Scan<num_scan_inputs=1,"
                  f" body = step ({inputs}, float[{N},{IN}] e) => ({outputs}) {{ {body} }}>"
                  f"({first}, x) }}", op)  # fmt: skip


def looped(op: str, step: str) -> onnx.ModelProto:
    lstm = op == "LSTM"
    kind = f"float[{N},{H}]"
    body = step.format(x="e", h="h", c="c", h1="h1", c1="c1")
    inputs = f"{kind} h, {kind} c" if lstm else f"{kind} h"
    outputs = f"{kind} h1, {kind} c1" if lstm else f"{kind} h1"
    first, last = ("zero, zero", "y, cn") if lstm else ("zero", "y")
    return parsed(
        f"g (float[T,{N},{IN}] x) => ({kind} y) {{ shape = Shape(x)  k = Constant<value_int=0>()"
        f" count = Gather(shape, k)  yes = Constant<value=bool {{1}}>()"
        f" {last} = Loop<body = step (int64 it, bool go, {inputs}) => (bool on, {outputs}) {{"
        f" on = Identity(go)  e = Gather(x, it) {body} }}>(count, yes, {first}) }}",
        op,
    )


SPELLINGS: dict[str, Callable[[str, str], onnx.ModelProto]] = {
    "unrolled": unrolled,
    "Scan": scanned,
    "Loop": looped,
}


@cache
def of_operator(op: str, composite: str) -> dict[str, Array]:
    return run(lrp_onnx.compile(operator(op), composite, target=1).model, FEEDS)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat", "gradient"])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("step", STEPS)
def test_spelled_cell_is_explained_as_the_operator(
    step: str, spelling: str, composite: str
) -> None:
    op, text = STEPS[step]
    expected, spelled = of_operator(op, composite), SPELLINGS[spelling](op, text)
    found = run(lrp_onnx.compile(spelled, composite, target=1, check=False).model, FEEDS)
    np.testing.assert_allclose(found["y"], expected["y"], atol=1e-5)
    r = expected["x_relevance"]
    np.testing.assert_allclose(found["x_relevance"], r, atol=1e-4 * np.abs(r).max())


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("step", ["LSTM", "GRU", "GRU-paddle"])
def test_every_account_of_a_spelled_cell_closes(step: str, spelling: str) -> None:
    op, text = STEPS[step]
    verdict = verify(
        SPELLINGS[spelling](op, text), CompileOptions(composite="epsilon", target=1), FEEDS
    )
    assert not verdict.problems
    assert all(line.conserves for line in verdict.lines)
