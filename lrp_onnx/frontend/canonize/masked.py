"""A row of scores that is masked whole has the softmax NaN; a model may drop it further on.

Where a Where behind the product with the values, or a few nodes later, takes something else, the
NaN never shows, and no relevance arrives; but 0 · NaN is NaN.  So relevance goes by a twin of the
nodes between, which reads 0 for such a softmax, and is finite:

    y = Where(c, f(p), …)    ->    ExplainedBy(y, Where(c, f(p'), …)),    p' = Where(p ≥ 0, p, 0).

Where the Where reads the softmax itself nothing is needed: its rule reads 0 there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.replacement import Build, take_place
from lrp_onnx.ops.softmax import hands_on

__all__ = ["finite_twins"]

BETWEEN = {"MatMul", "Gemm", "Einsum", "Add", "Sub", "Mul", "Div", "LayerNormalization", "Neg"}
"""What attention blocks have there, besides what hands its tensor on: a fact of such blocks."""
FEW = 12
"""As many nodes may lie between the softmax and the Where."""
NEAR = 8
"""As many nodes above the softmax its mask may come from."""


@each("Where")
def finite_twins(view: View, node: ir.Node) -> bool:
    """Give a Where that drops such a NaN later than at the softmax its twin."""
    between = {n for v in node.inputs[1:] for n in _between(v)}
    if not 0 < len(between) <= FEW or all(hands_on(n) for n in between):
        return False
    if not any(_may_be_masked(v) for n in between for v in n.inputs):
        return False
    _write(view.graph, node, [n for n in view.graph if n in between])
    return True


def _between(value: ir.Value | None, left: int = FEW) -> Iterator[ir.Node]:
    """The nodes from softmaxes down to the value, as far as there are few."""
    node = made_by(value)
    if node is None or left < 0 or not (node.op_type in BETWEEN or hands_on(node)):
        return
    above = [n for v in node.inputs for n in _between(v, left - 1)]
    if above or any(made_by(v, "Softmax") for v in node.inputs):
        yield from above
        yield node


def _may_be_masked(value: ir.Value | None) -> bool:
    """Whether it is a softmax of scores that -inf was put into."""
    return any(_holds_infinity(scores, NEAR) for scores in inputs_by(value, "Softmax"))


def _holds_infinity(value: ir.Value | None, left: int) -> bool:
    if value is None or left < 0:
        return False
    if value.is_initializer():
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point():
            return False
        return bool(np.isneginf(tensor.numpy().astype(np.float64)).any())
    node = value.producer()
    return node is not None and any(_holds_infinity(v, left - 1) for v in node.inputs)


def _write(graph: ir.Graph, where: ir.Node, between: list[ir.Node]) -> None:
    """The twin behind the Where, and what is explained by it."""
    twin: dict[ir.Value | None, ir.Value] = {}
    build, y = Build(graph, where, "finite"), where.outputs[0]
    for node in between:
        for p in node.inputs:
            if p is not None and made_by(p, "Softmax") and p not in twin:
                zero = build.like(0.0, p)
                twin[p] = build.op("Where", build.op("GreaterOrEqual", p, zero), p, zero)
        inputs = [twin.get(v, v) for v in node.inputs]
        (twin[node.outputs[0]],) = build.copy(node, inputs, like=node.outputs[0])
    (finite,) = build.copy(where, [twin.get(v, v) for v in where.inputs], like=y)
    explained = build.explained(y, finite)
    graph.insert_after(where, build.nodes)
    take_place(y, explained, left="forward")
    build.nodes[-1].replace_input_with(0, y)
