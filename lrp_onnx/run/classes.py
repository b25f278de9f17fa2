"""The classes that are explained: as the caller gives them, and whether the output has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrp_onnx.arguments import as_array, shown
from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import each_output
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.session import shape_of

__all__ = ["check_classes", "given_classes"]


def given_classes(target: Any, inputs: Sequence[Wanted], samples: Any) -> Array:
    """One class a sample, of one for all or of each.

    samples: an input that holds them, if there is one.
    """
    classes = as_array(target, "target")
    if classes.dtype.kind not in "iu":
        raise InputError(
            f"target={shown(target)}: not a class. Give an integer, or one per sample."
        )
    shape = () if samples is None else shape_of(samples)
    size = next(w for w in inputs if w.name == "target").shape[0]
    batch = size if isinstance(size, int) else shape[0] if shape else 1
    classes = classes.astype(np.int64)
    return np.broadcast_to(classes, (batch,)) if classes.ndim == 0 else classes


def check_classes(
    metadata: Mapping[str, str], outputs: Mapping[str, Any], target: Array | None
) -> None:
    """A class or entry that an output does not have would get no relevance, silently: InputError.

    target: the classes that a model compiled for target "input" was given.
    """
    for one in each_output(metadata):
        if "," in one["target"]:
            _check_entry(one, outputs)
        else:
            _check_classes_of(one, outputs, target)


def _check_classes_of(
    one: Mapping[str, str], outputs: Mapping[str, Any], target: Array | None
) -> None:
    kind, axis = one["target"], one.get("class_axis", "")
    own = () if kind.startswith("top-") else kind.split("-")
    classes: Array = np.array([int(c) for c in own if c.isdigit()], np.int64)
    if kind == "input" and target is not None:
        classes = target
    count = _class_count(outputs, one, int(axis)) if axis and classes.size else None
    if count is not None and (classes.min() < 0 or classes.max() >= count):
        wrong = classes[(classes < 0) | (classes >= count)][0]
        raise InputError(
            f"target {wrong}: output {one['output']!r} has {count} classes. Give one from 0 to "
            f"{count - 1}."
        )


def _check_entry(one: Mapping[str, str], outputs: Mapping[str, Any]) -> None:
    name, places = one["output"], one["target"].split(",")
    shape = shape_of(outputs[name])
    own = shape[len(shape) - len(places) :]
    for axis, (place, size) in enumerate(zip(places, own, strict=True), len(shape) - len(own)):
        if place != ":" and int(place) >= size:
            raise InputError(
                f"target {one['target']}: index {place} is out of range along axis {axis} of "
                f"output {name!r} of shape {list(shape)}. Give one from 0 to {size - 1}."
            )


def _class_count(outputs: Mapping[str, Any], one: Mapping[str, str], axis: int) -> int | None:
    """How many classes the explained output has; None for maps on a device, and for detections
    whose class stands beside them.
    """
    name, head = one["output"], json.loads(one.get("head") or "{}")
    if head.get("labeled"):
        return None
    if ends := head.get("scores"):
        return int(ends[1] - ends[0])
    if name in outputs:
        return shape_of(outputs[name])[axis]
    # a ZipMap's tensor is no output itself, the maps that it makes are
    maps = [y[0] for y in outputs.values() if isinstance(y, list) and y]
    return max((len(entry) for entry in maps if isinstance(entry, dict)), default=None)
