"""Pooling by a p-norm, y = (Σ |x|^p)^(1/p) over a window.

It is homogeneous of degree 1, so that x·∂y/∂x sums to y: relevance is shared like that of a sum,
each element in proportion to |x|^p.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import nonnegative
from lrp_onnx.ops.pool import windows
from lrp_onnx.ops.reduce_power import divided, sign_of
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import by_shape
from lrp_onnx.ops.scatter_add import overlap_add

__all__: list[str] = []


def _slope_of_power(emit: Emit, x: ir.Value | None, p: int) -> ir.Value:
    """sign(x)·|x|^(p-1)."""
    if p == 1:
        return sign_of(emit, x)
    return emit.op("Mul", x, _power(emit, emit.op("Abs", x), p - 2))


def _power(emit: Emit, a: ir.Value, exponent: int) -> ir.Value:
    """a^exponent, 1 for an exponent of 0 even where a is 0."""
    return a if exponent == 1 else emit.op("Pow", a, float(exponent))


def _outer(emit: Emit, node: ir.Node, s: ir.Value, p: int) -> ir.Value:
    """s·y^(1-p), 0 where y is 0."""
    y = node.outputs[0]
    return s if p == 1 else divided(emit, s, _power(emit, y, p - 1))


@op(
    "LpPool",
    kind="sum",
    window="pool",
    sign=nonnegative,
    numbered=True,
    samples_apart=by_shape,
)
def lp_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """sign(x)·|x|^(p-1) · Σ s·y^(1-p) over the windows that x is in.

    s: (N, C, *out)    ->    c: (N, C, *in).    Spec: ONNX LpPool-18.
    """
    p = node.attributes.get_int("p", 2)
    s = _outer(emit, node, s, p)
    for window in windows(emit, node):
        parts = [(offset, s) for offset in window.offsets]
        s = overlap_add(emit, parts, node, window.axis, window.stride, window.begin)
    return emit.op("Mul", _slope_of_power(emit, node.inputs[0], p), s)


@op("GlobalLpPool", kind="sum", sign=nonnegative, samples_apart=by_shape)
def global_lp_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """sign(x)·|x|^(p-1) · s·y^(1-p).

    s: (N, C, 1, …)    ->    c: (N, C, *in).    Spec: ONNX GlobalLpPool-2.
    """
    p = node.attributes.get_int("p", 2)
    slope = _slope_of_power(emit, node.inputs[0], p)
    return emit.op("Mul", slope, _outer(emit, node, s, p))
