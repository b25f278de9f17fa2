"""Sizes below 0, which no runtime computes: an input that is too small for a window, or a Pad that
takes away more than there is.

onnx's inference gives such a tensor its negative size and goes on, until a Slice of it ends the
whole process.  So sizes are looked at with no Slice inferred, then what lies behind one is inferred
in a process of its own if it may be negative too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.subgraphs import proto_bodies, proto_nodes

__all__ = ["refuse_negative_sizes"]

WINDOWS = {
    *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv"),
    *("MaxPool", "AveragePool", "LpPool", "MaxUnpool", "Col2Im", "CenterCropPad"),
}
SIZED = ("Pad", "Expand", "Split")
"""Operators of whose results onnx infers negative sizes; the latter only of negative numbers in
their second input.
"""
MOST = 64
"""Numbers in such an input."""
UNKNOWN = "lrp.unknown"
"""A domain that onnx infers nothing of."""


def refuse_negative_sizes(proto: ModelProto) -> bool:
    """Raise ModelError naming the first node whose result has a size below 0.

    Returns whether one may still be found behind a Slice, which the inference does not survive.
    """
    nodes = list(proto_nodes(proto.graph))
    shapes = {n.output[0] for n in nodes if n.op_type == "Shape" and n.output}
    cuts = [n for n in nodes if n.op_type == "Slice" and n.input and n.input[0] not in shapes]
    shrinking = _shrinking(nodes, proto.graph)
    if not cuts or not shrinking:
        return False
    ends = {n.output[0] for n in cuts if n.output}
    cut = ModelProto.FromString(proto.SerializeToString())
    cut.opset_import.append(helper.make_opsetid(UNKNOWN, 1))
    for node in proto_nodes(cut.graph):
        if node.op_type == "Slice" and not ends.isdisjoint(node.output):
            node.domain = UNKNOWN
    inferred = onnx.shape_inference.infer_shapes(cut, strict_mode=False)
    makers = {name: node for node in inferred.graph.node for name in node.output}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        axis = next((k for k, size in enumerate(sizes) if size < 0), None)
        if axis is not None and value.name in makers:
            node = makers[value.name]
            raise ModelError(
                f"node {node.name or value.name!r} ({node.op_type}): its result would have size "
                f"{sizes[axis]} along axis {axis}: what it reads is too small for it, or its sizes "
                "are wrong. Give a larger --shape, or export the model again."
            )
    return _shrinks_between(nodes, ends, shrinking)


def _shrinking(nodes: Iterable[NodeProto], graph: GraphProto) -> set[str]:
    """The results that may have a negative size."""
    tensors = {t.name: t for t in graph.initializer if t.data_type == TensorProto.INT64}
    few = (t for t in tensors.values() if math.prod(t.dims) < MOST)
    positive = {t.name for t in few if (numpy_helper.to_array(t) >= 0).all()}
    return {
        name
        for node in nodes
        for name in node.output
        if node.op_type in WINDOWS
        or (node.op_type in SIZED and positive.isdisjoint(node.input[1:2]) and node.input[1:2])
    }


def _shrinks_between(nodes: Iterable[NodeProto], cuts: set[str], shrinking: set[str]) -> bool:
    """Whether a size that follows from one of the Slices may become negative, and reach another."""
    behind, shrunk = set[str](), set[str]()
    for node in nodes:
        read = set(node.input)
        for body in proto_bodies(node):  # what they read around them counts too
            read.update(name for inner in proto_nodes(body) for name in inner.input)
        made = set(node.output)
        if cuts & made and shrunk & read:
            return True
        if cuts & made or behind & read:
            behind |= made
            if shrinking & made or shrunk & read:
                shrunk |= made
    return False
