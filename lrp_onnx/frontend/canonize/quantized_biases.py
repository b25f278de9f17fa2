"""A bias behind a quantizer belongs to the layer in front of it.

    q(W·x) + b    ->    ExplainedBy(q(W·x) + b, W·x + b)

where q quantizes and dequantizes.  Shared out without its bias, W·x may be near 0 where the sum is
not, and relevance is divided by it.  A quantizer that begins at 0 may be a Relu and stays.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.makers import either_way, inputs_by, made_by
from lrp_onnx.graph.replacement import Build, take_place

__all__ = ["bring_quantized_biases"]

LAYERS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


@each("Add")
def bring_quantized_biases(view: View, node: ir.Node) -> bool:
    """Let such a sum be explained by the layer with its bias."""
    for rounded, bias in either_way(list(node.inputs)):
        if bias is None or bias not in view.constants or rounded is None:
            continue
        z = _exact(rounded)
        layer = made_by(z, *LAYERS)
        if z is None or layer is None or (len(layer.inputs) > 2 and layer.inputs[2] is not None):
            continue
        build, y = Build(view.graph, node, "bias"), node.outputs[0]
        (product,) = build.copy(layer, layer.inputs, like=z)
        explained = build.explained(y, build.op("Add", product, bias, like=y))
        view.graph.insert_after(node, build.nodes)
        take_place(y, explained, left="forward")
        build.nodes[-1].replace_input_with(0, y)
        return True
    return False


def _exact(value: ir.Value) -> ir.Value | None:
    """z of q(z), by what explains the dequantizer and the quantizer; else None."""
    for op_type in ("Mul", "Sub", "Cast"):
        value, before = _explaining(value), value
        operands = inputs_by(value, op_type)
        if not operands or operands[0] is None:
            if op_type == "Sub":  # of a zero point that is 0
                value = before
                continue
            return None
        value = operands[0]
    quantizer = made_by(_explaining(value), "QuantizeLinear")
    if quantizer is None or _may_rectify(quantizer):
        return None
    return quantizer.inputs[0]


def _explaining(value: ir.Value) -> ir.Value:
    """What explains a value, or itself."""
    node = value.producer()
    if node is None or node.op_type != "ExplainedBy" or node.inputs[1] is None:
        return value
    return node.inputs[1]


def _may_rectify(quantizer: ir.Node) -> bool:
    """Whether its smallest or largest integer stands for 0."""
    zero_point = quantizer.inputs[2] if len(quantizer.inputs) > 2 else None
    tensor = None if zero_point is None else zero_point.const_value
    if tensor is None or not tensor.dtype.is_integer():
        return True
    zero, bounds = tensor.numpy(), np.iinfo(tensor.dtype.numpy())
    return bool(((zero <= bounds.min) | (zero >= bounds.max)).any())
