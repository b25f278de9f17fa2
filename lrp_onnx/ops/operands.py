"""The inputs of a node: those that its operator requires, those that it may leave out, and numbers
that stand for something there.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["LAST", "operand", "optional"]

LAST = 2**31 - 1
"""An end that means the end of any axis; it fits into int32."""


def operand(node: ir.Node, i: int = 0) -> ir.Value:
    """Input `i`, which the operator requires."""
    value = node.inputs[i]
    assert value is not None, f"{node.op_type} requires its input {i}"
    return value


def optional(node: ir.Node, i: int) -> ir.Value | None:
    """Input `i`, None where it is left out."""
    return node.inputs[i] if i < len(node.inputs) else None
