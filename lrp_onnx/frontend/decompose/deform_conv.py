"""DeformConv as the sampling of its input at the displaced places, and a convolution over them.

The convolution over the kernel's places is 1×1 with the operator's own weight, so that the rules
of linear layers apply to it; relevance goes back through the sampling, of which the displacements
are a gate.  The forward keeps the operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.graph.windows import window_of

__all__: list[str] = []

LINEAR_IS_NAMED = 20
"""The opset from which GridSample's mode is `linear`, before it `bilinear`."""


@decomposes("DeformConv")
def deform_conv(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Conv 1×1 over x sampled at place + offset, times the mask.

    x: (N, C, H, W)    w: (M, C/group, *k)    offset: (N, groups·Πk·2, *out)
    mask: (N, groups·Πk, *out)    ->    (N, M, *out).    Spec: ONNX DeformConv-19.
    """
    x, w, offset, b, mask = [*node.inputs, None, None][:5]
    m, per_group, *kernel = _shape(w)
    if len(kernel) != 2:
        raise UnsupportedError(f"it has {len(kernel)} spatial axes, not 2")
    groups, group = node.attributes.get_int("offset_group", 1), node.attributes.get_int("group", 1)
    channels, places = per_group * group, kernel[0] * kernel[1]
    out = build.op("Shape", offset, start=2)
    rows = build.op("Mul", _one(build, out, 0), build.ints(places))
    under = build.op("Concat", rows, _one(build, out, 1), axis=0)  # the kernel's places, stacked
    data = build.op("Reshape", x, build.ints(-1, channels // groups, 0, 0))
    linear = build.opset >= LINEAR_IS_NAMED
    sampled = build.op(
        "GridSample",
        data,
        _grid(build, node, kernel, under),
        mode="linear" if linear else "bilinear",
    )
    if mask is not None:
        shape = build.op("Concat", build.ints(-1, 1), under, axis=0)
        sampled = build.op("Mul", sampled, build.op("Reshape", mask, shape))
    shape = build.op("Concat", build.ints(-1, channels * places), out, axis=0)
    columns = build.op("Reshape", sampled, shape)
    pointwise = build.op("Reshape", w, build.ints(m, per_group * places, 1, 1))
    z = build.op("Conv", columns, pointwise, b, group=group, kernel_shape=[1, 1])
    return [build.explained(node.outputs[0], z)]


def _shape(w: ir.Value | None) -> list[int]:
    sizes = None if w is None else static_shape(w)
    if not sizes:
        raise UnsupportedError("the shape of its weight is unknown. Export the model with shapes")
    return list(sizes)


def _one(build: Build, sizes: ir.Value, k: int) -> ir.Value:
    return build.op("Slice", sizes, build.ints(k), build.ints(k + 1))


def _grid(build: Build, node: ir.Node, kernel: Sequence[int], under: ir.Value) -> ir.Value:
    """Where each element is read, in GridSample's coordinates: (N·groups, Πk·out_h, out_w, 2)."""
    x, offset = node.inputs[0], node.inputs[2]
    out = build.op("Shape", offset, start=2)
    pairs = build.op("Concat", build.ints(-1, kernel[0] * kernel[1], 2), out, axis=0)
    offsets = build.op("Transpose", build.op("Reshape", offset, pairs), perm=[0, 1, 3, 4, 2])
    columns = []
    for k in (1, 0):  # x before y
        offset_along = build.op("Gather", offsets, build.constant(k), axis=4)
        place = build.op("Add", offset_along, _places(build, node, kernel, out, k))
        size = build.op("CastLike", build.op("Shape", x, start=k + 2, end=k + 3), offset)
        one, two = build.like(1, offset), build.like(2, offset)
        # the middle of element p lies at (2p + 1)/size - 1
        middle = build.op("Div", build.op("Add", build.op("Mul", place, two), one), size)
        shape = build.op("Concat", build.ints(-1), under, axis=0)
        flat = build.op("Reshape", build.op("Sub", middle, one), shape)
        columns.append(build.op("Unsqueeze", flat, build.ints(3)))
    return build.op("Concat", *columns, axis=3)


def _places(build: Build, node: ir.Node, kernel: Sequence[int], out: ir.Value, k: int) -> ir.Value:
    """Where the kernel reads without offsets along axis k: (Πk, out_h, 1) or (Πk, 1, out_w)."""
    window = window_of(node, 2)
    begin, stride = window.padding(k)[0], window.strides[k]
    within = np.indices(kernel)[k].reshape(-1, 1, 1) * window.dilations[k] - begin
    count = build.op("Squeeze", _one(build, out, k), build.ints(0))
    first = build.op("Range", build.constant(0), count, build.constant(1))
    column = build.op("Reshape", first, build.ints(1, *((-1, 1) if k == 0 else (1, -1))))
    strided = build.op("Mul", column, build.ints(stride))
    whole = build.op("Add", strided, build.constant(within))
    return build.op("CastLike", whole, node.inputs[2])
