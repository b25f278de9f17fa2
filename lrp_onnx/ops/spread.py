"""Putting values back where a window or a slice read them: the transposes of strided reading.

Everything works along one axis at a time.  A forward that reads x[o·stride + offset - begin] for
output o sends its s back by zero-stuffing (`stride` phases, interleaved) and shifting; where two
windows overlap the parts are added.  Sizes are numbers where the compiler knows them and tensors of
shape [1] where only the run does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.emit import Emit

__all__ = [
    "LAST",
    "Size",
    "constant_array",
    "constant_ints",
    "pad",
    "plus",
    "reshape",
    "size_of",
    "slice_axis",
    "spread",
    "times",
    "vector",
]

Size = int | ir.Value
"""A size or position: a number, or a tensor of shape [1] where only the run knows it."""

LAST = 2**31 - 1
"""An end that means the end of any axis; it fits into int32."""


def constant_array(value: ir.Value | None) -> np.ndarray | None:
    """The elements of a constant; None for what the run computes or what is left out."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def constant_ints(value: ir.Value | None) -> list[int] | None:
    """The integers of a constant tensor, flattened; None where they are not known."""
    array = constant_array(value)
    return None if array is None else [int(v) for v in array.ravel()]


def size_of(emit: Emit, value: ir.Value, axis: int) -> Size:
    """The size of a tensor along one axis."""
    size = value.shape[axis] if value.shape is not None else None
    return size if isinstance(size, int) else emit.dimension(value, axis)


def plus(emit: Emit, a: Size, b: Size) -> Size:
    """a + b."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if a == 0 or b == 0:
        return b if a == 0 else a
    return emit.op("Add", vector(emit, [a]), vector(emit, [b]))


def times(emit: Emit, a: Size, factor: int) -> Size:
    """a · factor."""
    if isinstance(a, int):
        return a * factor
    return a if factor == 1 else emit.op("Mul", a, emit.ints(factor))


def vector(emit: Emit, sizes: Sequence[Size]) -> ir.Value:
    """Sizes as one int64 tensor, a constant where all are numbers."""
    numbers = [v for v in sizes if isinstance(v, int)]
    if len(numbers) == len(sizes):
        return emit.ints(*numbers)
    parts = [emit.ints(v) if isinstance(v, int) else v for v in sizes]
    return parts[0] if len(parts) == 1 else emit.op("Concat", *parts, axis=0)


def reshape(emit: Emit, value: ir.Value, sizes: Sequence[Size]) -> ir.Value:
    """`value` in a new shape; 0 keeps the size at that place, a single unknown size becomes -1."""
    unknown = [k for k, v in enumerate(sizes) if not isinstance(v, int)]
    if len(unknown) == 1:
        sizes = [-1 if k in unknown else v for k, v in enumerate(sizes)]
    return emit.op("Reshape", value, vector(emit, sizes))


def pad(
    emit: Emit,
    value: ir.Value,
    amounts: Mapping[int, tuple[Size, Size]],
    rank: int,
    fill: ir.Value | None = None,
) -> ir.Value:
    """Zeros, or `fill`, before and after along each axis of `amounts`."""
    if all(a == (0, 0) for a in amounts.values()):
        return value
    before = [amounts.get(k, (0, 0))[0] for k in range(rank)]
    after = [amounts.get(k, (0, 0))[1] for k in range(rank)]
    return emit.op("Pad", value, vector(emit, [*before, *after]), fill)


def slice_axis(
    emit: Emit, value: ir.Value, axis: int, start: Size, end: Size, step: int = 1
) -> ir.Value:
    """Elements start, start + step, … before end."""
    steps = emit.ints(step) if step != 1 else None
    return emit.op(
        "Slice", value, vector(emit, [start]), vector(emit, [end]), emit.ints(axis), steps
    )


def spread(
    emit: Emit,
    parts: Sequence[tuple[int, ir.Value]],
    node: ir.Node,
    axis: int,
    stride: int = 1,
    begin: Size = 0,
) -> ir.Value:
    """c[o·stride + offset - begin] = Σ part[o] over the pairs (offset, part), else 0.

    part: (*x sizes before `axis`, *y sizes from it on)    ->    c: the same, x's size along `axis`.
    """
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    sizes = [size_of(emit, y, k) for k in range(len(y.shape or ()))]
    size, read = size_of(emit, x, axis), sizes[axis]
    more = max(offset for offset, _ in parts) // stride
    if isinstance(size, int) and isinstance(read, int) and isinstance(begin, int):
        more = max(more, -(-(begin + size) // stride) - read)
    elif stride > 1:  # less than a stride lies behind what the last window read
        more += 1
    sizes[axis] = length = times(emit, plus(emit, read, more), stride)
    whole = _interleaved(emit, parts, axis, stride, more, sizes)
    if isinstance(begin, int) and begin < 0:
        whole, length = (
            pad(emit, whole, {axis: (-begin, 0)}, len(sizes)),
            plus(emit, length, -begin),
        )
        begin = 0
    if begin == 0 and isinstance(length, int) and length == size:
        return whole
    return slice_axis(emit, whole, axis, begin, plus(emit, begin, size))


def _interleaved(
    emit: Emit,
    parts: Sequence[tuple[int, ir.Value]],
    axis: int,
    stride: int,
    more: int,
    sizes: Sequence[Size],
) -> ir.Value:
    """The phases 0 … stride-1 side by side: element q·stride + r is element q of phase r."""
    rank = len(sizes)
    phases: dict[int, ir.Value] = {}
    for offset, part in parts:
        shift, r = divmod(offset, stride)
        moved = pad(emit, part, {axis: (shift, more - shift)}, rank)
        phases[r] = emit.op("Add", phases[r], moved) if r in phases else moved
    if stride == 1:
        return phases[0]
    columns = [_column(emit, phases, r, axis) for r in range(max(phases) + 1)]
    if len(columns) == stride and all(c is columns[0] for c in columns):
        copies = emit.ints(*(stride if k == axis + 1 else 1 for k in range(rank + 1)))
        stacked = emit.op("Expand", columns[0], copies)
    else:
        stacked = emit.op("Concat", *columns, axis=axis + 1) if len(columns) > 1 else columns[0]
        stacked = pad(emit, stacked, {axis + 1: (0, stride - len(columns))}, rank + 1)
    return reshape(emit, stacked, [0] * axis + list(sizes[axis:]))


def _column(emit: Emit, phases: Mapping[int, ir.Value], r: int, axis: int) -> ir.Value:
    """Phase r with a new axis behind `axis`; zeros where no window reads."""
    phase = phases[r] if r in phases else emit.expand_like(0.0, next(iter(phases.values())))
    return emit.op("Unsqueeze", phase, emit.ints(axis + 1))
