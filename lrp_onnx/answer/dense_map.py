"""What an output with numbers at the places of a map says: the classes of pixels, depths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lrp_onnx.data.labels import class_name
from lrp_onnx.graph.arrays import Array

__all__ = ["map_read", "place_in_words", "places_of"]

MOST = 3
"""Classes that are told, the commonest first."""


def places_of(y: Array, axis: int | None) -> list[int]:
    """The axes of places of one sample: all but that of the classes and those of one entry."""
    return [k for k, size in enumerate(y.shape) if k != axis and size > 1]


def map_read(y: Array, axis: int | None, labels: Mapping[int, str] | None, output: str) -> str:
    """`circle (1) at 62 % of 64 x 64 places, square (2) at 38 %`, or the range of a quantity; empty
    where it is no map.

    y: one sample. axis: of the classes; None where there are none.
    """
    places = places_of(y, axis)
    if len(places) < 2 or not np.isfinite(y).all():
        return ""
    at = f"{' x '.join(str(y.shape[k]) for k in places)} places"
    if axis is None or y.shape[axis] < 2:
        return f"{output} from {y.min():.4g} to {y.max():.4g}, mean {y.mean():.4g}, at {at}"
    counts = Counter(y.argmax(axis).ravel().tolist()).most_common()
    total = sum(times for _, times in counts)
    (best, times), *others = counts
    told = [f"{class_name(labels, best)} at {times / total:.0%} of {at}"]
    told += [f"{class_name(labels, k)} at {n / total:.0%}" for k, n in others[: MOST - 1]]
    more = len(counts) - MOST
    return ", ".join(told + [f"{more} classes more"] * (more > 0))


def place_in_words(y: Array, axis: int | None, place: Sequence[int]) -> str:
    """Where an entry lies: ` at row 3, column 5`; empty where there is one place."""
    own = [place[k] for k in places_of(y, axis)]
    if not own:
        return ""
    if len(own) == 2:
        return f" at row {own[0]}, column {own[1]}"
    return f" at place {', '.join(map(str, own))}"
