"""The weights with which a linear layer computes its outputs less their mean over the channels.

For y = W·x + b with channels k that is y_k − mean(y) = (W_k − mean(W))·x + (b_k − mean(b)): again a
linear layer.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.frontend.canonize.linear_node import linear_node_of
from lrp_onnx.graph.constants import array_of, constants_of

__all__ = ["centered_weights"]

Weights = tuple[NDArray[Any], NDArray[Any] | None]


def centered_weights(y: ir.Value, axis: int) -> Weights | None:
    """Weight and bias of the layer that computes y, less their means over its output channels.

    None where no linear layer computes y, its channels lie along another axis, or its weights are
    not stored as floats.
    """
    node = y.producer()
    graph = None if node is None else node.graph
    if node is None or not isinstance(graph, ir.Graph):
        return None
    layer = linear_node_of(node, constants_of(graph))
    if layer is None or (layer.out_axis, layer.group) != (axis, 1):
        return None
    weight, bias = array_of(layer.weight), array_of(layer.bias)
    if weight is None or (layer.bias is not None and bias is None):
        return None
    weight -= weight.mean(layer.rows, keepdims=True)
    if bias is None or bias.size == 1:  # one number for all channels: nothing is left of it
        return weight, None if bias is None else 0 * bias
    over = bias.ndim - 1 if bias.ndim == 1 else bias.ndim + axis - layer.rank
    return weight, bias - bias.mean(over, keepdims=True)
