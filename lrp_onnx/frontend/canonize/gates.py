"""What a value is made by, behind nodes that only move it: gates and signals of cells."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.constant_values import is_number
from lrp_onnx.graph.makers import made_by
from lrp_onnx.ops.bounds import unit_range
from lrp_onnx.ops.registry import find

__all__ = ["comes_from", "is_gate", "maker_of"]

PASSED = {"Cast": 0, "Clip": 0, "Where": 1}
"""Operators that cells are followed through though they move nothing, and the input that leads on:
exports clip states and mask steps, and the value stays the gate or the signal that it is.
"""


def maker_of(value: ir.Value | None) -> ir.Node | None:
    """The node that a value comes from, behind those that move it; of one that is kept beside its
    explanation, that of the explanation.
    """
    while value is not None and (node := value.producer()) is not None:
        if node.domain == "lrp" and node.op_type == "ExplainedBy":
            value = node.inputs[1]
        elif (operator := find(node)) is not None and operator.moves in ("reorders", "selects"):
            value = node.inputs[0]
        elif node.domain or node.op_type not in PASSED:
            return node
        else:
            value = node.inputs[PASSED[node.op_type]]
    return None


def comes_from(value: ir.Value | None, op_types: tuple[str, ...]) -> bool:
    """Whether a value comes from one of these operators."""
    maker = maker_of(value)
    return maker is not None and not maker.domain and maker.op_type in op_types


def is_gate(value: ir.Value | None) -> bool:
    """Whether it is σ, of values between 0 and 1, or 1 - g or -g + 1 of such a gate g."""
    maker = maker_of(value)
    if maker is None or maker.domain:
        return False
    if maker.op_type == "Sub":
        return is_number(maker.inputs[0], 1) and is_gate(maker.inputs[1])
    if maker.op_type == "Add":
        others = [v for v in maker.inputs if not is_number(v, 1)]
        minus = made_by(others[0], "Neg") if len(others) == 1 else None
        return minus is not None and is_gate(minus.inputs[0])
    operator = find(maker)
    return operator is not None and operator.range is unit_range
