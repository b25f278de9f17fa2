"""The elements of a tensor that indices name, to read them, write them and give relevance back.

Operators that index with tuples become those that index along one axis: the indexed axes of the
data are flattened into rows and each tuple into the number of its row.  ScatterND itself is not
emitted: where one row is written twice ONNX Runtime adds in parallel and loses summands.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.scatter_add import Size, numbered, size_of, vector

__all__ = ["Places", "is_empty", "rows_of", "tuple_length"]


@dataclass(frozen=True)
class Places:
    """The elements along one axis that `index` names; `like` has the shape of the data."""

    emit: Emit
    index: ir.Value
    axis: int
    like: ir.Value

    def read(self, values: ir.Value) -> ir.Value:
        """What stands at the places."""
        return self.emit.op("GatherElements", values, self.index, axis=self.axis)

    def everywhere(self, value: Input) -> ir.Value:
        """A number in the shape of the data."""
        return self.emit.op("Expand", value, self.emit.op("Shape", self.like))

    def write(self, into: ir.Value, updates: ir.Value, reduction: str = "none") -> ir.Value:
        """`updates` at the places, combined with what is there."""
        return self.emit.op(
            "ScatterElements", into, self.index, updates, axis=self.axis, reduction=reduction
        )

    def give_back(self, s: ir.Value) -> ir.Value:
        """s to the elements it was read from, summed where one was read twice, else 0."""
        return self.write(self.everywhere(0.0), s, "add")

    def fill(self, number: float) -> ir.Value:
        """A number at every place."""
        return self.emit.op("Expand", number, self.emit.op("Shape", self.index))

    def numbers(self) -> ir.Value:
        """0, 1, 2, … in row-major order, one for each place."""
        count, shape = numbered(self.emit, self.index), self.emit.op("Shape", self.index)
        return self.emit.op("Reshape", count, shape, allowzero=1)

    def last(self) -> ir.Value:
        """Whether a place is the last of those that name its element."""
        zero, numbers = self.emit.constant(0, ir.DataType.INT64), self.numbers()
        return self.emit.op("Equal", self.read(self.write(self.everywhere(zero), numbers)), numbers)

    def first_where(self, holds: ir.Value) -> ir.Value:
        """Whether a place is the first, of those that name its element, where it holds."""
        numbers = self.numbers()
        behind = self.emit.op("Size", self.index)
        candidates = self.emit.op("Where", holds, numbers, behind)
        first = self.write(self.everywhere(behind), candidates, "min")
        return self.emit.op("Equal", self.read(first), candidates)


def tuple_length(indices: ir.Value) -> int:
    """How many axes each tuple indexes; UnsupportedError where that is unknown."""
    length = indices.shape[-1] if indices.shape is not None else None
    if not isinstance(length, int):
        raise UnsupportedError(
            f"the length of the index tuples in {tensor_name(indices)!r} is unknown. Export the "
            "model with input shapes"
        )
    return length


def _row_numbers(emit: Emit, data: ir.Value, indices: ir.Value, batch: int) -> ir.Value:
    """The row of each index tuple, a column: (*batch, *count, k) -> (K, 1).

    Spec: ONNX GatherND-13, a negative index counts from behind.
    """
    length, rank = tuple_length(indices), known_rank(indices)
    if indices.dtype != ir.DataType.INT64:
        indices = emit.op("Cast", indices, to=int(ir.DataType.INT64))
    sizes = [size_of(emit, data, k) for k in range(batch + length)]
    behind = emit.op("Add", indices, vector(emit, sizes[batch:]))
    zero = emit.constant(0, ir.DataType.INT64)
    indices = emit.op("Where", emit.op("Less", indices, zero), behind, indices)
    strides: list[Size] = [1]
    for size in reversed(sizes[batch + 1 :]):
        strides.insert(0, _product(emit, size, strides[0]))
    rows = emit.op("Mul", indices, vector(emit, strides)) if length > 1 else indices
    rows = emit.op("ReduceSum", rows, emit.ints(-1), keepdims=0)
    if batch:
        count = _product(emit, sizes[batch], strides[0])
        rows = emit.op("Add", rows, _batch_offsets(emit, sizes[:batch], count, rank - 1))
    return emit.op("Flatten", rows, axis=rank - 1)


def _batch_offsets(emit: Emit, batch: list[Size], count: Size, rank: int) -> ir.Value:
    """The first row of each entry of the batch, shaped to broadcast against the row numbers."""
    entries: Size = 1
    for size in batch:
        entries = _product(emit, entries, size)
    limit = emit.op("Squeeze", vector(emit, [_product(emit, entries, count)]), emit.ints(0))
    step = emit.op("Squeeze", vector(emit, [count]), emit.ints(0))
    offsets = emit.op("Range", emit.constant(0, ir.DataType.INT64), limit, step)
    shape = vector(emit, [*batch, *[1] * (rank - len(batch))])
    return emit.op("Reshape", offsets, shape, allowzero=1)


def _product(emit: Emit, a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return emit.op("Mul", vector(emit, [a]), vector(emit, [b]))


def rows_of(
    emit: Emit, data: ir.Value, indices: ir.Value, slices: ir.Value, batch: int = 0
) -> tuple[Places, ir.Value]:
    """The places of index tuples in the rows of `data`, and `slices`, one row for each tuple."""
    column = _row_numbers(emit, data, indices, batch)
    updates = emit.op("Flatten", slices, axis=known_rank(indices) - 1)
    index = emit.op("Expand", column, emit.op("Shape", updates))
    rows = emit.op("Flatten", data, axis=batch + tuple_length(indices))
    return Places(emit, index, 0, rows), updates


def is_empty(*values: ir.Value | None) -> bool:
    """Whether one of them is known to have no element."""
    return any(v is not None and v.shape is not None and 0 in v.shape for v in values)
