"""The one entry of an output that was explained in a sample: its class, value, indices and box."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lrp_onnx.answer.dense_map import place_in_words, places_of
from lrp_onnx.answer.detection import Detection, detection_of
from lrp_onnx.answer.scores import are_probabilities, percent, prefers_none, probabilities
from lrp_onnx.answer.sequence import letter_at
from lrp_onnx.data.labels import class_name
from lrp_onnx.graph.arrays import Array

__all__ = ["ExplainedEntry", "explained_entry"]

Spot = tuple[float, float, float]


@dataclass(frozen=True)
class ExplainedEntry:
    """What is said of the one entry that was explained; nothing where there is more than one."""

    text: str = ""
    detection: Detection | None = None
    """The one that it is the score of."""
    spot: Spot | None = None
    """Of an entry of a map its middle from above and from the left, in parts of the map's height
    and width, and the larger side of an entry.
    """
    is_part: bool = False
    """Whether it is one number of a map or a sequence, which say more."""
    by_softmax: bool = False
    """Whether its probability is that of a softmax."""


def explained_entry(
    metadata: Mapping[str, str],
    y: Array,
    start: Array,
    labels: Mapping[int, str] | None,
    boxes: Array | None = None,
    classes: Array | None = None,
) -> ExplainedEntry:
    """`face (1), 82% (entry 5,1689; box 139.8, 82.02, 63.15, 61.04)`.

    y: the output of one sample. start: its starting relevance. boxes, classes: those of
    detections, where they are an output of their own.
    """
    places = np.argwhere(start)
    head = json.loads(metadata.get("head") or "null")
    if head is None and "," not in metadata["target"]:
        return ExplainedEntry()
    if not len(places) and not y.size:
        return ExplainedEntry("nothing detected")
    if not len(places) and (head or {}).get("label") is not None:
        return ExplainedEntry("no detection of that class")
    if len(places) != 1:
        return ExplainedEntry()
    place = tuple(int(k) for k in places[0])
    indices = ",".join(map(str, place))
    if head is None or head["kind"] == "map":
        return _at_place(metadata, head, y, place, labels, indices)
    detection = detection_of(head, y, place, boxes)
    box = "" if detection is None else f"; {detection}"
    name = _class(head, y, place, labels, classes)
    return ExplainedEntry(f"{name}{_score(head, y, place)} (entry {indices}{box})", detection)


def _at_place(
    metadata: Mapping[str, str],
    head: Mapping[str, object] | None,
    y: Array,
    place: tuple[int, ...],
    labels: Mapping[int, str] | None,
    indices: str,
) -> ExplainedEntry:
    """An entry of a map, of a sequence, or of numbers of which nothing is known."""
    axis = _class_axis(metadata, head, y, labels)
    value = f"{float(y[place]):.5g}"
    if axis is None and head is None:
        return ExplainedEntry(f"{value} (entry {indices})")
    where = place_in_words(y, axis, place)
    if axis is None or y.shape[axis] < 2:
        text = f"{metadata['output']}{where}, {value} (entry {indices})"
        return ExplainedEntry(text, None, _spot(y, axis, place), bool(where))
    letter = letter_at(y, axis, place, labels)
    name = letter or f"{class_name(labels, place[axis])}{where}"
    scores = np.moveaxis(y, axis, -1)[(*place[:axis], *place[axis + 1 :])]
    known = np.isfinite(scores).all() and not prefers_none(scores)
    shown = percent(float(probabilities(scores)[place[axis]])) if known else value
    by_softmax = known and not are_probabilities(scores)
    text = f"{name}, {shown} (entry {indices})"
    return ExplainedEntry(text, None, _spot(y, axis, place), bool(where), bool(by_softmax))


def _class_axis(
    metadata: Mapping[str, str],
    head: Mapping[str, object] | None,
    y: Array,
    labels: Mapping[int, str] | None,
) -> int | None:
    """Of one sample; where nothing says it, the only axis as long as there are names."""
    if head is not None:
        axis = head["axis"]
        return axis - bool(head["batch"]) if isinstance(axis, int) else None
    axes = [axis for axis, size in enumerate(y.shape) if labels and size == len(labels)]
    return axes[0] if len(axes) == 1 else None


def _spot(y: Array, axis: int | None, place: tuple[int, ...]) -> Spot | None:
    places = places_of(y, axis)
    if len(places) != 2:
        return None
    (down, height), (right, width) = ((place[k], y.shape[k]) for k in places)
    return (down + 0.5) / height, (right + 0.5) / width, max(1 / height, 1 / width)


def _score(head: Mapping[str, object], y: Array, place: tuple[int, ...]) -> str:
    """In percent, where all scores lie from 0 to 1."""
    axis, scores, own = head["axis"], head["scores"], float(y[place])
    if isinstance(axis, int) and isinstance(scores, list):
        y = y.take(range(*scores), axis - bool(head["batch"]))
    shares = head["kind"] in ("mixed", "scores") and y.min() >= 0 and y.max() <= 1
    return percent(own) if shares else f"{own:.5g}"


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
