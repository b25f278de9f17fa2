"""Which axis of an inner tensor continues which axis of an input.

Along an axis that continues height, position k stands for what lies around the k-th part of the
picture, however many positions there are: convolutions and pools slide along it, elementwise
operators, norms, padding and resizing keep it, Transpose moves it.  What adds over an axis, or
mixes it with another, ends it.  Only what these operators do counts: no layout has to be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.analysis.step import Step
from lrp_onnx.graph.shapes import dimension_of

__all__ = ["Axes", "continued_axes", "positions_of"]

Axes = tuple[int | None, ...]
"""For each axis of a tensor the axis of the input that it continues, if any."""

KEEP = (
    *("Concat", "Pad", "Slice", "Resize", "Upsample", "Split", "Softmax", "LogSoftmax", "LRN"),
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Norm", "CumSum"),
    *("LpNormalization", "MeanVarianceNormalization", "DepthToSpace", "SpaceToDepth"),
)
"""Operators of the same rank whose positions stay in their order."""


def continued_axes(on_path: Sequence[Step], x: ir.Value) -> dict[ir.Value, Axes]:
    """For each tensor on the path the axes of `x` that its own continue."""
    known: dict[ir.Value, Axes] = {x: tuple(range(len(x.shape or ())))}
    for step in on_path:
        described = [
            _continued(step, i, known[value])
            for i in step.active
            if (value := step.node.inputs[i]) in known and value is not None
        ]
        for y in step.node.outputs:
            rank = len(y.shape) if y.shape is not None else None
            fitting = [axes for axes in described if len(axes) == rank]
            if fitting:
                known[y] = tuple(
                    next((k for k in each if k is not None), None)
                    for each in zip(*fitting, strict=True)
                )
    return known


def positions_of(axes: Axes) -> dict[int, int]:
    """The input's axes that axes of a tensor continue, each with the tensor's; but for the batch,
    its axis 0.
    """
    known = [(k, n) for n, k in enumerate(axes) if n and k is not None and k != axes[0]]
    return dict(sorted(known))


def _continued(step: Step, i: int, axes: Axes) -> Axes:
    """What the axes of output 0 continue, as far as input `i` says; () where nothing is known."""
    node, y = step.node, step.node.outputs[0]
    rank = 0 if y.shape is None else len(y.shape)
    if step.op.window == "kernel" or node.op_type == "Col2Im":
        return tuple(None if n == 1 else k for n, k in enumerate(axes))
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm", tuple(reversed(range(len(axes)))))
        return tuple(axes[k] for k in perm)
    if node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
        return _regrouped(node, i, axes)
    if node.op_type == "Gather" and i == 1:
        return _looked_up(node, axes)
    if node.op_type in ("Gemm", "MatMul", "MatMulAdd") and i == 0 and len(axes) == rank:
        return () if node.attributes.get_int("transA", 0) else (*axes[:-1], None)
    if step.op.elementwise:
        return (*[None] * (rank - len(axes)), *axes)
    keeps = step.op.window == "pool" or node.op_type in KEEP
    return axes if keeps and len(axes) == rank else ()


def _looked_up(node: ir.Node, axes: Axes) -> Axes:
    """Of a table's rows by number: the axes of the numbers, then those of a row."""
    table, y = node.inputs[0], node.outputs[0]
    if node.attributes.get_int("axis", 0) or table is None or y.shape is None:
        return ()
    return (*axes, *[None] * (len(y.shape) - len(axes)))


def _regrouped(node: ir.Node, i: int, axes: Axes) -> Axes:
    """Of a node that inserts or removes axes of size 1, and leaves the others in their order."""
    x, y = node.inputs[i], node.outputs[0]
    if x is None or x.shape is None or y.shape is None:
        return ()
    if node.op_type == "Unsqueeze" and (where := _numbers(node)):
        new = {k % len(y.shape) for k in where}
        rest = iter(axes)
        return tuple(None if n in new else next(rest) for n in range(len(y.shape)))
    if node.op_type == "Squeeze" and (where := _numbers(node)):
        gone = {k % len(axes) for k in where}
        return tuple(k for n, k in enumerate(axes) if n not in gone)
    before, behind = ([dimension_of(d) for d in shape] for shape in (x.shape, y.shape))
    longer = [size for size in before if size != 1]
    if None in longer or longer != [size for size in behind if size != 1]:
        return ()
    rest = iter(k for size, k in zip(before, axes, strict=True) if size != 1)
    return tuple(None if size == 1 else next(rest) for size in behind)


def _numbers(node: ir.Node) -> list[int]:
    """The constant axes that input 1 gives; none where it gives none."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    tensor = None if value is None else value.const_value
    return [] if tensor is None else [int(k) for k in tensor.numpy().ravel()]
