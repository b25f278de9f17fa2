"""Sums, differences, products, quotients and maxima, with constants and between activations.

With a constant they are a scale, through which relevance passes; between activations a sum shares
out in proportion, a product half and half, a quotient's numerator gets all, a maximum's winner too.
A maximum with a constant is an activation, as Clip is.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import (
    common_sign,
    difference_range,
    maximum_range,
    minimum_range,
    negative_range,
    product_range,
    quotient_range,
    sum_range,
)
from lrp_onnx.ops.registry import op

__all__ = ["BINARY"]


BINARY: dict[str, Any] = {"inputs": (0, 1), "broadcasts": True, "folds": True}
VARIADIC: dict[str, Any] = {"inputs": None, "broadcasts": True}


@op("Add", kind=("scale", "sum"), range=sum_range, adds=True, **BINARY)
def add(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s.  Spec: ONNX Add-14."""
    return s


@op("Sub", kind=("scale", "sum"), range=difference_range, adds=True, **BINARY)
def sub(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s for the minuend, -s for the subtrahend.  Spec: ONNX Sub-14."""
    return emit.op("Neg", s) if i else s


@op("Mul", kind=("scale", "product"), range=product_range, multiplies=(0, 1), **BINARY)
def mul(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s times the other factor.  Spec: ONNX Mul-14."""
    return emit.op("Mul", s, emit.in_compute_dtype(node.inputs[1 - i]))


@op("Div", kind=("scale", "quotient"), range=quotient_range, multiplies=(0,), **BINARY)
def div(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/b for a, -s·y/b for b.  Spec: ONNX Div-14."""
    ratio = emit.op("Div", s, node.inputs[1])
    return emit.op("Neg", emit.op("Mul", ratio, node.outputs[0])) if i else ratio


@op("Neg", kind="scale", elementwise=True, range=negative_range, multiplies=(0,), folds=True)
def neg(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """-s.  Spec: ONNX Neg-13."""
    return emit.op("Neg", s)


@op("Max", kind=("activation", "maximum"), range=maximum_range, folds=True, **VARIADIC)
def maximum(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where input i is the largest; of equals a constant wins, else the first.

    Spec: ONNX Max-13.
    """
    return _where_it_wins(emit, node, s, i, "Greater")


@op("Min", kind=("activation", "maximum"), range=minimum_range, folds=True, **VARIADIC)
def minimum(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where input i is the smallest; of equals a constant wins, else the first.

    Spec: ONNX Min-13.
    """
    return _where_it_wins(emit, node, s, i, "Less")


def _where_it_wins(emit: Emit, node: ir.Node, s: ir.Value, i: int, better: str) -> ir.Value:
    x = node.inputs[i]
    others = [(j, v) for j, v in enumerate(node.inputs) if j != i and v is not None]
    wins = {v for j, v in others if j < i or v.const_value is not None}
    before = [v for _, v in others if v in wins]
    behind = [v for _, v in others if v not in wins]
    for comparison, values in ((better, before), (f"{better}OrEqual", behind)):
        if values:
            best = emit.op(node.op_type, *values) if len(values) > 1 else values[0]
            s = emit.op("Where", emit.op(comparison, x, best), s, 0.0)
    return s


@op("Mean", kind=("scale", "sum"), sign=common_sign, **VARIADIC)
def mean(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s divided by the number of inputs.  Spec: ONNX Mean-13."""
    return emit.op("Mul", s, 1 / len(node.inputs))


@op("Mod", kind=("scale", "quotient"), **BINARY)
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
