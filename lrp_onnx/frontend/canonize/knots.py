"""Piecewise linear interpolation: at a knot the slope is that of the piece, not 0.

    Where(x ≤ k, r, r + m·(x - k))    ->    Where(x < k, r, r + m·(x - k))

At x = k both branches are r, so that the forward stays what it is; but the first one is a constant,
and as exports find k by a search for the knot below x, every x that is a knot would get nothing.
The training data of a QuantileTransformer are its knots.
"""

from __future__ import annotations

from typing import TypeGuard

import onnx_ir as ir

from lrp_onnx.graph.replacement import Build

__all__ = ["open_at_knots"]

STRICT = {"LessOrEqual": "Less", "GreaterOrEqual": "Greater"}


def open_at_knots(model: ir.Model) -> bool:
    """Make the comparison strict in front of each choice that is continuous there."""
    chosen = [node for node in model.graph if _is(node, "Where") and _is_continuous(node)]
    for node in chosen:
        compared = _maker(node.inputs[0])
        assert compared is not None
        build = Build(model.graph, node, "knot")
        strict = build.op(STRICT[compared.op_type], *compared.inputs)
        build.insert_before(node)
        node.replace_input_with(0, strict)
    return bool(chosen)


def _is_continuous(node: ir.Node) -> bool:
    """Whether both branches are equal where the two numbers compared are."""
    compared, constant, line = _maker(node.inputs[0]), node.inputs[1], _maker(node.inputs[2])
    if compared is None or compared.domain or compared.op_type not in STRICT:
        return False
    if not _is(line, "Add") or constant not in line.inputs:
        return False
    rise = _maker(line.inputs[1 - list(line.inputs).index(constant)])
    if not _is(rise, "Mul"):
        return False
    makers = (_maker(v) for v in rise.inputs)
    return any(_is(run, "Sub") and {*run.inputs} == {*compared.inputs} for run in makers)


def _maker(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _is(node: ir.Node | None, op_type: str) -> TypeGuard[ir.Node]:
    return node is not None and not node.domain and node.op_type == op_type
