"""The transpose of a convolution with a stride as one convolution for each phase of its output.

Of c[o·stride + a] the elements with the same a read the same taps of the kernel, every stride-th of
them, with stride 1: each such phase is a small convolution, no tap is computed twice, and the
phases are interleaved.

Time beside ConvTranspose on ONNX Runtime's CPU provider, with one and with two threads, shapes of
ResNet-50 and MobileNetV2: 3×3 dense 0.73 to 0.92 and 0.48 to 0.9, depthwise 0.7 to 0.84 and 0.46 to
1.  ConvTranspose adds up its products one by one, on one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import onnx_ir as ir

from lrp_onnx.emit import Emit
from lrp_onnx.ops.sliding import Sliding
from lrp_onnx.ops.spread import LAST
from lrp_onnx.ops.turned import exchanged, has_channels

__all__ = ["is_phased", "phased"]

MOST_PHASES = 4
"""Phases from which on interleaving takes longer than it saves."""


def is_phased(emit: Emit, w: ir.Value, at: Sliding) -> bool:
    """Whether the transpose is emitted so: all sizes are known, every phase has taps and none of
    them reads less than all, and there are enough channels.
    """
    if not emit.optimise or emit.runtime == "cuda" or not has_channels(w, at.group):
        return False
    if None in (*at.read, *at.written) or prod(at.strides) > MOST_PHASES:
        return False
    if any(d != 1 for d in at.dilations) or any(
        k < stride for k, stride in zip(at.kernel, at.strides, strict=True)
    ):
        return False
    phases = [(k, phase) for k in range(at.axes) for phase in range(at.strides[k])]
    return all(min(_taps(at, k, phase)[1:]) >= 0 for k, phase in phases)


def _taps(at: Sliding, k: int, phase: int) -> tuple[int, int, int]:
    """Of a phase along axis k: its last tap, and the padding before and after.

    Tap t of output o reads input o·stride + t - pad, so that element i·stride + phase receives from
    output i + (phase + pad - t) / stride.
    """
    stride, begin, read, written = at.strides[k], at.pads[k], at.read[k], at.written[k]
    assert read is not None
    assert written is not None
    first = (phase + begin) % stride
    last = first + (at.kernel[k] - 1 - first) // stride * stride
    length = -(-read // stride)
    before = (last - begin - phase) // stride
    return last, before, length + (phase + begin - first) // stride - written


def phased(emit: Emit, at: Sliding, pairs: Sequence[tuple[ir.Value, ir.Value]]) -> ir.Value:
    """The sum over pairs (s, w) of the vector-Jacobian product over the input of Conv.

    s: (N, M, *out)    w: (M, C/group, *k)    ->    c: (N, C, *in).    Spec: ONNX Conv-11.
    """
    n, sizes = at.axes, [size for size in at.read if size is not None]
    parts = {phase: _phase(emit, at, pairs, phase) for phase in product(*map(range, at.strides))}
    for k in reversed(range(n)):
        if at.strides[k] == 1:
            parts = {phase[:-1]: part for phase, part in parts.items()}
            continue
        behind = emit.ints(k + 3)
        columns: dict[tuple[int, ...], list[ir.Value]] = {}
        for phase, part in parts.items():
            column = emit.op("Unsqueeze", part, behind)
            columns.setdefault(phase[:-1], []).append(column)
        parts = {rest: emit.op("Concat", *c, axis=k + 3) for rest, c in columns.items()}
    (whole,) = parts.values()
    lengths = [-(-s // t) * t for s, t in zip(sizes, at.strides, strict=True)]
    c = emit.op("Reshape", whole, emit.ints(0, 0, *lengths))
    if lengths == sizes:
        return c
    axes = emit.ints(*range(2, n + 2))
    return emit.op("Slice", c, emit.ints(*[0] * n), emit.ints(*sizes), axes)


def _phase(
    emit: Emit, at: Sliding, pairs: Sequence[tuple[ir.Value, ir.Value]], phase: Sequence[int]
) -> ir.Value:
    """The elements i·stride + phase of c."""
    axes = range(len(phase))
    last, before, after = zip(*(_taps(at, k, phase[k]) for k in axes), strict=True)
    kernel = [t // stride + 1 for t, stride in zip(last, at.strides, strict=True)]
    total = None
    for s, w in pairs:
        part = emit.op(
            "Conv",
            s,
            exchanged(emit, _read_from_last(emit, at, w, last), w, kernel, at.group),
            kernel_shape=kernel,
            strides=[1] * len(phase),
            group=at.group,
            pads=[*before, *after],
        )
        total = part if total is None else emit.op("Add", total, part)
    assert total is not None
    return total


def _read_from_last(emit: Emit, at: Sliding, w: ir.Value, last: Sequence[int]) -> ir.Value:
    """Every stride-th tap, from the last of a phase to its first."""
    axes = emit.ints(*range(2, len(last) + 2))
    ends = emit.ints(*[-LAST] * len(last))
    return emit.op("Slice", w, emit.ints(*last), ends, axes, emit.ints(*(-s for s in at.strides)))
