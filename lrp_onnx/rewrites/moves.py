"""Products through nodes that pass relevance on or only move elements."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.ops.registry import Op
from lrp_onnx.propagation.node_derivative import alone, vjp
from lrp_onnx.rewrites.product import Moved, Relevance

__all__ = ["moved_products"]


def moved_products(
    emit: Emit, site: Assigned, arriving: Sequence[Relevance | None]
) -> dict[int, Relevance] | None:
    """A product that passes, or whose elements are only moved: of y·c it becomes x·c."""
    node, op, tree = site.step.node, site.step.op, site.rule.relevance
    first, *others = arriving
    if tree == "R" and op.elementwise and op.shared is None and not any(others):
        (i, *more) = site.step.active
        plain = not more and (not op.broadcasts or alone(node, i)) and node.op_type != "Cast"
        return {i: first} if plain and first is not None else None
    if tree != "vjp" or not _keeps_elements(emit, op, node):
        return None
    pairs = list(zip(arriving, node.outputs, strict=True))
    if any(r is not None and r.factor is not y for r, y in pairs):
        return None
    coefficients = [None if r is None else r.coefficient for r in arriving]

    def move(s: ir.Value) -> ir.Value:
        with emit.on_behalf_of(node, site.rule.name):
            return vjp(emit, op, node, [s], 0)

    pooled = node.op_type == "MaxPool" and first is not None
    moved = Moved(first, move) if pooled and first is not None else None
    return {
        i: Relevance(vjp(emit, op, node, coefficients, i), node.inputs[i], moved)
        for i in site.step.active
    }


def _keeps_elements(emit: Emit, op: Op, node: ir.Node) -> bool:
    """Whether every element of the outputs is one of the inputs' and none that is left out may be
    infinite, so that 0 times it is 0.
    """
    x = node.inputs[0]
    if x is None:
        return False
    if op.moves in ("reorders", "joins"):
        return True
    return node.op_type == "MaxPool" and emit.signs.get(x, 0) > 0
