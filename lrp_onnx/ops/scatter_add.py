"""Putting values back where a window or a slice read them: the transposes of strided reading.

Everything works along one axis at a time.  A forward that reads x[o·stride + offset - begin] for
output o sends its s back by zero-stuffing (`stride` phases, interleaved) and shifting; where two
windows overlap the parts are added.  Sizes are numbers where the compiler knows them and tensors of
shape [1] where only the run does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.operands import operand

__all__ = [
    "Size",
    "columns",
    "counted",
    "numbered",
    "overlap_add",
    "pad",
    "plus",
    "reshape",
    "shifted",
    "size_of",
    "slice_axis",
    "times",
    "vector",
]

Size = int | ir.Value
"""A size or position: a number, or a tensor of shape [1] where only the run knows it."""


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


def counted(emit: Emit, size: Size) -> ir.Value:
    """0, 1, 2, … as many as `size` says."""
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    return emit.op("Range", zero, emit.op("Squeeze", vector(emit, [size]), emit.ints(0)), one)


def numbered(emit: Emit, x: ir.Value | None) -> ir.Value:
    """0, 1, 2, … one for each element of a tensor."""
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    return emit.op("Range", zero, emit.op("Size", x), one)


def reshape(emit: Emit, value: ir.Value, sizes: Sequence[Size]) -> ir.Value:
    """`value` in a new shape; 0 keeps the size at that place, a single unknown size becomes -1.

    Not where a size that is kept may be none, as of an empty batch: any other would fit beside it.
    """
    sizes = list(sizes)
    unknown = [k for k, v in enumerate(sizes) if not isinstance(v, int)]
    if len(unknown) == 1:
        same_sizes = {k: size_of(emit, value, k) for k, v in enumerate(sizes) if v == 0}
        # runtimes put -1 for a size that they do not know beside zeros alone: they see these sizes
        sizes = [
            size if k not in same_sizes or isinstance(same_sizes[k], int) else same_sizes[k]
            for k, size in enumerate(sizes)
        ]
        if all(isinstance(size, int) for size in same_sizes.values()):
            sizes[unknown[0]] = -1
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


def shifted(
    emit: Emit,
    value: ir.Value,
    axis: int,
    start: int,
    length: int,
    shape: Sequence[Size],
    fill: ir.Value | None = None,
) -> ir.Value | None:
    """Elements start … start + length - 1 along an axis of known size, zeros or `fill` for those
    outside; None where all are.

    shape: that of the value.
    """
    size = shape[axis]
    assert isinstance(size, int)
    first, last = max(start, 0), min(start + length, size)
    if first >= last:
        return None
    whole = (first, last) == (0, size)
    inside = value if whole else slice_axis(emit, value, axis, first, last)
    around = {axis: (first - start, start + length - last)}
    return pad(emit, inside, around, len(shape), fill)


def columns(
    emit: Emit,
    value: ir.Value,
    axis: int,
    stride: int,
    shape: Sequence[Size],
    fill: ir.Value | None = None,
) -> list[ir.Value]:
    """For each r below `stride` the elements r, r + stride, … along an axis of known size, filled
    up to equal length.

    On ONNX Runtime's CPU provider a Slice with a step takes five times as long.
    """
    size = shape[axis]
    assert isinstance(size, int)
    length = -(-size // stride)
    filled = pad(emit, value, {axis: (0, length * stride - size)}, len(shape), fill)
    rows = reshape(emit, filled, [*[0] * axis, length, stride, *shape[axis + 1 :]])
    apart = emit.outputs("Split", (rows, emit.ints(*[1] * stride)), {"axis": axis + 1}, stride)
    return [emit.op("Squeeze", column, emit.ints(axis + 1)) for column in apart]


def overlap_add(
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
    x, y = operand(node), node.outputs[0]
    sizes = [size_of(emit, y, k) for k in range(len(y.shape or ()))]
    size, read = size_of(emit, x, axis), sizes[axis]
    if isinstance(size, int) and isinstance(read, int) and isinstance(begin, int):
        phases, length = _phases_in_place(emit, parts, axis, stride, begin, size, sizes)
        if not phases:  # every window lies in the padding
            before = [size_of(emit, x, k) for k in range(axis)]
            return emit.op("Expand", 0.0, vector(emit, [*before, size, *sizes[axis + 1 :]]))
        begin = 0
    else:
        assert not isinstance(begin, int) or begin >= 0
        phases, length = _phases_from_start(emit, parts, axis, stride, sizes)
    whole = _interleaved(emit, phases, axis, stride, length, sizes)
    end = times(emit, length, stride)
    if begin == 0 and isinstance(end, int) and end == size:
        return whole
    return slice_axis(emit, whole, axis, begin, plus(emit, begin, size))


def _phases_in_place(
    emit: Emit,
    parts: Sequence[tuple[int, ir.Value]],
    axis: int,
    stride: int,
    begin: int,
    size: int,
    shape: Sequence[Size],
) -> tuple[dict[int, ir.Value], Size]:
    """The sums of the parts that go to each residue of the positions in x, and their length."""
    length = -(-size // stride)
    phases: dict[int, ir.Value] = {}
    for offset, part in parts:
        shift, r = divmod(offset - begin, stride)
        placed = shifted(emit, part, axis, -shift, length, shape)
        if placed is not None:
            phases[r] = emit.op("Add", phases[r], placed) if r in phases else placed
    return phases, length


def _phases_from_start(
    emit: Emit,
    parts: Sequence[tuple[int, ir.Value]],
    axis: int,
    stride: int,
    shape: Sequence[Size],
) -> tuple[dict[int, ir.Value], Size]:
    """The same by positions from the first window's start, where only the run knows sizes."""
    more = max(offset for offset, _ in parts) // stride
    if stride > 1:  # less than a stride lies behind what the last window read
        more += 1
    phases: dict[int, ir.Value] = {}
    for offset, part in parts:
        shift, r = divmod(offset, stride)
        placed = pad(emit, part, {axis: (shift, more - shift)}, len(shape))
        phases[r] = emit.op("Add", phases[r], placed) if r in phases else placed
    return phases, plus(emit, shape[axis], more)


def _interleaved(
    emit: Emit,
    phases: Mapping[int, ir.Value],
    axis: int,
    stride: int,
    length: Size,
    shape: Sequence[Size],
) -> ir.Value:
    """The phases 0 … stride-1 side by side: element q·stride + r is element q of phase r."""
    rank = len(shape)
    if stride == 1:
        return phases[0]
    columns = [_column(emit, phases, r, axis) for r in range(max(phases) + 1)]
    if len(columns) == stride and all(c is columns[0] for c in columns):
        copies = emit.ints(*(stride if k == axis + 1 else 1 for k in range(rank + 1)))
        stacked = emit.op("Expand", columns[0], copies)
    else:
        stacked = emit.op("Concat", *columns, axis=axis + 1) if len(columns) > 1 else columns[0]
        stacked = pad(emit, stacked, {axis + 1: (0, stride - len(columns))}, rank + 1)
    behind = shape[axis + 1 :]
    return reshape(emit, stacked, [*[0] * axis, times(emit, length, stride), *behind])


def _column(emit: Emit, phases: Mapping[int, ir.Value], r: int, axis: int) -> ir.Value:
    """Phase r with a new axis behind `axis`; zeros where no window reads."""
    phase = phases[r] if r in phases else expand_like(emit, 0.0, next(iter(phases.values())))
    return emit.op("Unsqueeze", phase, emit.ints(axis + 1))
