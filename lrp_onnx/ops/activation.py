"""Elementwise functions of one tensor that networks have as activations.

The derivative comes from y where that is cheaper and loses nothing.  At a kink it is that of the
flat side, if there is one, else that of the lower side.  No derivative overflows or is NaN for |x|
up to 1e4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import (
    Range,
    clipped_range,
    maximum_range,
    nonnegative,
    same_if_positive,
    same_sign,
    sign_by_slopes,
    unit_range,
)
from lrp_onnx.ops.elementwise import derivative, elementwise
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op

__all__: list[str] = []


def _relu_range(node: ir.Node, of: Sequence[Range]) -> Range:
    return maximum_range(node, (of[0], (0.0, 0.0)))


def _sign_of_shrink(node: ir.Node, of: Sequence[int]) -> int:
    """That of x, unless the bias may carry x past 0."""
    bias = node.attributes.get_float("bias", 0.0)
    threshold = node.attributes.get_float("lambd", 0.5)
    return of[0] if bias <= threshold and threshold >= 0 else 0


def _sign_by_alpha(node: ir.Node, of: Sequence[int]) -> int:
    """That of x unless the slope below 0 is negative, which it is not by default."""
    return sign_by_slopes(of[0], 1 if node.attributes.get_float("alpha", 1.0) >= 0 else -1)


def _sign_of_selu(node: ir.Node, of: Sequence[int]) -> int:
    factors = (node.attributes.get_float(name, 1.0) for name in ("alpha", "gamma"))
    return of[0] if all(factor >= 0 for factor in factors) else 0


ROOT = {"root": math.sqrt(math.pi)}
SELU = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
HARD_SWISH = "(s * (x * third + 0.5) if x < 3 else s) if x > -3 else 0"

elementwise("Relu", 14, "s if y > 0 else 0", range=_relu_range, folds=True)
elementwise("ThresholdedRelu", 10, "s if x > alpha else 0", {"alpha": 1.0}, sign=same_sign)
elementwise("Shrink", 9, "s if abs(x) > lambd else 0", {"lambd": 0.5}, sign=_sign_of_shrink)
elementwise("LeakyRelu", 16, "s if x > 0 else s * alpha", {"alpha": 0.01}, sign=_sign_by_alpha)
elementwise("Elu", 6, "s if x > 0 else s * (y + alpha)", {"alpha": 1.0}, sign=_sign_by_alpha)
elementwise("Celu", 12, "s if x > 0 else s * (y / alpha + 1)", {"alpha": 1.0}, sign=same_sign)
elementwise("Selu", 6, "s * gamma if x > 0 else s * (y + gamma * alpha)", SELU, sign=_sign_of_selu)
elementwise("Sigmoid", 13, "s * (y * (1 - y))", range=unit_range, folds=True)
elementwise(
    *("HardSigmoid", 6, "(s * alpha if y < 1 else 0) if y > 0 else 0", {"alpha": 0.2}),
    range=unit_range,
)
elementwise("HardSwish", 14, HARD_SWISH, {"third": 1 / 3}, sign=same_sign)
elementwise("Tanh", 13, "s * (1 - y * y)", sign=same_sign)
elementwise("Softplus", 1, "s * sigmoid(x)", sign=nonnegative)
elementwise("Softsign", 1, "s / ((abs(x) + 1) * (abs(x) + 1))", sign=same_sign)
elementwise("Erf", 13, "s * (exp(-(x * x)) * (2 / root))", ROOT, sign=same_if_positive)


@op("Clip", kind="activation", range=clipped_range, folds=True)
def clip(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where min < y < max, either of which may be missing.  Spec: ONNX Clip-13."""
    low, high = [*node.inputs[1:], None, None][:2]
    if low is not None:
        s = emit.op("Where", emit.op("Greater", node.outputs[0], low), s, 0.0)
    if high is not None:
        s = emit.op("Where", emit.op("Less", node.outputs[0], high), s, 0.0)
    return s


@op("PRelu", kind="activation", sign=lambda node, of: sign_by_slopes(*of))
def prelu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > 0, else slope·s.  Spec: ONNX PRelu-16."""
    below = emit.op("Mul", s, node.inputs[1])
    return emit.op("Where", emit.op("Greater", node.inputs[0], 0.0), s, below)


@op("Mish", kind="activation", sign=same_sign)
def mish(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·(t + x·σ(x)·(1 - t²)) with t = tanh(softplus(x)).  Spec: ONNX Mish-18."""
    x = operand(node)
    t = derivative(emit, "tanh(softplus(x))", x=x)
    return derivative(emit, "s * (t + x * sigmoid(x) * (1 - t * t))", s=s, x=x, t=t)


@op("Gelu", kind="activation", sign=same_if_positive)
def gelu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·(Φ(x) + x·Φ'(x)).  Spec: ONNX Gelu-20.

    Φ is the normal distribution (1 + erf(x/√2))/2, or its form (1 + t)/2 by the hyperbolic tangent,
    t = tanh(√(2/π)·(x + 0.044715·x³)).
    """
    x, a = operand(node), math.sqrt(2 / math.pi)
    if node.attributes.get_string("approximate") == "tanh":
        c = 0.044715 * a
        t = derivative(emit, "tanh(x * (x * x * c + a))", x=x, c=c, a=a)
        share = derivative(emit, "t * 0.5 + 0.5", t=t)
        slope = "(1 - t * t) * (x * x * c + a)"
        slope_at = derivative(emit, slope, x=x, t=t, c=1.5 * c, a=a / 2)
    else:
        share = derivative(emit, "erf(x * a) * 0.5 + 0.5", x=x, a=math.sqrt(0.5))
        slope_at = derivative(emit, "exp(x * x * -0.5) * a", x=x, a=a / 2)
    return derivative(emit, "s * (share + x * slope)", s=s, share=share, x=x, slope=slope_at)
