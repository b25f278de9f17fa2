"""Elementwise functions of one tensor: s times the derivative.

The derivative comes from y where that is cheaper and loses nothing.  At a kink it is that of the
flat side, if there is one, else that of the lower side; that of Abs at 0 is 0.  No derivative
overflows or is NaN for |x| up to 1e4.
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
from lrp_onnx.ops.registry import op

__all__: list[str] = []

TANH_SCALE, TANH_CUBE = math.sqrt(2 / math.pi), 0.044715
"""Constants of the tanh form of Gelu."""


def _relu_range(node: ir.Node, of: Sequence[Range]) -> Range:
    return maximum_range(node, (of[0], (0.0, 0.0)))


@op("Relu", kind="activation", range=_relu_range, folds=True)
def relu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where y > 0.  Spec: ONNX Relu-14."""
    return emit.op("Where", emit.op("Greater", node.outputs[0], 0.0), s, 0.0)


@op("Clip", kind="activation", range=clipped_range, folds=True)
def clip(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where min < y < max, either of which may be missing.  Spec: ONNX Clip-13."""
    low, high = [*node.inputs[1:], None, None][:2]
    if low is not None:
        s = emit.op("Where", emit.op("Greater", node.outputs[0], low), s, 0.0)
    if high is not None:
        s = emit.op("Where", emit.op("Less", node.outputs[0], high), s, 0.0)
    return s


@op("ThresholdedRelu", kind="activation", sign=same_sign)
def thresholded_relu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > alpha.  Spec: ONNX ThresholdedRelu-10."""
    return emit.op(
        "Where", emit.op("Greater", node.inputs[0], node.attributes.get_float("alpha", 1.0)), s, 0.0
    )


def _sign_of_shrink(node: ir.Node, of: Sequence[int]) -> int:
    """That of x, unless the bias may carry x past 0."""
    bias, threshold = (
        node.attributes.get_float("bias", 0.0),
        node.attributes.get_float("lambd", 0.5),
    )
    return of[0] if bias <= threshold and threshold >= 0 else 0


@op("Shrink", kind="activation", sign=_sign_of_shrink)
def shrink(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where |x| > lambd.  Spec: ONNX Shrink-9."""
    beyond = emit.op(
        "Greater", emit.op("Abs", node.inputs[0]), node.attributes.get_float("lambd", 0.5)
    )
    return emit.op("Where", beyond, s, 0.0)


def _where_positive(emit: Emit, node: ir.Node, above: ir.Value, below: ir.Value) -> ir.Value:
    return emit.op("Where", emit.op("Greater", node.inputs[0], 0.0), above, below)


def _sign_by_alpha(node: ir.Node, of: Sequence[int]) -> int:
    """That of x unless the slope below 0 is negative, which it is not by default."""
    return sign_by_slopes(of[0], 1 if node.attributes.get_float("alpha", 1.0) >= 0 else -1)


@op("LeakyRelu", kind="activation", sign=_sign_by_alpha)
def leaky_relu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > 0, else alpha·s.  Spec: ONNX LeakyRelu-16."""
    return _where_positive(
        emit, node, s, emit.op("Mul", s, node.attributes.get_float("alpha", 0.01))
    )


@op("PRelu", kind="activation", sign=lambda node, of: sign_by_slopes(*of))
def prelu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > 0, else slope·s.  Spec: ONNX PRelu-16."""
    return _where_positive(emit, node, s, emit.op("Mul", s, node.inputs[1]))


@op("Elu", kind="activation", sign=_sign_by_alpha)
def elu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > 0, else s·(y + alpha).  Spec: ONNX Elu-6."""
    slope = emit.op("Add", node.outputs[0], node.attributes.get_float("alpha", 1.0))
    return _where_positive(emit, node, s, emit.op("Mul", s, slope))


@op("Celu", kind="activation", sign=same_sign)
def celu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > 0, else s·(y/alpha + 1).  Spec: ONNX Celu-12."""
    slope = emit.op(
        "Add", emit.op("Div", node.outputs[0], node.attributes.get_float("alpha", 1.0)), 1.0
    )
    return _where_positive(emit, node, s, emit.op("Mul", s, slope))


def _sign_of_selu(node: ir.Node, of: Sequence[int]) -> int:
    positive = (
        node.attributes.get_float("alpha", 1.0) >= 0
        and node.attributes.get_float("gamma", 1.0) >= 0
    )
    return of[0] if positive else 0


@op("Selu", kind="activation", sign=_sign_of_selu)
def selu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """gamma·s where x > 0, else s·(y + gamma·alpha).  Spec: ONNX Selu-6."""
    alpha = node.attributes.get_float("alpha", 1.67326319217681884765625)
    gamma = node.attributes.get_float("gamma", 1.05070102214813232421875)
    below = emit.op("Mul", s, emit.op("Add", node.outputs[0], gamma * alpha))
    return _where_positive(emit, node, emit.op("Mul", s, gamma), below)


@op("Sigmoid", kind="activation", range=unit_range, folds=True)
def sigmoid(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·y·(1 - y).  Spec: ONNX Sigmoid-13."""
    y = node.outputs[0]
    return emit.op("Mul", s, emit.op("Mul", y, emit.op("Sub", 1.0, y)))


@op("HardSigmoid", kind="activation", range=unit_range)
def hard_sigmoid(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """alpha·s where 0 < y < 1.  Spec: ONNX HardSigmoid-6."""
    y, alpha = node.outputs[0], node.attributes.get_float("alpha", 0.2)
    inside = emit.op("And", emit.op("Greater", y, 0.0), emit.op("Less", y, 1.0))
    return emit.op("Where", inside, emit.op("Mul", s, alpha), 0.0)


@op("HardSwish", kind="activation", sign=same_sign)
def hard_swish(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """0 up to x = -3, s from x = 3, between them s·(x/3 + 1/2).  Spec: ONNX HardSwish-14."""
    x = node.inputs[0]
    slope = emit.op("Add", emit.op("Mul", x, 1 / 3), 0.5)
    rising = emit.op("Where", emit.op("Less", x, 3.0), emit.op("Mul", s, slope), s)
    return emit.op("Where", emit.op("Greater", x, -3.0), rising, 0.0)


@op("Tanh", kind="activation", sign=same_sign)
def tanh(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·(1 - y²).  Spec: ONNX Tanh-13."""
    y = node.outputs[0]
    return emit.op("Mul", s, _one_minus_square(emit, y))


def _one_minus_square(emit: Emit, y: ir.Value) -> ir.Value:
    return emit.op("Sub", 1.0, emit.op("Mul", y, y))


@op("Softplus", kind="activation", sign=nonnegative)
def softplus(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·σ(x).  Spec: ONNX Softplus-1."""
    return emit.op("Mul", s, emit.op("Sigmoid", node.inputs[0]))


@op("Softsign", kind="activation", sign=same_sign)
def softsign(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/(1 + |x|)².  Spec: ONNX Softsign-1."""
    root = emit.op("Add", emit.op("Abs", node.inputs[0]), 1.0)
    return emit.op("Div", s, emit.op("Mul", root, root))


@op("Mish", kind="activation", sign=same_sign)
def mish(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·(t + x·σ(x)·(1 - t²)) with t = tanh(softplus(x)).  Spec: ONNX Mish-18."""
    x = node.inputs[0]
    t = emit.op("Tanh", emit.op("Softplus", x))
    swish = emit.op("Mul", x, emit.op("Sigmoid", x))
    return emit.op("Mul", s, emit.op("Add", t, emit.op("Mul", swish, _one_minus_square(emit, t))))


@op("Gelu", kind="activation", sign=same_if_positive)
def gelu(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·(Φ(x) + x·Φ'(x)), Φ the normal distribution or its tanh form.  Spec: ONNX Gelu-20."""
    x, form = node.inputs[0], node.attributes.get("approximate")
    by_tanh = form is not None and form.as_string() == "tanh"
    share, slope = (_tanh_normal if by_tanh else _normal)(emit, x)
    return emit.op("Mul", s, emit.op("Add", share, emit.op("Mul", x, slope)))


def _normal(emit: Emit, x: ir.Value | None) -> tuple[ir.Value, ir.Value]:
    """Φ(x) = (1 + erf(x/√2))/2 and its derivative exp(-x²/2)/√(2π)."""
    erf_of = emit.op("Erf", emit.op("Mul", x, math.sqrt(0.5)))
    bell = emit.op("Exp", emit.op("Mul", emit.op("Mul", x, x), -0.5))
    return _half_plus(emit, erf_of), emit.op("Mul", bell, 1 / math.sqrt(2 * math.pi))


def _tanh_normal(emit: Emit, x: ir.Value | None) -> tuple[ir.Value, ir.Value]:
    """(1 + t)/2 and its derivative (1 - t²)/2·u', t = tanh(u), u = √(2/π)·(x + 0.044715·x³)."""
    square = emit.op("Mul", x, x)
    stretch = emit.op("Add", emit.op("Mul", square, TANH_SCALE * TANH_CUBE), TANH_SCALE)
    t = emit.op("Tanh", emit.op("Mul", x, stretch))
    slope = emit.op("Add", emit.op("Mul", square, 1.5 * TANH_SCALE * TANH_CUBE), TANH_SCALE / 2)
    return _half_plus(emit, t), emit.op("Mul", _one_minus_square(emit, t), slope)


def _half_plus(emit: Emit, odd: ir.Value) -> ir.Value:
    return emit.op("Add", emit.op("Mul", odd, 0.5), 0.5)


@op("Erf", kind="activation", sign=same_if_positive)
def erf(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·2/√π·exp(-x²).  Spec: ONNX Erf-13."""
    x = node.inputs[0]
    bell = emit.op("Exp", emit.op("Neg", emit.op("Mul", x, x)))
    return emit.op("Mul", s, emit.op("Mul", bell, 2 / math.sqrt(math.pi)))
