"""The coarsest floating-point arithmetic on the way to a tensor.

Mixed precision computes in float16 between float32 ends: its rounding is float16's, whatever the
element type of the output.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.clone import reads
from lrp_onnx.graph.subgraphs import bodies_of, graphs_of

__all__ = ["coarsest"]

COARSE = (ir.DataType.BFLOAT16, ir.DataType.FLOAT16)


def coarsest(graph: ir.Graph, output: ir.Value) -> ir.DataType | None:
    """BFLOAT16 or FLOAT16 where something on the way to the output is of it, else None."""
    inside = {v: node for node in graph for v in node.outputs}
    pending, seen, dtypes = [output], set[ir.Value](), set[ir.DataType]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.dtype is not None:
            dtypes.add(value.dtype)
        if (node := inside.get(value)) is not None:
            pending += reads(node)
            dtypes.update(_cast_to(node))
    return next((dtype for dtype in COARSE if dtype in dtypes), None)


def _cast_to(node: ir.Node) -> set[ir.DataType]:
    """The element types that the node and those in its bodies cast to."""
    bodies = [graph for body in bodies_of(node) for graph in graphs_of(body)]
    nodes = [node, *(inner for body in bodies for inner in body)]
    casts = (n.attributes.get_int("to", 0) for n in nodes if n.op_type == "Cast")
    return {ir.DataType(to) for to in casts if to}
