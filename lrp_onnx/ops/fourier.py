"""The discrete Fourier transform: linear, and its transpose is a transform again.

With complex numbers as pairs, the transpose of y = F·x is F^H, which is the inverse transform
without its division by the length n; that of the inverse is F/n.  What a one-sided transform leaves
out counts as 0 on the way back.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand, optional
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.scatter_add import Size, pad, size_of, slice_axis, vector

__all__: list[str] = []

AXIS_IS_INPUT = 20
"""The opset from which the axis is an input."""


@op("DFT", kind="sum", gates=(1, 2))
def dft(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """F^H·s, or F·s/n for the inverse, cut or padded to the input's size.

    s: (…, n, …, 2)    ->    c: (…, size, …, 1 or 2).    Spec: ONNX DFT-20.
    """
    x, axis = operand(node), _axis(emit, node)
    inverse, onesided = (node.attributes.get_int(k, 0) for k in ("inverse", "onesided"))
    rank = known_rank(x)
    if inverse and onesided:
        c = _of_half(emit, node, s, axis)
    elif inverse:
        c = _divided(emit, _transform(emit, s, axis, 0), s, axis)
    else:
        c = _multiplied(emit, node, s, axis, onesided)
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        size = size_of(emit, x, axis)
        c = slice_axis(emit, pad(emit, c, {axis: (0, size)}, rank), axis, 0, size)
    return slice_axis(emit, c, rank - 1, 0, size_of(emit, x, rank - 1))


def _axis(emit: Emit, node: ir.Node) -> int:
    """The axis of the transform, counted from 0."""
    rank = known_rank(node.outputs[0])
    if emit.opset < AXIS_IS_INPUT:
        return node.attributes.get_int("axis", 1) % rank
    axis_input = optional(node, 2)
    known = [-2] if axis_input is None else constant_ints(axis_input)
    if known is None:
        raise UnsupportedError("its axis is computed at run time. Export it with a constant axis")
    return known[0] % rank


def _transform(emit: Emit, value: ir.Value, axis: int, inverse: int, onesided: int = 0) -> ir.Value:
    """The transform along one axis."""
    kinds = {"inverse": inverse, "onesided": onesided}
    if emit.opset < AXIS_IS_INPUT:
        return emit.op("DFT", value, axis=axis, **kinds)
    return emit.op("DFT", value, None, emit.constant(axis, ir.DataType.INT64), **kinds)


def _length(emit: Emit, value: ir.Value, axis: int) -> ir.Value:
    """The size along the axis as a number of the relevance's type."""
    size = emit.op("Shape", value, start=axis, end=axis + 1)
    return emit.op("Cast", emit.op("Squeeze", size, emit.ints(0)), to=int(emit.dtype))


def _divided(emit: Emit, c: ir.Value, like: ir.Value, axis: int) -> ir.Value:
    return emit.op("Div", c, _length(emit, like, axis))


def _multiplied(emit: Emit, node: ir.Node, s: ir.Value, axis: int, onesided: int) -> ir.Value:
    """F^H·s: n times the inverse transform, of s with zeros where it has but one side."""
    if onesided:
        missing = emit.op(
            "Sub",
            vector(emit, [_signal(emit, node, axis)]),
            emit.op("Shape", s, start=axis, end=axis + 1),
        )
        s = pad(emit, s, {axis: (0, missing)}, known_rank(node.outputs[0]))
    return emit.op("Mul", _transform(emit, s, axis, 1), _length(emit, s, axis))


def _signal(emit: Emit, node: ir.Node, axis: int) -> Size:
    """The length of the transform: that asked for, or that of the input."""
    x, length = operand(node), optional(node, 1)
    if length is None:
        return size_of(emit, x, axis)
    return emit.op("Reshape", emit.op("Cast", length, to=int(ir.DataType.INT64)), emit.ints(1))


def _of_half(emit: Emit, node: ir.Node, s: ir.Value, axis: int) -> ir.Value:
    """w·F·s/n of a real s, where w counts the frequencies that stand for two.

    All but 0 and, in an even n, n/2 do.
    """
    half = _transform(emit, s, axis, 0, onesided=1)
    rank = known_rank(node.outputs[0])
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    count = emit.op("Squeeze", emit.op("Shape", half, start=axis, end=axis + 1), emit.ints(0))
    k = emit.op("Range", zero, count, one)
    n = emit.op("Shape", s, start=axis, end=axis + 1)
    alone = emit.op(
        "Or",
        emit.op("Equal", k, zero),
        emit.op("Equal", emit.op("Mul", k, emit.ints(2)), n),
    )
    w = emit.op("Sub", 2.0, emit.op("Cast", alone, to=int(emit.dtype)))
    w = emit.op("Reshape", w, emit.ints(-1, *[1] * (rank - axis - 1)))
    return _divided(emit, emit.op("Mul", half, w), s, axis)
