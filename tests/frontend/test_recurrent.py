"""LSTM, GRU and RNN in every form: forward kept, gradients by central differences.

That their relevance is that of the same cells spelled out stands in test_cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import Array
from onnx import helper, numpy_helper
from test_bodies import outputs_of

import lrp_onnx
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.lowering import lower as optimize

T, N, IN, H = 4, 2, 3, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Row:
    """An operator with its attributes, and which optional inputs it gets."""

    op: str
    attributes: dict[str, object] = field(default_factory=dict)
    bias: bool = True
    lengths: bool = False
    states: bool = False
    peepholes: bool = False

    def __str__(self) -> str:
        flags = [k for k in ("lengths", "states", "peepholes") if getattr(self, k)]
        flags += ["unbiased"] * (not self.bias)
        return "-".join([self.op, *(f"{k}={v}" for k, v in self.attributes.items()), *flags])

    @property
    def directions(self) -> int:
        return 1 + (self.attributes.get("direction") == "bidirectional")


ROWS = [
    *[Row(op) for op in GATES],
    *[Row(op, bias=False) for op in GATES],
    *[Row(op, {"direction": d}) for op in GATES for d in ("reverse", "bidirectional")],
    *[Row(op, {"layout": 1}, states=True) for op in GATES],
    *[Row(op, {"direction": "bidirectional"}, lengths=True, states=True) for op in GATES],
    *[Row(op, states=True) for op in GATES],
    *[Row(op, {"clip": 0.4}) for op in GATES],
    Row("LSTM", peepholes=True, states=True),
    Row("LSTM", {"input_forget": 1}),
    Row("GRU", {"linear_before_reset": 1}, states=True),
    Row("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}, lengths=True),
    Row("LSTM", {"activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
                 "activation_alpha": [0.3, 1.5], "activation_beta": [0.4, 0.7]}),
    Row("GRU", {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.2]}),
    Row("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
    Row("RNN", {"activations": ["Relu"]}),
]  # fmt: skip


def model_of(row: Row, output: int = 0) -> onnx.ModelProto:
    """The operator alone; output 0 is Y, 1 is Y_h, 2 is Y_c."""
    rng = np.random.default_rng(3)
    d, g = row.directions, GATES[row.op]
    weights = {
        "W": rng.standard_normal((d, g * H, IN)) * 0.5,
        "R": rng.standard_normal((d, g * H, H)) * 0.5,
        "B": rng.standard_normal((d, 2 * g * H)) * 0.3,
        "P": rng.standard_normal((d, 3 * H)) * 0.3,
    }
    lengths = np.array([4, 2], np.int32)
    batch_first = row.attributes.get("layout", 0)
    inputs = ["X", "W", "R", "B" * row.bias, "lengths" * row.lengths]
    used = {"W": weights["W"], "R": weights["R"]}
    used |= {"B": weights["B"]} if row.bias else {}
    activations = ["X"]
    if row.states or row.peepholes:
        inputs += ["h0"] + ["c0"] * (row.op == "LSTM")
        activations += inputs[5:]
    if row.peepholes:
        inputs.append("P")
        used["P"] = weights["P"]
    names = ["", "", ""][: 3 if row.op == "LSTM" else 2]
    names[output] = "y"
    node = helper.make_node(row.op, inputs, names, "cell", hidden_size=H, **row.attributes)
    state = ["N", d, H] if batch_first else [d, "N", H]
    shapes = {"X": ["N", "T", IN] if batch_first else ["T", "N", IN], "h0": state, "c0": state}
    kind = onnx.TensorProto.FLOAT
    made = [helper.make_tensor_value_info(k, kind, shapes[k]) for k in activations]
    y = helper.make_tensor_value_info("y", kind, [None] * (4 if output == 0 else 3))
    initializers = [numpy_helper.from_array(a.astype(np.float32), k) for k, a in used.items()]
    if row.lengths:
        initializers.append(numpy_helper.from_array(lengths, "lengths"))
    graph = helper.make_graph([node], "g", made, [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def feeds_of(row: Row) -> dict[str, Array]:
    rng = np.random.default_rng(4)
    batch_first = row.attributes.get("layout", 0)
    d = row.directions
    shapes = {"X": (N, T, IN) if batch_first else (T, N, IN)}
    if row.states or row.peepholes:
        state = (N, d, H) if batch_first else (d, N, H)
        shapes |= {"h0": state} | ({"c0": state} if row.op == "LSTM" else {})
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


def time_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with layout 0 between transpositions: ONNX Runtime has no kernel for layout 1."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    (node,) = other.graph.node
    layout = [a for a in node.attribute if a.name == "layout"]
    if not layout:
        return model
    node.attribute.remove(layout[0])
    made, result = [], next(k for k, name in enumerate(node.output) if name)
    for k in (0, 5, 6):
        if k < len(node.input) and node.input[k]:
            name = f"{node.input[k]}_turned"
            made.append(helper.make_node("Transpose", [node.input[k]], [name], perm=[1, 0, 2]))
            node.input[k] = name
    node.output[result] = "turned"
    perm = [2, 0, 1, 3] if result == 0 else [1, 0, 2]
    last = helper.make_node("Transpose", ["turned"], ["y"], perm=perm)
    nodes = [*made, node, last]
    del other.graph.node[:]
    other.graph.node.extend(nodes)
    return other


OUTPUTS = [(row, k) for row in ROWS for k in range(3 if row.op == "LSTM" else 2)]


@pytest.mark.parametrize(("row", "output"), OUTPUTS, ids=str)
def test_the_explained_spelling_computes_the_same(
    row: Row, output: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_the_spelling(graph: ir.Graph, node: ir.Node) -> None:
        node.replace_input_with(0, node.inputs[1])
        optimize.lower_explained_by(graph, node)

    monkeypatch.setitem(optimize.LOWERINGS, "ExplainedBy", keep_the_spelling)
    monkeypatch.setattr(Prediction, "put_back", lambda *_: None)
    compiled = lrp_onnx.compile(model_of(row, output), "gradient", check=False).model
    feeds = feeds_of(row)
    assert all(node.op_type != row.op for node in compiled.graph.node)
    y = outputs_of(time_first(model_of(row, output)), feeds)["y"]
    np.testing.assert_allclose(outputs_of(compiled, feeds)["y"], y, atol=2e-6)


@pytest.mark.parametrize(("row", "output"), OUTPUTS, ids=str)
def test_gradient(row: Row, output: int) -> None:
    model, feeds = time_first(model_of(row, output)), feeds_of(row)
    compiled = lrp_onnx.compile(
        model_of(row, output), "gradient", start="one", target="seed", check=False
    ).model
    assert any(node.op_type == row.op for node in compiled.graph.node)
    y = outputs_of(model, feeds)["y"]
    seed = np.random.default_rng(5).standard_normal(y.shape).astype(np.float32)
    found = outputs_of(compiled, {**feeds, "y_seed": seed})
    np.testing.assert_allclose(found["y"], y, atol=1e-6)
    step = 3e-3
    for name, x in feeds.items():
        expected = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            moved = [x.copy(), x.copy()]
            moved[0][index] += step
            moved[1][index] -= step
            ends = [outputs_of(model, {**feeds, name: m})["y"].astype(float) for m in moved]
            width = float(moved[0][index]) - float(moved[1][index])
            expected[index] = (seed * (ends[0] - ends[1])).sum() / width
        # float32 differences of a curved function: 3e-3² of it, and its rounding over 3e-3
        np.testing.assert_allclose(
            found[f"{name}_relevance"], expected, atol=1e-3 * max(1, np.abs(expected).max())
        )
