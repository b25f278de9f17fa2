"""An entry of the output, named by its indices behind the batch: the mask that is 1 there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.head import Head
from lrp_onnx.analysis.sample_axis import counts_samples
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.target import Target

__all__ = ["class_numbers", "entry_mask", "one_hot", "open_entry", "placed"]


def placed(
    target: Target,
    output: ir.Value,
    inputs: Sequence[ir.Value],
    class_axis: int | None,
    head: Head | None,
) -> int:
    """The axis that the first index counts along: 1 behind a batch, 0 of an output without one.

    Raises TargetError where there are more or fewer indices than axes, or one is out of range.
    """
    rank, count = known_rank(output), len(target.entry)
    none = class_axis == 0 or (head is not None and not head.batch)
    batch = False if none else counts_samples(output, inputs)
    firsts = [first for first in (1, 0) if count == rank - first and batch in (None, bool(first))]
    if not firsts:
        wanted = rank if batch is False else rank - 1
        whose = "it has no batch axis" if batch is False else "axis 0 counts the samples"
        raise TargetError(
            f"target {target}: {count} indices, and output {output.name!r} of shape {output.shape} "
            f"needs {wanted}: {whose}. Give one for each other axis, or : to sum over it."
        )
    _check_range(target, output, firsts[0])
    return firsts[0]


def _check_range(target: Target, output: ir.Value, first: int) -> None:
    for axis, index in enumerate(target.entry, first):
        size = None if output.shape is None else output.shape[axis]
        if index is not None and isinstance(size, int) and index >= size:
            raise TargetError(
                f"target {target}: index {index} is out of range along axis {axis} of output "
                f"{output.name!r} of shape {output.shape}. Give one from 0 to {size - 1}."
            )


def open_entry(target: Target, output: ir.Value) -> tuple[str, ...]:
    """A warning where only the run shows whether the entry exists."""
    sizes = [] if output.shape is None else list(output.shape)[target.first :]
    places = zip(target.entry, sizes, strict=False)
    axes = [
        f"{axis}"
        for axis, (index, size) in enumerate(places, target.first)
        if index is not None and not isinstance(size, int)
    ]
    if not axes:
        return ()
    return (
        f"target {target}: output {output.name!r} does not say how long axis {', '.join(axes)} is; "
        "where the entry does not exist, its relevance is 0.",
    )


def entry_mask(emit: Emit, y: ir.Value, target: Target) -> ir.Value:
    """1 at the entry of every sample, shaped like y."""
    mask: ir.Value | float = 1.0
    for axis, index in enumerate(target.entry, target.first):
        if index is not None:
            here = one_hot(
                emit, class_numbers(emit, y, axis), emit.constant(index, ir.DataType.INT64)
            )
            mask = here if isinstance(mask, float) else emit.op("Mul", mask, here)
    return expand_like(emit, mask, y)


def one_hot(emit: Emit, classes: ir.Value, chosen: ir.Value) -> ir.Value:
    """1 where the numbers equal the chosen one, else 0."""
    return emit.op("Cast", emit.op("Equal", classes, chosen), to=int(emit.dtype))


def class_numbers(emit: Emit, y: ir.Value, axis: int) -> ir.Value:
    """0, 1, 2, … along the class axis, shaped to broadcast against y."""
    rank = known_rank(y)
    size = list(y.shape or ())[axis]
    shape = [-1 if k == axis else 1 for k in range(rank)]
    if isinstance(size, int):
        return emit.constant(np.arange(size).reshape(shape), ir.DataType.INT64)
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    count = emit.op("Squeeze", emit.dimension(y, axis), emit.ints(0))
    return emit.op("Reshape", emit.op("Range", zero, count, one), emit.ints(*shape))
