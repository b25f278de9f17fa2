"""Parts of length 1 without their axis: SplitToSequence with a scalar length of 1 and keepdims = 0,
as PyTorch's exporter spells `unbind`.

By the specification keepdims is ignored where a length is given, and onnx.shape_inference keeps the
axis; ONNX Runtime removes it.  Without the length, which is 1 anyway, all of them remove it.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.subgraphs import graphs_of

__all__ = ["unbind_without_length"]


def unbind_without_length(model: ir.Model) -> None:
    """Take the length away, in place, wherever it is a scalar 1."""
    for graph in graphs_of(model.graph):
        for node in graph:
            if node.op_type == "SplitToSequence" and not node.domain and _unbinds(node):
                node.resize_inputs(1)


def _unbinds(node: ir.Node) -> bool:
    length = node.inputs[1] if len(node.inputs) > 1 else None
    number = None if length is None else length.const_value
    if number is None or number.shape or bool(node.attributes.get_int("keepdims", 1)):
        return False
    return int(number.numpy()) == 1
