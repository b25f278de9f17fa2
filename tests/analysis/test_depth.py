"""Depth along the explanation path: 0 at the first linear layer, 1 at the last."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import network, normalized
from test_cells import GRU_STEP, LSTM_STEP, unrolled

from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.graph.model_file import load
from lrp_onnx.graph.subgraphs import name_bodies
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.explained_inputs import path_under

CHAIN = "a = Conv(x, w) b = Relu(a) c = Conv(b, w) d = Conv(c, w) e = Conv(d, w) y = Conv(e, w)"
SHORTCUT = (
    "a = Conv(x, w) s = Conv(a, w) b = Conv(a, w) c = Conv(b, w) d = Add(s, c) y = Conv(d, w)"
)
LISTED_LATER = (
    "a = Conv(x, w) b = Conv(a, w) c = Conv(b, w) s = Conv(a, w) d = Add(s, c) y = Conv(d, w)"
)
DEPTHS = {
    "chain": (CHAIN, {"a": 0, "b": 0.25, "c": 0.25, "d": 0.5, "e": 0.75, "y": 1}),
    "one layer": ("y = Conv(x, w)", {"y": 1}),
    "shortcut": (SHORTCUT, {"a": 0, "s": 1 / 3, "b": 1 / 3, "c": 2 / 3, "d": 1, "y": 1}),
    "shortcut listed later": (
        LISTED_LATER,
        {"a": 0, "s": 1 / 3, "b": 1 / 3, "c": 2 / 3, "d": 1, "y": 1},
    ),
    "behind the last": ("a = Conv(x, w) b = Conv(a, w) y = Relu(b)", {"a": 0, "b": 1, "y": 1}),
}


def canonical(model: onnx.ModelProto) -> ir.Model:
    prepared = normalized(load(model))
    canonize(prepared)
    name_bodies(prepared.graph)
    return prepared


def depths_of(model: onnx.ModelProto) -> dict[str, float]:
    """The depth of each step, by the name of its first output."""
    prepared = canonical(model)
    graph = prepared.graph
    path = path_under(load_composite("epsilon"), graph, graph.inputs, graph.outputs[0])
    steps = [inner for step in path for inner in step.within()]
    return {str(step.node.outputs[0].name): step.depth for step in steps}


@pytest.mark.parametrize(("text", "depths"), DEPTHS.values(), ids=DEPTHS)
def test_depth_is_the_share_of_linear_layers_in_front(text, depths):
    model = network(text, (1, 2, 3, 3), w=np.ones((2, 2, 1, 1)))
    assert depths_of(model) == pytest.approx(depths)


@pytest.mark.parametrize(("op", "step"), [("LSTM", LSTM_STEP), ("GRU", GRU_STEP)])
def test_steps_that_are_written_out_are_one_layer(op, step):
    depths = depths_of(unrolled(op, step))
    assert len(depths) > 20
    assert set(depths.values()) == {1}


def test_a_body_goes_on_counting():
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
        g (float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {1, 2, 3, 4}, int64 n = {2}> {
            c = Constant<value_int=1>() on = Cast<to=9>(c)
            a = MatMul(x, w)
            b = Loop<body = body (int64 i, bool go, float[2, 2] h) => (bool on2, float[2, 2] g)
                { on2 = Identity(go) t = MatMul(h, w) g = MatMul(t, w) }>(n, on, a)
            y = MatMul(b, w)
        }""")
    expected = {"a": 0, "b": 1 / 3, "t": 1 / 3, "g": 2 / 3, "y": 1}
    assert depths_of(model) == pytest.approx(expected)
