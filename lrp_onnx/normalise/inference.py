"""Shape inference by onnx, which does not know the compiler's own operators nor the shape of
GroupNormalization.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from lrp_onnx.normalise.ceil_mode import settle_ceil_mode
from lrp_onnx.opset.scope import subgraphs

__all__ = ["inferred"]

SHAPED_LIKE_FIRST = {("lrp", "ExplainedBy"), ("", "GroupNormalization")}
"""Operators that onnx infers no shape for: the first output is shaped like the first input."""


def inferred(proto: ModelProto) -> ModelProto:
    """The model with the types and shapes of its tensors; onnx's InferenceError where they
    contradict each other.
    """
    hidden = {}
    for node in _nodes(proto.graph):
        if (node.domain, node.op_type) in SHAPED_LIKE_FIRST:
            hidden[node.output[0]] = NodeProto.FromString(node.SerializeToString())
            _as_identity(node)
    settled = settle_ceil_mode(proto)
    result = _shaped(settled)
    for node in _nodes(result.graph) if hidden else ():
        if node.op_type == "Identity" and node.output[0] in hidden:
            node.CopyFrom(hidden[node.output[0]])
    return result


def _as_identity(node: NodeProto) -> None:
    """Identity of the first input."""
    node.domain, node.op_type = "", "Identity"
    del node.input[1:], node.attribute[:]


def _shaped(proto: ModelProto) -> ModelProto:
    """With values propagated through shape arithmetic, where onnx can.

    It takes [4, 1] + [1, 2] of known integers for a contradiction, as if they were vectors.
    """
    infer = onnx.shape_inference.infer_shapes
    try:
        return infer(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return infer(proto, strict_mode=True, data_prop=False)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from _nodes(inner)
