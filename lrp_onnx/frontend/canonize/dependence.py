"""Which elements of a region's result depend on each other, read off by changing one element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.frontend.canonize.probe import Probe
from lrp_onnx.graph.constants import Float

__all__ = ["TOLERANCE", "Together", "agree", "rescales", "together"]

TOLERANCE = 2e-6
"""Relative: constants such as 1/n are rounded to float32."""


@dataclass(frozen=True)
class Together:
    """The axes over which elements depend on each other; along one, the channels', within groups,
    perhaps.
    """

    axes: tuple[int, ...]
    groups: int = 1
    channels: int = 1

    def apart(self, x: Float) -> Float:
        """The same elements with the groups on an axis of their own."""
        if self.groups == 1:
            return x
        before, behind = x.shape[: self.channels], x.shape[self.channels + 1 :]
        return x.reshape(*before, self.groups, -1, *behind)

    @property
    def apart_axes(self) -> tuple[int, ...]:
        """The axes where the groups have an axis of their own."""
        if self.groups == 1:
            return self.axes
        return tuple(axis + (axis >= self.channels) for axis in self.axes)


def together(probe: Probe, shape: tuple[int, ...]) -> Together | None:
    """Change one element and see which others of the result change; None for no such form.

    What is 0 before and behind, masked, may be one of them.
    """
    x = np.random.default_rng(0).standard_normal(shape)
    before = probe(x)
    if before is None:
        return None
    place = _middle_of_what_counts(before)
    other = x.copy()
    other[place] += 0.5
    behind = probe(other)
    if behind is None:
        return None
    changed = np.abs(behind - before) > 1e-12 * np.abs(before).max()
    met = [np.flatnonzero(changed.any(tuple(k for k in range(x.ndim) if k != axis)))
           for axis in range(x.ndim)]  # fmt: skip
    axes = tuple(axis for axis, places in enumerate(met) if len(places) > 1)
    box = tuple(slice(None) if axis in axes else place[axis] for axis in range(x.ndim))
    if not axes or changed.sum() != changed[box].sum():
        return None
    if (changed | ((before == 0) & (behind == 0)))[box].all():
        return Together(axes)
    return _in_groups(changed, met, axes, place)


def _middle_of_what_counts(y: Float) -> tuple[int, ...]:
    """The element nearest to the middle that is not 0."""
    places = np.argwhere(y != 0) if y.any() else np.argwhere(y == 0)
    distance = np.abs(places - np.array(y.shape) // 2).sum(1)
    return tuple(int(k) for k in places[distance.argmin()])


def _in_groups(
    changed: NDArray[np.bool_],
    met: list[NDArray[np.intp]],
    axes: tuple[int, ...],
    place: tuple[int, ...],
) -> Together | None:
    """Where one block of the channels changed, along axis 1 or the last, and all of a sample
    else.
    """
    if axes != tuple(range(1, changed.ndim)):
        return None
    partly = [axis for axis in axes if len(met[axis]) < changed.shape[axis]]
    if partly not in ([1], [changed.ndim - 1]):
        return None
    if changed.sum() != np.prod([len(places) for places in met]):
        return None
    (axis,) = partly
    size, block = changed.shape[axis], len(met[axis])
    first = place[axis] // block * block
    if size % block or list(met[axis]) != list(range(first, first + block)):
        return None
    return Together(axes, size // block, axis)


def rescales(probe: Probe, shape: tuple[int, ...]) -> bool:
    """Whether it is a norm of any kind: each element is divided by a size that its row shares,
    which is twice as large for inputs twice as large.
    """
    met = together(probe, shape)
    if met is None:
        return False
    draws = 1e5 * np.random.default_rng(0).uniform(0.5, 2, (2, *shape))
    y, other, twice = probe(draws[0]), probe(draws[1]), probe(2 * draws[0])
    if y is None or other is None or not other.all() or not agree(twice, y):
        return False
    ratio = met.apart((y / draws[0]) / (other / draws[1]))
    return bool((np.ptp(ratio, met.apart_axes) < TOLERANCE * np.abs(ratio).max()).all())


def agree(a: Float | None, b: Float) -> bool:
    """Whether a region's result is what a formula says."""
    if a is None or not np.isfinite(b).all():
        return False
    return bool(np.abs(a - b).max() <= TOLERANCE * np.abs(b).max())
