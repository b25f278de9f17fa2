"""Expressions of rule files as graph nodes: numbers stay numbers, signs are followed, zeros
disappear.

`pos(x)` of a tensor proven ≥ 0 is the tensor itself and `neg(x)` is the number 0, so that a term
with it is never emitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.builder import Emit, known_rank
from lrp_onnx.lrp.expression import Expression

__all__ = [
    "Operand",
    "absolute",
    "add",
    "at_least",
    "at_most",
    "divide",
    "evaluate",
    "multiply",
    "negative",
    "positive",
    "ratio",
    "sign",
    "subtract",
]

Operand = ir.Value | float
"""A tensor of the graph, or a number known at compile time."""


def evaluate(emit: Emit, tree: Expression, values: Mapping[str, Operand]) -> Operand:
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
    return _OPERATORS[str(operator)](emit, *(evaluate(emit, part, values) for part in parts))


def sign(emit: Emit, a: Operand) -> int:
    """+1 if a ≥ 0 is proven, -1 if a ≤ 0 is, else 0; the number 0 counts as +1."""
    if isinstance(a, float):
        return 1 if a >= 0 else -1
    return emit.signs.get(a, 0)


def _signed(emit: Emit, value: ir.Value, known: int) -> ir.Value:
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
    return _signed(emit, _like(emit.op("Add", a, b), a, b), known)


def subtract(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a - b."""
    if isinstance(a, float) and isinstance(b, float):
        return a - b
    if b == 0.0:
        return a
    known = sign(emit, a) if sign(emit, a) == -sign(emit, b) else 0
    if a == 0.0:
        return _signed(emit, _like(emit.op("Neg", b), b), -sign(emit, b))
    return _signed(emit, _like(emit.op("Sub", a, b), a, b), known)


def multiply(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a · b."""
    if isinstance(a, float) and isinstance(b, float):
        return a * b
    if a == 0.0 or b == 0.0:
        return 0.0
    if a == 1.0 or b == 1.0:
        return b if a == 1.0 else a
    known = 1 if a is b else sign(emit, a) * sign(emit, b)
    return _signed(emit, _like(emit.op("Mul", a, b), a, b), known)


def divide(emit: Emit, a: Operand, b: Operand) -> Operand:
    """a / b."""
    if b == 0.0:
        raise RuleError("an expression of it divides by 0. Give its parameters other values")
    if isinstance(b, float):
        return multiply(emit, a, 1.0 / b)
    return 0.0 if a == 0.0 else _like(emit.op("Div", a, b), a, b)


def positive(emit: Emit, a: Operand) -> Operand:
    """max(a, 0)."""
    if isinstance(a, float):
        return max(a, 0.0)
    known = sign(emit, a)
    return a if known > 0 else 0.0 if known < 0 else _signed(emit, _like(emit.op("Relu", a), a), 1)


def negative(emit: Emit, a: Operand) -> Operand:
    """min(a, 0)."""
    if isinstance(a, float):
        return min(a, 0.0)
    known = sign(emit, a)
    return a if known < 0 else 0.0 if known > 0 else _signed(emit, at_most(emit, a, 0.0), -1)


def at_least(emit: Emit, a: Operand, least: float) -> ir.Value:
    """max(a, least), as a Clip: runtimes compute it together with the convolution before it."""
    return _like(emit.op("Clip", a, least), a)


def at_most(emit: Emit, a: Operand, most: float) -> ir.Value:
    """min(a, most), as a Clip: ONNX Runtime's Min runs on one thread."""
    return _like(emit.op("Clip", a, None, most), a)


def absolute(emit: Emit, a: Operand) -> Operand:
    """|a|."""
    if isinstance(a, float):
        return abs(a)
    return a if sign(emit, a) > 0 else _signed(emit, _like(emit.op("Abs", a), a), 1)


def step(emit: Emit, a: Operand) -> Operand:
    """1 where a > 0, else 0."""
    if isinstance(a, float):
        return float(a > 0)
    return _signed(
        emit, _like(emit.op("Cast", emit.op("Greater", a, 0.0), to=int(emit.dtype)), a), 1
    )


def sigmoid(emit: Emit, a: Operand) -> Operand:
    """1 / (1 + exp(-a))."""
    value = emit.constant(a) if isinstance(a, float) else a
    return _signed(emit, _like(emit.op("Sigmoid", value), value), 1)


def finite(emit: Emit, a: Operand) -> Operand:
    """a where it is finite, else 0: a masked score is -inf."""
    if isinstance(a, float):
        return a
    bounded = emit.op("Less", emit.op("Abs", a), math.inf)
    return _like(emit.op("Where", bounded, a, 0.0), a)


def rms(emit: Emit, a: Operand) -> Operand:
    """The root of the mean square over each sample: all axes but the first, kept as size 1."""
    if isinstance(a, float):
        return abs(a)
    axes = range(1, known_rank(a))
    mean = emit.op("ReduceMean", emit.op("Mul", a, a), emit.ints(*axes), keepdims=1)
    return _signed(emit, emit.op("Sqrt", mean), 1)


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
        shifted = emit.op("Add", z, _towards(emit, z, epsilon))
    assert isinstance(shifted, ir.Value)
    if isinstance(epsilon, ir.Value):  # computed from z, so 0 where all of z is
        return _ratio_or_zero(emit, relevance, shifted)
    return emit.op("Div", relevance, shifted)


def _towards(emit: Emit, z: ir.Value, epsilon: Operand) -> Operand:
    """ε·sgn(z); as arithmetic where ONNX Runtime's Where would run on one thread."""
    upper = emit.op("GreaterOrEqual", z, 0.0)
    if not emit.optimise or emit.runtime == "cuda":
        return emit.op("Where", upper, epsilon, subtract(emit, 0.0, epsilon))
    twice = multiply(emit, emit.op("Cast", upper, to=int(emit.dtype)), multiply(emit, 2.0, epsilon))
    return subtract(emit, twice, epsilon)


def _ratio_or_zero(emit: Emit, relevance: ir.Value, z: ir.Value) -> ir.Value:
    zero = emit.op("Equal", z, 0.0)
    ratio = emit.op("Div", relevance, emit.op("Where", zero, 1.0, z))
    return emit.op("Where", zero, 0.0, ratio)


def _comparison(operator: str) -> Callable[[Emit, Operand, Operand], Operand]:
    def compare(emit: Emit, a: Operand, b: Operand) -> Operand:
        return emit.op(operator, a, b)

    return compare


def _like(value: ir.Value, *operands: Operand) -> ir.Value:
    """Give an elementwise result the shape of its only tensor operand, or of two of the same
    shape.
    """
    shapes = [o.shape for o in operands if isinstance(o, ir.Value)]
    if value.shape is None and all(s == shapes[0] for s in shapes):
        value.shape = shapes[0]
    return value


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
    "<": _comparison("Less"),
    "<=": _comparison("LessOrEqual"),
    ">": _comparison("Greater"),
    ">=": _comparison("GreaterOrEqual"),
}
