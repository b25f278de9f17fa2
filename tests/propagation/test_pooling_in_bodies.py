"""Pooling whose size is rounded up, in bodies and behind them: as the same nodes alone.

The last window would start behind the input; shape inference counts it and runtimes do not.  The
nodes alone are judged by tests/ops/test_move_pool.py.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Array, assert_close, run

import lrp_onnx

HEAD = '<ir_version: 8, opset_import: ["": 18]>'
X, Y = "float[N,2,7,9]", "float[N,2,A,B]"
CONTROL = "n = Constant<value_int=2>() c = Constant<value=bool {1}>()"
ALONE = "g (X x) => (Y y) { h = Tanh(x) y = POOL(h) }"
TWICE = "g (X x) => (Y y) { k = Sin(x) h = Sin(k) y = POOL(h) }"
BODIES = {
    "If": (
        "g (X x, bool c) => (Y y) { h = Tanh(x) y = If<then_branch = one () => (Y y1)"
        " { y1 = POOL(h) }, else_branch = two () => (Y y2) { s = Sin(x) y2 = POOL(s) }>(c) }",
        ALONE,
    ),
    "If in If": (
        "g (X x, bool c) => (Y y) { y = If<then_branch = one () => (Y y1) { h = Tanh(x) y1 ="
        " If<then_branch = three () => (Y y3) { y3 = POOL(h) }, else_branch = four () => (Y y4)"
        " { y4 = POOL(x) }>(c) }, else_branch = two () => (Y y2) { y2 = POOL(x) }>(c) }",
        ALONE,
    ),
    "Loop": (
        f"g (X x) => (Y y) {{ {CONTROL} k, ys = Loop<body = step (int64 i, bool d, X h) =>"
        " (bool e, X h1, Y p) { e = Identity(d) h1 = Sin(h) p = POOL(h1) }>(n, c, x)"
        " one = Constant<value_int=1>() y = Gather(ys, one) }",
        TWICE,
    ),
    "behind Loop": (
        f"g (X x) => (Y y) {{ {CONTROL} k = Loop<body = step (int64 i, bool d, X h) =>"
        " (bool e, X h1) { e = Identity(d) h1 = Sin(h) }>(n, c, x) y = POOL(k) }",
        TWICE,
    ),
}
POOLS = {
    "both axes": "<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>",
    "no padding": "<kernel_shape=[1,2], strides=[4,3], ceil_mode=1>",
}


def model_of(text: str, pool: str) -> onnx.ModelProto:
    """The model without the shapes behind the pooling, which are to be found."""
    text = text.replace("POOL", pool).replace("X ", f"{X} ").replace("Y ", f"{Y} ")
    model = onnx.parser.parse_model(HEAD + text.replace("float[N,2,A,B]", "float"))
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("composite", ["gradient", "epsilon"])
@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("attributes", POOLS)
@pytest.mark.parametrize("row", BODIES)
def test_as_the_nodes_alone(row: str, attributes: str, op: str, composite: str) -> None:
    pool = op + POOLS[attributes]
    x = np.random.default_rng(0).standard_normal((2, 2, 7, 9)).astype(np.float32)
    inside, alone = (model_of(text, pool) for text in BODIES[row])
    given = {"c": np.array(True)} if len(inside.graph.input) > 1 else {}
    seed = np.random.default_rng(1).standard_normal(run(alone, {"x": x})["y"].shape)
    assert_same(inside, alone, x, seed.astype(np.float32), composite, given)
    for k in range(2):  # sample by sample
        part = seed[k : k + 1].astype(np.float32)
        assert_same(inside, alone, x[k : k + 1], part, composite, given)


def assert_same(
    inside: onnx.ModelProto,
    alone: onnx.ModelProto,
    x: Array,
    seed: Array,
    composite: str,
    given: dict[str, Array],
) -> None:
    feeds = {"x": x, "y_seed": seed}
    compiled = [
        lrp_onnx.compile(m, composite, start="one", target="seed").model for m in (inside, alone)
    ]
    found, expected = run(compiled[0], {**feeds, **given}), run(compiled[1], feeds)
    np.testing.assert_array_equal(found["y"], expected["y"])
    assert_close(found["x_relevance"], expected["x_relevance"])


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
def test_a_scan_that_runtimes_refuse_for_its_size_runs_compiled(op: str) -> None:
    """ONNX Runtime trusts shape inference there and cannot run the original."""
    pool, step = op + POOLS["both axes"], "body = step (X s) => (Y p) { h = Tanh(s) p = POOL(h) }"
    scan = f"g (float[3,N,2,7,9] x) => (Y y) {{ y = Scan<num_scan_inputs=1, {step}>(x) }}"
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 7, 9)).astype(np.float32)
    alone = lrp_onnx.compile(model_of(ALONE, pool), "gradient", start="one", target="seed").model
    seed = np.random.default_rng(1).standard_normal((3, 2, 2, 4, 5)).astype(np.float32)
    expected = [run(alone, {"x": a, "y_seed": s}) for a, s in zip(x, seed, strict=True)]
    compiled = lrp_onnx.compile(
        model_of(scan, pool), "gradient", start="one", target="seed", check=False
    ).model
    found = run(compiled, {"x": x, "y_seed": seed})
    for name in ("y", "x_relevance"):
        assert_close(found[name], np.stack([part[name] for part in expected]))
