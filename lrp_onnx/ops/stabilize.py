"""Quotients by a sum of contributions, which may be 0: stabilize(z) = z + ε·sgn(z)."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, add, sign, subtract
from lrp_onnx.graph.builder import Emit

__all__ = ["ratio"]


def ratio(emit: Emit, relevance: ir.Value, z: ir.Value, epsilon: Operand) -> ir.Value:
    """R / (z + ε·sgn(z)) with sgn(0) = +1; where the denominator would be 0 the ratio is 0
    (LRP-0).
    """
    if epsilon == 0.0:
        return _ratio_or_zero(emit, relevance, z)
    known = sign(emit, z)
    if known:
        shifted = add(emit, z, epsilon) if known > 0 else subtract(emit, z, epsilon)
    else:
        number = emit.constant(epsilon) if isinstance(epsilon, float) else epsilon
        like = z if isinstance(epsilon, float) else relevance  # z may be that of one sample
        (shifted,) = emit.dialect("Stabilize", [emit.at_least_float(z), number], [like])
    assert isinstance(shifted, ir.Value)
    if isinstance(epsilon, ir.Value):  # computed from z, so 0 where all of z is
        return _ratio_or_zero(emit, relevance, shifted)
    return emit.op("Div", relevance, shifted)


def _ratio_or_zero(emit: Emit, relevance: ir.Value, z: ir.Value) -> ir.Value:
    zero = emit.op("Equal", z, 0.0)
    ratio = emit.op("Div", relevance, emit.op("Where", zero, 1.0, z))
    return emit.op("Where", zero, 0.0, ratio)
