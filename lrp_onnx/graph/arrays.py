"""The arrays that go into a model and come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Dimension", "Wanted", "cosines"]

TINY = 1e-30

Dimension = int | str | None
"""A size, the name of a symbolic one, or nothing known."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """What the model wants as one input."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dimension, ...]
    known: tuple[Any, ...] = ()
    """The categories that the model's encoder takes; empty where it reads other things."""
    zero: Any = None
    """The one of them that the encoder counts as 0."""


def cosines(e: Array, other: Array) -> Array:
    """The cosine of each pair of embeddings; one of zeros is like nothing: 0."""
    flat = (v.reshape(len(v), -1).astype(np.float64) for v in (e, other))
    u, v = (r / np.maximum(np.linalg.norm(r, axis=1, keepdims=True), TINY) for r in flat)
    return np.asarray((u * v).sum(axis=1))
