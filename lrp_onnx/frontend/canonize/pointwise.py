"""A convolution of one tap between two Transposes is a dense layer over the last axis.

    (W ∗ xᵀ + b)ᵀ = x·Wᵀ + b,

as of a feed-forward layer that was written as Conv1d with a kernel of size 1.  Composites have a
rule for convolutions and one for dense layers.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.constants import sole_reader, stored
from lrp_onnx.graph.replacement import Build

__all__ = ["pointwise_to_dense"]


def pointwise_to_dense(model: ir.Model) -> bool:
    """Write such as MatMul and Add."""
    convolutions = [n for n in model.graph if n.op_type == "Conv" and not n.domain]
    return sum(_written(model.graph, node) for node in convolutions) > 0


def _written(graph: ir.Graph, conv: ir.Node) -> bool:
    turned, kernel = conv.inputs[0], stored(conv.inputs[1])
    before = None if turned is None else turned.producer()
    behind, _ = sole_reader(conv.outputs[0]) or (None, 0)
    if before is None or behind is None or kernel is None or not _is_pointwise(conv, kernel.shape):
        return False
    rank = kernel.ndim
    if _perm(before) != [0, rank - 1, *range(1, rank - 1)] or _perm(behind) != [
        0,
        *range(2, rank),
        1,
    ]:
        return False
    x, y, bias = before.inputs[0], behind.outputs[0], (*conv.inputs[2:], None)[0]
    if x is None or x.dtype is None:
        return False
    build = Build(graph, behind)
    weight = build.constant(kernel.reshape(kernel.shape[:2]).T, x.dtype, "weight")
    product = build.op("MatMul", x, weight, like=y, named=conv.name)
    build.replace(product if bias is None else build.op("Add", product, bias, like=y))
    graph.remove(conv, safe=True)
    return True


def _is_pointwise(conv: ir.Node, shape: tuple[int, ...]) -> bool:
    """Whether it looks at each element alone, all channels together."""
    moves = any(conv.attributes.get_ints("pads", ())) or any(
        stride != 1 for stride in conv.attributes.get_ints("strides", ())
    )
    alone = conv.attributes.get_int("group", 1) == 1 and all(n == 1 for n in shape[2:])
    return alone and not moves


def _perm(node: ir.Node) -> list[int] | None:
    if node.op_type != "Transpose" or node.domain or "perm" not in node.attributes:
        return None
    return list(node.attributes.get_ints("perm", ()))
