"""Copying values to the shape of others, and summing what was copied."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit, Input, known_rank
from lrp_onnx.graph.shapes import same_sizes

__all__ = ["expand_like", "sum_to"]


def expand_like(
    emit: Emit, value: Input, reference: ir.Value, one_sample: bool = False
) -> ir.Value:
    """A scalar (or broadcastable) value copied to the shape of `reference`.

    With `one_sample` axis 0 has size 1 if the other sizes are known: what it leads to is then a
    constant, which runtimes compute when they load the model.
    """
    sample = list(_dims(reference))[1:] if one_sample else [None]
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
    pairs = list(zip(_dims(shaped_like)[lead:], _dims(reference), strict=True))
    axes = list(range(lead))
    axes += [lead + k for k, (out, size) in enumerate(pairs) if size == 1 and out != 1]
    if any(not isinstance(n, int) and (n is None or n != o) and o != 1 for o, n in pairs):
        return _sum_where_unequal(emit, value, reference, lead)
    if not axes:
        return value
    out = emit.op("ReduceSum", value, emit.ints(*axes), keepdims=1)
    return emit.reshape_like(out, reference) if lead else out


def _sum_where_unequal(emit: Emit, value: ir.Value, reference: ir.Value, lead: int) -> ir.Value:
    """The same where only the run decides which axes were broadcast."""
    shape = emit.shape_of(reference)
    padded = emit.op("Concat", emit.ints(*[1] * lead), shape, axis=0) if lead else shape
    unequal = emit.op("Not", emit.op("Equal", padded, emit.op("Shape", value)))
    axes = emit.op("Squeeze", emit.op("NonZero", unequal), emit.ints(0))
    total = emit.op("ReduceSum", value, axes, keepdims=1, noop_with_empty_axes=1)
    return emit.op("Reshape", total, shape)


def _dims(value: ir.Value) -> list[int | str | None]:
    """Dimensions as numbers or names; None where nothing is known."""
    return [d if isinstance(d, int) else d.value for d in value.shape or []]
