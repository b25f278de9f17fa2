"""Rules of the form R_in = expression of R, x, y, vjp and total, for each active input."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.arithmetic import Operand, express
from lrp_onnx.graph.broadcasting import sum_to
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.expression import names
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.propagation.node_derivative import alone, numbers, vjp

__all__ = ["by_expression", "expressed"]


def by_expression(
    emit: Emit, site: Assigned, arriving: Sequence[ir.Value | None]
) -> dict[int, ir.Value]:
    """The relevance of each active input, in its shape."""
    of_inputs = expressed(emit, site, arriving)
    if site.rule.by_derivative:
        return of_inputs
    return {i: _like_input(emit, site, r, i) for i, r in of_inputs.items()}


def expressed(
    emit: Emit, site: Assigned, arriving: Sequence[ir.Value | None]
) -> dict[int, ir.Value]:
    """What the expression is for each active input; without vjp in it, in the output's shape."""
    node, tree = site.step.node, site.rule.relevance
    assert tree is not None
    y, used = node.outputs[0], names(tree)
    results = {}
    for i in site.step.active:
        x = node.inputs[i]
        assert x is not None
        values: dict[str, Operand] = {"x": x, **numbers(emit, site, y)}
        if "y" in used:
            values["y"] = site.step.op.read(emit, node)
        if arriving[0] is not None:
            values["R"] = arriving[0]
        if "vjp" in used:
            values["vjp"] = vjp(emit, site.step.op, node, arriving, i)
        if "total" in used:
            values["total"] = _total_over_axes(emit, site, arriving[0])
        r = express(emit, tree, values)
        if isinstance(r, float):
            raise RuleError(
                f"its relevance is the number {r:g} for every input. Use R or vjp in it"
            )
        results[i] = r
    return results


def _total_over_axes(emit: Emit, site: Assigned, relevance: ir.Value | None) -> ir.Value:
    """The sum of R over the node's own axes, kept as size 1."""
    if site.step.op.axes is None or relevance is None:
        raise RuleError("the operator has no axes to sum R over. Choose another rule")
    axes = site.step.op.axes(site.step.node)
    return emit.op("ReduceSum", relevance, emit.ints(*axes), keepdims=1)


def _like_input(emit: Emit, site: Assigned, r: ir.Value, i: int) -> ir.Value:
    """Relevance in the output's shape, brought to that of input `i`."""
    op, node = site.step.op, site.step.node
    x, y = node.inputs[i], node.outputs[0]
    assert x is not None
    if op.shared is not None:
        return op.shared(emit, node, r)
    if op.broadcasts:
        return r if alone(node, i) else sum_to(emit, r, x, y)
    if op.elementwise:
        return r
    if x.shape is None or y.shape is None:
        raise RuleError("it needs the node's shapes. Export the model with input shapes")
    if x.shape != y.shape:
        raise RuleError(
            f"it keeps the shape, but the node turns {x.shape} into {y.shape}. Choose another rule"
        )
    return r
