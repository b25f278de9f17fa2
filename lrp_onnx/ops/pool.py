"""Pooling: windows of a maximum or an average along the spatial axes.

A maximum over a box of axes is a maximum over the last axis, then over the one before it, and so
on; its first winner in row-major order is the first winner along the first axis, within it along
the second, and so on.  So relevance goes back one axis at a time, k₁ + k₂ + … offsets instead of
k₁·k₂·…: along each axis the winner at an offset takes what the offsets before it have left,

    m_j = [x_j = y]·rest,    rest ← rest - m_j,

which is exact.  An average is a product of averages along the axes too, its divisors included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.windows import Window, shared_out, skips, window_of
from lrp_onnx.ops.bounds import same_range, same_sign
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.reduce import give_back_mean, give_to_winner
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import by_shape
from lrp_onnx.ops.scatter_add import (
    Size,
    columns,
    counted,
    overlap_add,
    pad,
    plus,
    shifted,
    size_of,
    slice_axis,
    times,
    vector,
)

__all__: list[str] = []


@dataclass(frozen=True)
class AxisWindows:
    """The windows of one pooling node along one axis; positions count from the padded start."""

    axis: int
    kernel: int
    stride: int
    dilation: int
    begin: Size
    """Padding in front."""
    end: Size
    """Padding behind, at least as much as the last window reads."""
    read: Size
    """How many windows."""
    counted: tuple[Size, Size]
    """The positions, from and up to, that count in an average."""

    @property
    def offsets(self) -> list[int]:
        """Positions of the window's elements within it."""
        return [j * self.dilation for j in range(self.kernel)]


LONGEST = 10_000
"""Elements of a window along one axis, each of which is a node or more."""


def windows(emit: Emit, node: ir.Node) -> list[AxisWindows]:
    """The windows of each spatial axis.  Spec: ONNX MaxPool-12, AveragePool-19."""
    x, y = operand(node), node.outputs[0]
    n = known_rank(x) - 2
    window = window_of(node, n)
    kernel, strides, reach = window.kernel or (), window.strides, window.reach or ()
    if max(kernel, default=1) > LONGEST:
        raise UnsupportedError(
            f"its window is {max(kernel)} elements long, and more than {LONGEST} are not written "
            "out. Pool with GlobalAveragePool or GlobalMaxPool"
        )
    by_axis = []
    for k in range(n):
        size, read = size_of(emit, x, k + 2), size_of(emit, y, k + 2)
        begin, end = _pads(emit, window, k, size, read, reach[k])
        last = plus(emit, begin, size)
        padded = node.attributes.get_int("count_include_pad", 0)
        counted = (0, plus(emit, last, end)) if padded else (begin, last)
        if isinstance(last, int) and isinstance(read, int):
            end = max(0, (read - 1) * strides[k] + reach[k] - last)
        elif window.rounds_up:
            end = plus(emit, end, strides[k] - 1)
        by_axis.append(
            AxisWindows(
                k + 2, kernel[k], strides[k], window.dilations[k], begin, end, read, counted
            )
        )
    return by_axis


def _pads(
    emit: Emit, window: Window, k: int, size: Size, read: Size, reach: int
) -> tuple[Size, Size]:
    """Padding before and after along spatial axis k; the run computes SAME of unknown sizes."""
    mode, stride = window.mode, window.strides[k]
    if mode == "VALID":
        return 0, 0
    if mode == "NOTSET":
        return window.padding(k)
    total = _needed(size, read, stride, reach)
    if skips(total, stride, reach):
        raise UnsupportedError(
            f"runtimes disagree on auto_pad {mode} where the stride {stride} skips elements. "
            "Export it with pads"
        )
    if total is not None:
        return shared_out(max(0, total), mode)
    needed = plus(emit, times(emit, read, stride), reach - stride)
    surplus = emit.op("Sub", vector(emit, [needed]), vector(emit, [size]))
    whole = emit.op("Max", surplus, emit.ints(0))
    front = emit.op("Div", plus(emit, whole, int(mode == "SAME_LOWER")), emit.ints(2))
    return front, emit.op("Sub", whole, front)


def _needed(size: Size, read: Size, stride: int, reach: int) -> int | None:
    """The total padding with which SAME ends where the input does; None if only the run knows."""
    if isinstance(size, int) and isinstance(read, int):
        return (read - 1) * stride + reach - size
    return reach - 1 if stride == 1 else None


@op("MaxPool", kind="maximum", window="pool", range=same_range, samples_apart=by_shape)
def max_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the first winner of each window in row-major order; padding never wins.

    s: (N, C, *out)    ->    c: (N, C, *in).    Spec: ONNX MaxPool-12.
    """
    by_axis = windows(emit, node)
    y = node.outputs[0]
    for k, window in enumerate(by_axis):
        x = _maximum_along(emit, node, range(k + 1, len(by_axis)))
        s = _to_winner(emit, node, window, x, y, s)
        y = x
    return s


def _maximum_along(emit: Emit, node: ir.Node, axes: Sequence[int]) -> ir.Value:
    """The node's maximum along some of its spatial axes."""
    x = operand(node)
    if not axes:
        return x
    n = known_rank(x) - 2
    window = window_of(node, n)
    attributes: dict[str, object] = {
        name: [value if k in axes else 1 for k, value in enumerate(values or ())]
        for name, values in (
            ("kernel_shape", window.kernel),
            ("strides", window.strides),
            ("dilations", window.dilations),
        )
    }
    if "pads" in node.attributes:
        attributes["pads"] = [p if k % n in axes else 0 for k, p in enumerate(window.pads)]
    for name in ("auto_pad", "ceil_mode"):
        if name in node.attributes:
            attributes[name] = node.attributes[name].value
    return emit.op("MaxPool", x, **attributes)


def _to_winner(
    emit: Emit, node: ir.Node, window: AxisWindows, x: ir.Value, y: ir.Value, s: ir.Value
) -> ir.Value:
    """s of the maximum y over windows of x along one axis, to the first winner in each window."""
    axis, stride = window.axis, window.stride
    if window.kernel == 1 and stride == 1 and window.begin == window.end == 0:
        return s
    parts, rest = [], s
    for offset, element in zip(window.offsets, _elements(emit, node, window, x), strict=False):
        if element is None:
            continue
        wins = emit.op("Cast", emit.op("Equal", element, y), to=int(emit.dtype))
        parts.append((offset, emit.op("Mul", wins, rest)))
        rest = emit.op("Sub", rest, parts[-1][1])
    parts.append((window.offsets[-1], rest))
    return overlap_add(emit, parts, node, axis, stride, window.begin)


def _elements(
    emit: Emit, node: ir.Node, window: AxisWindows, x: ir.Value
) -> Sequence[ir.Value | None]:
    """Of every window along one axis its first element, its second, …, all but the last; None for
    those that are padding in all windows.
    """
    axis, stride, offsets = window.axis, window.stride, window.offsets[:-1]
    # lower than every finite number, so that padding wins against none
    lowest = emit.constant(-np.inf)
    shape = [size_of(emit, node.outputs[0], k) for k in range(known_rank(node.outputs[0]))]
    size, begin, read = size_of(emit, operand(node), axis), window.begin, window.read
    if stride > 1 and isinstance(size, int) and isinstance(begin, int) and isinstance(read, int):
        shape[axis] = size
        apart = columns(emit, x, axis, stride, shape, lowest)
        shape[axis] = -(-size // stride)
        at = [divmod(offset - begin, stride) for offset in offsets]
        return [shifted(emit, apart[r], axis, q, read, shape, lowest) for q, r in at]
    padded = pad(emit, x, {axis: (begin, window.end)}, len(shape), lowest)
    span = times(emit, plus(emit, read, -1), stride)
    return [
        slice_axis(emit, padded, axis, offset, plus(emit, span, offset + 1), stride)
        for offset in offsets
    ]


@op(
    "AveragePool",
    kind="sum",
    window="pool",
    sign=same_sign,
    numbered=True,
    samples_apart=by_shape,
)
def average_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s divided by the elements its window counts, to each of them.

    s: (N, C, *out)    ->    c: (N, C, *in).    Spec: ONNX AveragePool-19.
    """
    by_axis = windows(emit, node)
    divisors = [_divisors(emit, window) for window in by_axis]
    constant = np.prod([d for d in divisors if isinstance(d, int)])
    s = emit.op("Mul", s, float(1 / constant)) if constant != 1 else s
    for window, divisor in zip(by_axis, divisors, strict=True):
        if not isinstance(divisor, int):
            behind = [1] * (len(by_axis) + 1 - window.axis)
            s = emit.op("Div", s, emit.op("Reshape", divisor, emit.ints(-1, *behind)))
    for window in by_axis:
        parts = [(offset, s) for offset in window.offsets]
        s = overlap_add(emit, parts, node, window.axis, window.stride, window.begin)
    return s


def _divisors(emit: Emit, window: AxisWindows) -> int | ir.Value:
    """How many elements each window counts along its axis: one number if all count the same."""
    low, high = window.counted
    if window.begin == window.end == low == 0:
        return window.kernel
    if isinstance(window.read, int) and isinstance(low, int) and isinstance(high, int):
        first = np.arange(window.read)[:, None] * window.stride
        element = first + np.array(window.offsets)
        counts = ((element >= low) & (element < high)).sum(1)
        return int(counts[0]) if (counts == counts[0]).all() else emit.constant(counts)
    return _counted_by_run(emit, window)


def _counted_by_run(emit: Emit, window: AxisWindows) -> ir.Value:
    """The same where only the run knows the sizes."""
    first = emit.op("Mul", counted(emit, window.read), emit.ints(window.stride))
    element = emit.op("Add", emit.op("Unsqueeze", first, emit.ints(1)), emit.ints(*window.offsets))
    low, high = (vector(emit, [bound]) for bound in window.counted)
    counts = emit.op("And", emit.op("GreaterOrEqual", element, low), emit.op("Less", element, high))
    numbers = emit.op("Cast", counts, to=int(emit.dtype))
    return emit.op("ReduceSum", numbers, emit.ints(1), keepdims=0)


def _spatial(node: ir.Node) -> range:
    x = operand(node)
    return range(2, known_rank(x))


@op(
    "GlobalAveragePool",
    kind="sum",
    sign=same_sign,
    statistic=True,
    numbered=True,
    samples_apart=by_shape,
)
def global_average_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s divided by the number of positions, to each.

    s: (N, C, 1, …)    ->    c: (N, C, *in).    Spec: ONNX GlobalAveragePool-1.
    """
    return give_back_mean(emit, node, s, _spatial(node))


@op("GlobalMaxPool", kind="maximum", range=same_range, samples_apart=by_shape)
def global_max_pool(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the first winner of each channel in row-major order.

    s: (N, C, 1, …)    ->    c: (N, C, *in).    Spec: ONNX GlobalMaxPool-1.
    """
    return give_to_winner(emit, node, s, _spatial(node))
