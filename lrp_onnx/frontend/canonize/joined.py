"""What scales and shifts linear nodes that are joined stands behind each of them.

    [W₁·x₁, W₂·x₂]·s + t = [W₁·x₁·s₁ + t₁, W₂·x₂·s₂ + t₂],

as of a layer whose output channels an exporter computes in parts.  Then it belongs to these nodes,
as behind any other.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.affine import Affine, Behind, affine_of
from lrp_onnx.frontend.canonize.linear_node import linear_node_of
from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constants import sole_reader
from lrp_onnx.graph.replacement import Build

__all__ = ["scale_before_joins"]


@each("Concat")
def scale_before_joins(view: View, join: ir.Node) -> bool:
    """Bring what follows a Concat of linear nodes in front of it."""
    y = join.outputs[0]
    if y.shape is None or not len(y.shape) or len(join.inputs) < 2:
        return False
    axis = join.attributes.get_int("axis", 0) % len(y.shape)
    sizes = [_channels(v, axis, view.constants) for v in join.inputs]
    known = [n for n in sizes if n is not None]
    if len(known) < len(sizes):
        return False
    behind = Behind.of(y, axis, sum(known))
    if not behind.absorbed:
        return False
    bounds = np.cumsum([0, *known])
    for k, (start, stop) in enumerate(pairwise(bounds)):
        part = Affine(behind.total.scale[start:stop], behind.total.shift[start:stop])
        _write(view.graph, join, k, part, len(y.shape) - axis)
    behind.take_out(view.model)
    return True


def _channels(value: ir.Value | None, axis: int, constants: set[ir.Value]) -> int | None:
    """How many output channels a linear node has along the axis, with its bias, that only this
    Concat reads.
    """
    size = None if value is None or value.shape is None else value.shape[axis]
    while value is not None and isinstance(size, int) and sole_reader(value) is not None:
        node = value.producer()
        if node is None or not node.inputs:
            return None
        layer = linear_node_of(node, constants)
        if layer is not None:
            return size if layer.out_axis == axis else None
        at = 0 if node.inputs[0] not in constants else 1
        value = node.inputs[at] if affine_of(node, at, axis, size) is not None else None
    return None


def _write(graph: ir.Graph, join: ir.Node, k: int, part: Affine, rank: int) -> None:
    """Scale and shift the k-th input."""
    x = join.inputs[k]
    assert x is not None
    assert x.dtype is not None
    build, y, shape = Build(graph, join, f"part_{k}"), x, [-1] + [1] * (rank - 1)
    for op_type, array in (("Mul", part.scale), ("Add", part.shift)):
        if (array != (op_type == "Mul")).any():
            constant = build.constant(array.reshape(shape), x.dtype, op_type)
            y = build.op(op_type, y, constant, like=x)
    build.insert_before(join)
    join.replace_input_with(k, y)
