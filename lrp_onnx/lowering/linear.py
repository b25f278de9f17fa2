"""Several modified copies of one layer, and their derivatives, at once: convolutions side by side.

Σ f(xₖ; wₖ) is one convolution over the xₖ side by side, and the products of one s with every wₖ are
one transposed convolution with their outputs side by side.  Where the operator has no channels that
can be laid side by side, each stands alone.  Σ vjp(sₖ; wₖ) is left to `over_input`.

What pays was measured on ONNX Runtime's CPU provider: a stride over 1 takes longer for two outputs
than twice for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.dialect import meant_by
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.graph.windows import window_of
from lrp_onnx.lowering.conv_backward_data import over_input
from lrp_onnx.ops.registry import find

__all__ = ["linear_sum", "linear_vjp"]

CHANNELS = 1
"""The axis of Conv's input and of its weight that holds input channels."""


def linear_sum(emit: Emit, written: ir.Node) -> list[ir.Value]:
    """Σ f(xₖ; wₖ, 0) + b.

    xₖ: shaped like the layer's input    wₖ: its weight    b: its bias    ->    its output.
    """
    node, i = meant_by(written), written.attributes["i"].as_int()
    b, *operands = written.inputs
    count = len(operands) // 2
    xs, ws = operands[:count], operands[count:]
    if _side_by_side(node, i):
        x, w = emit.op("Concat", *xs, axis=CHANNELS), emit.op("Concat", *ws, axis=CHANNELS)
        return [_once(emit, node, i, x, w, b)]
    pairs = enumerate(zip(xs, ws, strict=True))
    return [emit.total([_once(emit, node, i, x, w, None if k else b) for k, (x, w) in pairs])]


def _once(emit: Emit, node: ir.Node, i: int, x: Input, w: Input, b: Input) -> ir.Value:
    replaced: dict[int, Input] = {i: x, 1 - i: w}
    if b is not None or len(node.inputs) > 2:
        replaced[2] = b
    return forward_copy(emit, node, replaced)


def linear_vjp(emit: Emit, written: ir.Node) -> list[ir.Value]:
    """Σₖ vjp(sₖ; wₖⱼ) for every j.

    sₖ: shaped like the layer's output    wₖⱼ: like its weight    ->    each like its input.
    """
    node, i = meant_by(written), written.attributes["i"].as_int()
    columns, values = len(written.outputs), [v for v in written.inputs if v is not None]
    count = len(values) // (columns + 1)
    ss, ws = values[:count], values[count:]
    rows = [ws[k * columns : (k + 1) * columns] for k in range(count)]
    if columns == 1 or not _side_by_side(node, i) or not _steps_by_one(node):
        return [
            _backward(emit, node, i, list(zip(ss, column, strict=True)))
            for column in zip(*rows, strict=True)
        ]
    joined = [emit.op("Concat", *row, axis=CHANNELS) for row in rows]
    whole = over_input(emit, node, list(zip(ss, joined, strict=True)))
    sizes = emit.ints(*[_channels(node)] * columns)
    return list(emit.outputs("Split", (whole, sizes), {"axis": CHANNELS}, columns))


def _backward(
    emit: Emit, node: ir.Node, i: int, pairs: Sequence[tuple[ir.Value, ir.Value]]
) -> ir.Value:
    """Σ vjp(sₖ; wₖ) over pairs of s and w."""
    if node.op_type == "Conv" and i == 0:
        return over_input(emit, node, pairs)
    operator = find(node)
    assert operator is not None
    assert operator.vjp is not None
    x = node.inputs[i]
    parts = [emit.shaped(operator.vjp(emit, node, s, i, w), x) for s, w in pairs]
    return emit.total(parts)


def _side_by_side(node: ir.Node, i: int) -> bool:
    groups = node.attributes.get_int("group", 1)
    return node.op_type == "Conv" and i == 0 and groups == 1 and _widens(node)


def _widens(node: ir.Node) -> bool:
    """Whether a convolution has as many output channels as input channels, whose number is known:
    else its inputs are the larger tensors, and to lay them side by side takes longer than to add
    two outputs (EfficientNet-b0 under zplus: 0.94 of the time).
    """
    w = node.inputs[1]
    shape = None if w is None else static_shape(w)
    return shape is not None and 0 < shape[CHANNELS] <= shape[0]


def _steps_by_one(node: ir.Node) -> bool:
    """Whether the transpose has no phases; with more outputs they take longer than alone."""
    return set(window_of(node).strides) <= {1}


def _channels(node: ir.Node) -> int:
    """The input channels of a convolution; 0 where they are unknown."""
    w = node.inputs[1]
    shape = None if w is None else static_shape(w)
    return 0 if shape is None else shape[CHANNELS]
