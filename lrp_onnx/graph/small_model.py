"""A model without its large weights, as onnx's C++ functions take it, which copy all of it."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir

from lrp_onnx.graph.constants import SMALL
from lrp_onnx.graph.map_outputs import deserialized, serialized

__all__ = ["in_small", "through_proto"]


def in_small(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """The model as ModelProto without its large weights, which appear as graph inputs, and these
    weights by name.
    """
    graph = model.graph
    outer, values = list(graph.inputs), {}
    for name, value in list(graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > SMALL:
            values[name] = value.const_value
            del graph.initializers[name]
            if value not in outer:
                graph.inputs.append(value)
            value.dtype, value.shape = values[name].dtype, ir.Shape(values[name].shape.numpy())
    try:
        return serialized(model), values
    finally:
        for name in values:
            value = next(v for v in graph.inputs if v.name == name)
            graph.initializers[name] = value
        graph.inputs[:] = outer


def through_proto(model: ir.Model, function: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    """Apply a function on ModelProto to the model, in place, without its large weights
    (`in_small`).
    """
    input_names = {v.name for v in model.graph.inputs}
    proto, values = in_small(model)
    result = deserialized(function(proto))
    by_name = {v.name: v for v in result.graph.inputs}
    for name, tensor in values.items():
        value = by_name[name]
        value.const_value = tensor
        if name not in input_names:
            result.graph.inputs.remove(value)
        result.graph.initializers[name] = value
    model.graph, model.ir_version = result.graph, result.ir_version
    model.functions.clear()
    model.functions.update(result.functions)
