"""Which axis of an array is what: one letter an axis.

N batch, C channels, H height, W width, F features (also the positions of a signal or a text).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Dimension

__all__ = ["PICTURE_CHANNELS", "batched_axes", "describe_shape", "single_axes"]

PICTURE_CHANNELS = (1, 3)
LONGEST = 20
"""Letters of the name of a size that says something."""
MADE_UP = re.compile(r"[su]\d+|dynamic_axes_\w+_\d+")


def batched_axes(shape: Sequence[Dimension]) -> str:
    """The axes of a model's input, its batch first: 'NF', 'NHW', 'NCF', 'NCHW' or 'NHWC'.

    A picture's channels are told by their number, 1 or 3; where both ends would do, or neither,
    they come first, as in most exported models. Raises InputError for rank 0 and above 4.
    """
    if len(shape) == 3:
        return _three(shape)
    if len(shape) == 4:
        return "NHWC" if _last_is_channel(shape[1], shape[3]) else "NCHW"
    if len(shape) in (1, 2):
        return "NF"[: len(shape)]
    raise InputError(
        f"an array of shape {describe_shape(shape)} is no picture: rank {len(shape)}, not 1 to 4. "
        "Write an .npz file instead, or choose a slice of it."
    )


def single_axes(shape: Sequence[int]) -> str:
    """The axes of an array whose batch axis is not known: (F), (H, W), (C, H, W), (H, W, C) or 4-D.

    A matrix of one row is a batch of one. Raises InputError for rank 0 and above 4.
    """
    if len(shape) == 1:
        return "F"
    if len(shape) == 2:
        return "NF" if shape[0] == 1 else "HW"
    if len(shape) == 3:
        return "HWC" if _last_is_channel(shape[0], shape[2]) else "CHW"
    return batched_axes(shape)


def describe_shape(shape: Sequence[Dimension]) -> str:
    """A shape as a user reads it: `[N, 3, 224, 224]`, with `?` where nothing is known, and in place
    of the formulas and names that shape inference and torch make up.
    """
    return f"[{', '.join(map(_readable, shape))}]"


def _readable(size: Dimension) -> str:
    if not isinstance(size, str):
        return "?" if size is None else str(size)
    made_up = "__" in size or "_dim_" in size or MADE_UP.fullmatch(size)
    plain = size.replace("_", "").isalnum() and not made_up and len(size) <= LONGEST
    return size if plain else "?"


def _three(shape: Sequence[Dimension]) -> str:
    if shape[1] in PICTURE_CHANNELS:
        return "NCF"
    return "NFC" if shape[2] in PICTURE_CHANNELS else "NHW"


def _last_is_channel(first: Dimension, last: Dimension) -> bool:
    return last in PICTURE_CHANNELS and first not in PICTURE_CHANNELS
