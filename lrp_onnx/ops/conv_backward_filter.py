"""The vector-Jacobian product of a convolution over its kernel, itself a convolution.

    y[n,m,o] = Σ x[n,c,o·t + k·d - p] · w[m,c,k]   gives
    c[m,c,k] = Σ x[n,c,o·t + k·d - p] · s[n,m,o],

a convolution of x with s as the kernel: samples and channels exchanged, stride t and dilation d as
well.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.conv_geometry import Sliding

__all__ = ["over_kernel"]


def over_kernel(
    emit: Emit, read: ir.Value | None, written: ir.Value | None, at: Sliding
) -> ir.Value:
    """c for the weight of Conv, or with input and output exchanged for that of ConvTranspose.

    read: (N, G·C, *in), what the kernel slides over    written: (N, G·M, *out)    ->
    c: (G·M, C, *kernel).    G: the group.
    """
    n, group = at.axes, at.group
    spatial = range(3, n + 3)
    x = emit.op("Transpose", _grouped(emit, read, group), perm=[2, 1, 0, *spatial])
    s = emit.op("Transpose", _grouped(emit, written, group), perm=[1, 2, 0, *spatial])
    slid = emit.op(
        "Conv",
        _merged(emit, x, 1),
        _merged(emit, s, 0),
        group=group,
        strides=at.dilations,
        dilations=at.strides,
        pads=at.pads,
    )
    # rows that a strided convolution never read would be taken for more of the kernel
    axes = emit.ints(*range(2, n + 2))
    cut = emit.op("Slice", slid, emit.ints(*[0] * n), emit.ints(*at.kernel), axes)
    return emit.op("Transpose", cut, perm=[1, 0, *range(2, n + 2)])


def _grouped(emit: Emit, value: ir.Value | None, group: int) -> ir.Value:
    """(N, G·C, …) -> (N, G, C, …)."""
    sizes = [emit.op("Shape", value, end=1), emit.ints(group, -1), emit.op("Shape", value, start=2)]
    return emit.op("Reshape", value, emit.op("Concat", *sizes, axis=0))


def _merged(emit: Emit, value: ir.Value, axis: int) -> ir.Value:
    """Two neighboring axes in one."""
    sizes = [emit.ints(-1), emit.op("Shape", value, start=axis + 2)]
    if axis:
        sizes.insert(0, emit.op("Shape", value, end=axis))
    return emit.op("Reshape", value, emit.op("Concat", *sizes, axis=0))
