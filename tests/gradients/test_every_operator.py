"""Integrated gradients of every operator: the file is valid, runs, and is complete.

The network is copied into the bodies of Scans, or beside itself, so that names and shapes of every
lowering meet other scopes there.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import test_vjp
from models import Case, assert_close, network, run
from onnx import helper, numpy_helper
from reference import Network

import lrp_onnx

# the number of entries of a Range depends on its inputs: there is no path
ROWS = [row for row in test_vjp.ROWS if row.op != "Range"]


def batched(row: Case) -> Case:
    """The same row with a batch of any size."""
    other = copy.copy(row)
    other.symbolic = (0,)
    return other


BATCHED = [
    batched(row)
    for row in ROWS
    if not row.symbolic and not row.sized and min(map(len, row.activations.values())) > 1
]


def check_complete(model: onnx.ModelProto, x: Any, x0: Any, y: Any, y0: Any, **more: Any) -> None:
    """The sum of all relevance is what all outputs gained on the way from x₀ to x."""
    request = {"method": "integrated-gradients", "steps": 2, "target": "all", "baseline": x0}
    compiled = lrp_onnx.compile(model, check=False, **request, **more)
    onnx.checker.check_model(compiled.model, full_check=True)
    results = run(compiled.model, x)
    total = sum(results[f"{k}_relevance"].astype(float).sum() for k in x)
    scale = max(np.abs(y).sum(), np.abs(y0).sum(), 1.0)
    assert_close(np.array([total / scale + 1]), np.array([(y.sum() - y0.sum()) / scale + 1]), 2e-5)


@pytest.mark.parametrize("case", [*ROWS, *BATCHED], ids=str)
def test_every_operator(case: Case) -> None:
    model, forward = case.model(), Network(case.model()).forward
    x, x0 = case.feeds(), case.feeds("from elsewhere")
    if case.symbolic:
        x0 = {k: v[:1] if 0 in case.symbolic and v.ndim else v for k, v in x0.items()}
    begin = {k: np.broadcast_to(v, x[k].shape) for k, v in x0.items()}
    check_complete(model, x, x0, forward(x)["y"], forward(begin)["y"])


NORMED = "h = Reshape(u, wide)\n g = {norm}\n u2 = Reshape(g, flat)\n s2 = Add(u2, s)"
BODIES = {
    "MatMul with bias": "m = MatMul(u, w)\n a = Add(m, b)\n s2 = Tanh(a)",
    "two of them": "m = MatMul(u, w)\n a = Add(m, b)\n t = Tanh(a)\n n = MatMul(t, w)\n"
    " c = Add(n, b)\n s2 = Add(c, s)",
    "Gemm": "h = Reshape(u, row)\n g = Gemm(h, w, b)\n u2 = Reshape(g, flat)\n s2 = Add(u2, s)",
    "LayerNorm": NORMED.format(norm="LayerNormalization<axis=-1>(h, one, one)"),
    "GroupNorm": NORMED.format(norm="GroupNormalization<num_groups=2>(h, b, b)"),
    "InstanceNorm": NORMED.format(norm="InstanceNormalization(h, b, b)"),
}


def in_a_scan(body: str, steps: int | str) -> onnx.ModelProto:
    """A recurrent network whose step is `body`: u, s, w [4, 4], b [4] -> s2."""
    step = onnx.parser.parse_graph(
        f"step (float[4] s, float[4] u) => (float[4] s2, float[4] out) {{ {body}\n"
        " out = Identity(s2) }"
    )
    rng = np.random.default_rng(2)
    weights = {k: rng.standard_normal(v).astype(np.float32)
               for k, v in {"w": (4, 4), "b": (4,), "v": (4, 3), "s0": (4,)}.items()}  # fmt: skip
    weights |= {"one": np.ones(1, np.float32), "wide": np.array([1, 4, 1]), "flat": np.array([4]),
                "row": np.array([1, 4]), "axis": np.array([0])}  # fmt: skip
    nodes = [
        helper.make_node("Squeeze", ["x", "axis"], ["steps"], "squeeze"),
        helper.make_node("Scan", ["s0", "steps"], ["last", "all"], "scan", body=step,
                         num_scan_inputs=1),
        helper.make_node("ReduceMean", ["all", "axis"], ["mean"], "mean", keepdims=1),
        helper.make_node("MatMul", ["mean", "v"], ["y"], "head"),
    ]  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "scan", [info("x", 1, [1, steps, 4])], [info("y", 1, [1, 3])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("fold", ["auto", "never"])
@pytest.mark.parametrize("steps", [3, "T"])
@pytest.mark.parametrize("body", BODIES)
def test_what_stands_in_a_body_is_copied_with_it(body: str, steps: int | str, fold: str) -> None:
    model = in_a_scan(BODIES[body], steps)
    x = np.random.default_rng(3).standard_normal((1, 3, 4)).astype(np.float32)
    if body == "LayerNorm":
        model.graph.initializer[4].CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "one"))
    y, y0 = (run(model, {"x": v})["y"].astype(float) for v in (x, 0 * x))
    check_complete(model, {"x": x}, None, y, y0, fold=fold)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("batch", [(), (0,), (0, 1)], ids=str)
def test_a_bias_behind_a_product_in_every_scope(batch: tuple[int, ...], named: bool) -> None:
    model = network(
        "m = MatMul(x, w)\n a = Add(m, b)\n t = Tanh(a)\n n = MatMul(t, w)\n c = Add(n, b)\n"
        " y = LayerNormalization(c, b, b)",
        (2, 3, 4), batch, w=(4, 4), b=(4,),
    )  # fmt: skip
    for node in () if named else model.graph.node:
        node.ClearField("name")
    x = np.random.default_rng(4).standard_normal((2, 3, 4)).astype(np.float32)
    y, y0 = (run(model, {"x": v})["y"].astype(float) for v in (x, 0 * x))
    check_complete(model, {"x": x}, None, y, y0)
