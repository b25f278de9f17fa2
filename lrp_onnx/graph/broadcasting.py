"""Copying values to the shape of others, and summing what was copied."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.shapes import dimensions, same_sizes

__all__ = ["expand_like", "sum_to"]


def expand_like(
    emit: Emit, value: Input, reference: ir.Value, one_sample: bool = False
) -> ir.Value:
    """A scalar (or broadcastable) value copied to the shape of `reference`.

    With `one_sample` axis 0 has size 1 if the other sizes are known: what it leads to is then a
    constant, which runtimes compute when they load the model.
    """
    sample = dimensions(reference.shape)[1:] if one_sample else [None]
    known = all(isinstance(d, int) for d in sample)
    shape = (
        emit.ints(1, *(d for d in sample if isinstance(d, int)))
        if known
        else emit.shape_of(reference)
    )
    out = emit.op("Expand", value, shape)
    if known:
        emit.shaped(out, [1, *sample])
    else:
        emit.shaped(out, reference)
    if isinstance(value, int | float):
        emit.signs[out] = 1 if value >= 0 else -1
    return out


def sum_to(emit: Emit, value: ir.Value, reference: ir.Value, shaped_like: ir.Value) -> ir.Value:
    """Sum `value`, shaped like `shaped_like`, over the axes along which `reference` was
    broadcast to it.
    """
    if same_sizes(reference, shaped_like):
        return value
    lead = known_rank(shaped_like) - known_rank(reference)
    outer, inner = dimensions(shaped_like.shape)[lead:], dimensions(reference.shape)
    pairs = list(zip(outer, inner, strict=True))
    axes = list(range(lead))
    axes += [lead + k for k, (out, size) in enumerate(pairs) if size == 1 and out != 1]
    open_axes = [
        lead + k
        for k, (o, n) in enumerate(pairs)
        if not isinstance(n, int) and (n is None or n != o) and o != 1
    ]
    if open_axes:
        return _sum_where_unequal(emit, value, reference, axes, open_axes)
    if not axes:
        return value
    out = emit.op("ReduceSum", value, emit.ints(*axes), keepdims=1)
    return emit.reshape_like(out, reference) if lead else out


def _sum_where_unequal(
    emit: Emit, value: ir.Value, reference: ir.Value, axes: list[int], open_axes: list[int]
) -> ir.Value:
    """The same where only the run decides whether `open_axes`, too, were broadcast.

    Each of these, of size o where the reference has r, becomes two, of sizes r and q = o / r: where
    it was broadcast r is 1, else q is.  The sum over every q has axes that are constants, which
    OpenVINO and tract need.
    """
    rank = known_rank(value)
    lead = rank - known_rank(reference)
    sizes, summed = list[ir.Value](), list[int]()
    for axis in range(rank):
        o = emit.dimension(value, axis)
        if axis in open_axes:
            r = emit.dimension(reference, axis - lead)
            q = emit.op("Where", emit.op("Equal", r, o), emit.ints(1), o)
            sizes += [r, q]
            summed.append(len(sizes) - 1)
        else:
            if axis in axes:
                summed.append(len(sizes))
            sizes.append(o)
    apart = emit.op("Reshape", value, emit.op("Concat", *sizes, axis=0), allowzero=1)
    total = emit.op("ReduceSum", apart, emit.ints(*summed), keepdims=0)
    own_axes = [axis for axis in axes if axis >= lead]
    if own_axes:
        total = emit.op("Unsqueeze", total, emit.ints(*(axis - lead for axis in own_axes)))
    return emit.shaped(total, reference)
