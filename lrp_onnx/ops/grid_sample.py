"""GridSample: every output element is a sum of a few elements of the input, by weights that the
grid gives.

Along each axis a coordinate p is read by taps: one for `nearest`, two for `linear`, four for
`cubic`, whose weights are polynomials of p - floor(p).  Their products over the axes are the
weights of a box of elements.  The transpose over the input scatters s·weight back; that over the
grid is the sum of s·x·(derivative of the weights).  Under LRP the grid is a gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.scatter_add import Size, size_of, vector

__all__: list[str] = []

CUBIC = -0.75
"""The coefficient of the cubic convolution, as in the operator's specification."""


@dataclass(frozen=True)
class Tap:
    """Along one axis: where an element is read, its weight, and the weight's derivative."""

    index: ir.Value
    weight: ir.Value | None
    slope: ir.Value | None
    """None for a weight of 1, a derivative of 0."""


def _taps(emit: Emit, node: ir.Node, axis: int) -> tuple[list[Tap], ir.Value | float]:
    """The taps along one spatial axis of x, each (N, P) over the P positions of the grid, and
    how fast the coordinate moves with the grid.
    """
    grid, n = node.inputs[1], known_rank(node.outputs[0]) - 2
    size = _size(emit, node, axis)
    # the grid's last axis counts from the last spatial axis: x, y, z
    along = emit.op("Gather", grid, emit.constant(n - 1 - axis, ir.DataType.INT64), axis=-1)
    flat = emit.op("Flatten", along, axis=1)
    if grid is not None and grid.dtype not in (
        None,
        emit.dtype,
    ):  # it may be of another type than x
        flat = emit.op("Cast", flat, to=int(emit.dtype))
    aligned = node.attributes.get_int("align_corners", 0)
    factor = emit.op("Mul", emit.op("Sub", size, 1.0) if aligned else size, 0.5)
    # in the runtime's own order: at halves the last digit decides what the nearest element is
    p = emit.op("Add", flat, 1.0)
    if aligned:
        p = emit.op("Mul", emit.op("Mul", p, 0.5), emit.op("Sub", size, 1.0))
    else:
        p = emit.op("Mul", emit.op("Sub", emit.op("Mul", p, size), 1.0), 0.5)
    return [_padded(emit, node, tap, size) for tap in _read(emit, node, p)], factor


def _size(emit: Emit, node: ir.Node, axis: int) -> ir.Value:
    """The size of x along a spatial axis as a number of the relevance's type."""
    x = operand(node)
    size = size_of(emit, x, axis + 2)
    if isinstance(size, int):
        return emit.constant(float(size))
    return emit.op("Cast", emit.op("Squeeze", size, emit.ints(0)), to=int(emit.dtype))


def _read(emit: Emit, node: ir.Node, p: ir.Value) -> list[Tap]:
    """The taps of coordinate p by mode, wherever they lie."""
    mode = node.attributes.get_string("mode", "linear")
    if mode == "nearest":
        return [Tap(emit.op("Round", p), None, None)]
    first = emit.op("Floor", p)
    t = emit.op("Sub", p, first)
    if mode in ("cubic", "bicubic"):
        return [_cubic(emit, first, t, k) for k in (-1, 0, 1, 2)]
    one = expand_like(emit, 1.0, t)
    less = Tap(first, emit.op("Sub", 1.0, t), emit.op("Neg", one))
    return [less, Tap(emit.op("Add", first, 1.0), t, one)]


def _cubic(emit: Emit, first: ir.Value, t: ir.Value, k: int) -> Tap:
    """Tap k of the cubic convolution at distance d = |t - k|.

    (a + 2)d³ - (a + 3)d² + 1 up to d = 1, a·d³ - 5a·d² + 8a·d - 4a up to 2.  Keys 1981, eq. 15.
    """
    a = CUBIC
    inner = k in (0, 1)
    powers = (a + 2, -(a + 3), 0.0, 1.0) if inner else (a, -5 * a, 8 * a, -4 * a)
    falling = k > 0  # then d = k - t, else t - k
    d = emit.op("Sub", float(k), t) if falling else emit.op("Sub", t, float(k))
    slope = _polynomial(emit, d, [3 * powers[0], 2 * powers[1], powers[2]])
    index = emit.op("Add", first, float(k))
    return Tap(index, _polynomial(emit, d, powers), emit.op("Neg", slope) if falling else slope)


def _polynomial(emit: Emit, d: ir.Value, powers: Sequence[float]) -> ir.Value:
    """Horner's scheme, highest power first."""
    value = emit.op("Mul", d, float(powers[0]))
    for k, coefficient in enumerate(powers[1:]):
        value = emit.op("Add", value, float(coefficient))
        value = emit.op("Mul", value, d) if k < len(powers) - 2 else value
    return value


def _padded(emit: Emit, node: ir.Node, tap: Tap, size: ir.Value) -> Tap:
    """The tap inside the input: where it lies outside it reads padding instead."""
    last = emit.op("Sub", size, 1.0)
    mode, at = node.attributes.get_string("padding_mode", "zeros"), tap.index
    if mode == "reflection":
        at = _reflected(emit, node, at, size)
    inside = emit.op("Max", emit.op("Min", at, last), 0.0)
    index = emit.op("Cast", inside, to=int(ir.DataType.INT64))
    if mode != "zeros":
        return Tap(index, tap.weight, tap.slope)
    there = emit.op("Cast", emit.op("Equal", at, inside), to=int(emit.dtype))
    weight = there if tap.weight is None else emit.op("Mul", tap.weight, there)
    return Tap(index, weight, None if tap.slope is None else emit.op("Mul", tap.slope, there))


def _reflected(emit: Emit, node: ir.Node, at: ir.Value, size: ir.Value) -> ir.Value:
    """Positions reflected at the middles of the corner elements, or at their outer borders."""
    if node.attributes.get_int("align_corners", 0):
        span = emit.op("Max", emit.op("Sub", size, 1.0), 1.0)
        period = emit.op("Mul", span, 2.0)
        rest = emit.op("Mod", at, period, fmod=1)
        rest = emit.op("Abs", rest)
        return emit.op("Min", rest, emit.op("Sub", period, rest))
    # about -1/2: k and -1-k are the same element
    period = emit.op("Mul", size, 2.0)
    above = emit.op("Sub", emit.op("Abs", emit.op("Add", at, 0.5)), 0.5)
    rest = emit.op("Mod", above, period, fmod=1)
    return emit.op("Min", rest, emit.op("Sub", emit.op("Sub", period, rest), 1.0))


def _boxes(emit: Emit, node: ir.Node) -> tuple[list[list[Tap]], list[ir.Value | float], ir.Value]:
    """The taps of each axis, the coordinates' factors, and the flat index of each box element:
    (N, 1, T·P), the last axis first.
    """
    n = known_rank(node.outputs[0]) - 2
    by_axis = [_taps(emit, node, axis) for axis in range(n)]
    taps = [t for t, _ in by_axis]
    indices = []
    for box in product(*taps):
        flat = box[0].index
        for axis, tap in enumerate(box[1:], start=1):
            size = vector(emit, [_extent(emit, node, axis)])
            flat = emit.op("Add", emit.op("Mul", flat, size), tap.index)
        indices.append(emit.op("Unsqueeze", flat, emit.ints(1)))
    joined = emit.op("Concat", *indices, axis=2) if len(indices) > 1 else indices[0]
    return taps, [f for _, f in by_axis], joined


def _extent(emit: Emit, node: ir.Node, axis: int) -> Size:
    x = operand(node)
    return size_of(emit, x, axis + 2)


def _weights(
    emit: Emit, taps: Sequence[Sequence[Tap]], by: int | None = None
) -> list[ir.Value | None]:
    """The weight of each box element, with the derivative along axis `by` in place of its own:
    (N, 1, P), None for 1.
    """
    weights: list[ir.Value | None] = []
    for box in product(*taps):
        factors = [t.slope if axis == by else t.weight for axis, t in enumerate(box)]
        total: ir.Value | None = None
        for factor in factors:
            if factor is not None:
                total = factor if total is None else emit.op("Mul", total, factor)
        weights.append(None if total is None else emit.op("Unsqueeze", total, emit.ints(1)))
    return weights


def _copied(emit: Emit, indices: ir.Value, like: ir.Value) -> ir.Value:
    """(N, 1, K) for every channel of `like`, (N, C, …)."""
    channels = emit.op("Shape", like, start=1, end=2)
    shape = emit.op("Concat", emit.ints(1), channels, emit.ints(1), axis=0)
    return emit.op("Expand", indices, shape)


def _flat(emit: Emit, value: ir.Value) -> ir.Value:
    """(N, C, *size) as (N, C, Πsize)."""
    lead, sizes = emit.op("Shape", value, start=0, end=2), emit.op("Shape", value, start=2)
    size = emit.op("ReduceProd", sizes)  # where there is no sample, -1 would be any size
    return emit.op("Reshape", value, emit.op("Concat", lead, size, axis=0))


def _sign_of_interpolation(node: ir.Node, of: Sequence[int]) -> int:
    """That of x where every weight is at least 0: not cubic."""
    return 0 if "cubic" in node.attributes.get_string("mode", "linear") else of[0]


@op("GridSample", kind="sum", inputs=(0, 1), signal=(0,), sign=_sign_of_interpolation)
def grid_sample(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·weight to the elements that were read; for the grid s·x·(the weights' derivative).

    s: (N, C, *out)    ->    c: (N, C, *in), or (N, *out, n) for i = 1.
    Spec: ONNX GridSample-20.
    """
    taps, factors, indices = _boxes(emit, node)
    x, flat = operand(node), _flat(emit, s)
    if i == 1:
        return _to_grid(emit, node, flat, taps, factors, indices)
    parts = [flat if w is None else emit.op("Mul", flat, w) for w in _weights(emit, taps)]
    weighted = emit.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]
    zeros = _flat(emit, emit.op("Expand", 0.0, emit.shape_of(x)))
    everywhere = _copied(emit, indices, x)
    total = emit.op("ScatterElements", zeros, everywhere, weighted, axis=2, reduction="add")
    return emit.reshape_like(total, x)


def _to_grid(
    emit: Emit,
    node: ir.Node,
    s: ir.Value,
    taps: Sequence[Sequence[Tap]],
    factors: Sequence[ir.Value | float],
    indices: ir.Value,
) -> ir.Value:
    """Σ over channels and box elements of s·x·∂weight/∂grid, for each coordinate of the grid."""
    x, grid = operand(node), operand(node, 1)
    if taps[0][0].slope is None:
        return expand_like(emit, 0.0, grid)
    read = emit.op("GatherElements", _flat(emit, x), _copied(emit, indices, x), axis=2)
    count = len(list(product(*taps)))
    elements = emit.outputs("Split", (read,), {"axis": 2, "num_outputs": count}, count)
    met = [emit.op("ReduceSum", emit.op("Mul", s, e), emit.ints(1), keepdims=1) for e in elements]
    columns = []
    for axis in reversed(range(len(taps))):
        total: ir.Value | None = None
        for m, w in zip(met, _weights(emit, taps, axis), strict=True):
            part = emit.op("Mul", m, w)
            total = part if total is None else emit.op("Add", total, part)
        columns.append(emit.op("Mul", total, factors[axis]))
    joined = emit.op("Concat", *columns, axis=1)
    joined = emit.op("Transpose", joined, perm=[0, 2, 1])
    if grid.dtype is not None and grid.dtype != emit.dtype:
        joined = emit.op("Cast", joined, to=int(grid.dtype))
    return emit.reshape_like(joined, grid)
