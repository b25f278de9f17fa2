"""What an axis of an output is in the layer that makes it: samples, channels or places of a map."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.analysis.reshaping import Block, axes_before, blocks
from lrp_onnx.graph.shapes import sizes_of
from lrp_onnx.ops.registry import find

__all__ = ["CHANNEL", "PLACE", "SAMPLE", "role_of", "splits_features"]

SAMPLE, CHANNEL, PLACE = "sample", "channel", "place"
KEEPING = (
    *("Slice", "Split", "Concat", "Pad", "Identity", "Cast", "Dropout", "Expand", "Softmax"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "LayerNormalization"),
)
"""Operators behind which an axis is what it was, where the rank stays."""


def role_of(value: ir.Value | None, axis: int) -> str | None:
    """SAMPLE, CHANNEL or PLACE of the convolution or pooling that the axis comes from; None where
    it comes from none.
    """
    while value is not None and (node := value.producer()) is not None:
        operator, x = find(node), node.inputs[0] if node.inputs else None
        if operator is None or value.shape is None:
            return None
        if operator.window or node.op_type == "Resize":
            return (SAMPLE, CHANNEL)[axis] if axis < 2 else PLACE
        if operator.elementwise or operator.axes is not None:
            x = next((v for v in node.inputs if _is_alike(v, value)), None)
            before: int | None = axis
        else:
            before = _before(node, x, value, axis)
        if before is None:
            return None
        value, axis = x, before
    return None


def _is_alike(x: ir.Value | None, value: ir.Value) -> bool:
    """Whether it is an activation with the value's axes."""
    if x is None or x.is_initializer() or x.shape is None or value.shape is None:
        return False
    return len(x.shape) == len(value.shape)


def _before(node: ir.Node, x: ir.Value | None, value: ir.Value, axis: int) -> int | None:
    """The axis of the node's input that becomes this one; None if it is none alone."""
    if x is None or x.shape is None or value.shape is None:
        return None
    if node.op_type in ("Transpose", "Squeeze", "Unsqueeze"):
        before = axes_before(node)
        return None if before is None else before[axis]
    if node.op_type in ("Reshape", "Flatten"):
        return _reshaped(x, value, axis)
    if node.op_type in KEEPING and len(x.shape) == len(value.shape):
        return axis
    if node.op_type == "Gather" and len(x.shape) == len(value.shape) + 1:
        chosen = node.attributes.get_int("axis", 0) % len(x.shape)
        return axis + (axis >= chosen)
    return None


def _reshaped(x: ir.Value, value: ir.Value, axis: int) -> int | None:
    """The only axis of its block that is not known to have size 1."""
    block = _block_of(x, value, axis)
    if block is None or x.shape is None or value.shape is None:
        return None
    behind = [k for k in block.behind if value.shape[k] != 1]
    before = [k for k in block.before if x.shape[k] != 1]
    if len(before) == len(behind) and axis in behind:
        return before[behind.index(axis)]
    return None


def _block_of(x: ir.Value, value: ir.Value, axis: int) -> Block | None:
    before, behind = sizes_of(x), sizes_of(value)
    if before is None or behind is None:
        return None
    return next((b for b in blocks(before, behind) if axis in b.behind), None)


def splits_features(value: ir.Value | None, axis: int) -> bool:
    """Whether this axis and the one in front of it are one axis of an earlier tensor: numbers
    that a layer computes each by weights of its own.
    """
    while value is not None and (node := value.producer()) is not None:
        x = node.inputs[0] if node.inputs else None
        operator = find(node)
        if operator is None or x is None:
            return False
        if node.op_type == "Reshape":
            block = _block_of(x, value, axis)
            if block is not None and set(block.behind) >= {axis - 1, axis}:
                shape = x.shape
                return shape is not None and sum(shape[k] != 1 for k in block.before) == 1
        elif not operator.elementwise and node.op_type != "Identity":
            return False
        value = x if node.op_type == "Reshape" else _operand(node, value)
    return False


def _operand(node: ir.Node, value: ir.Value) -> ir.Value | None:
    return next((v for v in node.inputs if _is_alike(v, value)), None)
