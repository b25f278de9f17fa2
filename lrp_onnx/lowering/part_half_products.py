"""A product in half precision of what a Transpose turned reads it through a Reshape.

ONNX Runtime 1.31 and 1.32 end the process when they open a Cast to float16, a Transpose of the
batch and a MatMul that stand in this order, or come to (`MatmulTransposeFusion`).  In the model
alone other nodes may be in its way.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["part_half_products"]


def part_half_products(model: ir.Model) -> None:
    """Put a Reshape to its own sizes between the two, in place."""
    for node in list(nodes_of(model.graph)):
        if node.op_type != "MatMul" or node.domain:
            continue
        for i, x in enumerate(node.inputs):
            if x is None or x.dtype not in HALF or not _is_turned(x) or x.shape is None:
                continue
            build = Build(model.graph, node)
            same = build.op("Reshape", x, build.ints(*[0] * known_rank(x)))
            build.insert_before(node)
            node.replace_input_with(i, same)


def _is_turned(x: ir.Value) -> bool:
    """Whether a Transpose of a Cast made it, or a Cast of a Transpose."""
    pairs = (("Transpose", "Cast"), ("Cast", "Transpose"))
    return any(made_by(y, first) for last, first in pairs for y in inputs_by(x, last)[:1])
