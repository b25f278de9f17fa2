"""Normalized exponentials along one axis.

LogSoftmax inside a network is x less its normalizer; like any shift it passes relevance on, just
as relevance starts at the logits where the network ends in it.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import nonnegative
from lrp_onnx.ops.registry import find, op
from lrp_onnx.ops.samples import along

__all__ = ["hands_on"]


def _axis(node: ir.Node) -> tuple[int, ...]:
    return (node.attributes.get_int("axis", -1),)


def _total(emit: Emit, node: ir.Node, s: ir.Value) -> ir.Value:
    return emit.op("ReduceSum", s, emit.ints(*_axis(node)), keepdims=1)


def _read(emit: Emit, node: ir.Node) -> ir.Value:
    """y, with 0 in rows that are NaN because all of them is masked, where a Where may drop these:
    then no relevance arrives there, and 0 · NaN must not make some.
    """
    y = node.outputs[0]
    if not _selected(y):
        return y
    return emit.op("Where", emit.op("GreaterOrEqual", y, 0.0), y, 0.0)


def hands_on(node: ir.Node) -> bool:
    """Whether it hands its one tensor on whole: cast, in another shape, or as it is."""
    operator = find(node)
    if operator is None or operator.inputs != (0,):
        return False
    return operator.moves == "reorders" or (operator.elementwise and operator.kinds == ("move",))


def _selected(value: ir.Value) -> bool:
    """Whether a Where reads the value, moved or cast before or not."""
    readers = [node for node, _ in value.uses()]
    if any(node.op_type == "Where" for node in readers):
        return True
    return any(_selected(node.outputs[0]) for node in readers if hands_on(node))


@op("Softmax", kind="softmax", axes=_axis, read=_read, sign=nonnegative, samples_apart=along(-1))
def softmax(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """y·(s - Σ s·y) over the axis.  Spec: ONNX Softmax-13."""
    y = _read(emit, node)
    weighted = emit.op("Mul", s, y)
    share = emit.op("Mul", y, _total(emit, node, weighted))
    return emit.op("Sub", weighted, share)


@op("LogSoftmax", kind="softmax", axes=_axis, samples_apart=along(-1))
def log_softmax(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s - exp(y)·Σ s over the axis.  Spec: ONNX LogSoftmax-13."""
    share = emit.op("Mul", emit.op("Exp", node.outputs[0]), _total(emit, node, s))
    return emit.op("Sub", s, share)
