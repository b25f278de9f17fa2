"""Sums, differences, products, quotients and maxima, with constants and between activations.

With a constant they are a scale, through which relevance passes; between activations a sum shares
out in proportion, a product half and half, a quotient's numerator gets all, a maximum's winner too.
A maximum with a constant is an activation, as Clip is.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.registry import op

__all__: list[str] = []


def _sum_or_scale(node: ir.Node, active: tuple[int, ...]) -> str:
    return "sum" if len(active) > 1 else "scale"


def _product_or_scale(node: ir.Node, active: tuple[int, ...]) -> str:
    return "product" if len(active) > 1 else "scale"


def _quotient_or_scale(node: ir.Node, active: tuple[int, ...]) -> str:
    return "quotient" if len(active) > 1 else "scale"


@op("Add", kind=_sum_or_scale, inputs=(0, 1), broadcasts=True)
def add(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s.  Spec: ONNX Add-14."""
    return s


@op("Sub", kind=_sum_or_scale, inputs=(0, 1), broadcasts=True)
def sub(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s for the minuend, -s for the subtrahend.  Spec: ONNX Sub-14."""
    return emit.op("Neg", s) if i else s


@op("Mul", kind=_product_or_scale, inputs=(0, 1), broadcasts=True)
def mul(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s times the other factor.  Spec: ONNX Mul-14."""
    return emit.op("Mul", s, emit.in_compute_dtype(node.inputs[1 - i]))


@op("Div", kind=_quotient_or_scale, inputs=(0, 1), broadcasts=True)
def div(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/b for a, -s·y/b for b.  Spec: ONNX Div-14."""
    ratio = emit.op("Div", s, node.inputs[1])
    return emit.op("Neg", emit.op("Mul", ratio, node.outputs[0])) if i else ratio


@op("Neg", kind="scale", elementwise=True)
def neg(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """-s.  Spec: ONNX Neg-13."""
    return emit.op("Neg", s)


def _maximum_or_clip(node: ir.Node, active: tuple[int, ...]) -> str:
    return "maximum" if len(active) > 1 else "activation"


@op("Max", kind=_maximum_or_clip, inputs=None, broadcasts=True)
def maximum(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where input i is the largest; of equals a constant wins, else the first.

    Spec: ONNX Max-13.
    """
    return _where_it_wins(emit, node, s, i, "Greater")


@op("Min", kind=_maximum_or_clip, inputs=None, broadcasts=True)
def minimum(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where input i is the smallest; of equals a constant wins, else the first.

    Spec: ONNX Min-13.
    """
    return _where_it_wins(emit, node, s, i, "Less")


def _where_it_wins(emit: Emit, node: ir.Node, s: ir.Value, i: int, better: str) -> ir.Value:
    x = node.inputs[i]
    others = [(j, v) for j, v in enumerate(node.inputs) if j != i and v is not None]
    before = [v for j, v in others if j < i or v.const_value is not None]
    behind = [v for j, v in others if v not in before]
    for comparison, values in ((better, before), (f"{better}OrEqual", behind)):
        if values:
            best = emit.op(node.op_type, *values) if len(values) > 1 else values[0]
            s = emit.op("Where", emit.op(comparison, x, best), s, 0.0)
    return s


@op("Mean", kind=_sum_or_scale, inputs=None, broadcasts=True)
def mean(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s divided by the number of inputs.  Spec: ONNX Mean-13."""
    return emit.op("Mul", s, 1 / len(node.inputs))


@op("Mod", kind=_quotient_or_scale, inputs=(0, 1), broadcasts=True)
def remainder(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """y = a - q·b with a whole q that does not change: s for a, -q·s for b, 0 where s is 0 even if
    q is infinite.  Spec: ONNX Mod-13.
    """
    if i == 0:
        return s
    a, b, y = (emit.in_compute_dtype(v) for v in (*node.inputs, node.outputs[0]))
    quotient = emit.op("Round", emit.op("Div", emit.op("Sub", a, y), b))
    c = emit.op("Neg", emit.op("Mul", s, quotient))
    return emit.op("Where", emit.op("Equal", s, 0.0), 0.0, c)
