"""Powers, exponentials, logarithms and trigonometry of one tensor: s times the derivative.

Where the derivative is infinite though the value is not, as of √x at 0, it counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.arithmetic import BINARY
from lrp_onnx.ops.bounds import absolute_range, nonnegative, same_sign
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.stabilize import ratio

__all__: list[str] = []

LARGEST_EXPONENT = 1 << 16
"""Elements up to which a constant exponent is looked at."""


@op("Abs", kind="activation", range=absolute_range, folds=True)
def absolute(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where x > 0, -s where x < 0.  Spec: ONNX Abs-13."""
    x = node.inputs[0]
    falling = emit.op("Where", emit.op("Less", x, 0.0), emit.op("Neg", s), 0.0)
    return emit.op("Where", emit.op("Greater", x, 0.0), s, falling)


@op("Exp", kind="activation", sign=nonnegative, folds=True)
def exp(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·y.  Spec: ONNX Exp-13."""
    return emit.op("Mul", s, node.outputs[0])


@op("Log", kind="activation", folds=True)
def log(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/x.  Spec: ONNX Log-13."""
    return emit.op("Div", s, node.inputs[0])


@op("Sqrt", kind="activation", sign=nonnegative, folds=True)
def sqrt(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/(2·y), 0 where y = 0.  Spec: ONNX Sqrt-13."""
    return ratio(emit, emit.op("Mul", s, 0.5), node.outputs[0], 0.0)


@op("Reciprocal", kind="activation", sign=same_sign, folds=True)
def reciprocal(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """-s·y².  Spec: ONNX Reciprocal-13."""
    y = node.outputs[0]
    return emit.op("Neg", emit.op("Mul", s, emit.op("Mul", y, y)))


def _sign_of_power(node: ir.Node, of: Sequence[int]) -> int:
    """That of a base ≥ 0; of an even constant exponent +1; an odd one keeps the base's sign."""
    exponent = node.inputs[1]
    constant = None if exponent is None else exponent.const_value
    if of[0] > 0 or constant is None or constant.size > LARGEST_EXPONENT:
        return max(of[0], 0)
    with np.errstate(invalid="ignore"):  # an infinite exponent is neither even nor odd
        parity = constant.numpy() % 2
    return 1 if (parity == 0).all() else of[0] if (parity == 1).all() else 0


# with an exponent that depends on the input too, two factors that share their relevance
@op("Pow", kind=("activation", "product"), sign=_sign_of_power, **BINARY)
def power(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·b·a^(b-1) for the base a, s·y·ln a for the exponent b.  Spec: ONNX Pow-15."""
    base, exponent = (emit.in_compute_dtype(v) for v in node.inputs)
    if i == 1:
        positive = emit.op("Where", emit.op("Greater", base, 0.0), base, 1.0)
        return emit.op("Mul", s, emit.op("Mul", node.outputs[0], emit.op("Log", positive)))
    lowered = emit.op("Pow", base, emit.op("Sub", exponent, 1.0))
    steep = emit.op("And", emit.op("Equal", base, 0.0), emit.op("Less", exponent, 1.0))
    slope = emit.op("Mul", exponent, emit.op("Where", steep, 0.0, lowered))
    return emit.op("Mul", s, slope)


@op("Sin", kind="activation")
def sin(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·cos x.  Spec: ONNX Sin-7."""
    return emit.op("Mul", s, emit.op("Cos", node.inputs[0]))


@op("Cos", kind="activation")
def cos(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """-s·sin x.  Spec: ONNX Cos-7."""
    return emit.op("Neg", emit.op("Mul", s, emit.op("Sin", node.inputs[0])))


@op("Tan", kind="activation")
def tan(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·(1 + y²).  Spec: ONNX Tan-7."""
    y = node.outputs[0]
    return emit.op("Mul", s, emit.op("Add", emit.op("Mul", y, y), 1.0))


@op("Sinh", kind="activation", sign=same_sign)
def sinh(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·cosh x.  Spec: ONNX Sinh-9."""
    return emit.op("Mul", s, emit.op("Cosh", node.inputs[0]))


@op("Cosh", kind="activation", sign=nonnegative)
def cosh(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·sinh x.  Spec: ONNX Cosh-9."""
    return emit.op("Mul", s, emit.op("Sinh", node.inputs[0]))


def _over_root(
    emit: Emit, s: ir.Value, x: ir.Value | None, factor: float, constant: float
) -> ir.Value:
    """s/√(factor·x² + constant), 0 where the root is 0."""
    square = emit.op("Mul", emit.op("Mul", x, x), factor)
    return ratio(emit, s, emit.op("Sqrt", emit.op("Add", square, constant)), 0.0)


@op("Asin", kind="activation", sign=same_sign)
def asin(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/√(1 - x²).  Spec: ONNX Asin-7."""
    return _over_root(emit, s, node.inputs[0], -1.0, 1.0)


@op("Acos", kind="activation", sign=nonnegative)
def acos(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """-s/√(1 - x²).  Spec: ONNX Acos-7."""
    return emit.op("Neg", asin(emit, node, s, i))


@op("Asinh", kind="activation", sign=same_sign)
def asinh(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/√(x² + 1).  Spec: ONNX Asinh-9."""
    return _over_root(emit, s, node.inputs[0], 1.0, 1.0)


@op("Acosh", kind="activation", sign=nonnegative)
def acosh(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/√(x² - 1).  Spec: ONNX Acosh-9."""
    return _over_root(emit, s, node.inputs[0], 1.0, -1.0)


@op("Atan", kind="activation", sign=same_sign)
def atan(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/(1 + x²).  Spec: ONNX Atan-7."""
    x = node.inputs[0]
    return emit.op("Div", s, emit.op("Add", emit.op("Mul", x, x), 1.0))


@op("Atanh", kind="activation", sign=same_sign)
def atanh(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s/(1 - x²).  Spec: ONNX Atanh-9."""
    x = node.inputs[0]
    return emit.op("Div", s, emit.op("Sub", 1.0, emit.op("Mul", x, x)))
