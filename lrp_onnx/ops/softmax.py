"""Normalised exponentials along one axis.

LogSoftmax inside a network is x less its normaliser; like any shift it passes relevance on, just
as relevance starts at the logits where the network ends in it.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.emit import Emit
from lrp_onnx.ops.linear import integer
from lrp_onnx.ops.registry import op

__all__: list[str] = []


def _axis(node: ir.Node) -> tuple[int, ...]:
    return (integer(node, "axis", -1),)


def _total(emit: Emit, node: ir.Node, s: ir.Value) -> ir.Value:
    return emit.op("ReduceSum", s, emit.ints(*_axis(node)), keepdims=1)


@op("Softmax", kind="softmax", axes=_axis)
def softmax(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """y·(s - Σ s·y) over the axis.  Spec: ONNX Softmax-13."""
    weighted = emit.op("Mul", s, node.outputs[0])
    share = emit.op("Mul", node.outputs[0], _total(emit, node, weighted))
    return emit.op("Sub", weighted, share)


@op("LogSoftmax", kind="softmax", axes=_axis)
def log_softmax(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s - exp(y)·Σ s over the axis.  Spec: ONNX LogSoftmax-13."""
    share = emit.op("Mul", emit.op("Exp", node.outputs[0]), _total(emit, node, s))
    return emit.op("Sub", s, share)
