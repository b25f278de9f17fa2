"""The coarsest floating-point arithmetic on the way to a tensor.

Mixed precision computes in float16 between float32 ends: its rounding is float16's, whatever the
element type of the output.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from lrp_onnx.graph.clone import reads
from lrp_onnx.graph.subgraphs import bodies_of, graphs_of

__all__ = ["coarsest"]

COARSE = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""The coarser one last."""


def coarsest(graph: ir.Graph) -> Mapping[ir.Value, ir.DataType]:
    """The coarsest of these by output, of those that something on their way is of."""
    behind: dict[ir.Value, ir.DataType] = {}

    def of(value: ir.Value) -> ir.DataType | None:
        return behind.get(value, value.dtype)

    for node in graph:
        before = {*map(of, reads(node)), *_cast_to(node)}
        for value in node.outputs:
            dtypes = {*before, value.dtype}
            behind.update((value, dtype) for dtype in COARSE if dtype in dtypes)
    return {v: dtype for v in graph.outputs if (dtype := of(v)) is not None and dtype in COARSE}


def _cast_to(node: ir.Node) -> set[ir.DataType]:
    """The element types that the node and those in its bodies cast to."""
    bodies = [graph for body in bodies_of(node) for graph in graphs_of(body)]
    nodes = [node, *(inner for body in bodies for inner in body)]
    casts = (n.attributes.get_int("to", 0) for n in nodes if n.op_type == "Cast")
    return {ir.DataType(to) for to in casts if to}
