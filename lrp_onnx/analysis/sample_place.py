"""Where a tensor holds the samples of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.ops.samples import rank_of

__all__ = ["Mixed", "Place", "Places", "place_of", "without"]


@dataclass(frozen=True)
class Place:
    """Sample n of N has the indices (o·N + n)·inner + i along an axis, for all o < outer and
    i < inner.
    """

    axis: int
    outer: int = 1
    inner: int = 1


class Mixed(Exception):
    """Samples meet, or may."""


Places = dict[ir.Value, Place | None]
"""Of what holds samples; None where they may meet."""


def place_of(value: ir.Value, places: Places) -> Place:
    """The place of what holds samples; Mixed where they may meet."""
    if (place := places[value]) is None:
        raise Mixed
    return place


def without(x: ir.Value, place: Place, axes: Iterable[int]) -> Place:
    """The place where these axes are taken away."""
    gone = {k % rank_of(x) for k in axes}
    if place.axis in gone:
        raise Mixed
    return replace(place, axis=place.axis - sum(k < place.axis for k in gone))
