"""Maps that know nothing of the model, beside which the others have to show something.

random numbers; of pictures also the edges, which look like a good explanation (Adebayo et al.
2018), and a bump in the middle, where photographers put the object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lrp_onnx.graph.arrays import Array
from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.units import is_picture, spatial_axes

__all__ = ["references_of"]

CENTER = 0.25
"""The standard deviation of the bump, as a part of height and width."""
Of = Callable[[Array, tuple[int, ...]], Array]


def references_of(
    samples: Sequence[Feeds], names: Sequence[str], batched: bool, seed: int
) -> dict[str, list[dict[str, Array]]]:
    """For each reference the maps of every sample, by explained input, with one channel."""
    rng = np.random.default_rng(seed)

    def maps(of: Of) -> list[dict[str, Array]]:
        return [{n: of(x[n], spatial_axes(x[n], batched)) for n in names} for x in samples]

    made = {"random": maps(lambda x, axes: rng.standard_normal(_places(x, axes)))}
    if all(is_picture(samples[0][n], batched) for n in names):
        made |= {"edges": maps(_edges), "center": maps(_center)}
    return made


def _places(x: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size if k in axes else 1 for k, size in enumerate(x.shape))


def _edges(x: Array, axes: tuple[int, ...]) -> Array:
    """The magnitude of Sobel's gradient of the mean over the channels."""
    from scipy.ndimage import sobel  # not needed to explain

    others = tuple(k for k in range(x.ndim) if k not in axes)
    gray = x.mean(others, np.float64, keepdims=True)
    magnitude: Array = np.hypot(*(sobel(gray, axis) for axis in axes))
    return magnitude


def _center(x: Array, axes: tuple[int, ...]) -> Array:
    """A Gaussian bump in the middle."""
    bump = np.ones([1] * x.ndim)
    for axis in axes:
        along = np.linspace(-0.5, 0.5, x.shape[axis]) / CENTER
        shape = [-1 if k == axis else 1 for k in range(x.ndim)]
        bump = bump * np.exp(-(along**2) / 2).reshape(shape)
    return bump
