"""The one entry of an output that was explained in a sample: its class, value, indices and box."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from lrp_onnx.answer.detection import Detection, detection_of
from lrp_onnx.data.labels import class_name
from lrp_onnx.graph.arrays import Array

__all__ = ["explained_entry"]


def explained_entry(
    metadata: Mapping[str, str],
    y: Array,
    start: Array,
    labels: Mapping[int, str] | None,
    boxes: Array | None = None,
    classes: Array | None = None,
) -> tuple[str, Detection | None]:
    """`face (1), 0.82209 (entry 5,1689; box 139.8, 82.02, 63.15, 61.04)`, and the detection that it
    is the score of; an empty text where it is more than one.

    y: the output of one sample. start: its starting relevance. boxes, classes: those of
    detections, where they are an output of their own.
    """
    places = np.argwhere(start)
    head = json.loads(metadata.get("head") or "null")
    if head is None and "," not in metadata["target"]:
        return "", None
    if not len(places) and not y.size:
        return "nothing detected", None
    if not len(places) and (head or {}).get("label") is not None:
        return "no detection of that class", None
    if len(places) != 1:
        return "", None
    place = tuple(int(k) for k in places[0])
    indices = ",".join(map(str, place))
    detection = None if head is None else detection_of(head, y, place, boxes)
    box = "" if detection is None else f"; {detection}"
    name = _class_at(y, place, labels) if head is None else _class(head, y, place, labels, classes)
    return f"{name}{float(y[place]):.5g} (entry {indices}{box})", detection


def _class(
    head: Mapping[str, object],
    y: Array,
    place: tuple[int, ...],
    labels: Mapping[int, str] | None,
    classes: Array | None,
) -> str:
    """The class that the entry is a score of, or that the label beside it says; empty where there
    is only one, or none.
    """
    axis, scores = head["axis"], head["scores"]
    if classes is not None:
        return f"{class_name(labels, int(classes[place]))}, "
    if not isinstance(axis, int) or head["kind"] in ("boxes", "coordinates"):
        return ""
    if isinstance(label := head.get("label"), int):
        own = axis - bool(head["batch"])
        return f"{class_name(labels, int(y[(*place[:own], label, *place[own + 1 :])]))}, "
    first, stop = scores if isinstance(scores, list) else (0, None)
    if stop is not None and stop - first == 1:
        return ""
    return f"{class_name(labels, place[axis - bool(head['batch'])] - first)}, "


def _class_at(y: Array, place: tuple[int, ...], labels: Mapping[int, str] | None) -> str:
    """The class of an entry where one axis alone is as long as there are names; else empty."""
    axes = [axis for axis, size in enumerate(y.shape) if labels and size == len(labels)]
    return f"{class_name(labels, place[axes[0]])}, " if len(axes) == 1 else ""
