"""Modified copies of a linear layer and their derivatives, as nodes of the dialect."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.ops.linear import linear_vjp
from lrp_onnx.propagation.shares import Layer

__all__ = ["backward", "backward_sum", "forward"]


def forward(
    emit: Emit, layer: Layer, xs: Sequence[ir.Value], ws: Sequence[ir.Value], b: Input
) -> ir.Value:
    """Σ f(xₖ; wₖ, 0) + b.

    xₖ: shaped like the layer's input    wₖ: its weight    b: its bias    ->    its output.
    """
    (i,) = layer.active
    if len(xs) > 1:
        bias = emit.constant(b) if isinstance(b, float) else b
        operands = [bias, *map(emit.at_least_float, (*xs, *ws))]
        return emit.dialect("LinearSum", operands, [layer.node.outputs[0]], layer.node, i=i)[0]
    replaced: dict[int, Input] = {i: xs[0], 1 - i: ws[0]}
    if layer.bias is not None or b is not None:
        replaced[2] = b
    return forward_copy(emit, layer.node, replaced)


def backward(
    emit: Emit, layer: Layer, ss: Sequence[ir.Value], ws: Sequence[Sequence[ir.Value]]
) -> tuple[ir.Value, ...]:
    """Σₖ vjp(sₖ; wₖⱼ) for every j.

    sₖ: shaped like the layer's output    wₖⱼ: like its weight    ->    each like its input.
    """
    (i,), columns = layer.active, [w for row in ws for w in row]
    return linear_vjp(emit, layer.node, i, ss, columns)


def backward_sum(
    emit: Emit, layer: Layer, ss: Sequence[ir.Value], ws: Sequence[ir.Value]
) -> ir.Value:
    """Σ vjp(sₖ; wₖ), shaped like the layer's input."""
    return backward(emit, layer, ss, [[w] for w in ws])[0]
