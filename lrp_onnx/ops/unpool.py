"""Operators that put values back at places: MaxUnpool by indices, Col2Im by windows."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.windows import window_of
from lrp_onnx.ops.bounds import same_sign
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op, refuse
from lrp_onnx.ops.scatter_add import Size, numbered, pad, plus, size_of, slice_axis, vector

__all__: list[str] = []


def _kind(node: ir.Node, active: tuple[int, ...]) -> str:
    """`move`, if it is agreed which element of the output an index means."""
    x, y = node.inputs[0], node.outputs[0]
    if len(node.inputs) < 3 or x is None or x.shape is None or y.shape is None:
        return "move"
    window = window_of(node, len(x.shape) - 2)
    for k, (size, out) in enumerate(zip(x.shape[2:], y.shape[2:], strict=True)):
        if not isinstance(size, int) or not isinstance(out, int) or window.kernel is None:
            continue
        if (size - 1) * window.strides[k] - sum(window.padding(k)) + window.kernel[k] != out:
            raise refuse(
                "runtimes disagree whether its indices count in its output_shape or in the "
                "shape that its windows imply. Export it with an output_shape that agrees"
            )
    return "move"


@op("MaxUnpool", kind="move", choose=_kind, gates=(1, 2), sign=same_sign)
def max_unpool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s at the place each element was put; of several at one place the last is there.

    s: (N, C, *out)    ->    c: (N, C, *in).    Spec: ONNX MaxUnpool-11.
    """
    x, indices = node.inputs[:2]
    flat = emit.op("Reshape", s, emit.ints(-1))
    place = emit.op("Reshape", indices, emit.ints(-1))
    numbers = numbered(emit, x)
    nobody = emit.op("Expand", emit.ints(-1), emit.op("Shape", flat))
    last = emit.op("ScatterElements", nobody, place, numbers, axis=0, reduction="max")
    there = emit.op("Equal", emit.op("Gather", last, place, axis=0), numbers)
    read = emit.op("Gather", flat, place, axis=0)
    share = emit.op("Mul", read, emit.op("Cast", there, to=int(emit.dtype)))
    assert x is not None
    return emit.reshape_like(share, x)


@op("Col2Im", kind="sum", gates=(1, 2), sign=same_sign)
def col2im(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """im2col: the elements of s that each column was added to, one axis of the image at a time.

    s: (N, C, *image)    ->    c: (N, C·Πblock, Πwindows).    Spec: ONNX Col2Im-18.
    """
    x, block = operand(node), node.inputs[2]
    y = node.outputs[0]
    n = known_rank(y) - 2
    window = window_of(node, n)
    kernel = _sizes(emit, block, n)
    s = pad(emit, s, {k + 2: window.padding(k) for k in range(n)}, n + 2)
    for k in range(n):
        size = plus(emit, size_of(emit, y, k + 2), sum(window.padding(k)))
        taken = _windows(emit, kernel[k], size, window.strides[k], window.dilations[k])
        # axes in front: N, C, and two of each axis before
        s = emit.op("Gather", s, taken, axis=2 + 2 * k)
    order = [0, 1, *range(2, 2 + 2 * n, 2), *range(3, 2 + 2 * n, 2)]
    return emit.reshape_like(emit.op("Transpose", s, perm=order), x)


def _sizes(emit: Emit, sizes: ir.Value | None, n: int) -> list[Size]:
    """An input of n sizes, one by one."""
    known = constant_ints(sizes)
    if known is not None:
        return list(known)
    assert sizes is not None
    return [slice_axis(emit, sizes, 0, k, k + 1) for k in range(n)]


def _windows(emit: Emit, kernel: Size, size: Size, stride: int, dilation: int) -> ir.Value:
    """The positions that the windows along one axis read: (kernel, windows)."""
    if isinstance(kernel, int) and isinstance(size, int):
        count = (size - dilation * (kernel - 1) - 1) // stride + 1
        first = np.arange(count) * stride
        return emit.constant(np.arange(kernel)[:, None] * dilation + first, ir.DataType.INT64)
    offsets = emit.op("Mul", _numbers(emit, kernel), emit.ints(dilation))
    reach = emit.op("ReduceMax", offsets, keepdims=1)
    starts = emit.op("Sub", vector(emit, [size]), reach)
    firsts = emit.op(
        "Range", *(_scalar(emit, v) for v in (emit.ints(0), starts, emit.ints(stride)))
    )
    return emit.op("Add", emit.op("Unsqueeze", offsets, emit.ints(1)), firsts)


def _numbers(emit: Emit, count: Size) -> ir.Value:
    bounds = (emit.ints(0), vector(emit, [count]), emit.ints(1))
    return emit.op("Range", *(_scalar(emit, v) for v in bounds))


def _scalar(emit: Emit, value: ir.Value) -> ir.Value:
    return emit.op("Squeeze", value, emit.ints(0))
