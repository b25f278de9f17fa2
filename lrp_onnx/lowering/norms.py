"""The compiler's own norms in operators of the standard, as their models spelled them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constants import new_constant

__all__ = ["spell_group_norm", "spell_norm"]


class _Spelling:
    """The nodes that take a node's place, named under it."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[ir.Node] = []

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        name = f"{self.node.name}/{op_type}_{len(self.nodes)}"
        node = ir.node(op_type, inputs, attributes, name=name)
        node.metadata_props.update(self.node.metadata_props)
        node.outputs[0].name = name
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, part: str, array: Any, like: ir.Value | None = None) -> ir.Value:
        """Integers, or of the element type of `like`."""
        dtype = ir.DataType.INT64 if like is None else like.dtype
        assert dtype is not None
        return new_constant(self.graph, f"{self.node.name}/{part}", array, dtype)

    def replace(self, value: ir.Value) -> None:
        """`value` takes the node's place and its result's name."""
        old = self.node.outputs[0]
        name, value.shape, value.type = old.name, old.shape, old.type
        old.replace_all_uses_with(value, replace_graph_outputs=True)
        self.graph.insert_after(self.node, self.nodes)
        self.graph.remove(self.node, safe=True)
        old.name, value.name = f"{name}/replaced", name


def spell_norm(graph: ir.Graph, node: ir.Node) -> None:
    """(x - mean)/deviation·scale + bias."""
    x, scale, bias, mean, deviation = node.inputs
    spelling = _Spelling(graph, node)
    value = spelling.op("Div", spelling.op("Sub", x, mean), deviation)
    value = value if scale is None else spelling.op("Mul", value, scale)
    spelling.replace(value if bias is None else spelling.op("Add", value, bias))


def spell_group_norm(graph: ir.Graph, node: ir.Node) -> None:
    """InstanceNormalization over (N, groups, all else), then ·scale + bias per channel."""
    x, scale, *bias = node.inputs
    assert x is not None
    spelling = _Spelling(graph, node)
    groups = node.attributes["num_groups"].as_int()
    one, zero = (spelling.constant(f"{k}", np.full(groups, k), x) for k in (1, 0))
    apart = spelling.op("Reshape", x, spelling.constant("groups", [0, groups, -1]))
    epsilon = node.attributes["epsilon"].as_float()
    normed = spelling.op("InstanceNormalization", apart, one, zero, epsilon=epsilon)
    value = spelling.op("Reshape", normed, spelling.op("Shape", x))
    column = spelling.constant("column", _column(x))
    value = spelling.op("Mul", value, spelling.op("Reshape", scale, column))
    spelling.replace(
        spelling.op("Add", value, spelling.op("Reshape", bias[0], column)) if bias else value
    )


def _column(x: ir.Value) -> Sequence[int]:
    """(C,) as it broadcasts to (N, C, *size)."""
    assert x.shape is not None
    return [-1, *[1] * (len(x.shape) - 2)]
