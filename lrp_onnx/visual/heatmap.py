"""Relevance as colors: sums over channels, symmetric limits, a map that is white at exactly zero.

Red is positive, blue negative; the pair stays apart for the common color-vision deficiencies.
The limits are ±the 99.5th percentile of |R| over the map: a few extreme pixels, which LRP often
has, would otherwise leave the rest white. Values beyond take the darkest color, and the color
bar has pointed ends there.
"""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

from lrp_onnx.data.layout import describe_shape, single_axes
from lrp_onnx.data.preprocess import Preprocess, restore_pixels
from lrp_onnx.errors import InputError, OutputError

__all__ = [
    "COLORS",
    "LUMA",
    "color_limit",
    "color_scale",
    "colors_named",
    "overlay",
    "relevance_maps",
    "shown_pictures",
]

PERCENTILE = 99.5
BROKEN = "#9a9a9a"
PALE = 0.25
"""How much white the input of an overlay has."""
VISIBLE = 0.6
"""The power of |R| by which an overlay covers its input: below 1 small relevance is seen too."""
FAINT = 0.04
"""The part of the limit around which |R| begins to be seen: the cover falls to 0 smoothly."""
STRONG = 0.6
"""An overlay has no paler colors than those of this part of the limit: they veil the input."""
# An odd number of entries puts zero into the middle of one of them, which is white.
COLORS = LinearSegmentedColormap.from_list(
    "relevance",
    [(0, "#08306b"), (0.25, "#2171d6"), (0.5, "#ffffff"), (0.75, "#e8281e"), (1, "#67000d")],
    N=513,
).with_extremes(bad=BROKEN)
LUMA = np.array([0.299, 0.587, 0.114])


def relevance_maps(relevance: NDArray[Any], axes: str | None = None) -> NDArray[np.float64]:
    """Relevance summed over its channels: (N, H, W), or (N, F) for features and signals.

    Sums that are not finite are NaN, drawn in gray.

    `axes` names each axis (`lrp_onnx.data.layout`); by default it is told from the shape.
    Raises InputError where the two do not fit, or for rank 0 and above 4.
    """
    array, axes = _checked(relevance, axes)
    array = np.where(np.isfinite(array), array, np.nan)  # one mark for what cannot be drawn
    if "C" in axes:
        array, axes = array.sum(axis=axes.index("C")), axes.replace("C", "")
    return array if "N" in axes else array[None]


def shown_pictures(
    values: NDArray[Any], axes: str | None = None, preprocess: Preprocess | None = None
) -> NDArray[np.uint8]:
    """A model's input as pictures, (N, H, W, 3): preprocessing undone, as the model saw it.

    Without `preprocess`, uint8 values are taken as pixels and others stretched from their smallest
    to their largest. Channels other than 1 or 3 are averaged.
    """
    pixels = values.dtype == np.uint8
    array, axes = _checked(values, axes)
    array = array if "N" in axes else array[None]
    names = axes.replace("N", "")
    array = np.moveaxis(array, 1 + names.index("C"), -1) if "C" in names else array[..., None]
    if preprocess is not None:
        array = restore_pixels(array, preprocess).astype(np.float64)
    elif not pixels:
        array = np.stack([_stretched(sample) for sample in array])
    if array.shape[-1] not in (1, 3):
        array = array.mean(axis=-1, keepdims=True)
    picture: NDArray[np.uint8] = np.broadcast_to(array, (*array.shape[:-1], 3)).astype(np.uint8)
    return picture


def color_limit(relevance: NDArray[Any]) -> float:
    """The value of the darkest red: the percentile of |R|; the largest where that is 0; else 1."""
    finite = np.abs(relevance[~np.isnan(relevance)])
    if finite.size == 0 or finite.max() == 0:
        return 1.0
    return float(np.percentile(finite, PERCENTILE) or finite.max())


def color_scale(limit: float) -> Normalize:
    """From relevance to the color map, zero in the middle."""
    return Normalize(-limit, limit)


def colors_named(name: str) -> Colormap:
    """Our colors, or those of a matplotlib color map. Raises OutputError for an unknown name."""
    if name == COLORS.name:
        return COLORS
    if name not in colormaps:
        alike = difflib.get_close_matches(name, [COLORS.name, *colormaps], 3)
        remedy = f"Did you mean {' or '.join(alike)}?" if alike else "Try coolwarm, RdBu or PiYG."
        raise OutputError(f"cmap {name!r}: matplotlib has no color map of that name. {remedy}")
    return colormaps[name].with_extremes(bad=BROKEN)


def overlay(
    picture: NDArray[Any],
    relevance: NDArray[Any],
    limit: float,
    colors: Colormap = COLORS,
    opacity: float = 1.0,
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) in its own colors under its heatmap (H, W), opaque where |R| is large.

    What is not relevant is a little paler, so that red on a red coat is still seen.
    """
    share = np.clip(np.nan_to_num(relevance) / limit, -1, 1)
    size = np.abs(share)
    covered = (opacity * size**VISIBLE * size * (1 + FAINT) / (size + FAINT))[..., None]
    pale = PALE * 255 + (1 - PALE) * np.asarray(picture, np.float64)
    color = colors(color_scale(1.0)(np.copysign(np.maximum(size, STRONG), share)))[..., :3]
    mixed = (1 - covered) * pale + covered * 255 * color
    pixels: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return pixels


def _checked(array: NDArray[Any], axes: str | None) -> tuple[NDArray[np.float64], str]:
    axes = axes or single_axes(array.shape)
    if len(axes) != array.ndim:
        shape = describe_shape(array.shape)
        raise InputError(
            f"axes '{axes}': the array has shape {shape}. Give one letter for each axis."
        )
    if not array.size or array.dtype.kind not in "biuf":
        fact = f"an array of {array.dtype} {describe_shape(array.shape)} is no picture"
        raise InputError(f"{fact}. Give numbers, at least one.")
    return array.astype(np.float64), axes


def _stretched(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.nanmin(sample), np.nanmax(sample)
    return 255 * np.nan_to_num((sample - low) / ((high - low) or 1.0))
