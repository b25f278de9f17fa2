"""Where relevance starts: R₀ = m·y or m, with a mask m of the entries that are explained.

With start `contrast` y is the logits less their mean over the classes (see
`lrp_onnx.lrp.contrast`); which are the largest is told by the logits themselves.
"""

from __future__ import annotations

import re

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.graph.appending import graph_input
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.entry import class_numbers, entry_mask, one_hot
from lrp_onnx.lrp.largest import head_mask, largest_of_sample, top_classes
from lrp_onnx.lrp.target import Target

__all__ = ["STARTS", "chosen_start", "largest_classes", "starting_relevance"]

STARTS = ("auto", "logit", "contrast", "one")
OF_ONE_CLASS = ("argmax", "index", "difference", "top", "max", "input")
"""Kinds of targets of which a mean over the classes is no part."""


def starting_relevance(
    emit: Emit,
    graph: ir.Graph,
    y: ir.Value,
    output: ir.Value,
    target: Target,
    axis: int | None,
    explained: ir.Value | None,
    place: int = 0,
) -> ir.Value:
    """R₀, shaped like y: the mask times what is explained, or the mask alone.

    y: the logits behind a final softmax in the output's layout, or the output; it tells which
    classes are the largest. explained: y itself, or y less its mean; None for the mask alone.
    output: the model's output, that names a `seed`. place: of target `top`, which of the largest
    classes. Adds the graph input of `input` and `seed`.
    """
    mask = _mask(emit, graph, y, output, target, axis, place)
    if explained is None:
        return emit.shaped(emit.op("Cast", mask, to=int(emit.dtype)), y)
    return emit.shaped(emit.op("Mul", mask, explained), y)


def chosen_start(start: str, target: Target, classes: int, axis: int | None) -> str:
    """The start that `auto` stands for: `contrast` of one class behind a softmax, else `logit`.

    classes: how many the output is a softmax of. axis: that of the classes. Raises TargetError for
    a start that is unknown.
    """
    if start not in STARTS:
        number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", start, re.IGNORECASE)
        more = f" A value to compare with is a reference: --reference {start}." * bool(number)
        raise TargetError(f"start {start!r} is unknown. Give one of {', '.join(STARTS)}.{more}")
    if start != "auto":
        return start
    of_one = target.kind in OF_ONE_CLASS
    if target.kind == "entry" and axis is not None and axis >= target.first:
        of_one = target.entry[axis - target.first] is not None
    return "contrast" if classes > 1 and of_one else "logit"


def _mask(
    emit: Emit,
    graph: ir.Graph,
    y: ir.Value,
    output: ir.Value,
    target: Target,
    axis: int | None,
    place: int,
) -> ir.Value:
    if target.kind == "all":
        return expand_like(emit, 1.0, y)
    if target.kind == "seed":
        return graph_input(graph, f"{output.name}_seed", emit.dtype, y.shape)
    if target.kind == "entry":
        return entry_mask(emit, y, target)
    if target.head is not None:
        own = 1 if target.head.batch else 0
        asked = _target_input(emit, graph, y, own) if target.kind == "input" else None
        return head_mask(emit, y, output, target, place, asked)
    if axis is None:
        if any(target.classes) or target.count > 1:
            raise TargetError(
                f"target {target}: output {output.name!r} of shape {y.shape} has one class"
                f"{_remedy_of_rank(known_rank(y))}"
            )
        return expand_like(emit, 0.0 if target.kind == "difference" else 1.0, y)
    if target.kind == "max":
        return largest_of_sample(emit, y, y, batch=bool(axis))
    classes = class_numbers(emit, y, axis)
    if target.kind == "argmax":
        chosen = emit.op("ArgMax", y, axis=axis, keepdims=1)
    elif target.kind == "top":
        largest = largest_classes(emit, y, output, target, axis)
        chosen = emit.op("Gather", largest, emit.ints(place), axis=axis)
    elif target.kind == "input":
        chosen = _target_input(emit, graph, y, axis)
    else:
        return _constant_mask(emit, y, output, target, axis, classes)
    mask = one_hot(emit, classes, chosen)
    if target.kind != "input":  # whose classes only the run knows to be there
        _tell_class(emit, mask, y, axis, chosen)
    return mask


def _tell_class(emit: Emit, mask: ir.Value, y: ir.Value, axis: int, chosen: ir.Value) -> None:
    """Note which element along the last axis of y is not 0; of one alone there is nothing to
    note.
    """
    size = None if y.shape is None else y.shape[axis]
    if axis == known_rank(y) - 1 and isinstance(size, int) and size > 1:
        emit.classes[mask] = chosen


def _remedy_of_rank(rank: int) -> str:
    if not rank:
        return ". Use 0 or argmax."
    return " a sample. Use 0 or argmax; or --class-axis 0, if these are the classes of one sample."


def largest_classes(
    emit: Emit, y: ir.Value, output: ir.Value, target: Target, axis: int | None
) -> ir.Value:
    """The numbers of the `target.count` largest classes at every position of the other axes, along
    the class axis; the lower of equal ones comes first. Without a class axis class 0, [..., 1].

    Raises TargetError where there are fewer classes.
    """
    if target.head is not None:
        return top_classes(emit, output, target)
    if axis is None:
        zero = emit.constant(0, ir.DataType.INT64)
        return emit.op("Unsqueeze", emit.op("Expand", zero, emit.shape_of(y)), emit.ints(-1))
    _check_size(y, output, target, axis, target.count)
    inputs = (emit.at_least_float(y), emit.ints(target.count))
    return emit.outputs("TopK", inputs, {"axis": axis}, 2)[1]


def _check_size(y: ir.Value, output: ir.Value, target: Target, axis: int, needed: int) -> None:
    """Raise TargetError where the output is known to have fewer classes than are needed."""
    size = None if y.shape is None else y.shape[axis]
    if isinstance(size, int) and needed > size:
        raise TargetError(
            f"target {target}: output {output.name!r} has {size} classes, 0 to {size - 1}. "
            f"{'Choose one of them' if target.kind != 'top' else f'Choose top-{size} or less'}."
        )


def _constant_mask(
    emit: Emit, y: ir.Value, output: ir.Value, target: Target, axis: int, classes: ir.Value
) -> ir.Value:
    _check_size(y, output, target, axis, max(target.classes) + 1)
    numbers = [emit.constant(c, ir.DataType.INT64) for c in target.classes]
    mask = one_hot(emit, classes, numbers[0])
    if len(numbers) == 2:
        mask = emit.op("Sub", mask, one_hot(emit, classes, numbers[1]))
    expanded = expand_like(emit, mask, y)
    if len(numbers) == 1:
        _tell_class(emit, expanded, y, axis, numbers[0])
    return expanded


def _target_input(emit: Emit, graph: ir.Graph, y: ir.Value, axis: int) -> ir.Value:
    """The graph input `target`, one class per sample, shaped to broadcast against y."""
    assert y.shape is not None
    batch_axis = 0 if axis else None
    batch = y.shape[0] if batch_axis == 0 else 1
    value = graph_input(graph, "target", ir.DataType.INT64, ir.Shape([batch]))
    return emit.op("Reshape", value, emit.ints(-1, *[1] * (known_rank(y) - 1)))
