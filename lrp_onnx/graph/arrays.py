"""The arrays that go into a model and come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Dimension", "Wanted"]

Dimension = int | str | None
"""A size, the name of a symbolic one, or nothing known."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """What the model wants as one input."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dimension, ...]
