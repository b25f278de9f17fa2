"""The units that pixel flipping replaces one after the other: patches of a picture, frames of a
sound or a series, features of a row, tokens of a text.

A unit holds all channels of its place.  It is given by labels: an array that broadcasts against the
input and holds the number of each element's unit, or -1 where an element is in none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.data.layout import batched_axes
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array

__all__ = [
    "Units",
    "holds_ids",
    "is_picture",
    "sides_of",
    "spatial_axes",
    "units_in_words",
    "units_of",
]

ACROSS = 14
"""So many patches lie along each side of a square picture, as many in others."""
LONGEST = 2
"""So many times as long as high a picture without channels may be; beyond, its rows are frames."""
MOST_FEATURES = 256
"""Longer rows are sound or series, of which frames are replaced."""
FRAMES = 100


@dataclass(frozen=True)
class Units:
    """The units of one sample, numbered through its explained inputs."""

    labels: Mapping[str, NDArray[np.int64]]
    count: int

    def relevance(self, maps: Mapping[str, Array]) -> NDArray[np.float64]:
        """The sum of relevance over each unit, (count,)."""
        total = np.zeros(self.count)
        for name, labels in self.labels.items():
            places = np.broadcast_to(labels, maps[name].shape).ravel()
            inside = places >= 0
            values = maps[name].ravel()[inside].astype(np.float64)
            total += np.bincount(places[inside], values, self.count)
        return total

    def replaced(
        self, feeds: Mapping[str, Array], other: Mapping[str, Array], chosen: NDArray[np.bool_]
    ) -> dict[str, Array]:
        """The explained inputs of the sample with units taken from another one, once for each row
        of `chosen` [rows, count]: [rows, *its shape].
        """
        never = np.zeros((len(chosen), 1), bool)  # of elements in no unit, whose label is -1
        flags = np.concatenate([chosen, never], axis=1)
        return {
            name: np.where(flags[:, labels], other[name], feeds[name])
            for name, labels in self.labels.items()
        }


def spatial_axes(x: Array, batched: bool) -> tuple[int, ...]:
    """The axes along which an input has places; the others are its batch and its channels."""
    if x.ndim > 4:
        return tuple(range(2, x.ndim))
    axes = batched_axes(x.shape) if batched else batched_axes((1, *x.shape))[1:]
    places = tuple(k for k, letter in enumerate(axes) if letter in "HWF")
    places = tuple(k for k in places if x.shape[k] > 1) or places[-1:]
    if "C" in axes or len(places) < 2:
        return places
    height, width = (x.shape[k] for k in places)
    return places if max(height, width) <= LONGEST * min(height, width) else places[:1]


def holds_ids(x: Array) -> bool:
    """Whether an input holds numbers of tokens, not amounts."""
    return x.dtype.kind in "iu" and x.dtype != np.uint8


def is_picture(x: Array, batched: bool) -> bool:
    """Whether an input has height and width, and values between which one can blur."""
    return len(spatial_axes(x, batched)) == 2 and not holds_ids(x)


def sides_of(x: Array, batched: bool, size: Sequence[int] | None = None) -> tuple[int, ...]:
    """How long a unit is along each spatial axis.

    size: what the user wants, one for all axes or one for each; InputError where it does not fit.
    """
    axes = spatial_axes(x, batched)
    lengths = [x.shape[k] for k in axes]
    if size is not None:
        if len(size) not in (1, len(axes)):
            wanted = "x".join(map(str, size))
            raise InputError(
                f"unit {wanted}: the input has places along {len(axes)} "
                f"ax{'i' if len(axes) == 1 else 'e'}s. Give one size, or one for each axis."
            )
        return tuple(size) if len(size) == len(axes) else (size[0],) * len(axes)
    if len(axes) > 1:
        return (max(1, round(math.prod(lengths) ** (1 / len(lengths)) / ACROSS)),) * len(axes)
    alone = holds_ids(x) or all(length <= MOST_FEATURES for length in lengths)
    return tuple(1 if alone else math.ceil(length / FRAMES) for length in lengths)


def units_of(
    feeds: Mapping[str, Array],
    names: Sequence[str],
    batched: bool,
    size: Sequence[int] | None = None,
    other: Mapping[str, Array] | None = None,
) -> Units:
    """The units of a sample's explained inputs, named `names`.

    other: what units are replaced by; ids that are it already, such as padding, are in no unit.
    """
    labels: dict[str, NDArray[np.int64]] = {}
    count = 0
    for name in names:
        x = feeds[name]
        own = _blocks(x, spatial_axes(x, batched), sides_of(x, batched, size))
        if other is not None and holds_ids(x):
            own = np.where(x == other[name], -1, own)
        blocks, numbers = np.unique(own, return_inverse=True)
        first = int(blocks[0] < 0)  # elements in no unit sort first
        labels[name] = np.where(own < 0, -1, numbers.reshape(own.shape) - first + count)
        count += len(blocks) - first
    return Units(labels, count)


def _blocks(x: Array, axes: Sequence[int], sides: Sequence[int]) -> NDArray[np.int64]:
    """The number of the block that each place lies in."""
    labels = np.zeros([1] * x.ndim, np.int64)
    for axis, side in zip(axes, sides, strict=True):
        shape = [-1 if k == axis else 1 for k in range(x.ndim)]
        along = np.arange(x.shape[axis]) // side
        labels = labels * (int(along[-1]) + 1) + along.reshape(shape)
    return labels


def units_in_words(
    x: Array, batched: bool, units: Sequence[Units], size: Sequence[int] | None = None
) -> str:
    """How many units of what samples like x have: `196 patches of 16x16`."""
    counts = sorted({own.count for own in units})
    count = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    sides = sides_of(x, batched, size)
    if holds_ids(x):
        return f"{count} tokens"
    if len(sides) > 1:
        return f"{count} patches of {'x'.join(map(str, sides))}"
    whole = x.size == math.prod(x.shape[k] for k in spatial_axes(x, batched))
    if whole and all(side == 1 for side in sides):
        return f"{count} features"
    return f"{count} frames" + (f" of {sides[0]}" if sides and sides[0] > 1 else "")
