"""Nodes that no run survives: what they read has a shape that their operator does not take.

Judged by onnx's inference of one node, for operators whose demands every runtime makes too.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir
from onnx import NodeProto, TensorProto, TypeProto, helper

from lrp_onnx.graph.shapes import dimensions

__all__ = ["contradictions"]

STRICT = {
    "RNN", "GRU", "LSTM", "Conv", "ConvTranspose", "Gemm", "MatMul", "Split", "Concat", "Transpose",
    "Squeeze",
}  # fmt: skip


def contradictions(graph: ir.Graph, opset: int) -> Iterator[ir.Node]:
    """Nodes of the graph, not of bodies inside it, that fail in every run."""
    for node in graph:
        if node.domain or node.op_type not in STRICT:
            continue
        if any(v is not None and (v.dtype is None or v.shape is None) for v in node.inputs):
            continue
        if _is_refused(node, opset):
            yield node


def _is_refused(node: ir.Node, opset: int) -> bool:
    proto: NodeProto = ir.serde.serialize_node(node)
    inputs = [v for v in node.inputs if v is not None]
    try:
        onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, opset),
            proto,
            {str(v.name): _type(v) for v in inputs},
            {str(v.name): t for v in inputs if (t := _data(v)) is not None},
            opset_imports=[helper.make_opsetid("", opset)],
        )
    except onnx.shape_inference.InferenceError:
        return True
    return False


def _type(value: ir.Value) -> TypeProto:
    assert value.dtype is not None
    assert value.shape is not None
    sizes = dimensions(value.shape)
    return helper.make_tensor_type_proto(int(value.dtype), sizes)


def _data(value: ir.Value) -> TensorProto | None:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.INT64:
        return None
    return ir.serde.serialize_tensor(tensor)
