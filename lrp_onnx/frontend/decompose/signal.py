"""Operators on signals and norms, spelled by standard ones that have rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.heads import column, rank_of
from lrp_onnx.frontend.decompose.operands import varies
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

AXIS_IS_INPUT = 20
"""The opset from which the axis of DFT is an input."""


@decomposes("LpNormalization")
def lp_normalization(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x / ‖x‖, and 0 where the norm is 0; the norm is a divisor.  Spec: ONNX LpNormalization-22."""
    x, p = node.inputs[0], node.attributes.get_int("p", 2)
    if p not in (1, 2):
        raise UnsupportedError(f"its p is {p}, not 1 or 2")
    axis = build.ints(node.attributes.get_int("axis", -1))
    length = build.op(f"ReduceL{p}", x, axis, keepdims=1)
    zero, one = (build.like(number, x) for number in (0, 1))
    return [build.op("Div", x, build.op("Where", build.op("Equal", length, zero), one, length))]


@decomposes("DFT")
def dft(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """Along an axis that the run computes: the second of four axes, which hold what is before, on
    and behind it, and the parts of the number.

    Spec: ONNX DFT-20.
    """
    x, length, axis = [*node.inputs, None, None][:3]
    if x is None or not varies(axis):
        return None
    lead = rank_of(x) - 1
    places, one = build.ints(*range(lead)), build.ints(1)
    whole = build.op("Cast", axis, to=int(ir.DataType.INT64))
    there = build.op("Mod", whole, build.constant(lead + 1))
    sizes, parts = build.op("Shape", x, end=-1), build.op("Shape", x, start=-1)
    on = build.op("Equal", places, there)
    chosen = (build.op("Less", places, there), on, build.op("Greater", places, there))
    counts = [build.op("ReduceProd", build.op("Where", c, sizes, one)) for c in chosen]
    flat = build.op("Reshape", x, build.op("Concat", *counts, parts, axis=0))
    attributes: dict[str, Any] = dict(node.attributes)
    z = build.op("DFT", flat, length, build.constant(1), **attributes)
    transformed = build.op("Where", on, build.op("Shape", z, start=1, end=2), sizes)
    return [
        build.op(
            "Reshape", z, build.op("Concat", transformed, build.op("Shape", z, start=3), axis=0)
        )
    ]


@decomposes("STFT")
def stft(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Frames of the signal, times the window, each by DFT.

    signal: (N, length, 1 or 2)    ->    (N, frames, frame_length // 2 + 1 or frame_length, 2).
    Spec: ONNX STFT-17; exporters write (N, length) for a real signal, and runtimes take it.
    """
    signal, step, window, length = [*node.inputs, None, None][:4]
    if rank_of(signal) == 2:
        signal = build.op("Unsqueeze", signal, build.ints(2))
    if length is None and window is None:
        raise UnsupportedError("it has neither a window nor a frame_length")
    size = build.op("Shape", window) if length is None else column(build, length)
    reach = build.op("Shape", signal, start=1, end=2)
    behind = build.op("Add", build.op("Sub", reach, size), build.ints(1))
    starts = _range(build, behind, column(build, step))
    within = _range(build, size, build.ints(1))
    places = build.op("Add", build.op("Unsqueeze", starts, build.ints(1)), within)
    frames = build.op("Gather", signal, places, axis=1)
    if window is not None:
        shaped = build.op("Unsqueeze", window, build.ints(1))
        frames = build.op("Mul", frames, build.op("CastLike", shaped, signal))
    return [_transform(build, frames, node.attributes.get_int("onesided", 1))]


def _transform(build: Build, frames: ir.Value, onesided: int) -> ir.Value:
    """DFT along axis 2."""
    if build.opset < AXIS_IS_INPUT:
        return build.op("DFT", frames, axis=2, onesided=onesided)
    return build.op("DFT", frames, None, build.constant(2), onesided=onesided)


def _range(build: Build, end: ir.Value, step: ir.Value) -> ir.Value:
    first = build.ints(0)
    bounds = (build.op("Squeeze", v, build.ints(0)) for v in (first, end, step))
    return build.op("Range", *bounds)


@decomposes("AffineGrid")
def affine_grid(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """The coordinates of each element of the output, times theta.

    theta: (N, n, n + 1)    size: (N, C, *out)    ->    (N, *out, n).    Spec: ONNX AffineGrid-20.
    """
    theta, size = node.inputs[:2]
    if theta is None or theta.shape is None or not isinstance(theta.shape[1], int):
        raise UnsupportedError("the shape of its theta is unknown")
    n = theta.shape[1]
    aligned = node.attributes.get_int("align_corners", 0)
    extents = [build.op("Slice", size, build.ints(k + 2), build.ints(k + 3)) for k in range(n)]
    space = build.op("Slice", size, build.ints(2), build.ints(n + 2))
    columns = []
    for k in reversed(range(n)):  # x, y, z: from the last axis on
        along = _coordinates(build, extents[k], theta, aligned)
        along = build.op("Reshape", along, build.ints(*(-1 if j == k else 1 for j in range(n))))
        columns.append(build.op("Expand", along, space))
    columns.append(build.op("Expand", build.like(1, theta), space))
    stacked = [build.op("Reshape", c, build.ints(-1, 1)) for c in columns]
    base = build.op("Concat", *stacked, axis=1)
    points = build.op("MatMul", base, build.op("Transpose", theta, perm=[0, 2, 1]))
    batch = build.op("Slice", size, build.ints(0), build.ints(1))
    shape = build.op("Concat", batch, space, build.ints(n), axis=0)
    return [build.op("Reshape", points, shape)]


def _coordinates(build: Build, extent: ir.Value, theta: ir.Value, aligned: int) -> ir.Value:
    """From -1 to 1 over the middles of the first and the last element, or over their borders."""
    numbers = build.op("CastLike", _range(build, extent, build.ints(1)), theta)
    count = build.op("CastLike", extent, theta)
    one, two = build.like(1, theta), build.like(2, theta)
    if aligned:
        gaps = build.op("Max", build.op("Sub", count, one), one)
        return build.op("Sub", build.op("Div", build.op("Mul", numbers, two), gaps), one)
    middles = build.op("Add", build.op("Mul", numbers, two), one)
    return build.op("Sub", build.op("Div", middles, count), one)
