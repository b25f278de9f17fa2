"""The vector-Jacobian products of a linear node over its input, as one node of the dialect."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.conv_geometry import sliding
from lrp_onnx.ops.operands import operand

__all__ = ["linear_vjp"]


def linear_vjp(
    emit: Emit, node: ir.Node, i: int, ss: Sequence[ir.Value], ws: Sequence[ir.Value]
) -> tuple[ir.Value, ...]:
    """Σₖ vjp(sₖ; wₖⱼ) over input `i` of a linear node, for every j.

    sₖ: shaped like the output    wₖⱼ: like the weight, those of one k together    ->    each like
    the input. Raises UnsupportedError where the node's padding is unknown.
    """
    if node.op_type == "Conv":
        sliding(node)
    x, operands = operand(node, i), [emit.at_least_float(v) for v in (*ss, *ws)]
    return emit.dialect("LinearVjp", operands, [x] * (len(ws) // len(ss)), node, i=i)
