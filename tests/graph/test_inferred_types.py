"""What shape inference finds is taken over, bodies included, and leaves no readers behind."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import shape_inference

from lrp_onnx.graph.inferred_types import take_types
from lrp_onnx.graph.subgraphs import bodies_of

MODEL = """<ir_version: 8, opset_import: ["": 18]>
g (float[N,4] x, bool c) => (float[N,4] y) {
    h = Relu(x)
    y = If(c) <then_branch = t () => (p) { a = Neg(h) p = Exp(a) },
               else_branch = e () => (q) { q = Identity(h) }>
}"""


def model() -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(MODEL))


def test_types_are_taken_over_in_bodies_too() -> None:
    taken = model()
    nodes = list(taken.graph)
    take_types(taken, shape_inference.infer_shapes)
    assert list(taken.graph) == nodes
    inner = [value for body in bodies_of(nodes[1]) for node in body for value in node.outputs]
    for value in (nodes[0].outputs[0], *inner):
        assert value.dtype == ir.DataType.FLOAT
        assert str(value.shape) == "[N,4]"


def test_what_was_built_and_not_used_reads_nothing() -> None:
    taken = model()
    h = next(iter(taken.graph)).outputs[0]
    ir.Node("", "Neg", [h])
    readers = len(h.uses())
    take_types(taken, shape_inference.infer_shapes)
    assert len(h.uses()) == readers - 1
