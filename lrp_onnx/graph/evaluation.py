"""Expressions of rules and of derivatives as nodes of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.arithmetic import (
    Operand,
    absolute,
    add,
    divide,
    multiply,
    negative,
    positive,
    signed,
    subtract,
)
from lrp_onnx.graph.builder import Emit, known_rank
from lrp_onnx.graph.expression import CHOICE, Expression

__all__ = ["ELEMENTARY", "evaluate"]


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
