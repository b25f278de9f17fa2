"""The largest entry of an output, and of a detector the largest among the scores of a class.

Scores are those of a `Head`: at some indices of an axis, times how sure it is that there is
something at all, less the class's mean over all places where a background class would be the
largest nearly everywhere.  The entry is one of the output as the model gives it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.head import Head
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.entry import class_numbers, one_hot
from lrp_onnx.lrp.target import Target

__all__ = ["class_count", "head_mask", "largest_of_sample", "top_classes"]


def head_mask(
    emit: Emit, y: ir.Value, output: ir.Value, target: Target, place: int, asked: ir.Value | None
) -> ir.Value:
    """1 at the entry that the target takes of each sample, 0 elsewhere, shaped like y.

    place: of target `top`, which of the largest classes. asked: of target `input` the classes.
    """
    head = target.head
    assert head is not None
    scores = _scores(emit, output, head)
    if target.kind in ("index", "input") and head.label is not None:
        of_class = _labeled(emit, output, head, target, asked)
        mask = largest_of_sample(emit, _where(emit, of_class, scores), y, head.batch)
        here = emit.op("Cast", of_class, to=int(emit.dtype))
        return emit.op("Mul", mask, here)  # none where no detection is of that class
    if target.kind == "argmax" or head.axis is None:
        return largest_of_sample(emit, scores, y, head.batch)
    first = emit.constant(_first(head), ir.DataType.INT64)
    if asked is not None:
        column = emit.op("Add", asked, first)
    elif target.kind == "top":
        every = top_classes(emit, output, target)
        which = emit.op("Gather", every, emit.ints(place), axis=head.axis)
        column = emit.op("Add", which, first)
    else:
        _check_classes(output, target, max(target.classes) + 1)
        column = emit.constant(target.classes[0] + _first(head), ir.DataType.INT64)
    here = emit.op("Equal", class_numbers(emit, y, head.axis), column)
    mask = largest_of_sample(emit, _where(emit, here, scores), y, head.batch)
    if target.kind != "difference":
        return mask
    at_place = emit.op("ReduceSum", mask, emit.ints(head.axis), keepdims=1)
    other = emit.constant(target.classes[1] + _first(head), ir.DataType.INT64)
    there = one_hot(emit, class_numbers(emit, y, head.axis), other)
    return emit.op("Sub", mask, emit.op("Mul", at_place, there))


def _labeled(
    emit: Emit, output: ir.Value, head: Head, target: Target, asked: ir.Value | None
) -> ir.Value:
    """Where the detections are whose label is the class, broadcast against the output."""
    if isinstance(head.label, str):
        labels = next(v for v in emit.graph.outputs if v.name == head.label)
    else:
        assert head.label is not None
        ends = emit.ints(head.label), emit.ints(head.label + 1)
        axis = emit.ints(head.axis or 0)
        labels = emit.op("Slice", emit.at_least_float(output), *ends, axis)
    whole = emit.op("Cast", labels, to=int(ir.DataType.INT64))
    return emit.op("Equal", whole, asked or emit.constant(target.classes[0], ir.DataType.INT64))


def top_classes(emit: Emit, output: ir.Value, target: Target) -> ir.Value:
    """The numbers of the `target.count` classes with the largest scores anywhere, along the class
    axis; the other axes but the batch's have size 1.
    """
    head = target.head
    assert head is not None
    assert head.axis is not None
    _check_classes(output, target, target.count)
    scores, places = _scores(emit, output, head), _places(output, head)
    best = emit.op("ReduceMax", scores, emit.ints(*places), keepdims=1) if places else scores
    if head.scores is not None:
        ends = (emit.ints(end) for end in head.scores)
        best = emit.op("Slice", best, *ends, emit.ints(head.axis))
    return emit.outputs("TopK", (best, emit.ints(target.count)), {"axis": head.axis}, 2)[1]


def _scores(emit: Emit, output: ir.Value, head: Head) -> ir.Value:
    """What is compared, shaped like the output: lower than all scores where there is none."""
    scores: ir.Value = emit.at_least_float(output)
    if head.axis is None:
        return scores
    if head.objectness is not None:
        ends = emit.ints(head.objectness), emit.ints(head.objectness + 1)
        sure = emit.op("Slice", scores, *ends, emit.ints(head.axis))
        scores = emit.op("Mul", scores, sure)
    if head.compared and (places := _places(output, head)):
        mean = emit.op("ReduceMean", scores, emit.ints(*places), keepdims=1)
        scores = emit.op("Sub", scores, mean)
    if head.scores is None:
        return scores
    numbers = class_numbers(emit, output, head.axis)
    first, stop = (emit.constant(end, ir.DataType.INT64) for end in head.scores)
    behind, before = emit.op("GreaterOrEqual", numbers, first), emit.op("Less", numbers, stop)
    return _where(emit, emit.op("And", behind, before), scores)


def _where(emit: Emit, here: ir.Value, scores: ir.Value) -> ir.Value:
    return emit.op("Where", here, scores, emit.constant(_lowest(scores)))


def _lowest(scores: ir.Value) -> float:
    double = scores.dtype == ir.DataType.DOUBLE
    return float(np.finfo(np.float64 if double else np.float32).min)


def _places(output: ir.Value, head: Head) -> list[int]:
    """The axes along which the same scores stand at other places."""
    scored = {head.axis, 0} if head.batch else {head.axis}
    return [axis for axis in range(known_rank(output)) if axis not in scored]


def _first(head: Head) -> int:
    return head.scores[0] if head.scores is not None else 0


def class_count(output: ir.Value, head: Head) -> int | None:
    """How many classes have scores; None if that is open."""
    if head.scores is not None:
        return head.scores[1] - head.scores[0]
    size = None if head.axis is None or output.shape is None else output.shape[head.axis]
    return size if isinstance(size, int) else None


def _check_classes(output: ir.Value, target: Target, needed: int) -> None:
    """Raise TargetError where fewer classes have scores than are needed."""
    assert target.head is not None
    size = class_count(output, target.head)
    if size is not None and needed > size:
        raise TargetError(
            f"target {target}: output {output.name!r} has scores of {size} "
            f"class{'es' * (size != 1)}, {_range(size)}. "
            f"{'Choose one of them' if target.kind != 'top' else f'Choose top-{size} or less'}, or "
            "an entry by its indices, such as 5,1689."
        )


def _range(size: int) -> str:
    return f"0 to {size - 1}" if size > 1 else "0"


def largest_of_sample(emit: Emit, values: ir.Value, y: ir.Value, batch: bool = True) -> ir.Value:
    """One-hot at the largest value of each sample, shaped like y; of all where axis 0 is no batch.

    Where nothing survived a suppression there is none.
    """
    rows = emit.op("Flatten", values, axis=1 if batch else 0)
    size = emit.op("Squeeze", emit.op("Shape", rows, start=1), emit.ints(0))
    if not batch and not _is_sized(values):
        nothing = emit.constant([[_lowest(values)]])
        rows = emit.op("Concat", rows, nothing, axis=1)
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    numbers = emit.op("Range", zero, size, one)
    mask = one_hot(emit, numbers, emit.op("ArgMax", rows, axis=1, keepdims=1))
    return emit.reshape_like(mask, y)


def _is_sized(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(size, int) for size in value.shape)
