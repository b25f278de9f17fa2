"""onnx's shape inference with values propagated through shape arithmetic, under a limit.

It writes out every element of a vector of integers whose length it knows, where something computes
with it: Cast(Range(0, 10^12)) takes all memory.  Where such a length follows from values that only
this inference knows, it runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from lrp_onnx.graph.limits import Budget, limited
from lrp_onnx.graph.negative_sizes import refuse_negative_sizes
from lrp_onnx.graph.subgraphs import proto_bodies, proto_nodes

__all__ = ["infer"]

SIZED_BY_VALUE = {
    *("Range", "ConstantOfShape", "Expand", "Tile", "Pad", "OneHot", "Resize", "Upsample"),
    *("RandomNormal", "RandomUniform", "EyeLike", "CenterCropPad", "Col2Im", "MaxUnpool"),
    *("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"),
}
"""Operators whose result is as long as a number says."""
LONG = 1 << 16
"""Elements of a vector up to which writing them out takes no time."""


def infer(proto: ModelProto, budget: Budget, strict: bool) -> ModelProto:
    """The model with types and shapes; onnx's InferenceError where they contradict each other, if
    strict.  Raises OverBudget, and ModelError for sizes below 0.
    """
    if refuse_negative_sizes(proto):
        return _inferred_apart(proto, budget, strict)
    if not any(node.op_type in SIZED_BY_VALUE for node in proto_nodes(proto.graph)):
        return onnx.shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    plain = onnx.shape_inference.infer_shapes(proto, strict_mode=False)
    lengths = list(_lengths(plain.graph))
    if any(length is not None and length > LONG for length in lengths):
        return onnx.shape_inference.infer_shapes(proto, strict_mode=strict)
    if None not in lengths:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    return _inferred_apart(proto, budget, strict)


def _inferred_apart(proto: ModelProto, budget: Budget, strict: bool) -> ModelProto:
    """The same in a process of its own."""
    step = "the inference of the model's shapes"
    serialized = limited(budget, step, inferred_bytes, proto.SerializeToString(), strict)
    inferred: ModelProto = ModelProto.FromString(serialized)
    return inferred


def inferred_bytes(serialized: bytes, strict: bool) -> bytes:
    """The same of bytes, as another process can do it."""
    proto = ModelProto.FromString(serialized)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    return bytes(inferred.SerializeToString())


def _lengths(graph: GraphProto) -> Iterator[int | None]:
    """How long each vector of integers is that such an operator gives; None where that, or whether
    it is one, is not known.
    """
    known = {v.name: v for v in (*graph.value_info, *graph.output)}
    for node in graph.node:
        if node.op_type in SIZED_BY_VALUE:
            yield _length(known.get(node.output[0]))
        for body in proto_bodies(node):
            yield from _lengths(body)


def _length(value: ValueInfoProto | None) -> int | None:
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    kind, sizes = value.type.tensor_type.elem_type, value.type.tensor_type.shape.dim
    if kind not in (TensorProto.INT32, TensorProto.INT64) or len(sizes) != 1:
        return 0
    return int(sizes[0].dim_value) if sizes[0].HasField("dim_value") else None
