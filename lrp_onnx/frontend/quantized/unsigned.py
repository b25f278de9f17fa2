"""Activations quantized to int8 become uint8, their values the same.

(q - z)·s with q and z in -128 … 127 is (q' - z')·s with q' = q + 128 and z' = z + 128, and both
saturate alike.  ONNX Runtime does this on x86, where its integer kernels want it, but only to a
tensor that nothing else reads, and the explanation reads them all; so it is done here, in the
prediction too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["make_unsigned"]

SHIFT = 128


def make_unsigned(model: ir.Model) -> bool:
    """Shift each int8 tensor between a quantizer and dequantizers; says whether there was one."""
    quantizers = []
    for node in nodes_of(model.graph):
        q = node.outputs[0] if node.op_type == "QuantizeLinear" else None
        if q is None or q.is_graph_output() or not _has_whole_zero_point(node):
            continue
        users = [user for user, _ in q.uses()]
        if all(u.op_type == "DequantizeLinear" and _has_whole_zero_point(u) for u in users):
            quantizers.append((node, users))
    for node, users in quantizers:
        for each in (node, *users):
            _shift(model.graph, each)
        node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    return bool(quantizers)


def _has_whole_zero_point(node: ir.Node) -> bool:
    """Whether there is a constant int8 zero point, one for the whole tensor."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is None or not zero.is_initializer() or zero.const_value is None:
        return False
    return zero.dtype == ir.DataType.INT8 and zero.const_value.size == 1


def _shift(graph: ir.Graph, node: ir.Node) -> None:
    """Give the node the unsigned zero point."""
    zero = node.inputs[2]
    assert zero is not None
    assert zero.const_value is not None
    array = zero.const_value.numpy().astype(np.int16) + SHIFT
    unsigned = new_constant(graph, f"{zero.name}/unsigned", array, ir.DataType.UINT8)
    node.replace_input_with(2, unsigned)
    node.attributes.pop("output_dtype", None)
