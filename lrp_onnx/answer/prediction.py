"""What a model says of one sample, and what of it is explained, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from lrp_onnx.answer.class_names import Labels
from lrp_onnx.answer.dense_map import map_read, places_of
from lrp_onnx.answer.explained_entry import ExplainedEntry
from lrp_onnx.answer.scores import are_probabilities, percent, prefers_none, scored
from lrp_onnx.answer.sequence import sequence_read
from lrp_onnx.data.labels import class_name
from lrp_onnx.graph.arrays import Array

__all__ = ["prediction_of"]


def prediction_of(
    metadata: Mapping[str, str],
    y: Array,
    rank: int,
    labels: Labels | None,
    chosen: Array | None,
    entry: ExplainedEntry,
    index: int,
) -> tuple[str, str]:
    """The prediction of one sample in words, and what was explained if it is something else.

    rank: of the output with all samples. chosen: of target `top-K` the class. index: of the sample,
    which for that target counts its classes too.
    """
    target = metadata["target"]
    if target == "similarity":
        name, cosine = metadata["output"], metadata["cosine"]
        return f"{name} of shape {list(y.shape)}", cosine
    if entry.text and target == "argmax" and not entry.is_part:
        return entry.text, ""
    output = metadata["output"]
    read = _read(metadata, y, rank, labels)
    whole = read or f"{output} of shape {list(y.shape)}"
    if entry.text:
        return whole, entry.text
    if y.ndim == 0 or (y.size == 1 and not labels and target in ("argmax", "max", "all")):
        number = float(y.item())
        is_share = metadata["starts_at"] == "logits" and are_probabilities(y)
        return (f"{output}, {percent(number)}" if is_share else f"{output} {number:.5g}"), ""
    if y.ndim > 1 or not metadata["class_axis"]:  # a class for each place, or none
        axis = _axis_of_one(metadata, y, rank)
        is_read = read and target == "argmax" and axis is not None and y.shape[axis] > 1
        return whole, "" if is_read else _at_all_places(target, y, axis, labels, output, index)
    best, of_classes = int(np.argmax(y)), metadata["starts_at"] == "logits"
    prediction = scored(best, y, labels, output, of_classes)
    parts = target.split("-") if chosen is None else map(str, chosen.ravel())
    classes = [int(part) for part in parts if part.isdigit()]
    if target in ("argmax", "max") or classes == [best]:
        return prediction, ""
    told = " against ".join(scored(k, y, labels, output, of_classes) for k in classes)
    return prediction, told or target


def _axis_of_one(metadata: Mapping[str, str], y: Array, rank: int) -> int | None:
    """The axis of the classes in one sample; None where all numbers are explained alike.

    rank: of the output with all samples.
    """
    known = metadata["class_axis"]
    head = json.loads(metadata.get("head") or "{}")
    if not known and isinstance(head.get("axis"), int):
        known = str(head["axis"])
    unclear = metadata["target"] == "all" and not head
    return int(known) - (rank - y.ndim) if known and not unclear else None


def _at_all_places(
    target: str, y: Array, axis: int | None, labels: Labels | None, output: str, index: int
) -> str:
    """What is explained of an output with numbers at several places: their sum."""
    sizes = [str(y.shape[k]) for k in places_of(y, axis)]
    over = f", summed over {' x '.join(sizes)} places" if sizes else ""
    first, _, second = target.partition("-")
    one = axis is None or y.shape[axis] < 2
    if target == "all":
        return f"all of {output}, summed"
    if target == "max":
        return f"the largest number of {output}"
    if target == "argmax":
        return f"{output if one else 'the largest class of each place'}{over}"
    if first == "top":
        return f"at each place the class of rank {index % int(second) + 1}{over}"
    names = [class_name(labels, int(k)) for k in (first, second) if k.isdigit()]
    return f"{' against '.join(names)}{over}" if names and not one else target


def _read(metadata: Mapping[str, str], y: Array, rank: int, labels: Labels | None) -> str:
    """The classes of a sequence, one after the other, or those of a map; empty where the sample is
    neither, or where no place prefers a class.

    rank: of the output with all samples.
    """
    head = json.loads(metadata.get("head") or "{}")
    if y.ndim < 2 or head.get("kind", "map") != "map":
        return ""
    axis = _axis_of_one(metadata, y, rank)
    if axis is not None and all(
        map(prefers_none, np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis]))
    ):
        return ""
    read = "" if head else sequence_read(y, axis, labels)
    return read or map_read(y, axis, labels, metadata["output"])
