"""The numbers of an output as what they are: probabilities, logits, or numbers of no class."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lrp_onnx.data.labels import class_name
from lrp_onnx.graph.arrays import Array

__all__ = ["are_probabilities", "percent", "prefers_none", "probabilities", "scored"]

MANY, FLAT = 10, 2.0
"""Of so many numbers the softmax says nothing whose largest is below so many times chance."""
NEAREST = 1e-4
"""Shares nearer to 0 or 1 are told as nearer than that."""


def scored(
    index: int, y: Array, labels: Mapping[int, str] | None, output: str, of_classes: bool = True
) -> str:
    """A class with its probability; a number with its value where there are no classes to compare,
    or where the softmax prefers none, as that of an embedding.

    of_classes: whether numbers from 0 to 1 that sum to something else are probabilities.
    """
    name = class_name(labels, index)
    unclear = not of_classes and not labels and are_probabilities(y) and not _sums_to_one(y)
    if y.size < 2 or not np.isfinite(y).all() or prefers_none(y) or unclear:
        name = name if labels or y.size < 2 else f"number {index} of {output}"
        return f"{name}, {float(y[index]):.5g}"
    return f"{name}, {percent(float(probabilities(y)[index]))}"


def percent(share: float) -> str:
    """`83%`; near 0 and 100 with as many digits as tell it from them, up to two."""
    near = min(share, 1 - share)
    if near <= 0 or near >= 0.01:
        return f"{share:.0%}"
    if near < NEAREST:
        return f"<{NEAREST:.2%}" if share < 0.5 else f">{1 - NEAREST:.2%}"
    return f"{share:.{min(2, int(-math.log10(near)) - 1)}%}"


def are_probabilities(y: Array) -> bool:
    """Whether these are no logits: shares of 1, or each from 0 to 1, as sigmoids give."""
    return bool(y.min() >= 0 and (y.max() <= 1 or _sums_to_one(y)))


def _sums_to_one(y: Array) -> bool:
    return abs(float(y.sum()) - 1) < 1e-3


def prefers_none(y: Array) -> bool:
    """Whether the softmax of so many numbers is hardly more than chance for each."""
    flat = y.size >= MANY and not are_probabilities(y)
    return flat and float(probabilities(y).max()) < FLAT / y.size


def probabilities(y: Array) -> Array:
    """Those that the model gives, else the softmax of its logits."""
    if are_probabilities(y):
        return y
    powers = np.exp(y.astype(np.float64) - float(y.max()))
    return np.asarray(powers / powers.sum())
