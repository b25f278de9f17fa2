"""MaxRoiPool: each region is divided into bins, and the largest element of each is taken.

The bins of a region are a product of intervals of whole rows and columns; how wide they get is
known in the run alone, so that the widest decides how many elements are looked at for each.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.bounds import same_sign
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.roi_align import give_to_first, number_range
from lrp_onnx.ops.scatter_add import size_of, vector

__all__: list[str] = []


@op("MaxRoiPool", kind="maximum", gates=(1,), sign=same_sign)
def max_roi_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the first winner of each bin in row-major order; a bin without elements has none.

    s: (rois, C, *out)    rois: (rois, 5) with the batch entry first    ->    c: (N, C, H, W).
    Spec: ONNX MaxRoiPool-1, whose bins are those of Girshick 2015, Fast R-CNN, section 2.1.
    """
    (row, high), (column, wide) = (_bins(emit, node, axis) for axis in (2, 3))
    width = vector(emit, [size_of(emit, operand(node), 3)])
    places = _crossed(emit, "Add", emit.op("Mul", row, width), column)
    inside = _crossed(emit, "And", high, wide)
    taken = emit.op("Cast", inside, to=int(emit.dtype))
    return give_to_first(emit, operand(node), _entries(emit, node), s, places, taken, taken)


def _bins(emit: Emit, node: ir.Node, axis: int) -> tuple[ir.Value, ir.Value]:
    """The elements looked at along one axis, and whether the bin has them, each (rois, out, most).

    Ends are rounded to whole elements and belong to the region: bin o of n is that from ⌊o·l/n⌋ up
    to ⌈(o + 1)·l/n⌉ of its l elements, as far as the input goes.
    """
    out = node.attributes.get_ints("pooled_shape", [])[axis - 2]
    first, last = (_edge(emit, node, k) for k in (4 - axis, 6 - axis))  # x before y
    length = emit.op("Max", emit.op("Add", emit.op("Sub", last, first), 1.0), 1.0)
    step = emit.op("Div", length, float(out))
    numbers = number_range(emit, emit.ints(out), (-1, 1))
    size = size_of(emit, operand(node), axis)
    floating = emit.op("Cast", vector(emit, [size]), to=int(emit.dtype))
    begin = emit.op("Floor", emit.op("Mul", numbers, step))
    end = emit.op("Ceil", emit.op("Mul", emit.op("Add", numbers, 1.0), step))
    begin, end = (
        emit.op("Min", emit.op("Max", emit.op("Add", v, first), 0.0), floating)
        for v in (begin, end)
    )
    most = emit.op("ReduceMax", emit.op("Sub", end, begin), keepdims=0)
    whole = emit.op("Cast", emit.op("Max", most, 1.0), to=int(ir.DataType.INT64))
    place = emit.op(
        "Add", begin, number_range(emit, emit.op("Unsqueeze", whole, emit.ints(0)), (-1,))
    )
    within = emit.op("Min", place, emit.op("Sub", floating, 1.0))
    return emit.op("Cast", within, to=int(ir.DataType.INT64)), emit.op("Less", place, end)


def _edge(emit: Emit, node: ir.Node, k: int) -> ir.Value:
    """Column k of the regions in elements of the input, (rois, 1, 1); halves go away from 0."""
    rois = emit.in_compute_dtype(operand(node, 1))
    edge = emit.op("Slice", rois, emit.ints(k), emit.ints(k + 1), emit.ints(1))
    scale = float(node.attributes.get_float("spatial_scale", 1.0))
    scaled = emit.op("Mul", emit.op("Unsqueeze", edge, emit.ints(2)), scale)
    size = emit.op("Floor", emit.op("Add", emit.op("Abs", scaled), 0.5))
    return emit.op("Mul", emit.op("Sign", scaled), size)


def _entries(emit: Emit, node: ir.Node) -> ir.Value:
    """The batch entry of each region, (rois,)."""
    first = emit.op("Slice", operand(node, 1), emit.ints(0), emit.ints(1), emit.ints(1))
    return emit.op("Cast", emit.op("Squeeze", first, emit.ints(1)), to=int(ir.DataType.INT64))


def _crossed(emit: Emit, name: str, rows: ir.Value, columns: ir.Value) -> ir.Value:
    """A binary operator over both axes' values: (rois, out_h, out_w, most_h·most_w)."""
    # (rois, out_h, 1, most_h, 1) and (rois, 1, out_w, 1, most_w)
    crossed = emit.op(
        name,
        emit.op("Unsqueeze", rows, emit.ints(2, 4)),
        emit.op("Unsqueeze", columns, emit.ints(1, 3)),
    )
    return emit.op("Reshape", crossed, emit.ints(0, 0, 0, -1))
