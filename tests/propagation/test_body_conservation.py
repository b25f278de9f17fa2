"""The account of If, Loop and Scan: what their nodes book, over iterations, adds up; what goes
wrong inside shows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import Array
from onnx import numpy_helper
from test_bodies import HEAD

from lrp_onnx.ops.registry import REGISTRY
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verdict import Line, Verdict
from lrp_onnx.validate.verify import verify

SHAPES = {"w": (3, 4), "u": (4, 4), "b": (4,), "v": (4, 2), "s": (2, 4)}
COMPOSITES = ["epsilon", "epsilon-plus-flat", "zplus"]
STEP = """a = MatMul(e, w) ab = Add(a, b) m = MatMul(h, u) mb = Add(m, b) z = Add(ab, mb)
    ho = Relu(z) q = Add(ho, ho)"""
TEXTS = {
    "If": """g (float[2,3] x, bool c) => (float[2,2] y) { k = MatMul(x, w)
        r = If<then_branch = yes () => (float[2,4] r1) { t = MatMul(k, u) tb = Add(t, b)
                 r1 = Relu(tb) },
               else_branch = no () => (float[2,4] r2) { r2 = Tanh(k) }>(c)
        y = MatMul(r, v) }""",
    "If-of-nothing-explained": """g (float[2,3] x, bool c) => (float[2,2] y) { k = MatMul(x, w)
        r = If<then_branch = yes () => (float[2,4] r1) { r1 = Relu(s) },
               else_branch = no () => (float[2,4] r2) { r2 = Tanh(k) }>(c)
        y = MatMul(r, v) }""",
    "Scan": f"""g (float[5,2,3] x, float[2,4] h0) => (float[2,2] y) {{
        hn, ys = Scan<num_scan_inputs=1, body = step (float[2,4] h, float[2,3] e) =>
            (float[2,4] ho, float[2,4] q) {{ {STEP} }}>(h0, x)
        first = Constant<value_int=0>() y0 = Gather(ys, first) t = Add(hn, y0)
        y = MatMul(t, v) }}""",
    "Scan-of-a-constant-state": f"""g (float[5,2,3] x) => (float[2,2] y) {{
        hn, ys = Scan<num_scan_inputs=1, body = step (float[2,4] h, float[2,3] e) =>
            (float[2,4] ho, float[2,4] q) {{ {STEP} }}>(s, x)
        y = MatMul(hn, v) }}""",
    "Loop-with-an-If": """g (float[5,2,3] x, float[2,3] f, bool c) => (float[2,2] y) {
        n = Constant<value_int=5>() go = Constant<value=bool {1}>() h0 = MatMul(f, w)
        hn = Loop<body = step (int64 i, bool g0, float[2,4] h) => (bool g1, float[2,4] ho) {
            g1 = Identity(g0) e = Gather(x, i) a = MatMul(e, w) ab = Add(a, b)
            ho = If<then_branch = yes () => (float[2,4] r1) { p = MatMul(h, u) p2 = Add(p, ab)
                      pc = Add(p2, h0) r1 = Relu(pc) },
                    else_branch = no () => (float[2,4] r2) { r2 = Add(ab, h) }>(c) }>(n, go, h0)
        y = MatMul(hn, v) }""",
}  # fmt: skip
NONE = TEXTS["Loop-with-an-If"].replace("value_int=5", "value_int=0")


def model_of(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEAD + text)
    rng = np.random.default_rng(6)
    for name, shape in SHAPES.items():
        array = (rng.standard_normal(shape) * 0.6).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def verdict_of(text: str, composite: str = "epsilon", condition: bool = True) -> Verdict:
    model, rng, feeds = model_of(text), np.random.default_rng(7), dict[str, Array]()
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
    if "c" in feeds:
        feeds["c"] = np.array(condition)
    return verify(model, CompileOptions(composite=composite, target=1), feeds)


def body_of(verdict: Verdict) -> Line:
    (line,) = [line for line in verdict.lines if line.op_type in ("If", "Loop", "Scan")]
    return line


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", TEXTS)
def test_the_account_closes(name: str, composite: str, condition: bool) -> None:
    verdict = verdict_of(TEXTS[name], composite, condition)
    line = body_of(verdict)
    assert not verdict.problems
    assert line.conserves
    assert line.closes
    booked = sum(each.bias + each.stabilizer + each.dropped for each in verdict.lines)
    found = sum(verdict.relevance.values()) + booked
    assert found == pytest.approx(verdict.explained, abs=1e-4 * line.magnitude)


def test_biases_inside_are_booked() -> None:
    assert abs(body_of(verdict_of(TEXTS["If"])).bias) > 1e-2
    assert body_of(verdict_of(TEXTS["If"], condition=False)).bias == 0


@pytest.mark.parametrize("name", ["If-of-nothing-explained", "Scan-of-a-constant-state"])
def test_what_leads_to_constants_is_dropped(name: str) -> None:
    line = body_of(verdict_of(TEXTS[name]))
    assert abs(line.dropped) > 1e-3 * line.magnitude


def test_no_iteration_books_nothing() -> None:
    verdict = verdict_of(NONE)
    line = body_of(verdict)
    assert not verdict.problems
    assert (line.bias, line.stabilizer, line.dropped) == (0, 0, 0)
    assert line.received == pytest.approx(line.out)


@pytest.mark.parametrize("name", ["If", "Scan", "Loop-with-an-If"])
def test_a_wrong_vjp_inside_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op = REGISTRY["", "Gemm"]
    right = op.vjp
    assert right is not None

    def wrong(emit: Any, node: ir.Node, *given: Any) -> ir.Value:
        return emit.op("Mul", right(emit, node, *given), 1.05)

    monkeypatch.setitem(REGISTRY, ("", "Gemm"), dataclasses.replace(op, vjp=wrong))
    verdict = verdict_of(TEXTS[name])
    assert any("account is off" in problem for problem in verdict.problems)


@pytest.mark.parametrize("name", ["Scan", "Loop-with-an-If"])
def test_a_branch_forgotten_inside_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lrp_onnx.propagation import backward_pass as backward

    def first_only(emit: Any, pending: Any, value: ir.Value, masks: Any) -> ir.Value | None:
        return pending[value][0] if value in pending else None

    monkeypatch.setattr(backward, "_total", first_only)
    assert verdict_of(TEXTS[name]).problems
