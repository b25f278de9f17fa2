"""Powers, exponentials, logarithms and trigonometry of one tensor.

Where the derivative is infinite though the value is not, as of √x at 0, it counts as 0, as does
that of |x| at 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.arithmetic import BINARY
from lrp_onnx.ops.bounds import absolute_range, nonnegative, same_sign
from lrp_onnx.ops.elementwise import elementwise
from lrp_onnx.ops.registry import op

__all__: list[str] = []

LARGEST_EXPONENT = 1 << 16
"""Elements up to which a constant exponent is looked at."""


elementwise("Abs", 13, "s if x > 0 else (-s if x < 0 else 0)", range=absolute_range, folds=True)
elementwise("Exp", 13, "s * y", sign=nonnegative, folds=True)
elementwise("Log", 13, "s / x", folds=True)
elementwise("Sqrt", 13, "0 if y == 0 else s * 0.5 / y", sign=nonnegative, folds=True)
elementwise("Reciprocal", 13, "-(s * (y * y))", sign=same_sign, folds=True)
elementwise("Sin", 7, "s * cos(x)")
elementwise("Cos", 7, "-(s * sin(x))")
elementwise("Tan", 7, "s * (y * y + 1)")
elementwise("Sinh", 9, "s * cosh(x)", sign=same_sign)
elementwise("Cosh", 9, "s * sinh(x)", sign=nonnegative)
elementwise("Asin", 7, "0 if 1 - x * x == 0 else s / sqrt(1 - x * x)", sign=same_sign)
elementwise("Acos", 7, "-(0 if 1 - x * x == 0 else s / sqrt(1 - x * x))", sign=nonnegative)
elementwise("Asinh", 9, "0 if x * x + 1 == 0 else s / sqrt(x * x + 1)", sign=same_sign)
elementwise("Acosh", 9, "0 if x * x - 1 == 0 else s / sqrt(x * x - 1)", sign=nonnegative)
elementwise("Atan", 7, "s / (x * x + 1)", sign=same_sign)
elementwise("Atanh", 9, "s / (1 - x * x)", sign=same_sign)


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
