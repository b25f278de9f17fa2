"""The names of a model's classes: those that are given, else those that the file itself holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import onnx_ir as ir

from lrp_onnx.data.labels import check_labels, labels_of
from lrp_onnx.graph.annotations import each_output, stamp_of
from lrp_onnx.graph.arrays import Array

__all__ = ["Labels", "check_class_names", "checked_names", "known_names"]

Labels = Mapping[int, str]


def known_names(
    named: object, held: Labels, compiled: ir.Model, warn: Callable[[str | None], None]
) -> Labels | None:
    """The names that are given; else those that the model holds, where they are as many as the
    classes of its explained output. warn: is told where they are not.
    """
    if named is not None:
        return labels_of(named)
    one, *others = each_output(stamp_of(compiled.metadata_props))
    if others or not held:
        return None
    names = {value.name for value in compiled.graph.outputs}
    count = _count(compiled, one) if one["output"] in names else len(held)  # a ZipMap's own tensor
    if count is None or count == len(held):
        return held if count else None
    warn(
        f"the model names {len(held)} classes, and its output {one['output']!r} has {count}: the "
        "names are left out. Give --labels FILE"
    )
    return None


def checked_names(
    named: object, held: Labels, compiled: ir.Model, warn: Callable[[str | None], None]
) -> Labels | None:
    """The same before anything has run. Raises InputError where those that are given are more or
    fewer than the classes.
    """
    labels = known_names(named, held, compiled, warn)
    one, *others = each_output(stamp_of(compiled.metadata_props))
    count = None if others else _count(compiled, one)
    if labels is not None and count is not None:
        check_labels(labels, count, one["output"])
    return labels


def check_class_names(
    metadata: Mapping[str, str], outputs: Mapping[str, Array], labels: Labels | None
) -> None:
    """Raise InputError where there are more or fewer labels than classes."""
    y, axis = outputs[metadata["output"]], metadata["class_axis"]
    head = json.loads(metadata.get("head") or "{}")
    if labels is None or head.get("labeled"):
        return
    if (scores := head.get("scores")) is not None:
        check_labels(labels, scores[1] - scores[0], metadata["output"])
    elif axis and y.ndim < 3 and not metadata.get("head"):
        check_labels(labels, y.shape[int(axis)], metadata["output"])


def _count(compiled: ir.Model, one: Mapping[str, str]) -> int | None:
    """How many classes the explained output has; None where that is open, or it has none."""
    head = json.loads(one.get("head") or "{}")
    if head.get("scores") is not None and not head["labeled"]:
        return int(head["scores"][1] - head["scores"][0])
    shape = next((v.shape for v in compiled.graph.outputs if v.name == one["output"]), None)
    if shape is None or not one["class_axis"] or head:
        return None
    size = shape[int(one["class_axis"])]
    return size if isinstance(size, int) and size > 1 else None
