"""Which elements of a region's result depend on each other, read off by changing one element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrp_onnx.frontend.canonize.probe import Probe
from lrp_onnx.graph.constants import Float

__all__ = ["TOLERANCE", "Together", "agree", "together"]

TOLERANCE = 2e-6
"""Relative: constants such as 1/n are rounded to float32."""


@dataclass(frozen=True)
class Together:
    """The axes over which elements depend on each other; along axis 1 within groups, perhaps."""

    axes: tuple[int, ...]
    groups: int = 1

    def apart(self, x: Float) -> Float:
        """The same elements with the groups on an axis of their own."""
        if self.groups == 1:
            return x
        return x.reshape(x.shape[0], self.groups, -1, *x.shape[2:])

    @property
    def apart_axes(self) -> tuple[int, ...]:
        """The axes where the groups have an axis of their own."""
        return self.axes if self.groups == 1 else tuple(axis + 1 for axis in self.axes)


def together(probe: Probe, shape: tuple[int, ...]) -> Together | None:
    """Change one element and see which others of the result change; None for no such form."""
    x = np.random.default_rng(0).standard_normal(shape)
    at = tuple(n // 2 for n in x.shape)
    other = x.copy()
    other[at] += 0.5
    before, behind = probe(x), probe(other)
    if before is None or behind is None:
        return None
    changed = np.abs(behind - before) > 1e-12 * np.abs(before).max()
    met = [np.flatnonzero(changed.any(tuple(k for k in range(x.ndim) if k != axis)))
           for axis in range(x.ndim)]  # fmt: skip
    axes = tuple(axis for axis, places in enumerate(met) if len(places) > 1)
    if not axes or changed.sum() != np.prod([len(places) for places in met]):
        return None
    partly = [axis for axis in axes if len(met[axis]) < x.shape[axis]]
    if not partly:
        return Together(axes)
    size, block = x.shape[1] if x.ndim > 1 else 0, len(met[1]) if x.ndim > 1 else 1
    first = at[1] // block * block if partly == [1] else -1
    if partly != [1] or size % block or list(met[1]) != list(range(first, first + block)):
        return None
    return Together(axes, size // block)


def agree(a: Float | None, b: Float) -> bool:
    """Whether a region's result is what a formula says."""
    if a is None or not np.isfinite(b).all():
        return False
    return bool(np.abs(a - b).max() <= TOLERANCE * np.abs(b).max())
