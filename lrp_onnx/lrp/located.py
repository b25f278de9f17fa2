"""Where the explained entries of an output are: behind its batch, and among a detector's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.analysis.head import Head
from lrp_onnx.errors import TargetError
from lrp_onnx.lrp.entry import placed
from lrp_onnx.lrp.target import Target

__all__ = ["located", "of_score", "sought"]

BY_CLASS = ("index", "difference", "top", "input")
NAMES_CLASS = ("index", "difference", "input")


def located(
    target: Target,
    head: Head | None,
    output: ir.Value,
    inputs: Sequence[ir.Value],
    class_axis: int | None,
) -> Target:
    """The target with the axis of an entry's first index, and with the head in which an entry,
    `argmax` or a class is sought.

    head: of an output that is no scores of classes alone. Raises TargetError for an entry that the
    output cannot have, and for a class where each detection has one score and its label is not
    found, or for the difference of two.
    """
    if _has_no_class(target, head) and class_axis is None:
        assert head is not None
        raise TargetError(
            f"target {target}: output {output.name!r} holds one score for each detection, with the "
            "number of its class beside it, and no scores for each class. Take the largest score "
            f"with argmax, or a detection by its place, such as {_example(head, output)}: the "
            "score of its own class is explained."
        )
    if target.kind == "entry":
        return replace(target, first=placed(target, output, inputs, class_axis, head), head=head)
    if head is None or not (target.kind == "argmax" or (target.kind in BY_CLASS and head.by_class)):
        return target
    return replace(target, head=head)


def _has_no_class(target: Target, head: Head | None) -> bool:
    """Whether a class is named that has no score of its own."""
    if head is None or not head.labeled or target.kind not in NAMES_CLASS:
        return False
    return head.label is None or target.kind == "difference"


def of_score(target: Target, head: Head | None) -> bool:
    """Whether what is explained is a score of an output that has other numbers, too."""
    if head is None or head.kind != "mixed" or head.axis is None or head.scores is None:
        return False
    if target.kind != "entry":
        return target.head is not None
    index = target.entry[head.axis - target.first]
    first, stop = head.scores
    return index is not None and (first <= index < stop or index == head.objectness)


def sought(target: Target, output: ir.Value) -> tuple[str, ...]:
    """A warning that says what was recognized, which entry is explained, and what to do else."""
    head = target.head
    if head is None or target.kind != "argmax":
        return ()
    by_class = head.by_class and (not head.labeled or head.label is not None)
    classes = head.kind == "map" and head.axis is not None and _size(output, head.axis) != 1
    summed = "--target CLASS (a class at all its places together, a fuller picture), " * classes
    otherwise = (
        f"{summed}{'--target CLASS, ' * by_class}--target {_example(head, output)} (an entry)"
    )
    return (
        f"output {output.name!r} holds {_what(head)}. The largest "
        f"{'score' if head.kind in ('mixed', 'scores') else 'entry'}"
        f"{' of each sample' if head.batch else ''} is explained; {otherwise} or --class-axis "
        "choose otherwise.",
    )


def _what(head: Head) -> str:
    """What the entries are, in words."""
    if head.kind == "mixed" and head.scores is not None:
        first, stop = head.scores
        own = f"{first} to {stop - 1}" if stop - first > 1 else f"{first}"
        sure = head.objectness
        more = "" if sure is None else f", at {sure} how sure it is of any object"
        return (
            f"several quantities along axis {head.axis}: the scores of "
            f"{_count(stop - first, 'class')} at {own}{more}, boxes or other numbers elsewhere"
        )
    if head.kind == "scores":
        return f"scores of detections, whose boxes are output {head.beside!r}"
    if head.kind == "boxes":
        return f"boxes of detections, whose scores are output {head.beside!r}"
    return "a dense map" if head.kind == "map" else "coordinates"


def _size(output: ir.Value, axis: int) -> object:
    return None if output.shape is None else output.shape[axis]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'es' * (number != 1)}"


def _example(head: Head, output: ir.Value) -> str:
    """Indices of an entry, as many as there are axes."""
    axes = range(1 if head.batch else 0, len(output.shape or ()))
    first = head.scores[0] if head.scores is not None else 0
    places = [str(first) if axis == head.axis else "7" for axis in axes]
    return ",".join(places) if len(places) > 1 else f"{places[0]},"
