"""What a condition of the user becomes: a factor for each channel of a tensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import InputError, TargetError

__all__ = ["mask_of", "read_conditions"]


def mask_of(name: str, condition: Any, channels: object) -> NDArray[np.float32]:
    """The mask [N or 1, C] for a channel, a list of them, factors [C] or [N, C], or None: all.

    channels: C, or something else where only the run knows it. Raises InputError where they do not
    fit.
    """
    if condition is None:
        return np.ones((1, channels if isinstance(channels, int) else 1), np.float32)
    array = (
        np.asarray([], np.int64)
        if isinstance(condition, list | tuple) and not condition
        else np.asarray(condition)
    )
    if array.dtype.kind in "fb" and array.ndim in (1, 2):
        return np.atleast_2d(array.astype(np.float32))
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise InputError(
            f"condition {name!r}: {condition!r} are neither channels (integers) nor factors "
            "(floats, [C] or [N, C])."
        )
    if not isinstance(channels, int):
        raise InputError(
            f"condition {name!r}: the model does not say how many channels there are. Give a float "
            "factor for each, as an array [1, C]."
        )
    if array.size and (array.min() < 0 or array.max() >= channels):
        raise InputError(
            f"condition {name!r}: there are {channels} channels, and {condition!r} is not among "
            f"0 to {channels - 1}."
        )
    mask = np.zeros((1, channels), np.float32)
    mask[0, array] = 1
    return mask


def read_conditions(texts: Sequence[str]) -> dict[str, list[int] | None]:
    """Of TENSOR=CHANNEL,… the channels by tensor; of TENSOR alone None, as `explain` takes it."""
    conditions: dict[str, list[int] | None] = {}
    for text in texts:
        match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)", text)
        name = match.group(1) if match else text
        if name in conditions:
            raise TargetError(f"condition {name!r} is given twice. Give all its channels at once.")
        conditions[name] = [int(k) for k in match.group(2).split(",")] if match else None
    return conditions
