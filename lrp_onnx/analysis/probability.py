"""Which tensors are probabilities: a softmax, a log-softmax or a sigmoid of logits.

The softmax is an operator by now, whatever spelled it; a log-softmax may be its logarithm, and a
softmax the exponential of one.  A sigmoid is spelled out as 1/(1 + exp(−x)) or exp(x)/(1 + exp(x)).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from lrp_onnx.graph.constant_values import constant_array, is_number
from lrp_onnx.graph.makers import either_way, inputs_by, made_by
from lrp_onnx.ops.registry import find

__all__ = [
    "Logits",
    "complement",
    "moves",
    "of_log_softmax",
    "of_sigmoid",
    "of_softmax",
    "renormalized",
    "same_value",
]


class Logits(NamedTuple):
    """The logits of a probability, and the axis that their softmax is over."""

    x: ir.Value
    axis: int | None = None


def moves(node: ir.Node) -> bool:
    """Whether it only moves or copies the elements of its first input."""
    operator = find(node)
    if operator is None or operator.inputs != (0,):
        return False
    if len(node.outputs) != 1 and node.op_type != "Split":
        return False
    return operator.kind == "move" or node.op_type in ("Cast", "Dropout")


def same_value(node: ir.Node) -> ir.Value | None:
    """What a quantizer quantizes, and what explains a value that another operator computes."""
    if node.op_type == "QuantizeLinear":
        return node.inputs[0]
    if node.op_type != "ExplainedBy" or node.inputs[0] is None:
        return None
    dequantized = inputs_by(node.inputs[0], "DequantizeLinear")
    return dequantized[0] if dequantized else node.inputs[1]


def of_softmax(value: ir.Value | None) -> Logits | None:
    """x of softmax(x)."""
    if x := inputs_by(value, "Softmax"):
        return _over_axis(value, x[0])
    exponent = inputs_by(value, "Exp")
    return of_log_softmax(exponent[0]) if exponent else None


def renormalized(value: ir.Value) -> ir.Value | None:
    """p of p / Σp over the axis that p is a softmax over, where its sum is 1: scikit-learn's
    classifiers are converted so.
    """
    for p, total in _quotients(value):
        divisor = inputs_by(total, "Where")  # 1 where the sum is 0, which it is not
        total = divisor[2] if divisor else total
        reduced = inputs_by(total, "ReduceL1") or inputs_by(total, "ReduceSum")
        own = of_softmax(_value_behind(p))
        if own is None or len(reduced) < 2 or reduced[0] is not p:
            continue
        axes, rank = constant_array(reduced[1]), len(own.x.shape or ())
        if axes is not None and rank and [int(a) % rank for a in axes.flat] == [own.axis]:
            return p
    return None


def _value_behind(value: ir.Value | None) -> ir.Value | None:
    """The value that explains this one, or itself."""
    node = None if value is None else value.producer()
    return value if node is None else same_value(node) or value


def of_log_softmax(value: ir.Value | None) -> Logits | None:
    """x of log(softmax(x))."""
    if x := inputs_by(value, "LogSoftmax"):
        return _over_axis(value, x[0])
    logarithm = inputs_by(value, "Log")
    return of_softmax(logarithm[0]) if logarithm else None


def _over_axis(value: ir.Value | None, x: ir.Value | None) -> Logits | None:
    """x with the axis of the softmax that makes the value of it."""
    node = made_by(value)
    if node is None or x is None:
        return None
    axis = node.attributes.get_int("axis", -1)
    return Logits(x, axis if axis >= 0 or x.shape is None else axis + len(x.shape))


def of_sigmoid(value: ir.Value | None) -> Logits | None:
    """x of sigmoid(x)."""
    x = _argument_of_sigmoid(value)
    return None if x is None else Logits(x)


def _argument_of_sigmoid(value: ir.Value | None) -> ir.Value | None:
    if x := inputs_by(value, "Sigmoid"):
        return x[0]
    if inverted := inputs_by(value, "Reciprocal"):
        return _negated(_exponent_beside_one(inverted[0]))
    for powers, total in _quotients(value):
        exponent = _exponent_beside_one(total)
        if exponent is None:
            continue
        if is_number(powers, 1):
            return _negated(exponent)
        if (x := inputs_by(powers, "Exp")) and x[0] is exponent:
            return exponent
    return None


def complement(value: ir.Value) -> ir.Value | None:
    """p of 1 − p."""
    if (difference := inputs_by(value, "Sub")) and is_number(difference[0], 1):
        return difference[1]
    for one, rest in either_way(inputs_by(value, "Add")):
        if is_number(one, 1) and (p := _negated(rest)) is not None:
            return p
    return None


def _quotients(value: ir.Value | None) -> Iterator[tuple[ir.Value | None, ir.Value | None]]:
    """(a, b) of a/b, also spelled a·(1/b)."""
    if quotient := inputs_by(value, "Div"):
        yield quotient[0], quotient[1]
    if factors := inputs_by(value, "Mul"):
        for a, b in either_way(factors):
            if inverted := inputs_by(b, "Reciprocal"):
                yield a, inverted[0]


def _exponent_beside_one(value: ir.Value | None) -> ir.Value | None:
    """a of 1 + exp(a)."""
    for one, powers in either_way(inputs_by(value, "Add")):
        if is_number(one, 1) and (exponent := inputs_by(powers, "Exp")):
            return exponent[0]
    return None


def _negated(value: ir.Value | None) -> ir.Value | None:
    """x of −x, 0 − x, x·(−1) or x/(−1)."""
    if negated := inputs_by(value, "Neg"):
        return negated[0]
    if (difference := inputs_by(value, "Sub")) and is_number(difference[0], 0):
        return difference[1]
    for factor, x in either_way(inputs_by(value, "Mul")):
        if is_number(factor, -1):
            return x
    quotient = inputs_by(value, "Div")
    return quotient[0] if quotient and is_number(quotient[1], -1) else None
