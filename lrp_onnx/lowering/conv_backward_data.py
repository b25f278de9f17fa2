"""The vector-Jacobian product of a convolution over its input, by what takes the least time.

With stride 1 a convolution with the kernel turned round (`flipped_conv`), with a stride one
convolution for each phase (`phased_conv`), over pictures one for all (`blocked_conv`), else
ConvTranspose.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.lowering.blocked_conv import blocked, is_blocked
from lrp_onnx.lowering.flipped_conv import is_turned, turned_conv
from lrp_onnx.lowering.phased_conv import is_phased, phased
from lrp_onnx.ops.conv_geometry import Sliding, sliding

__all__ = ["Pair", "over_input"]

Pair = tuple[ir.Value, ir.Value]
"""s, shaped like the output of a convolution, and a weight for it."""


def over_input(emit: Emit, node: ir.Node, pairs: Sequence[Pair]) -> ir.Value:
    """The sum over pairs (s, w) of the transpose of Conv.

    s: (N, M, *out)    w: (M, C/group, *k)    ->    c: (N, C, *in).    Spec: ONNX Conv-11,
    ConvTranspose-11.
    """
    at, (_, w) = sliding(node), pairs[0]
    if is_turned(emit, w, at):
        return emit.total([turned_conv(emit, s, w, at) for s, w in pairs], at.shaped(w, at.read))
    if is_phased(emit, w, at):
        return phased(emit, at, pairs)
    if is_blocked(emit, w, at):
        return blocked(emit, at, pairs)
    joined = _side_by_side(emit, pairs, at)
    return emit.total([_transposed(emit, node, s, w, at) for s, w in joined])


def _transposed(emit: Emit, node: ir.Node, s: ir.Value, w: ir.Value, at: Sliding) -> ir.Value:
    """One ConvTranspose: in attributes that all runtimes read alike."""
    n, sizes, pads = at.axes, at.read, at.pads
    # output_padding restores rows that a strided convolution never read; where the size is unknown,
    # as many as can be
    unread = [
        t - 1
        if size is None
        else (size + pads[k] + pads[n + k] - at.dilations[k] * (at.kernel[k] - 1) - 1) % t
        for k, (size, t) in enumerate(zip(sizes, at.strides, strict=True))
    ]
    attributes = {
        "kernel_shape": at.kernel,
        "strides": at.strides,
        "dilations": at.dilations,
        "group": at.group,
        "output_padding": unread,
    }
    if None not in sizes and pads[:n] == pads[n:]:
        return emit.op("ConvTranspose", s, w, **attributes, pads=pads)
    whole = emit.op("ConvTranspose", s, w, **attributes, pads=[0] * 2 * n)
    starts = emit.ints(*pads[:n])
    known = [p + size for p, size in zip(pads, sizes, strict=False) if size is not None]
    ends = (
        emit.ints(*known)
        if len(known) == n
        else emit.op("Add", starts, emit.op("Shape", node.inputs[0], start=2))
    )
    return emit.op("Slice", whole, starts, ends, emit.ints(*range(2, n + 2)))


def _side_by_side(emit: Emit, pairs: Sequence[Pair], at: Sliding) -> Sequence[Pair]:
    """All pairs as one: ConvTranspose takes as long for two inputs as for one."""
    shape, sizes = static_shape(pairs[0][1]), [d for d in at.written if d is not None]
    if len(pairs) == 1 or shape is None or len(sizes) < at.axes:
        return pairs
    ss, ws = zip(*pairs, strict=True)
    count = shape[0] // at.group
    w = _by_group(emit, ws, at.group, count, 0, list(shape[1:]))
    return [(_by_group(emit, ss, at.group, count, 1, sizes), w)]


def _by_group(
    emit: Emit, parts: Sequence[ir.Value], group: int, count: int, axis: int, behind: list[int]
) -> ir.Value:
    """Tensors side by side along an axis of channels, group by group of `count` channels."""
    if group == 1:
        return emit.op("Concat", *parts, axis=axis)
    before = [0] * axis
    apart = [emit.op("Reshape", p, emit.ints(*before, group, count, *behind)) for p in parts]
    joined = emit.op("Concat", *apart, axis=axis + 1)
    return emit.op("Reshape", joined, emit.ints(*before, group * count * len(parts), *behind))
