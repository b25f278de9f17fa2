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

from lrp_onnx.graph.constants import new_constant
from lrp_onnx.ops.softmax import hands_on

__all__ = ["finite_twins"]

BETWEEN = {"MatMul", "Gemm", "Einsum", "Add", "Sub", "Mul", "Div", "LayerNormalization", "Neg"}
"""What attention blocks have there, besides what hands its tensor on: a fact of such blocks."""
FEW = 12
"""As many nodes may lie between the softmax and the Where."""
NEAR = 8
"""As many nodes above the softmax its mask may come from."""


def finite_twins(model: ir.Model) -> None:
    """Give each Where that drops such a NaN later than at the softmax its twin."""
    for node in list(model.graph):
        if not node.domain and node.op_type == "Where":
            between = [n for v in node.inputs[1:] for n in _between(v)]
            whole = dict.fromkeys(between)
            if not 0 < len(whole) <= FEW or all(hands_on(n) for n in whole):
                continue
            if any(_may_be_masked(v) for n in whole for v in n.inputs):
                _write(model.graph, node, [n for n in model.graph if n in whole])


def _between(value: ir.Value | None, left: int = FEW) -> Iterator[ir.Node]:
    """The nodes from softmaxes down to the value, as far as there are few."""
    node = None if value is None else value.producer()
    if node is None or node.domain or left < 0:
        return
    if node.op_type not in BETWEEN and not hands_on(node):
        return
    above = [n for v in node.inputs for n in _between(v, left - 1)]
    if above or any(_is_softmax(v) for v in node.inputs):
        yield from above
        yield node


def _is_softmax(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    return node is not None and not node.domain and node.op_type == "Softmax"


def _may_be_masked(value: ir.Value | None) -> bool:
    """Whether it is a softmax of scores that -inf was put into."""
    node = None if value is None else value.producer()
    return _is_softmax(value) and node is not None and _holds_infinity(node.inputs[0], NEAR)


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
    same: dict[ir.Value | None, ir.Value] = {}
    nodes: list[ir.Node] = []

    def add(op_type: str, like: ir.Value, inputs: list[ir.Value | None], **more: object) -> None:
        name = f"{like.name}/finite" if op_type != "GreaterOrEqual" else f"{like.name}/is_finite"
        node = ir.node(op_type, inputs, name=name, **more)  # type: ignore[arg-type]
        node.outputs[0].name = name
        node.outputs[0].shape, node.outputs[0].type = like.shape, like.type
        nodes.append(node)

    for node in between:
        for p in node.inputs:
            if p is not None and _is_softmax(p) and p not in same:
                assert p.dtype is not None
                zero = new_constant(graph, f"{p.name}/zero", 0.0, p.dtype)
                add("GreaterOrEqual", p, [p, zero])
                finite = nodes[-1].outputs[0]
                finite.type = ir.TensorType(ir.DataType.BOOL)
                add("Where", p, [finite, p, zero])
                same[p] = nodes[-1].outputs[0]
        inputs = [same.get(v, v) for v in node.inputs]
        add(node.op_type, node.outputs[0], inputs, attributes=dict(node.attributes))
        same[node.outputs[0]] = nodes[-1].outputs[0]
    y = where.outputs[0]
    add("Where", y, [same.get(v, v) for v in where.inputs])
    twin = nodes[-1].outputs[0]
    explained = ir.node("ExplainedBy", [y, twin], domain="lrp", name=f"{where.name}/explained")
    result = explained.outputs[0]
    name, result.type, result.shape = y.name, y.type, y.shape
    y.replace_all_uses_with(result, replace_graph_outputs=True)
    explained.replace_input_with(0, y)
    y.name, result.name = f"{name}/forward", name
    graph.insert_after(where, [*nodes, explained])
