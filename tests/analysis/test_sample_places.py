"""Where samples lie is told on any axis, and what is told is so: one sample is changed, and only
its part of the result changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import pytest
from models import network, normalized, run

from lrp_onnx.analysis.sample_places import sample_axis
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.graph.clone import cone
from lrp_onnx.graph.model_file import load


class Row(NamedTuple):
    """A network of x [2, 3, 4]: the axis of the batch in x, and in y (None: they may meet)."""

    body: str
    axis: int
    behind: int | None


CONSTANTS = {
    **{"w4": (4, 4), "w3": (4, 3, 1), "w12": (12, 5), "v": (2, 3, 3), "kernel": (4, 4, 3)},
    **{"lstm_w": (1, 12, 4), "lstm_r": (1, 12, 3), "ax0": [0], "ax1": [1], "ax2": [2]},
    **{"rows": [-1, 4], "back": [-1, 3, 4], "flat": [0, -1], "two": [1, 2], "one": [1],
       "three": [3], "zero": [0], "pad1": [0, 1, 0, 0, 1, 0], "ids": [[0, 1], [1, 1]],
       "swap": [3, 2, 4], "pair": [0, 2], "thrice": [1, 3, 1], "apart": [-1, 3, 3, 4],
       "heads": [0, 0, 2, 2], "joined": [3, -1], "tripled": [1, 3, 4],
       "wide": (3, 1, 1, 1)},
}  # fmt: skip
STANDARDIZED = (
    "m = ReduceMean(x, ax1) d = Sub(x, m) q = Mul(d, d) r = ReduceMean(q, ax1) e = Add(r, small)"
    " s = Sqrt(e) y = Div(d, s)"
)
ROWS = {
    "dense": Row("y = MatMul(x, w4)", 0, 0),
    "rows of dense": Row("y = MatMul(x, w4)", 1, 1),
    "what is contracted": Row("y = MatMul(x, w4)", 2, None),
    "columns": Row("t = Transpose<perm=[0,2,1]>(x) y = MatMul(w4, t)", 1, 2),
    "attention": Row("t = Transpose<perm=[0,2,1]>(x) s = MatMul(x, t) y = MatMul(s, x)", 0, 0),
    "tokens of attention": Row("t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)", 1, None),
    "heads": Row("h = Reshape(x, heads) y = Transpose<perm=[0,2,1,3]>(h)", 1, 2),
    "einsum": Row('y = Einsum<equation="abc,adc->bda">(x, x)', 0, 2),
    "einsum that sums": Row('y = Einsum<equation="abc,abd->cd">(x, x)', 0, None),
    "rows flattened": Row("f = Reshape(x, rows) g = MatMul(f, w4) y = Reshape(g, back)", 0, 0),
    "rows flattened, axis 1": Row("f = Reshape(x, rows) g = Tanh(f) y = Reshape(g, back)", 1, 1),
    "rows left flattened": Row("f = Reshape(x, rows) y = MatMul(f, w4)", 0, None),
    "rows exchanged": Row("y = Reshape(x, swap)", 0, None),
    "joined with the next axis": Row("t = Transpose<perm=[1,0,2]>(x) f = Reshape(t, joined)"
                                     " y = Tanh(f)", 1, 0),
    "all flattened": Row("f = Flatten(x) y = MatMul(f, w12)", 0, 0),
    "mean over others": Row("m = ReduceMean<keepdims=0>(x, ax2) y = Tanh(m)", 1, 1),
    "mean over it": Row("m = ReduceMean(x, ax0) y = Sub(x, m)", 0, None),
    "mean in front": Row("y = ReduceMean<keepdims=0>(x, ax0)", 1, 0),
    "softmax beside": Row("y = Softmax<axis=0>(x)", 1, 1),
    "softmax over it": Row("y = Softmax<axis=1>(x)", 1, None),
    "norm": Row("y = LayerNormalization<axis=-1>(x, one4)", 1, 1),
    "norm over it": Row("y = LayerNormalization<axis=1>(x, one34)", 1, None),
    "convolution": Row("t = Transpose<perm=[1,2,0]>(x) y = Conv<pads=[1,1]>(t, kernel)", 1, 0),
    "convolution over it": Row("t = Transpose<perm=[0,2,1]>(x) y = Conv<pads=[1,1]>(t, kernel)",
                               1, None),
    "rank raised": Row("y = Mul(x, wide)", 0, 1),
    "repeated": Row("u = ReduceMean(x, ax1) y = Expand(u, tripled)", 0, 0),
    "tiled": Row("u = Tile(x, thrice) y = Tanh(u)", 0, 0),
    "tiled along it": Row("u = Tile(x, thrice) y = Tanh(u)", 1, None),
    "tiled and taken apart": Row("u = Tile(x, thrice) f = Reshape(u, apart)"
                                 " y = ReduceMean<keepdims=0>(f, one)", 1, 1),
    "pairs of samples": Row("a = Unsqueeze(x, zero) b = Unsqueeze(x, one) y = Sub(a, b)", 0, None),
    "cut": Row("y = Slice(x, one, three, ax2)", 1, 1),
    "cut along it": Row("y = Slice(x, one, three, ax0)", 0, None),
    "as many channels as samples": Row("c = Gather<axis=1>(x, pair) y = InstanceNormalization(c,"
                                       " ones2, ones2)", 0, 0),
    "channels normalized": Row("y = InstanceNormalization(x, one3, one3)", 1, None),
    "standardized beside": Row(STANDARDIZED, 2, 2),
    "standardized over it": Row(STANDARDIZED, 1, None),
    "padded": Row("y = Pad(x, pad1)", 0, 0),
    "padded along it": Row("y = Pad(x, pad1)", 1, None),
    "chosen": Row("y = Gather<axis=1>(x, ids)", 0, 0),
    "chosen in front": Row("y = Gather<axis=0>(x, ids)", 1, 2),
    "chosen of it": Row("y = Gather<axis=0>(x, ids)", 0, None),
    "joined": Row("y = Concat<axis=2>(x, x)", 1, 1),
    "joined along it": Row("y = Concat<axis=1>(x, x)", 1, None),
    "one a step": Row("y = Scan(x)<num_scan_inputs = 1, body = s (float[3,4] xt) =>"
                      " (float[3,4] yt) { m = ReduceMean(xt, ax0) yt = Sub(xt, m) }>", 0, 0),
    "one a step, along other axes": Row("y = Scan(x)<num_scan_inputs = 1, scan_input_axes = [1],"
                      " scan_output_axes = [2], body = s (float[2,4] xt) => (float[2,4] yt) {"
                      " m = ReduceMean(xt, ax0) yt = Sub(xt, m) }>", 1, 2),
    "one a step, the next reads it": Row("i = ReduceSum<keepdims=0>(x, ax0) a, y = Scan(i, x)<"
                      "num_scan_inputs = 1, body = s (float[3,4] h, float[3,4] xt) =>"
                      " (float[3,4] u, float[3,4] yt) { u = Tanh(xt) yt = Add(xt, h) }>", 0, None),
    "lstm": Row("s, h, c = LSTM<hidden_size=3>(x, lstm_w, lstm_r) y = Squeeze(h, ax0)", 1, 0),
    "lstm's steps": Row("y, h, c = LSTM<hidden_size=3>(x, lstm_w, lstm_r)", 1, 2),
    "steps as samples": Row("y, h, c = LSTM<hidden_size=3>(x, lstm_w, lstm_r)", 0, None),
}  # fmt: skip

UNKNOWN = (
    *("rows flattened", "rows flattened, axis 1", "repeated", "joined with the next axis"),
    "tiled and taken apart",
)
"""What is not known of open sizes."""


def made(name: str, symbolic: tuple[int, ...] = ()) -> tuple[Row, onnx.ModelProto]:
    row = ROWS[name]
    ones = {"one4": 4, "one34": (3, 4), "ones2": 2, "one3": 3}
    given = {
        **CONSTANTS,
        "small": np.float32(1e-5),
        **{k: np.ones(n, np.float32) for k, n in ones.items()},
    }
    words = set(row.body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return row, network(
        row.body, (2, 3, 4), symbolic, **{k: v for k, v in given.items() if k in words}
    )


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("symbolic", [(), (0,), (1,), (0, 1)])
def test_samples_are_followed(name: str, symbolic: tuple[int, ...]) -> None:
    row, model = made(name, symbolic)
    view = normalized(load(model))
    canonize(view)
    graph = view.graph
    (x,), (y,) = graph.inputs, graph.outputs
    axis = sample_axis(cone(graph, {x}, [y]), {x}, row.axis, y)
    assert axis == row.behind or (symbolic and name in UNKNOWN and axis is None)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.behind is not None])
def test_only_the_part_of_a_changed_sample_changes(name: str) -> None:
    row, model = made(name)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    n = rng.integers(x.shape[row.axis])
    other = x.copy()
    np.moveaxis(other, row.axis, 0)[n] = rng.standard_normal(other.take(n, row.axis).shape)
    changed = run(model, {"x": x})["y"] != run(model, {"x": other})["y"]
    assert row.behind is not None
    parts = np.moveaxis(changed, row.behind, 0)
    assert parts[n].any()
    assert not np.delete(parts, n, 0).any()
