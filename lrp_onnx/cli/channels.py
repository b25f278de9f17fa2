"""Conditions as `explain` takes them: TENSOR=CHANNEL,… chooses channels, TENSOR lists the
largest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lrp_onnx.errors import TargetError
from lrp_onnx.graph.session import Array
from lrp_onnx.propagation.condition import channel_axis

__all__ = ["read_conditions", "top_channels"]

MOST = 5


def read_conditions(texts: Sequence[str]) -> dict[str, list[int] | None]:
    """Channels by tensor; None where none is chosen."""
    found: dict[str, list[int] | None] = {}
    for text in texts:
        match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)", text)
        name = match.group(1) if match else text
        if name in found:
            raise TargetError(f"condition {name!r} is given twice. Give all its channels at once.")
        found[name] = [int(k) for k in match.group(2).split(",")] if match else None
    return found


def top_channels(relevance: Array) -> str:
    """The channels with the most relevance, and their part of all: `7 (31.2 %), 3 (-12.0 %)`."""
    axis = channel_axis(relevance.ndim)
    assert axis is not None  # the compiler refused it otherwise
    others = tuple(k for k in range(relevance.ndim) if k != axis)
    sums = relevance.sum(axis=others, dtype=np.float64)
    total = float(np.abs(sums).sum()) or 1.0
    order = np.argsort(-np.abs(sums), kind="stable")[:MOST]
    return ", ".join(f"{k} ({sums[k] / total:.1%})" for k in order) + f" of {len(sums)}"
