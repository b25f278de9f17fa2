"""Outputs that are maps, as ZipMap makes of classes and their probabilities.

onnx-ir has no type for them, so they have none in memory; it is told by the ZipMap again where a
model is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto

__all__ = ["deserialized", "is_map", "numbers_of", "serialized", "unzipped"]

ZIP_MAP = ("ai.onnx.ml", "ZipMap")


def deserialized(proto: onnx.ModelProto) -> ir.Model:
    """The model in onnx-ir's form; `proto` is as it was."""
    maps = [value for value in proto.graph.output if is_map(value)]
    types = [onnx.TypeProto.FromString(value.type.SerializeToString()) for value in maps]
    for value in maps:
        value.ClearField("type")
    try:
        return ir.serde.deserialize_model(proto)
    finally:
        for value, kind in zip(maps, types, strict=True):
            value.type.CopyFrom(kind)


def serialized(model: ir.Model) -> onnx.ModelProto:
    """The model as ModelProto, every output with its type."""
    proto = ir.serde.serialize_model(model)
    keys = dict(_zipped(proto))
    for value in proto.graph.output:
        if value.name in keys:
            kind = value.type.sequence_type.elem_type.map_type
            kind.key_type = keys[value.name]
            kind.value_type.tensor_type.elem_type = TensorProto.FLOAT
    return proto


def unzipped(value: ir.Value) -> ir.Value:
    """The tensor that a ZipMap makes maps of; every other value itself."""
    node = value.producer()
    if node is None or (node.domain, node.op_type) != ZIP_MAP or node.inputs[0] is None:
        return value
    return node.inputs[0]


def numbers_of(value: Any) -> Any:
    """The probabilities of a list of maps as an array, in the order of the classes."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return np.array([list(entry.values()) for entry in value], np.float32)
    return value


def is_map(value: onnx.ValueInfoProto) -> bool:
    """Whether it is a sequence of maps."""
    return bool(value.type.sequence_type.elem_type.HasField("map_type"))


def _zipped(proto: onnx.ModelProto) -> Iterator[tuple[str, int]]:
    """The name of each ZipMap's output with the type of its keys."""
    for node in proto.graph.node:
        if (node.domain, node.op_type) == ZIP_MAP:
            texts = any(a.name == "classlabels_strings" and a.strings for a in node.attribute)
            yield node.output[0], TensorProto.STRING if texts else TensorProto.INT64
