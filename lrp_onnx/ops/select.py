"""Operators that select elements along axes or surround them: Slice, Gather, Pad."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.gather_transpose import give_back, give_back_constant, positions
from lrp_onnx.ops.operands import LAST, operand, optional
from lrp_onnx.ops.registry import op, refuse
from lrp_onnx.ops.samples import rank_of
from lrp_onnx.ops.scatter_add import (
    Size,
    counted,
    numbered,
    overlap_add,
    pad,
    plus,
    reshape,
    size_of,
    slice_axis,
    vector,
)

__all__ = ["of_data_or_ids"]


def _slices_keep_rows(node: ir.Node, inputs: Sequence[int]) -> bool:
    """All rows in their order are read where as many are made and the step is 1."""
    rank, steps = rank_of(node.inputs[0]), optional(node, 4)
    if _only_run_knows_axes(node) or not rank:
        return False
    axes = _slice_axes(node, rank)
    if 0 not in axes or steps is None:
        return True
    known = constant_ints(steps)
    return known is not None and known[axes.index(0)] == 1


@op(
    "Slice",
    kind="move",
    gates=(1, 2, 3, 4),
    moves="selects",
    samples_apart=_slices_keep_rows,
)
def slice_(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s at the places that were read, zeros elsewhere.  Spec: ONNX Slice-13."""
    x = operand(node)
    if _only_run_knows_axes(node):
        return _to_origins(emit, s, forward_copy(emit, node, {0: _numbered(emit, x)}), x)
    rank = known_rank(x)
    axes = _slice_axes(node, rank)
    bounds = [constant_ints(optional(node, k)) for k in (1, 2)]
    steps = [1] * len(axes) if optional(node, 4) is None else constant_ints(optional(node, 4))
    around: dict[int, tuple[Size, Size]] = {}
    for k in np.argsort(axes):
        axis, size = axes[k], x.shape[axes[k]] if x.shape is not None else None
        start, end = (None if bound is None else bound[k] for bound in bounds)
        step = None if steps is None else steps[k]
        if (start, step) == (0, 1) and end is not None and end >= LAST:
            continue
        if not isinstance(size, int) or start is None or end is None or step is None:
            read = positions(emit, x, axis, [_one(emit, node, j, int(k)) for j in (1, 2, 4)])
            s = give_back(emit, s, read, x, axis, unique=True)
            continue
        if step < 0:  # where Python reads nothing, Slice-13 starts at the first element
            start = max(start, -size)
        read_by = range(size)[slice(start, end, step)]
        if not len(read_by):
            return expand_like(emit, 0.0, x)
        if step < 0 and len(read_by) > 1:
            s = slice_axis(emit, s, axis, -1, -LAST, -1)
        if abs(step) > 1 and len(read_by) > 1:
            s = overlap_add(emit, [(0, s)], node, axis, abs(step), -min(read_by))
        else:
            around[axis] = min(read_by), size - 1 - max(read_by)
    return pad(emit, s, around, rank)


def _slice_axes(node: ir.Node, rank: int) -> list[int]:
    axes, starts = optional(node, 3), optional(node, 1)
    if axes is None:
        assert starts is not None
        return list(range(_length(starts)))
    return [axis % rank for axis in constant_ints(axes) or ()]


def _only_run_knows_axes(node: ir.Node) -> bool:
    axes = optional(node, 3)
    return axes is not None and constant_ints(axes) is None


def _numbered(emit: Emit, x: ir.Value) -> ir.Value:
    """The elements of x replaced by their numbers: 0, 1, 2, …"""
    return emit.reshape_like(numbered(emit, x), x)


def _to_origins(emit: Emit, s: ir.Value, origins: ir.Value, x: ir.Value) -> ir.Value:
    """Each element of s to the element of x with the number `origins`, summed; -1 is nowhere."""
    flat, place = (emit.op("Reshape", v, emit.ints(-1)) for v in (s, origins))
    valid = emit.op("Where", emit.op("Less", place, emit.ints(0)), 0.0, flat)
    nothing = emit.op("Expand", 0.0, emit.op("Reshape", emit.op("Size", x), emit.ints(1)))
    place = emit.op("Max", place, emit.ints(0))
    total = emit.op("ScatterElements", nothing, place, valid, axis=0, reduction="add")
    return emit.reshape_like(total, x)


def _length(value: ir.Value) -> int:
    """The length of a tensor with one axis."""
    length = None if value.shape is None else value.shape[0]
    if not isinstance(length, int):
        raise UnsupportedError(
            f"the length of tensor {tensor_name(value)!r} is unknown. Export the model with input "
            "shapes"
        )
    return length


def _one(emit: Emit, node: ir.Node, j: int, k: int) -> ir.Value:
    """Element k of an input of integers (1 where the node has none), as a tensor of shape [1]."""
    values = optional(node, j)
    if values is None:
        return emit.ints(1)
    known = constant_ints(values)
    if known is not None:
        return emit.ints(known[k])
    if values.dtype != ir.DataType.INT64:
        values = emit.op("Cast", values, to=int(ir.DataType.INT64))
    return slice_axis(emit, values, 0, k, k + 1)


def of_data_or_ids(node: ir.Node, active: tuple[int, ...]) -> str:
    """A `move` of the data, or of the ids where only these depend on the explained input."""
    if active == (0, 1):
        raise refuse("both its data and its indices depend on the explained input")
    return "move"


def _samples_apart(node: ir.Node, inputs: Sequence[int]) -> bool:
    """Along axis 0 the indices keep them apart, else the data does."""
    first = node.attributes.get_int("axis", 0) in (0, -rank_of(node.inputs[0]))
    return list(inputs) == ([1] if first else [0])


@op(
    "Gather",
    kind="move",
    choose=of_data_or_ids,
    inputs=(0, 1),
    moves="selects",
    folds=True,
    samples_apart=_samples_apart,
)
def gather(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the elements that were read, summed where one was read twice.

    For explained indices (token ids) it is the sum over what each chose.
    s: (*before, *indices, *behind)    ->    c: (*before, D, *behind), or (*indices,) for i = 1.
    Spec: ONNX Gather-13.
    """
    x, indices = operand(node), node.inputs[1]
    assert indices is not None
    rank, count = known_rank(x), known_rank(indices)
    axis = node.attributes.get_int("axis", 0) % rank
    if i == 1:
        others = [k for k in range(rank + count - 1) if not axis <= k < axis + count]
        return emit.op("ReduceSum", s, emit.ints(*others), keepdims=0) if others else s
    if count == 0:
        s = emit.op("Unsqueeze", s, emit.ints(axis))
    elif count > 1:
        behind = [size_of(emit, x, k) for k in range(axis + 1, rank)]
        chosen = _count(emit, indices)
        s = reshape(emit, s, [*[0] * axis, chosen, *behind])
    known, size = constant_ints(indices), size_of(emit, x, axis)
    if known is not None and isinstance(size, int):
        return give_back_constant(emit, s, [k % size for k in known], x, axis)
    return give_back(emit, s, emit.op("Reshape", indices, emit.ints(-1)), x, axis)


def _count(emit: Emit, value: ir.Value) -> Size:
    sizes = list(value.shape or [None])
    if all(isinstance(size, int) for size in sizes):
        return int(np.prod([int(size) for size in sizes]))  # type: ignore[arg-type]
    return emit.op("Unsqueeze", emit.op("Size", value), emit.ints(0))


def _sign_of_pad(node: ir.Node, of: Sequence[int]) -> int:
    """That of the data, if padding is with zeros, with data or with a constant of that sign."""
    fill = optional(node, 2)
    if fill is None or node.attributes.get_string("mode", "constant") != "constant":
        return of[0]
    return of[0] if of[0] == of[2] else 0


def _pads_keep_rows(node: ir.Node, inputs: Sequence[int]) -> bool:
    """No row is added in front or behind."""
    rank, axes = rank_of(node.inputs[0]), optional(node, 3)
    chosen = [*range(rank)] if axes is None else constant_ints(axes)
    amounts = constant_ints(optional(node, 1))
    if chosen is None or amounts is None or not rank:
        return False
    ends = zip([axis % rank for axis in chosen] * 2, amounts, strict=True)
    return not any(amount for axis, amount in ends if axis == 0)


@op(
    "Pad",
    kind="move",
    gates=(1, 2, 3),
    sign=_sign_of_pad,
    folds=True,
    grows=True,
    samples_apart=_pads_keep_rows,
)
def pad_(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s without the padding; that of reflected, repeated and wrapped elements goes back to them.

    What falls on constant padding is lost.  Spec: ONNX Pad-19.
    """
    x, mode = operand(node), node.attributes.get_string("mode", "constant")
    if _only_run_knows_axes(node):
        nowhere = emit.constant(-1, ir.DataType.INT64)
        return _to_origins(
            emit, s, forward_copy(emit, node, {0: _numbered(emit, x), 2: nowhere}), x
        )
    rank = known_rank(x)
    axes = (
        list(range(rank)) if optional(node, 3) is None else constant_ints(optional(node, 3)) or []
    )
    amounts = constant_ints(optional(node, 1))
    for k, axis in enumerate(a % rank for a in axes):
        begin, end = (
            _one(emit, node, 1, j) if amounts is None else amounts[j] for j in (k, k + len(axes))
        )
        if begin == end == 0:
            continue
        s = _unpadded(emit, s, x, axis, begin, end, mode)
    return s


def _unpadded(
    emit: Emit, s: ir.Value, x: ir.Value, axis: int, begin: Size, end: Size, mode: str
) -> ir.Value:
    """Pad's transpose along one axis."""
    size, rank = size_of(emit, x, axis), known_rank(x)
    if isinstance(begin, int) and isinstance(end, int):
        if mode == "constant":
            first = max(begin, 0)
            last = plus(emit, plus(emit, first, size), min(begin, 0) + min(end, 0))
            sliced = slice_axis(emit, s, axis, first, last) if begin > 0 or end > 0 else s
            return pad(emit, sliced, {axis: (max(-begin, 0), max(-end, 0))}, rank)
        if isinstance(size, int):
            cropped = np.arange(size)[max(-begin, 0) : size - max(-end, 0)]
            amounts = (max(begin, 0), max(end, 0))
            origin = np.pad(cropped, amounts, mode)  # type: ignore[call-overload]
            return give_back_constant(emit, s, origin.tolist(), x, axis)
    numbers = counted(emit, size)
    if mode != "constant":
        read = emit.op("Pad", numbers, vector(emit, [begin, end]), mode=mode)
        return give_back(emit, s, read, x, axis)
    # the place of each element in the output; what was cut off reads the zero behind it
    place = emit.op("Add", numbers, vector(emit, [begin]))
    return _read_or_zero(emit, s, place, axis, rank)


def _read_or_zero(emit: Emit, s: ir.Value, place: ir.Value, axis: int, rank: int) -> ir.Value:
    """s at each place along `axis`, zero where the place lies outside."""
    count = emit.op("Shape", s, start=axis, end=axis + 1)
    outside = emit.op(
        "Or", emit.op("Less", place, emit.ints(0)), emit.op("GreaterOrEqual", place, count)
    )
    place = emit.op("Where", outside, count, place)
    return emit.op("Gather", pad(emit, s, {axis: (0, 1)}, rank), place, axis=axis)
