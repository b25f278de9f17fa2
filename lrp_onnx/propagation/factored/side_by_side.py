"""Several modified copies of one layer at once: convolutions side by side.

Σ f(xₖ; wₖ) is one convolution over the xₖ side by side, and the products of one s with every wₖ are
one transposed convolution with their outputs side by side.  Where the operator has no channels that
can be laid side by side, each stands alone.  Σ vjp(sₖ; wₖ) is left to `over_input`.

What pays was measured on ONNX Runtime's CPU provider: a stride over 1 takes longer for two outputs
than twice for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, add
from lrp_onnx.graph.builder import Emit, Input, static_shape
from lrp_onnx.ops.conv_backward_data import over_input
from lrp_onnx.propagation.node_derivative import vjp
from lrp_onnx.propagation.shares import Layer

__all__ = ["backward", "backward_sum", "forward"]

CHANNELS = 1
"""The axis of Conv's input and of its weight that holds input channels."""


def forward(
    emit: Emit, layer: Layer, xs: Sequence[ir.Value], ws: Sequence[ir.Value], b: Input
) -> ir.Value:
    """Σ f(xₖ; wₖ, 0) + b.

    xₖ: shaped like the layer's input    wₖ: its weight    b: its bias    ->    its output.
    """
    if len(xs) > 1 and _side_by_side(layer):
        x = emit.op("Concat", *xs, axis=CHANNELS)
        return _once(emit, layer, x, _joined(emit, ws), b)
    total: Operand = 0.0
    for k, (x, w) in enumerate(zip(xs, ws, strict=True)):
        total = add(emit, total, _once(emit, layer, x, w, None if k else b))
    assert isinstance(total, ir.Value)
    return total


def backward(
    emit: Emit, layer: Layer, ss: Sequence[ir.Value], ws: Sequence[Sequence[ir.Value]]
) -> list[ir.Value]:
    """Σₖ vjp(sₖ; wₖⱼ) for every j.

    sₖ: shaped like the layer's output    wₖⱼ: like its weight    ->    each like its input.
    """
    columns = [list(column) for column in zip(*ws, strict=True)]
    if len(columns) == 1 or not _side_by_side(layer) or not _steps_by_one(layer):
        return [backward_sum(emit, layer, ss, column) for column in columns]
    joined = [_joined(emit, row) for row in ws]
    whole = over_input(emit, layer.node, list(zip(ss, joined, strict=True)))
    sizes = emit.ints(*[_channels(layer)] * len(columns))
    parts = emit.outputs("Split", (whole, sizes), {"axis": CHANNELS}, len(columns))
    return [emit.shaped(part, layer.node.inputs[0]) for part in parts]


def backward_sum(
    emit: Emit, layer: Layer, ss: Sequence[ir.Value], ws: Sequence[ir.Value]
) -> ir.Value:
    """Σ vjp(sₖ; wₖ).

    sₖ: shaped like the layer's output    wₖ: like its weight    ->    like its input.
    """
    (i,) = layer.active
    if _is_conv(layer):
        total: Operand = over_input(emit, layer.node, list(zip(ss, ws, strict=True)))
    else:
        total = 0.0
        for s, w in zip(ss, ws, strict=True):
            total = add(emit, total, vjp(emit, layer.op, layer.node, [s], i, w))
    assert isinstance(total, ir.Value)
    return emit.shaped(total, layer.node.inputs[i])


def _once(emit: Emit, layer: Layer, x: ir.Value, w: ir.Value, b: Input) -> ir.Value:
    (i,) = layer.active
    replaced: dict[int, Input] = {i: x, 1 - i: w}
    if layer.bias is not None or b is not None:
        replaced[2] = b
    return emit.forward(layer.node, replaced)


def _joined(emit: Emit, ws: Sequence[ir.Value]) -> ir.Value:
    """Weights of as many times the input channels."""
    return emit.op("Concat", *ws, axis=CHANNELS)


def _side_by_side(layer: Layer) -> bool:
    return _is_conv(layer) and _groups(layer) == 1 and _channels(layer) > 0


def _is_conv(layer: Layer) -> bool:
    return layer.node.op_type == "Conv" and layer.active == (0,)


def _steps_by_one(layer: Layer) -> bool:
    """Whether the transpose has no phases; with more outputs they take longer than alone."""
    strides = layer.node.attributes.get("strides")
    return strides is None or set(strides.as_ints()) == {1}


def _channels(layer: Layer) -> int:
    """The input channels of a convolution; 0 where they are unknown."""
    w = layer.node.inputs[1]
    shape = None if w is None else static_shape(w)
    return 0 if shape is None else shape[CHANNELS]


def _groups(layer: Layer) -> int:
    group = layer.node.attributes.get("group")
    return 1 if group is None else group.as_int()
