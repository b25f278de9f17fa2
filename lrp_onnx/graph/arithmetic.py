"""Arithmetic on tensors and numbers: numbers stay numbers, signs are followed, zeros disappear.

`positive(x)` of a tensor proven ≥ 0 is the tensor itself and `negative(x)` is the number 0, so that
a term with it is never emitted.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.builder import Emit

__all__ = [
    "Operand",
    "absolute",
    "add",
    "at_least",
    "at_most",
    "divide",
    "multiply",
    "negative",
    "positive",
    "side",
    "sign",
    "signed",
    "subtract",
    "tensor",
]

Operand = ir.Value | float
"""A tensor of the graph, or a number known at compile time."""


def tensor(a: Operand) -> ir.Value:
    """An operand that is no number."""
    assert isinstance(a, ir.Value)
    return a


def sign(emit: Emit, a: Operand) -> int:
    """+1 if a ≥ 0 is proven, -1 if a ≤ 0 is, else 0; the number 0 counts as +1."""
    if isinstance(a, float):
        return 1 if a >= 0 else -1
    return emit.signs.get(a, 0)


def signed(emit: Emit, value: ir.Value, known: int) -> ir.Value:
    """The value, noted as ≥ 0 (+1) or ≤ 0 (-1) if `known` says so."""
    if known:
        emit.signs.setdefault(value, known)
    return value


def add(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a + b."""
    if isinstance(a, float) and isinstance(b, float):
        return a + b
    if a == 0.0 or b == 0.0:
        return b if a == 0.0 else a
    known = sign(emit, a) if sign(emit, a) == sign(emit, b) else 0
    return signed(emit, emit.op("Add", a, b), known)


def subtract(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a - b."""
    if isinstance(a, float) and isinstance(b, float):
        return a - b
    if b == 0.0:
        return a
    known = sign(emit, a) if sign(emit, a) == -sign(emit, b) else 0
    if a == 0.0:
        return signed(emit, emit.op("Neg", b), -sign(emit, b))
    return signed(emit, emit.op("Sub", a, b), known)


def multiply(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a · b."""
    if isinstance(a, float) and isinstance(b, float):
        return a * b
    if a == 0.0 or b == 0.0:
        return 0.0
    if a == 1.0 or b == 1.0:
        return b if a == 1.0 else a
    known = 1 if a is b else sign(emit, a) * sign(emit, b)
    return signed(emit, emit.op("Mul", a, b), known)


def divide(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a / b."""
    if b == 0.0:
        raise RuleError("an expression of it divides by 0. Give its parameters other values")
    if isinstance(b, float):
        return multiply(emit, a, 1.0 / b)
    return 0.0 if a == 0.0 else emit.op("Div", a, b)


def positive(emit: Emit, a: Operand) -> Operand:
    """max(a, 0)."""
    if isinstance(a, float):
        return max(a, 0.0)
    known = sign(emit, a)
    return a if known > 0 else 0.0 if known < 0 else signed(emit, emit.op("Relu", a), 1)


def negative(emit: Emit, a: Operand) -> Operand:
    """min(a, 0)."""
    if isinstance(a, float):
        return min(a, 0.0)
    known = sign(emit, a)
    return a if known < 0 else 0.0 if known > 0 else signed(emit, at_most(emit, a, 0.0), -1)


def at_least(emit: Emit, a: ir.Value, least: float) -> ir.Value:
    """max(a, least)."""
    return _dialect(emit, "AtLeast", a, least)


def at_most(emit: Emit, a: ir.Value, most: float) -> ir.Value:
    """min(a, most)."""
    return _dialect(emit, "AtMost", a, most)


def side(emit: Emit, a: ir.Value) -> ir.Value:
    """sgn(a), 0 where a is."""
    return _dialect(emit, "Side", a)


def _dialect(emit: Emit, op_type: str, a: ir.Value, *numbers: float) -> ir.Value:
    value = emit.at_least_float(a)
    return emit.dialect(op_type, [value, *map(emit.constant, numbers)], [value])[0]


def absolute(emit: Emit, a: Operand) -> Operand:
    """|a|."""
    if isinstance(a, float):
        return abs(a)
    return a if sign(emit, a) > 0 else signed(emit, emit.op("Abs", a), 1)
