"""The transpose of reading elements by index along one axis: each gets the sum of what it gave.

Constant indices are runs of consecutive positions more often than not (padding, channel halves, a
single token); a run goes back by Slice and Pad.  Other distinct indices are inverted into a table,
which is a Gather again; the rest is a scatter that adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import LAST
from lrp_onnx.ops.scatter_add import counted, pad, size_of, slice_axis, vector

__all__ = ["give_back", "give_back_constant", "positions"]

FEW = 4
"""Runs up to which each is put back by itself."""


def positions(emit: Emit, x: ir.Value, axis: int, bounds: Sequence[ir.Value]) -> ir.Value:
    """The positions along `axis` that Slice reads with runtime start, end and step."""
    start, end, step = bounds
    return emit.op("Slice", counted(emit, size_of(emit, x, axis)), start, end, emit.ints(0), step)


def give_back(
    emit: Emit, s: ir.Value, indices: ir.Value, x: ir.Value, axis: int, unique: bool = False
) -> ir.Value:
    """c[…, indices[k], …] += s[…, k, …] with indices that only the run knows.

    s: (*before, K, *behind)    indices: (K), `unique` or not    ->    c: (*before, D, *behind).
    Spec: ONNX ScatterElements-18.
    """
    rank = known_rank(x)
    if unique:
        count = emit.op("Shape", indices)
        nowhere = emit.op("Expand", count, vector(emit, [size_of(emit, x, axis)]))
        table = emit.op("ScatterElements", nowhere, indices, counted(emit, count), axis=0)
        return emit.op("Gather", pad(emit, s, {axis: (0, 1)}, rank), table, axis=axis)
    if indices.dtype not in (None, ir.DataType.INT64):
        indices = emit.op("Cast", indices, to=int(ir.DataType.INT64))
    column = emit.op("Reshape", indices, emit.ints(*(-1 if k == axis else 1 for k in range(rank))))
    everywhere = emit.op("Expand", column, emit.op("Shape", s))
    # s may be wider than x along axes that are still to be given back
    sizes = [
        size_of(emit, x, k) if k == axis else emit.op("Shape", s, start=k, end=k + 1 or None)
        for k in range(rank)
    ]
    zeros = emit.op("Expand", 0.0, vector(emit, sizes))
    return emit.op("ScatterElements", zeros, everywhere, s, axis=axis, reduction="add")


def give_back_constant(
    emit: Emit, s: ir.Value, indices: Sequence[int], x: ir.Value, axis: int
) -> ir.Value:
    """The same with constant indices ≥ 0 and a known size of the axis."""
    size, rank = size_of(emit, x, axis), known_rank(x)
    assert isinstance(size, int)
    runs = list(_runs(indices))
    if len(runs) <= FEW:
        total: ir.Value | None = None
        for start, length, step in runs:
            part = _of_run(emit, s, start, length, step, axis, len(indices))
            low = min(indices[start], indices[start + length - 1])
            high = max(indices[start], indices[start + length - 1])
            part = pad(emit, part, {axis: (low, size - 1 - high)}, rank)
            total = part if total is None else emit.op("Add", total, part)
        return expand_like(emit, 0.0, x) if total is None else total
    if len(set(indices)) < len(indices):
        return give_back(emit, s, emit.ints(*indices), x, axis)
    table = np.full(size, len(indices))
    table[list(indices)] = np.arange(len(indices))
    padded = pad(emit, s, {axis: (0, int(len(indices) < size))}, rank)
    return emit.op("Gather", padded, emit.ints(*table.tolist()), axis=axis)


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Maximal runs (start, length, step) of indices that rise by 1, fall by 1 or stay."""
    start = 0
    while start < len(indices):
        length, step = 1, 1
        if start + 1 < len(indices) and abs(indices[start + 1] - indices[start]) <= 1:
            step = indices[start + 1] - indices[start]
            while (
                start + length < len(indices)
                and indices[start + length] - indices[start + length - 1] == step
            ):
                length += 1
        yield start, length, step
        start += length


def _of_run(
    emit: Emit, s: ir.Value, start: int, length: int, step: int, axis: int, count: int
) -> ir.Value:
    """The part of s that belongs to one run, in rising order; summed if it stays at one element."""
    if step < 0:
        return slice_axis(emit, s, axis, start + length - 1, start - 1 if start else -LAST, -1)
    part = s if length == count else slice_axis(emit, s, axis, start, start + length)
    if step == 0:
        return emit.op("ReduceSum", part, emit.ints(axis), keepdims=1)
    return part
