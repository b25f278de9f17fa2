"""Which weights of a kernel are none: zeros that a smaller, dilated or grouped one would not have.

A 5 × 5 kernel with a ring of zeros is a 3 × 3 kernel, one with zeros in every other row a dilated
one, one of blocks a grouped one, and it may be one of a part of the channels.  A zero beside other
weights of its tap and its channel is a weight like any other, as where quantization rounds it off.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["most_groups", "structure_of"]

Array = NDArray[Any]


def structure_of(weight: Array, group: int) -> Array | None:
    """1 for each weight of a kernel and 0 for what is none, with size 1 along axes where it is the
    same; None where all are weights.

    weight: its first axis is in groups, as that of Conv and ConvTranspose.
    """
    nonzero = weight != 0
    whole = tuple(range(weight.ndim))
    taps = nonzero.any((0, 1), keepdims=True)
    columns = nonzero.any((0, *whole[2:]), keepdims=True)
    parts = most_groups(weight, group) // group
    structure = taps & columns
    if parts > 1:
        rows, wide = len(weight) // (group * parts), weight.shape[1] // parts
        block = np.kron(np.eye(parts, dtype=bool), np.ones((rows, wide), bool))
        blocks = np.tile(block, (group, 1))
        structure = structure & blocks.reshape(*blocks.shape, *[1] * (weight.ndim - 2))
    return None if structure.all() or not nonzero.any() else structure


def most_groups(weight: Array, group: int) -> int:
    """Into how many groups the zeros of a kernel part it."""
    rows, columns = len(weight) // group, weight.shape[1]
    nonzero = (weight != 0).any(tuple(range(2, weight.ndim))).reshape(group, rows, columns)
    together = nonzero.any(0)
    parts = gcd(rows, columns)
    for n in range(parts, 1, -1):
        if parts % n == 0 and not _off_blocks(together, n).any():
            return group * n
    return group


def _off_blocks(matrix: Array, parts: int) -> Array:
    """What stands outside of as many blocks on the diagonal."""
    rows, columns = (size // parts for size in matrix.shape)
    return matrix & ~np.kron(np.eye(parts, dtype=bool), np.ones((rows, columns), bool))
