"""Elementwise functions of one tensor by their derivatives, written as expressions.

An expression gives s·f'(x) of `s`, what comes back, `x`, `y = f(x)` and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import ELEMENTARY, Operand, express, tensor
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.expression import CHOICE, FUNCTIONS, parse
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op

__all__ = ["derivative", "elementwise"]

KNOWN = (*FUNCTIONS, *ELEMENTARY, CHOICE)


def elementwise(
    name: str,
    version: int,
    expression: str,
    numbers: Mapping[str, float] | None = None,
    **facts: Any,
) -> None:
    """Register an activation.

    version: of the operator's specification. numbers: attributes of the node with their defaults,
    and constants.
    """
    defaults = dict(numbers or {})
    tree = parse(expression, {"s", "x", "y", *defaults}, KNOWN)

    def vjp(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
        values: dict[str, Operand] = {"s": s, "x": operand(node), "y": node.outputs[0]}
        values |= {k: node.attributes.get_float(k, v) for k, v in defaults.items()}
        return tensor(express(emit, tree, values))

    about = f"{expression.replace(' * ', '·')}.  Spec: ONNX {name}-{version}."
    op(name, kind="activation", about=about, **facts)(vjp)


def derivative(emit: Emit, expression: str, **values: Operand) -> ir.Value:
    """Emit the nodes of an expression."""
    return tensor(express(emit, parse(expression, values, KNOWN), values))
