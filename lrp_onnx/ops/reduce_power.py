"""Reductions that are not linear: norms, log-sum-exp, products.

A norm is homogeneous of degree 1, so that x·∂y/∂x sums to y: it is shared like a sum, each element
in proportion to |x|^p.  A log-sum-exp is a soft maximum: the winner's share is spread by softmax.
The factors of a product share equally, as the two of a Mul do.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import nonnegative, same_if_positive
from lrp_onnx.ops.reduce import REDUCES, again, give_back_mean, keeping_axes, reduced_axes
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import by_shape

__all__ = ["divided", "sign_of"]


def sign_of(emit: Emit, x: ir.Value | None) -> ir.Value:
    """1 where x > 0, -1 where x < 0, else 0."""
    above, below = (
        emit.op("Cast", emit.op(than, x, 0.0), to=int(emit.dtype)) for than in ("Greater", "Less")
    )
    return emit.op("Sub", above, below)


def divided(emit: Emit, a: ir.Value | None, b: ir.Value | None) -> ir.Value:
    """a / b, and a itself where b is 0."""
    return emit.op("Div", a, emit.op("Where", emit.op("Equal", b, 0.0), 1.0, b))


@op("ReduceL1", kind="sum", sign=nonnegative, **REDUCES)
def reduce_l1(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·sign(x).  Spec: ONNX ReduceL1-18."""
    return emit.op("Mul", sign_of(emit, node.inputs[0]), keeping_axes(emit, node, s))


@op("ReduceL2", kind="sum", sign=nonnegative, **REDUCES)
def reduce_l2(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·x/y, 0 where y is 0.  Spec: ONNX ReduceL2-18."""
    y = keeping_axes(emit, node, node.outputs[0])
    return emit.op("Mul", node.inputs[0], divided(emit, keeping_axes(emit, node, s), y))


@op("ReduceLogSumExp", kind="maximum", **REDUCES)
def reduce_log_sum_exp(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·exp(x - y), the softmax over the reduced axes.  Spec: ONNX ReduceLogSumExp-18."""
    y = keeping_axes(emit, node, node.outputs[0])
    share = emit.op("Exp", emit.op("Sub", node.inputs[0], y))
    return emit.op("Mul", share, keeping_axes(emit, node, s))


def _equal_shares(emit: Emit, node: ir.Node, r: ir.Value) -> ir.Value:
    return give_back_mean(emit, node, keeping_axes(emit, node, r), reduced_axes(node))


@op(
    "ReduceProd",
    kind="product",
    gates=(1,),
    shared=_equal_shares,
    sign=same_if_positive,
    statistic=True,
    folds=True,
    samples_apart=by_shape,
)
def reduce_prod(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s times the product of the other factors.

    That is the product p of the factors that are not 0, divided by x where no factor is 0; it is p
    at a single 0, and 0 beside it.  Spec: ONNX ReduceProd-18.
    """
    x = node.inputs[0]
    zero = emit.op("Equal", x, 0.0)
    factor = emit.op("Where", zero, 1.0, x)
    is_zero = emit.op("Cast", zero, to=int(emit.dtype))
    zeros, p = (
        again(emit, node, v, op_type)
        for v, op_type in ((is_zero, "ReduceSum"), (factor, "ReduceProd"))
    )
    # the factor's own zero does not count among those of the others
    others = emit.op("Equal", emit.op("Sub", zeros, is_zero), 0.0)
    product = emit.op("Where", others, emit.op("Div", p, factor), 0.0)
    return emit.op("Mul", product, keeping_axes(emit, node, s))
