"""Weights of element types that are newer than the compiled model's opset: a wider one holds
the same numbers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["widen_weights"]

WIDER = {
    ir.DataType.INT2: ir.DataType.INT4,
    ir.DataType.UINT2: ir.DataType.UINT4,
    ir.DataType.FLOAT4E2M1: ir.DataType.FLOAT8E4M3FN,
}
"""Element types that opset 21 lacks and what it has for them."""


def widen_weights(model: ir.Model) -> None:
    """Give the weights and zero points that only dequantizers read a type that opset 21 has."""
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            tensor = value.const_value
            readers = {user.op_type for user, _ in value.uses()}
            if tensor is None or tensor.dtype not in WIDER or readers != {"DequantizeLinear"}:
                continue
            dtype = WIDER[tensor.dtype]
            numbers = tensor.numpy().astype(np.float32).astype(dtype.numpy())
            value.const_value = ir.Tensor(numbers, dtype=dtype, name=value.name)
            value.type = ir.TensorType(dtype)
