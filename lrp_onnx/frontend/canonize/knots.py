"""Piecewise linear interpolation: at a knot the slope is that of the piece, not 0.

    Where(x ≤ k, r, r + m·(x - k))    ->    Where(x < k, r, r + m·(x - k))

At x = k both branches are r, so that the forward stays what it is; but the first one is a constant,
and as exports find k by a search for the knot below x, every x that is a knot would get nothing.
The training data of a QuantileTransformer are its knots.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.replacement import Build

__all__ = ["open_at_knots"]

STRICT = {"LessOrEqual": "Less", "GreaterOrEqual": "Greater"}


@each("Where")
def open_at_knots(view: View, node: ir.Node) -> bool:
    """Make the comparison strict in front of a choice that is continuous there: both branches are
    equal where the two numbers compared are.
    """
    condition, constant, line = node.inputs
    compared, terms = made_by(condition, *STRICT), inputs_by(line, "Add")
    if compared is None or constant not in terms:
        return False
    rise = inputs_by(terms[1 - terms.index(constant)], "Mul")
    if not any({*inputs_by(run, "Sub")} == {*compared.inputs} for run in rise):
        return False
    build = Build(view.graph, node, "knot")
    strict = build.op(STRICT[compared.op_type], *compared.inputs)
    build.insert_before(node)
    node.replace_input_with(0, strict)
    return True
