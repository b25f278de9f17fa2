"""The transpose of a strided convolution of few channels, such as pictures have, as one convolution
that computes a square of c for each output position; DepthToSpace lays the squares out.

Element i·b + a of c receives from the outputs o with o·stride + t - pad = i·b + a, tap t of the
kernel.  With b a multiple of the stride each a reads o = i·(b/stride) + d for the same few d, each
through one tap: a convolution over d of stride b/stride, with taps of 0 where t is none.

ConvTranspose first computes all products, 147 for each output of ResNet's 7×7, which fit no cache:
10 to 16 ms for 224×224 on one thread beside 3 ms so, 11×11 with stride 4 10.7 and 2.7.  Of 5×5 both
take as long, of 3×3 ConvTranspose takes half as long, and so it does with stride 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.lowering.flipped_conv import has_channels
from lrp_onnx.ops.conv_geometry import Sliding
from lrp_onnx.ops.operands import LAST

__all__ = ["blocked", "is_blocked"]

AXES = 2
"""DepthToSpace knows no other."""
FEWEST_TAPS = 6
"""Along each axis."""
SIDE = 4
"""Of the squares, about: Conv computes 16 channels at once, and as fast as it can from 48 on."""


def is_blocked(emit: Emit, w: ir.Value, at: Sliding) -> bool:
    """Whether the transpose is emitted so: it takes less time, all sizes are known and a square
    reads nothing but all outputs.
    """
    if not emit.optimize or emit.runtime.fast_transpose or has_channels(w, at.group):
        return False
    if at.axes != AXES or at.group != 1 or None in (*at.read, *at.written):
        return False
    if any(d != 1 for d in at.dilations) or len({*at.strides}) > 1:
        return False
    if at.strides[0] == 1 or min(at.kernel) < FEWEST_TAPS:
        return False
    return min(_around(at, k)[side] for k in range(AXES) for side in (0, 1)) >= 0


def blocked(emit: Emit, at: Sliding, pairs: Sequence[tuple[ir.Value, ir.Value]]) -> ir.Value:
    """The sum over pairs (s, w) of the vector-Jacobian product over the input of Conv.

    s: (N, M, *out)    w: (M, C, *k)    ->    c: (N, C, *in).    Spec: ONNX Conv-11.
    """
    side, sizes = _side(at), [size for size in at.read if size is not None]
    begins, ends = zip(*(_around(at, k) for k in range(AXES)), strict=True)
    squares = emit.total(
        [
            emit.op(
                "Conv",
                s,
                _squares(emit, at, w),
                kernel_shape=[len(_offsets(at, k)) for k in range(AXES)],
                strides=[side // at.strides[0]] * AXES,
                pads=[*begins, *ends],
            )
            for s, w in pairs
        ]
    )
    c = emit.op("DepthToSpace", squares, blocksize=side)
    whole = [-(-size // side) * side for size in sizes]
    if whole == sizes:
        return c
    starts, axes = emit.ints(*[0] * AXES), emit.ints(*range(2, AXES + 2))
    return emit.op("Slice", emit.shaped(c, at.shaped(pairs[0][1], whole)), starts,
                   emit.ints(*sizes), axes)  # fmt: skip


def _side(at: Sliding) -> int:
    """The multiple of the stride from SIDE on."""
    return -(-SIDE // at.strides[0]) * at.strides[0]


def _offsets(at: Sliding, k: int) -> range:
    """Every d along axis k."""
    stride, pad = at.strides[k], at.pads[k]
    return range(-((at.kernel[k] - 1 - pad) // stride), (_side(at) - 1 + pad) // stride + 1)


def _around(at: Sliding, k: int) -> tuple[int, int]:
    """The padding of s before and after along axis k."""
    read, written, side, offsets = at.read[k], at.written[k], _side(at), _offsets(at, k)
    assert read is not None
    assert written is not None
    last = (-(-read // side) - 1) * (side // at.strides[k]) + offsets[-1]
    return -offsets[0], last + 1 - written


def _squares(emit: Emit, at: Sliding, w: ir.Value) -> ir.Value:
    """The weight: (M, C, *k) -> (side² · C, M, *offsets)."""
    side, every = _side(at), [_offsets(at, k) for k in range(AXES)]
    first = [at.pads[k] - at.strides[k] * every[k][0] for k in range(AXES)]  # tap of a = 0
    least = [at.pads[k] - at.strides[k] * every[k][-1] for k in range(AXES)]
    before = [max(-tap, 0) for tap in least]
    behind = [max(tap + side - at.kernel[k], 0) for k, tap in enumerate(first)]
    padded = emit.op("Pad", w, emit.ints(0, 0, *before, 0, 0, *behind))
    parts = []
    for a in product(range(side), repeat=AXES):
        starts = [first[k] + a[k] + before[k] for k in range(AXES)]
        stops = [starts[k] - at.strides[k] * len(every[k]) for k in range(AXES)]
        ends = [stop if stop >= 0 else -LAST for stop in stops]
        axes, steps = emit.ints(2, 3), emit.ints(*(-stride for stride in at.strides))
        parts.append(emit.op("Slice", padded, emit.ints(*starts), emit.ints(*ends), axes, steps))
    return emit.op("Transpose", emit.op("Concat", *parts, axis=1), perm=[1, 0, 2, 3])
