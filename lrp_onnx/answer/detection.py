"""The box of an explained detection, as numbers of the output and as a place in the picture.

What the four numbers are is read off all boxes of the sample together.  They are corners where the
second pair is hardly ever below the first, else center and size where the centers lie in the
picture; else they are offsets that something behind the model decodes, and no place.  Boxes of a
grid run along its rows, so that x changes faster than y from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Array

__all__ = ["BOX", "Detection", "corners_of", "detection_of"]

BOX = 4
"""Numbers of a box."""
NEARLY_ALL = 0.95
"""The part of all boxes that decides: a few in the background may be anything."""
PARTS = 2.0
"""Numbers no larger than this are parts of the picture's sides, larger ones pixels."""
FASTER = 2.0
"""How many times more the one coordinate changes along the rows of a grid than the other."""
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """The boxes of one sample, (places, 4), and which of them is explained."""

    boxes: NDArray[np.float64]
    place: int

    def __str__(self) -> str:
        return f"box {', '.join(f'{number:.4g}' for number in self.boxes[self.place])}"


def detection_of(
    head: Mapping[str, object], y: Array, place: tuple[int, ...], boxes: Array | None
) -> Detection | None:
    """The detection that an entry of an output is a score of; None where it has no box.

    y: the output of one sample. boxes: those of the sample, where they are an output of their own.
    """
    axis, scores = head["axis"], head["scores"]
    own = axis - bool(head["batch"]) if isinstance(axis, int) else None
    if head["kind"] == "mixed" and own is not None and isinstance(scores, list):
        sure = head["objectness"]
        if BOX not in (scores[0], sure):
            return None
        numbers = np.moveaxis(y, own, 0)[:BOX]
    elif head["kind"] == "scores" and boxes is not None and BOX in boxes.shape:
        numbers = np.moveaxis(boxes, -1 if own is None else own, 0)
    else:
        return None
    rest = tuple(k for axis, k in enumerate(place) if axis != own)
    if numbers.ndim != len(rest) + 1 or len(numbers) != BOX:
        return None
    rows = numbers.reshape(BOX, -1).T.astype(np.float64)
    return Detection(rows, int(np.ravel_multi_index(rest, numbers.shape[1:])) if rest else 0)


def corners_of(detection: Detection, height: int, width: int) -> Corners | None:
    """Left, top, right and bottom of the box, in parts of the picture's width and height, as far as
    it lies in the picture; None where the numbers are no place in it, or two places.
    """
    rows = detection.boxes[np.isfinite(detection.boxes).all(1) & detection.boxes.any(1)]
    own = detection.boxes[detection.place]
    if not len(rows) or not np.isfinite(own).all():
        return None
    in_parts = rows.max() <= PARTS
    first, second = rows[:, :2], rows[:, 2:]
    if np.mean((second >= first).all(1)) >= NEARLY_ALL:
        low, high, centers = own[:2], own[2:], (first + second) / 2
    else:
        low, high, centers = own[:2] - own[2:] / 2, own[:2] + own[2:] / 2, first
        largest = np.ones(2) if in_parts else np.array([width, height]).max()
        inside = ((first >= 0) & (first <= largest) & (second >= 0)).all(1)
        if np.mean(inside) < NEARLY_ALL:
            return None
    x_first = _x_first(centers)
    if x_first is None:
        if in_parts and centers is not first:
            return None  # exporters of TensorFlow write y first, others x
        x_first = True
    order = [0, 1] if x_first else [1, 0]
    sides = np.ones(2) if in_parts else np.array([width, height])
    (left, top), (right, bottom) = (np.clip(end[order] / sides, 0, 1) for end in (low, high))
    if not (left < right and top < bottom):
        return None
    return float(left), float(top), float(right), float(bottom)


def _x_first(centers: NDArray[np.float64]) -> bool | None:
    """Whether the first of two coordinates runs along the rows of a grid; None without a grid."""
    if len(centers) < 2:
        return None
    ranges = np.ptp(centers, axis=0)
    steps = np.abs(np.diff(centers, axis=0)).mean(0) / np.where(ranges > 0, ranges, 1.0)
    if steps[0] > FASTER * steps[1]:
        return True
    return False if steps[1] > FASTER * steps[0] else None
