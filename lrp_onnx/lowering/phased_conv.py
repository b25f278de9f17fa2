"""The transpose of a convolution with a stride as one convolution for each phase of its output.

Of c[o·stride + a] the elements with the same a read the same taps of the kernel, every stride-th of
them, with stride 1: each such phase is a small convolution, no tap is computed twice, and the
phases are interleaved.

Time beside ConvTranspose on ONNX Runtime's CPU provider, shapes of ResNet-50 and MobileNetV2: with
one thread 0.73 to 0.92 dense 3×3, 0.7 to 0.84 depthwise, 0.91 to 1.18 for 1×1; with two threads
0.48 to 0.9, 0.46 to 1.4 and 0.65 to 1, since ConvTranspose adds up its products on one; 3×3×3 0.77
and 0.61.  With DepthToSpace in place of Concat 0.8 to 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.lowering.flipped_conv import exchanged, has_channels
from lrp_onnx.ops.conv_geometry import Sliding
from lrp_onnx.ops.operands import LAST

__all__ = ["is_phased", "phased"]

WIDEST_STRIDE = 2
"""With strides of 3 and 4 as much time or more (0.9 to 1.5), also where a kernel is as wide as the
stride, so that ConvTranspose has nothing to add up (0.85 to 1.25).
"""


def is_phased(emit: Emit, w: ir.Value, at: Sliding) -> bool:
    """Whether the transpose is emitted so: it takes less time, all sizes are known and no phase
    reads less than all.
    """
    if not emit.optimize or emit.runtime.fast_transpose or not has_channels(w, at.group):
        return False
    if None in (*at.read, *at.written) or max(at.strides) > WIDEST_STRIDE:
        return False
    if any(d != 1 for d in at.dilations) or list(at.kernel) == list(at.strides):
        return False
    taps = [_taps(at, k, r) for k in range(at.axes) for r in range(at.strides[k])]
    return all(min(before, after) >= 0 for last, before, after in taps if last >= 0)


def _taps(at: Sliding, k: int, phase: int) -> tuple[int, int, int]:
    """Of a phase along axis k: its last tap, negative if it has none, and the padding before and
    after.

    Tap t of output o reads input o·stride + t - pad, so that element i·stride + phase receives from
    output i + (phase + pad - t) / stride.
    """
    stride, begin, read, written = at.strides[k], at.pads[k], at.read[k], at.written[k]
    assert read is not None
    assert written is not None
    first = (phase + begin) % stride
    if first >= at.kernel[k]:
        return -1, 0, 0
    last = first + (at.kernel[k] - 1 - first) // stride * stride
    length = -(-read // stride)
    before = (last - begin - phase) // stride
    return last, before, length + (phase + begin - first) // stride - written


def phased(emit: Emit, at: Sliding, pairs: Sequence[tuple[ir.Value, ir.Value]]) -> ir.Value:
    """The sum over pairs (s, w) of the vector-Jacobian product over the input of Conv.

    s: (N, M, *out)    w: (M, C/group, *k)    ->    c: (N, C, *in).    Spec: ONNX Conv-11.
    """
    sizes = [size for size in at.read if size is not None]
    every = product(*map(range, at.strides))
    parts = {phase: _phase(emit, at, pairs, phase) for phase in every}
    for k in reversed(range(at.axes)):
        rows = {phase[:-1]: range(at.strides[k]) for phase in parts}
        parts = {
            rest: _interleaved(emit, [parts[*rest, r] for r in row], k + 3)
            for rest, row in rows.items()
        }
    whole = parts[()]
    assert whole is not None
    lengths = [-(-s // t) * t for s, t in zip(sizes, at.strides, strict=True)]
    c = emit.op("Reshape", whole, emit.ints(0, 0, *lengths))
    if lengths == sizes:
        return c
    axes, starts = emit.ints(*range(2, at.axes + 2)), emit.ints(*[0] * at.axes)
    return emit.op("Slice", c, starts, emit.ints(*sizes), axes)


def _interleaved(emit: Emit, parts: Sequence[ir.Value | None], axis: int) -> ir.Value | None:
    """Parts side by side along a new axis, zeros for those that are missing; None if all are."""
    known = [part for part in parts if part is not None]
    if len(parts) == 1 or not known:
        return parts[0]
    zeros = None if len(known) == len(parts) else expand_like(emit, 0.0, known[0])
    columns = [zeros if part is None else part for part in parts]
    apart = [emit.op("Unsqueeze", column, emit.ints(axis)) for column in columns]
    return emit.op("Concat", *apart, axis=axis)


def _phase(
    emit: Emit, at: Sliding, pairs: Sequence[tuple[ir.Value, ir.Value]], phase: Sequence[int]
) -> ir.Value | None:
    """The elements i·stride + phase of c; None where no tap reads them."""
    taps = [_taps(at, k, r) for k, r in enumerate(phase)]
    if any(last < 0 for last, _, _ in taps):
        return None
    last, before, after = zip(*taps, strict=True)
    kernel = [t // stride + 1 for t, stride in zip(last, at.strides, strict=True)]
    parts = [
        emit.op(
            "Conv",
            s,
            exchanged(emit, _read_from_last(emit, at, w, last), w, kernel, at.group),
            kernel_shape=kernel,
            strides=[1] * len(phase),
            group=at.group,
            pads=[*before, *after],
        )
        for s, w in pairs
    ]
    sizes = [-(-(size or 0) // t) for size, t in zip(at.read, at.strides, strict=True)]
    return emit.total(parts, at.shaped(pairs[0][1], sizes))


def _read_from_last(emit: Emit, at: Sliding, w: ir.Value, last: Sequence[int]) -> ir.Value:
    """Every stride-th tap, from the last of a phase to its first."""
    axes = emit.ints(*range(2, len(last) + 2))
    ends = emit.ints(*[-LAST] * len(last))
    return emit.op("Slice", w, emit.ints(*last), ends, axes, emit.ints(*(-s for s in at.strides)))
