"""Products of relevance through nodes that pass it on or only move elements."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.shapes import same_sizes
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.ops.registry import Op
from lrp_onnx.propagation.node_derivative import alone, vjp
from lrp_onnx.rewrites.product import DoesNotApply, Moved, Relevance

__all__ = ["moved", "passed_on"]


def passed_on(
    emit: Emit, site: Assigned, arriving: Sequence[Relevance | None]
) -> dict[int, Relevance]:
    """R_in = R = y·c: the same product, where it keeps its shape and its element type."""
    node, op = site.step.node, site.step.op
    first, *others = arriving
    (i, *more) = site.step.active
    if site.rule.relevance != "R" or not op.elementwise or op.shared is not None:
        raise DoesNotApply("its rule does not pass relevance on element by element")
    summed = op.broadcasts and not (alone(node, i) or same_sizes(node.inputs[i], node.outputs[0]))
    if first is None or more or any(others) or summed:
        raise DoesNotApply("relevance goes to several inputs, or is summed over broadcast axes")
    if node.op_type == "Cast":
        raise DoesNotApply("the element type changes")
    return {i: first}


def moved(emit: Emit, site: Assigned, arriving: Sequence[Relevance | None]) -> dict[int, Relevance]:
    """vjp(y·c) = x·vjp(c), where every element of y is one of x and every other one gets 0."""
    node, op = site.step.node, site.step.op
    if site.rule.relevance != "vjp" or not _keeps_elements(emit, op, node):
        raise DoesNotApply("it does more than move elements")
    pairs = zip(arriving, node.outputs, strict=True)
    if any(r is not None and r.factor is not y for r, y in pairs):
        raise DoesNotApply("relevance is no multiple of its output")
    coefficients = [None if r is None else r.coefficient for r in arriving]

    def move(s: ir.Value) -> ir.Value:
        with emit.on_behalf_of(node, site.rule.name):
            return vjp(emit, op, node, [s], 0)

    first = arriving[0]
    smaller = Moved(first, move) if node.op_type == "MaxPool" and first is not None else None
    return {
        i: Relevance(vjp(emit, op, node, coefficients, i), node.inputs[i], smaller)
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
