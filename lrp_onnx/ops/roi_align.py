"""RoiAlign: each region is sampled on a grid, by bilinear interpolation, and pooled.

The samples of a region are a product grid, so that its average is A_h·x·A_wᵀ with one matrix an
axis, (rois, out, size); the transpose is made of matrix products too.  A maximum is that of the
weighted corner elements, as the runtimes compute it.  The regions themselves are a gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import same_sign
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.scatter_add import counted, size_of, vector

__all__ = ["give_to_first", "number_range"]


@dataclass(frozen=True)
class Samples:
    """Where the regions are sampled along one axis, each (rois, out, samples)."""

    position: ir.Value
    """Clamped into the input."""
    weight: ir.Value
    """1, or 0 for what lies outside the input."""
    taken: ir.Value
    """1, or 0 for what is beyond the region's own number of samples."""
    count: ir.Value
    """The region's number of samples, (rois, 1, 1)."""
    size: ir.Value
    """That of the input along the axis."""


def _samples(emit: Emit, node: ir.Node, axis: int) -> Samples:
    """The samples along the rows (axis 2) or the columns (axis 3)."""
    out = node.attributes.get_int(("output_height", "output_width")[axis - 2], 1)
    start, length = _region(emit, node, axis)
    per_bin = emit.op("Div", length, float(out))
    count, numbers = _counted(emit, node, per_bin)
    bins = number_range(emit, emit.ints(out), (-1, 1))
    # bin o, sample g: o + (g + 1/2)/count of a bin from the start
    within = emit.op("Div", emit.op("Add", numbers, 0.5), emit.op("Max", count, 1.0))
    place = emit.op("Mul", emit.op("Add", bins, within), per_bin)
    position = emit.op("Add", place, start)
    size = _float(emit, vector(emit, [size_of(emit, operand(node), axis)]))
    inside = emit.op(
        "And",
        emit.op("GreaterOrEqual", position, -1.0),
        emit.op("LessOrEqual", position, size),
    )
    clamped = emit.op("Max", emit.op("Min", position, emit.op("Sub", size, 1.0)), 0.0)
    taken = emit.op("Less", numbers, count)
    return Samples(clamped, _float(emit, inside), _float(emit, taken), count, size)


def _region(emit: Emit, node: ir.Node, axis: int) -> tuple[ir.Value, ir.Value]:
    """Start and length of each region in elements of the input, (rois, 1, 1)."""
    first = 3 - axis  # x before y
    rois = emit.in_compute_dtype(node.inputs[1])
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    half = mode == "half_pixel"
    scale = node.attributes.get_float("spatial_scale", 1.0)
    ends = []
    for k in (first, first + 2):
        edge = emit.op("Slice", rois, emit.ints(k), emit.ints(k + 1), emit.ints(1))
        scaled = emit.op("Mul", emit.op("Unsqueeze", edge, emit.ints(2)), float(scale))
        ends.append(emit.op("Sub", scaled, 0.5) if half else scaled)
    length = emit.op("Sub", ends[1], ends[0])
    return ends[0], length if half else emit.op("Max", length, 1.0)


def _counted(emit: Emit, node: ir.Node, per_bin: ir.Value) -> tuple[ir.Value, ir.Value]:
    """How many samples each region has in a bin, (rois, 1, 1), and 0, 1, … up to the most."""
    ratio = node.attributes.get_int("sampling_ratio", 0)
    if ratio > 0:
        numbers = number_range(emit, emit.ints(ratio), (-1,))
        return expand_like(emit, float(ratio), per_bin), numbers
    count = emit.op("Max", emit.op("Ceil", per_bin), 0.0)
    most = emit.op("Max", emit.op("ReduceMax", count, keepdims=0), 1.0)
    whole = emit.op("Cast", most, to=int(ir.DataType.INT64))
    return count, number_range(emit, emit.op("Unsqueeze", whole, emit.ints(0)), (-1,))


def number_range(emit: Emit, count: ir.Value, shape: Sequence[int]) -> ir.Value:
    """0, 1, 2, … as numbers of the relevance's type; `count` has shape [1]."""
    return emit.op("Reshape", _float(emit, counted(emit, count)), emit.ints(*shape))


def _float(emit: Emit, value: ir.Value) -> ir.Value:
    return emit.op("Cast", value, to=int(emit.dtype))


@op("RoiAlign", kind="sum", gates=(1, 2), sign=same_sign)
def roi_align(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The sum over the regions of A_hᵀ·s·A_w; for a maximum s·weight to the winner.

    s: (rois, C, *out)    ->    c: (N, C, H, W).    Spec: ONNX RoiAlign-16.
    """
    rows, columns = (_samples(emit, node, axis) for axis in (2, 3))
    if node.attributes.get_string("mode", "avg") == "max":
        return _to_winner(emit, node, s, rows, columns)
    wide = emit.op("MatMul", s, emit.op("Unsqueeze", _matrix(emit, rows=columns), emit.ints(1)))
    # all regions beside each other: (C, rois·out, W)
    wide = emit.op("Transpose", wide, perm=[1, 0, 2, 3])
    shape = emit.op("Shape", wide)
    sides = [emit.op("Slice", shape, emit.ints(k), emit.ints(k + 1)) for k in (0, 3)]
    beside = emit.op("Concat", sides[0], emit.ints(-1), sides[1], axis=0)
    wide = emit.op("Unsqueeze", emit.op("Reshape", wide, beside), emit.ints(0))
    chosen = emit.op(
        "Unsqueeze", _batches(emit, operand(node), operand(node, 2)), emit.ints(2, 3)
    )  # (N, rois, 1, 1)
    high = emit.op("Mul", chosen, emit.op("Unsqueeze", _matrix(emit, rows=rows), emit.ints(0)))
    height = vector(emit, [size_of(emit, operand(node), 2)])
    batch = vector(emit, [size_of(emit, operand(node), 0)])
    high = emit.op("Reshape", high, emit.op("Concat", batch, emit.ints(-1), height, axis=0))
    high = emit.op("Unsqueeze", emit.op("Transpose", high, perm=[0, 2, 1]), emit.ints(1))
    return emit.op("MatMul", high, wide)


def _matrix(emit: Emit, rows: Samples) -> ir.Value:
    """The averages along one axis, (rois, out, size): Σ hat(k - position)/count."""
    whole = emit.op("Cast", rows.size, to=int(ir.DataType.INT64))
    k = number_range(emit, whole, (-1,))
    distance = emit.op("Abs", emit.op("Sub", emit.op("Unsqueeze", rows.position, emit.ints(3)), k))
    hat = emit.op("Max", emit.op("Sub", 1.0, distance), 0.0)
    weight = emit.op("Unsqueeze", emit.op("Mul", rows.weight, rows.taken), emit.ints(3))
    total = emit.op("ReduceSum", emit.op("Mul", hat, weight), emit.ints(2), keepdims=0)
    return emit.op("Div", total, emit.op("Max", rows.count, 1.0))


def _batches(emit: Emit, x: ir.Value, entries: ir.Value) -> ir.Value:
    """1 where a region is of a batch entry, (N, rois)."""
    numbers = counted(emit, size_of(emit, x, 0))
    return _float(emit, emit.op("Equal", emit.op("Unsqueeze", numbers, emit.ints(1)), entries))


def _corners(emit: Emit, along: Samples) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The elements below and above each position: index, weight, and whether they are taken, each
    (rois, out, samples, 2).
    """
    low = emit.op("Floor", along.position)
    high = emit.op("Min", emit.op("Add", low, 1.0), emit.op("Sub", along.size, 1.0))
    above = emit.op("Sub", along.position, low)
    index = _pair(emit, low, high)
    weights = _pair(emit, emit.op("Sub", 1.0, above), above)
    valid = emit.op("Unsqueeze", along.weight, emit.ints(3))
    taken = emit.op(
        "Expand", emit.op("Unsqueeze", along.taken, emit.ints(3)), emit.op("Shape", index)
    )
    whole = emit.op("Cast", index, to=int(ir.DataType.INT64))
    return whole, emit.op("Mul", weights, valid), taken


def _pair(emit: Emit, a: ir.Value, b: ir.Value) -> ir.Value:
    return emit.op("Concat", *(emit.op("Unsqueeze", v, emit.ints(3)) for v in (a, b)), axis=3)


def _crossed(emit: Emit, name: str, rows: ir.Value, columns: ir.Value) -> ir.Value:
    """A binary operator over both axes' values: (rois, out_h, out_w, samples·samples·4)."""
    # (rois, out_h, 1, samples_h, 1, 2, 1) and (rois, 1, out_w, 1, samples_w, 1, 2)
    crossed = emit.op(
        name,
        emit.op("Unsqueeze", rows, emit.ints(2, 4, 6)),
        emit.op("Unsqueeze", columns, emit.ints(1, 3, 5)),
    )
    shape = emit.op("Slice", emit.op("Shape", crossed), emit.ints(0), emit.ints(3))
    return emit.op("Reshape", crossed, emit.op("Concat", shape, emit.ints(-1), axis=0))


def _to_winner(emit: Emit, node: ir.Node, s: ir.Value, rows: Samples, columns: Samples) -> ir.Value:
    """s·weight to the first element of the largest weighted value of each bin."""
    (row, high, up), (column, wide, across) = (_corners(emit, v) for v in (rows, columns))
    width = vector(emit, [size_of(emit, operand(node), 3)])
    places = _crossed(emit, "Add", emit.op("Mul", row, width), column)
    weights = _crossed(emit, "Mul", high, wide)
    taken = _crossed(emit, "Mul", up, across)
    return give_to_first(emit, operand(node), operand(node, 2), s, places, weights, taken)


def give_to_first(
    emit: Emit,
    x: ir.Value,
    entries: ir.Value,
    s: ir.Value,
    places: ir.Value,
    weights: ir.Value,
    taken: ir.Value,
) -> ir.Value:
    """s·weight to the first of the largest weighted elements at the places that are taken.

    x: (N, C, H, W)    entries: (rois,), each region's batch entry    s: (rois, C, *out)
    places in H·W, weights, taken: (rois, *out, elements)    ->    c: (N, C, H, W).
    """
    channels = vector(emit, [1, size_of(emit, x, 1), 1, 1, 1])
    places, weights, taken = (
        emit.op("Expand", emit.op("Unsqueeze", v, emit.ints(1)), channels)
        for v in (places, weights, taken)
    )
    regions = emit.op("Gather", x, entries, axis=0)
    lead = emit.op("Slice", emit.op("Shape", regions), emit.ints(0), emit.ints(2))
    flat = emit.op("Concat", lead, emit.ints(-1), axis=0)
    regions = emit.op("Reshape", regions, flat)
    read = emit.op("GatherElements", regions, emit.op("Reshape", places, flat), axis=2)
    values = emit.op("Mul", emit.op("Reshape", read, emit.op("Shape", places)), weights)
    lowest = emit.constant(-3e38)
    values = emit.op("Where", emit.op("Greater", taken, 0.0), values, lowest)
    first = emit.op("ArgMax", values, axis=4, keepdims=1)
    place, weight = (emit.op("GatherElements", v, first, axis=4) for v in (places, weights))
    weighted = emit.op("Mul", emit.op("Reshape", s, flat), emit.op("Reshape", weight, flat))
    zeros = emit.op("Expand", 0.0, emit.op("Shape", regions))
    scattered = emit.op(
        "ScatterElements", zeros, emit.op("Reshape", place, flat), weighted, axis=2, reduction="add"
    )
    rois = emit.op("Reshape", scattered, emit.ints(0, -1))
    return emit.reshape_like(emit.op("MatMul", _batches(emit, x, entries), rois), x)
