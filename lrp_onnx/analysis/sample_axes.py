"""Where the samples lie behind an operator that keeps them apart along any axis.

Recurrent networks hold them along axis 1 or 2 between the Transposes around their layers.  What is
not listed here counts as mixing.  Spec: ONNX LSTM-14, GRU-14, RNN-14, Gather-13, Concat-13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from lrp_onnx.analysis.reshaping import Block, blocks
from lrp_onnx.graph.constants import constant_ints
from lrp_onnx.graph.shapes import sizes_of
from lrp_onnx.ops.registry import find

__all__ = ["axis_behind"]

Axes = Mapping[int, int]
"""Input → the axis along which it holds the samples."""


def axis_behind(node: ir.Node, axes: Axes) -> list[int | None]:
    """The axis of each output; None where samples may meet."""
    operator = find(node)
    if operator is not None and operator.elementwise:
        return [_elementwise(node, axes)]
    if node.op_type in LAYERS and not node.domain:
        return _recurrent(node, axes)
    rule = None if node.domain else BY_OPERATOR.get(node.op_type)
    return [None if rule is None else rule(node, axes)] * len(node.outputs)


def _rank(value: ir.Value | None) -> int:
    return 0 if value is None or value.shape is None else len(value.shape)


def _elementwise(node: ir.Node, axes: Axes) -> int | None:
    """The same axis, counted from the last, of all that hold samples."""
    from_last = {axis - _rank(node.inputs[i]) for i, axis in axes.items()}
    return from_last.pop() + _rank(node.outputs[0]) if len(from_last) == 1 else None


def _only(axes: Axes, i: int = 0) -> int | None:
    return axes[i] if list(axes) == [i] else None


def _transposed(node: ir.Node, axes: Axes) -> int | None:
    axis, rank = _only(axes), _rank(node.inputs[0])
    perm = node.attributes.get_ints("perm", range(rank)[::-1])
    return None if axis is None else list(perm).index(axis)


def _reshaped(node: ir.Node, axes: Axes) -> int | None:
    """Where the axis is a block of its own, as far as the sizes tell."""
    axis, x = _only(axes), node.inputs[0]
    before, behind = sizes_of(x) if x is not None else None, sizes_of(node.outputs[0])
    if axis is None or before is None or behind is None:
        return None
    places = [k for k in range(len(behind)) if Block((axis,), (k,)) in blocks(before, behind)]
    return places[0] if places else None


def _beside(names: str, *, at: int | None = None) -> Callable[[ir.Node, Axes], int | None]:
    """Of an operator that works along the axes of an attribute or of input `at` alone."""

    def rule(node: ir.Node, axes: Axes) -> int | None:
        axis, rank = _only(axes), _rank(node.inputs[0])
        if at is None:
            worked = [node.attributes.get_int(names, -1)]
        else:
            value = node.inputs[at] if len(node.inputs) > at else None
            cut = constant_ints(value)
            worked = [axis or 0] if cut is None else cut
        return None if axis is None or axis in {k % rank for k in worked} else axis

    return rule


def _reduced(node: ir.Node, axes: Axes) -> int | None:
    axis, rank = _only(axes), _rank(node.inputs[0])
    gone = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    if axis is None or not gone or axis in (gone := [k % rank for k in gone]):
        return None
    return axis if node.attributes.get_int("keepdims", 1) else axis - sum(k < axis for k in gone)


def _joined(node: ir.Node, axes: Axes) -> int | None:
    places, rank = set(axes.values()), _rank(node.inputs[0])
    joined = node.attributes.get_int("axis", 0) % rank
    all_hold = len(axes) == len(node.inputs)
    return places.pop() if all_hold and len(places) == 1 and joined not in places else None


def _gathered(node: ir.Node, axes: Axes) -> int | None:
    axis, rank = _only(axes), _rank(node.inputs[0])
    chosen = node.attributes.get_int("axis", 0) % max(rank, 1)
    if axis is None or axis == chosen or node.inputs[1] is None or node.inputs[1].shape is None:
        return None
    return axis + (_rank(node.inputs[1]) - 1 if chosen < axis else 0)


def _multiplied(node: ir.Node, axes: Axes) -> int | None:
    """Rows of the first factor, or matrices of both."""
    last = -2 if len(axes) == 1 else -3
    from_last = {axis - _rank(node.inputs[i]) for i, axis in axes.items()}
    if len(from_last) > 1 or 0 not in axes or max(from_last) > last:
        return None
    return from_last.pop() + _rank(node.outputs[0])


BY_OPERATOR: Mapping[str, Callable[[ir.Node, Axes], int | None]] = {
    "Concat": _joined,
    "Gather": _gathered,
    "MatMul": _multiplied,
    "ReduceMax": _reduced,
    "ReduceMean": _reduced,
    "ReduceSum": _reduced,
    "Reshape": _reshaped,
    "Slice": _beside("axes", at=3),
    "Softmax": _beside("axis"),
    "Split": _beside("axis"),
    "Squeeze": _reshaped,
    "Transpose": _transposed,
    "Unsqueeze": _reshaped,
}

LAYERS = ("LSTM", "GRU", "RNN")
LENGTHS, STATES = 4, (5, 6)


def _recurrent(node: ir.Node, axes: Axes) -> list[int | None]:
    """X holds (T, N, …) or, of layout 1, (N, T, …); states (D, N, H) or (N, D, H)."""
    first = node.attributes.get_int("layout", 0)
    held = {0: 0 if first else 1, LENGTHS: 0, **dict.fromkeys(STATES, 0 if first else 1)}
    if 0 not in axes or any(held.get(i) != axis for i, axis in axes.items()):
        return [None] * len(node.outputs)
    return [0 if first else 2, *[0 if first else 1] * (len(node.outputs) - 1)]
