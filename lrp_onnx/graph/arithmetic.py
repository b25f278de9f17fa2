"""Arithmetic on tensors and numbers: numbers stay numbers, signs are followed, zeros disappear.

`positive(x)` of a tensor proven ≥ 0 is the tensor itself and `negative(x)` is the number 0, so that
a term with it is never emitted.  `express` emits the nodes of an expression, of rules and of
derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.expression import CHOICE, Expression
from lrp_onnx.graph.ranks import known_rank

__all__ = [
    "ELEMENTARY",
    "Operand",
    "absolute",
    "add",
    "at_least",
    "at_most",
    "divide",
    "express",
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


def express(emit: Emit, tree: Expression, values: Mapping[str, Operand]) -> Operand:
    """Emit the nodes of an expression over `values`; a number if nothing depends on a tensor."""
    if isinstance(tree, float):
        return tree
    if isinstance(tree, str):
        if tree not in values:
            raise RuleError(
                f"{tree!r} is not one value here. Numbers per channel may stand in a term's x only"
            )
        return values[tree]
    operator, *parts = tree
    return _OPERATORS[str(operator)](emit, *(express(emit, part, values) for part in parts))


def step(emit: Emit, a: Operand) -> Operand:
    """1 where a > 0, else 0."""
    if isinstance(a, float):
        return float(a > 0)
    return signed(emit, emit.op("Cast", emit.op("Greater", a, 0.0), to=int(emit.dtype)), 1)


def sigmoid(emit: Emit, a: Operand) -> Operand:
    """1 / (1 + exp(-a))."""
    value = emit.constant(a) if isinstance(a, float) else a
    return signed(emit, emit.op("Sigmoid", value), 1)


def finite(emit: Emit, a: Operand) -> Operand:
    """a where it is finite, else 0: a masked score is -inf."""
    if isinstance(a, float):
        return a
    bounded = emit.op("Less", emit.op("Abs", a), math.inf)
    return emit.op("Where", bounded, a, 0.0)


def rms(emit: Emit, a: Operand) -> Operand:
    """The root of the mean square over each sample: all axes but the first, kept as size 1."""
    if isinstance(a, float):
        return abs(a)
    axes = range(1, known_rank(a))
    mean = emit.op("ReduceMean", emit.op("Mul", a, a), emit.ints(*axes), keepdims=1)
    return signed(emit, emit.op("Sqrt", mean), 1)


def choose(emit: Emit, a: Operand, b: Operand, condition: ir.Value) -> Operand:
    """a where the condition holds, else b."""
    return emit.op("Where", condition, a, b)


def _operator(op_type: str) -> Callable[..., Operand]:
    def emitted(emit: Emit, *operands: Operand) -> Operand:
        return emit.op(op_type, *operands)

    return emitted


ELEMENTARY = {name: _operator(name.capitalize()) for name in (
    "cos", "cosh", "erf", "exp", "sin", "sinh", "softplus", "sqrt", "tanh",
)}  # fmt: skip
"""Functions of derivatives, beside those of rules."""
_OPERATORS: dict[str, Callable[..., Operand]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "pos": positive,
    "neg": negative,
    "abs": absolute,
    "step": step,
    "sigmoid": sigmoid,
    "finite": finite,
    "rms": rms,
    "<": _operator("Less"),
    "<=": _operator("LessOrEqual"),
    ">": _operator("Greater"),
    ">=": _operator("GreaterOrEqual"),
    "==": _operator("Equal"),
    CHOICE: choose,
    **ELEMENTARY,
}
