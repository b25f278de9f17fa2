"""Resize: along each axis a constant matrix that only depends on sizes and scale.

The matrix is what the operator itself makes of an identity matrix, so it is emitted as that: a
Resize of an identity, which runtimes fold at load where the sizes are known, and whose numbers are
the runtime's own in every mode (they differ in 45 of 336 combinations between ONNX Runtime and the
reference evaluator).  Its transpose is applied by MatMul.  Nearest by a whole factor needs none:
each element gets the sum of its block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand, optional
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import by_shape
from lrp_onnx.ops.scatter_add import Size, counted, reshape, size_of, slice_axis, vector

__all__: list[str] = []

ROI, SCALES, SIZES = 1, 2, 3
STORED = 1024
"""Up to this size an identity matrix is stored."""

ROUNDING: dict[str, Callable[[Any], Any]] = {
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _copies_or_averages(node: ir.Node, active: tuple[int, ...]) -> str:
    return "move" if node.attributes.get_string("mode", "nearest") == "nearest" else "sum"


def _one_scale(node: ir.Node) -> bool:
    """Whether all axes have one scale, found from the sizes: each is rounded from it."""
    stretched = node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    return not stretched and _unless_empty(node, SIZES) is not None


def _unless_empty(node: ir.Node, i: int) -> ir.Value | None:
    value = optional(node, i)
    empty = value is not None and value.shape is not None and value.shape[:1] == (0,)
    return None if empty else value


def _sign_of_resize(node: ir.Node, of: Sequence[int]) -> int:
    """That of x where every result is a mean of elements of x: not cubic, nothing extrapolated."""
    mode = node.attributes.get_string("mode", "nearest")
    coordinates = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    means = mode in ("nearest", "linear") and coordinates != "tf_crop_and_resize"
    return of[0] if means else 0


@op(
    "Resize",
    kind=("move", "sum"),
    choose=_copies_or_averages,
    gates=(ROI, SCALES, SIZES),
    sign=_sign_of_resize,
    samples_apart=by_shape,
)
def resize(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The transpose of the interpolation along each resized axis.

    s: shaped like the output    ->    c: shaped like the input.    Spec: ONNX Resize-19.
    """
    x = operand(node)
    if 0 in (node.outputs[0].shape or ()):  # a matrix without rows is left unset by runtimes
        return expand_like(emit, 0.0, x)
    rank = known_rank(x)
    axes = {axis % rank: k for k, axis in enumerate(node.attributes.get_ints("axes", range(rank)))}
    if _one_scale(node):
        for axis in axes:
            s = _applied(emit, s, _matrix_among(emit, node, list(axes), axis), axis, rank)
        return s
    factors = {axis: _whole_factor(node, k, axis) for axis, k in axes.items()}
    s = _blocks_summed(emit, node, s, {axis: f for axis, f in factors.items() if f > 1})
    for axis, k in axes.items():
        if not factors[axis]:
            s = _applied(emit, s, _matrix(emit, node, k, axis), axis, rank)
    return s


def _scale(node: ir.Node, k: int, axis: int) -> float | None:
    """The scale along axis k of the node's axes if it is known."""
    scales = constant_array(_unless_empty(node, SCALES))
    if scales is not None:
        return float(scales[k])
    x, y = node.inputs[0], node.outputs[0]
    if _unless_empty(node, SCALES) is not None or x is None or x.shape is None or y.shape is None:
        return None
    size, read = x.shape[axis], y.shape[axis]
    if isinstance(size, int) and isinstance(read, int):
        return read / size if size else None
    return 1.0 if isinstance(size, ir.SymbolicDim) and size.value and size == read else None


def _whole_factor(node: ir.Node, k: int, axis: int) -> int:
    """The factor by which nearest repeats each element, 1 where nothing changes, else 0.

    Spec: ONNX Resize-19, the coordinates and the rounding of the first elements, which repeat.
    """
    scale, mode = _scale(node, k, axis), node.attributes.get_string("mode", "nearest")
    coordinates = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        return int(scale == 1 and _uncropped(node, k))
    if scale is None or scale < 1 or scale != int(scale) or (scale > 1 and mode != "nearest"):
        return 0
    out = np.arange(4 * int(scale))
    if coordinates == "asymmetric" or scale == 1:
        read: Any = out / scale
    elif coordinates != "align_corners":
        read = (out + 0.5) / scale - 0.5
    else:
        return 0
    rounded = ROUNDING[node.attributes.get_string("nearest_mode", "round_prefer_floor")](read)
    return int(scale) if (np.maximum(rounded, 0) == out // int(scale)).all() else 0


def _uncropped(node: ir.Node, k: int) -> bool:
    roi = constant_array(_unless_empty(node, ROI))
    return roi is not None and bool(roi[k] == 0 and roi[len(roi) // 2 + k] == 1)


def _blocks_summed(emit: Emit, node: ir.Node, s: ir.Value, factors: Mapping[int, int]) -> ir.Value:
    """The sum over each block of factor[axis] neighbors along every axis of `factors`."""
    if not factors:
        return s
    x, y = operand(node), node.outputs[0]
    first = min(factors)
    sizes: list[Size] = [0] * first
    summed = []
    for axis in range(first, known_rank(x)):
        sizes.append(size_of(emit, x if axis in factors else y, axis))
        if axis in factors:
            summed.append(len(sizes))
            sizes.append(factors[axis])
    return emit.op("ReduceSum", reshape(emit, s, sizes), emit.ints(*summed), keepdims=0)


def _matrix(emit: Emit, node: ir.Node, k: int, axis: int) -> ir.Value:
    """The interpolation along one axis, (out, in): what Resize makes of the identity."""
    x = operand(node)
    size = size_of(emit, x, axis)
    identity = _identity(emit, size, 2, 3, 4)
    # what lies outside the crop is a constant, which carries none
    attributes = {
        n: a for n, a in node.attributes.items() if n not in ("axes", "extrapolation_value")
    }
    columns = emit.op(
        "Resize",
        identity,
        _one_of(emit, node, ROI, k, [0.0, 0.0], [0.0, 1.0, 1.0], [1.0]),
        _one_of(emit, node, SCALES, k, [1.0, 1.0], [1.0]),
        vector(emit, [1, 1, size_of(emit, node.outputs[0], axis), size])
        if _unless_empty(node, SIZES)
        else None,
        **attributes,
        extrapolation_value=0.0,
    )
    return emit.op("Squeeze", columns, emit.ints(0, 1))


def _matrix_among(emit: Emit, node: ir.Node, axes: Sequence[int], axis: int) -> ir.Value:
    """The matrix along one of the axes whose sizes decide the scale together, (out, in).

    It is what Resize makes of tensors of the input's size that vary along that axis alone, 1 at one
    place; they lie along an axis of their own.
    """
    x = operand(node)
    rank, size = known_rank(x), size_of(emit, x, axis)
    apart = next((k for k in range(rank) if k not in axes), None)
    if apart is None:  # one more, in front
        apart, rank, axis, axes = 0, rank + 1, axis + 1, [k + 1 for k in axes]
    shift = rank - known_rank(x)
    there = _identity(emit, size, apart, axis, rank)
    sizes = [size_of(emit, x, k - shift) if k in axes else 1 for k in range(rank)]
    alone = emit.op("Expand", there, vector(emit, sizes))
    attributes = {
        n: a for n, a in node.attributes.items() if n not in ("axes", "extrapolation_value")
    }
    inputs = [node.inputs[ROI], None, node.inputs[SIZES]]
    y = emit.op("Resize", alone, *inputs, axes=axes, **attributes, extrapolation_value=0.0)
    others = [k for k in axes if k != axis]
    if others:
        starts, ends = emit.ints(*[0] * len(others)), emit.ints(*[1] * len(others))
        y = emit.op("Slice", y, starts, ends, emit.ints(*others))
    rest = emit.ints(*(k for k in range(rank) if k not in (apart, axis)))
    y = emit.op("Squeeze", y, rest)
    return emit.op("Transpose", y, perm=[1, 0]) if apart < axis else y


def _identity(emit: Emit, size: Size, first: int, second: int, rank: int) -> ir.Value:
    """1 where the places along two axes are equal, else 0; the other axes have size 1."""
    if isinstance(size, int) and size <= STORED:
        shape = [size if k in (first, second) else 1 for k in range(rank)]
        return emit.constant(np.eye(size).reshape(shape))
    numbers = counted(emit, size)
    across, along = (
        emit.op("Reshape", numbers, emit.ints(*(-1 if k == j else 1 for k in range(rank))))
        for j in (first, second)
    )
    return emit.op("Cast", emit.op("Equal", across, along), to=int(emit.dtype))


def _one_of(emit: Emit, node: ir.Node, i: int, k: int, *around: Sequence[float]) -> ir.Value | None:
    """Element k of the scales, or elements k of both halves of the roi, between constants."""
    values = _unless_empty(node, i)
    if values is None:
        return None
    if values.shape is not None and len(values.shape) != 1:
        raise UnsupportedError(
            f"its input {tensor_name(values)!r} of shape {values.shape} must have one axis. Export "
            "the model again"
        )
    count = len(around) - 1
    axes, x = node.attributes.get_ints("axes", ()), node.inputs[0]
    assert x is not None
    half = len(axes) or known_rank(x)
    places = [k + j * half for j in range(count)]
    known = constant_array(values)
    if known is not None:
        numbers = [v for part, j in zip(around, places, strict=False) for v in (*part, known[j])]
        return emit.constant([*numbers, *around[-1]], ir.DataType.FLOAT)
    single = emit.op("Cast", values, to=int(ir.DataType.FLOAT))
    parts: list[ir.Value] = []
    for part, j in zip(around, places, strict=False):
        parts += [emit.constant(part, ir.DataType.FLOAT), slice_axis(emit, single, 0, j, j + 1)]
    return emit.op("Concat", *parts, emit.constant(around[-1], ir.DataType.FLOAT), axis=0)


def _applied(emit: Emit, s: ir.Value, matrix: ir.Value, axis: int, rank: int) -> ir.Value:
    """The transpose of the matrix (out, in) along one axis: s (…, out, …) -> (…, in, …)."""
    if axis == rank - 1:
        return emit.op("MatMul", s, matrix)
    if axis == rank - 2:
        turned, samples = emit.op("Transpose", matrix, perm=[1, 0]), size_of(emit, s, 0)
        if rank > 2 and not isinstance(samples, int):  # runtimes broadcast nothing to no sample
            turned = emit.op("Expand", turned, vector(emit, [samples, *[1] * (rank - 1)]))
        return emit.op("MatMul", turned, s)
    swapped = list(range(rank))
    swapped[axis], swapped[-1] = swapped[-1], axis
    last = emit.op("MatMul", emit.op("Transpose", s, perm=swapped), matrix)
    return emit.op("Transpose", last, perm=swapped)
