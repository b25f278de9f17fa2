"""Relevance of volumes as three orthogonal slices through its strongest point, of clips as the
frames with the most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from lrp_onnx.visual.heatmap import COLORS, color_limit, overlay
from lrp_onnx.visual.page import FOR_AND_AGAINST, PAD, QUIET, Ends, Page

__all__ = ["frames_of", "slices_of", "volume_page"]

SIDE, RIGHT = 2.5, 1.0
MOST_SAMPLES = 8
AXES = ("depth", "height", "width")
Float = NDArray[np.float64]
Cut = tuple[str, Float, Float, tuple[int, int] | None]
"""A caption, the relevance (H, W) and the values (H, W, C) there, and the point to be marked."""


def volume_page(
    relevance: Float,
    values: Float,
    titles: Sequence[str],
    subtitles: Sequence[str],
    is_clip: bool = False,
    ends: Ends = FOR_AND_AGAINST,
    colors: Colormap = COLORS,
) -> Page:
    """Cuts through samples.

    relevance: (N, D, H, W), summed over channels. values: (N, D, H, W, C). is_clip: whether D is
    time. ends: what blue and red stand for.
    """
    page = Page(PAD + 3 * (SIDE + PAD) + RIGHT)
    if len(relevance) > MOST_SAMPLES:
        text = f"the first {MOST_SAMPLES} of {len(relevance)} samples"
        page.top += page.text(text, PAD, page.width)
    samples = zip(relevance[:MOST_SAMPLES], values, titles, subtitles, strict=False)
    for own, picture, title, subtitle in samples:
        page.head(title, subtitle)
        limit = color_limit(own)
        cuts = frames_of(own, picture) if is_clip else slices_of(own, picture)
        ends_of_values = float(np.nanmin(picture)), float(np.nanmax(picture))
        lefts = [PAD + k * (SIDE + PAD) for k in range(len(cuts))]
        page.top += max(page.text(cut[0], x, SIDE) for cut, x in zip(cuts, lefts, strict=True))
        for (_, cut, shown, point), left in zip(cuts, lefts, strict=True):
            axes = page.axes(left, SIDE, SIDE)
            _draw(axes, cut, shown, ends_of_values, point, limit, colors)
        clipped = bool(np.nanmax(np.abs(own)) > limit)
        page.color_bar(page.width - RIGHT + 0.1, SIDE, clipped, ends, colors)
        page.top += SIDE + PAD
    return page


def slices_of(relevance: Float, values: Float) -> list[Cut]:
    """Across each axis through the voxel around which |R| is largest."""
    from scipy.ndimage import gaussian_filter

    size = gaussian_filter(np.abs(np.nan_to_num(relevance)), 1.0, mode="constant")
    point = [int(k) for k in np.unravel_index(int(size.argmax()), size.shape)]
    cuts: list[Cut] = []
    for axis, name in enumerate(AXES):
        caption = f"{name} {point[axis] + 1} of {relevance.shape[axis]}"
        others = [place for k, place in enumerate(point) if k != axis]
        own = np.asarray(relevance.take(point[axis], axis))
        shown = np.asarray(values.take(point[axis], axis))
        cuts.append((caption, own, shown, (others[0], others[1])))
    return cuts


def frames_of(relevance: Float, values: Float) -> list[Cut]:
    """The three frames with the most |R|, in their order."""
    sums = np.abs(np.nan_to_num(relevance)).sum(axis=(1, 2))
    order = sorted(np.argsort(-sums, kind="stable")[:3].tolist())
    count = len(relevance)
    return [(f"frame {k + 1} of {count}", relevance[k], values[k], None) for k in order]


def _draw(
    axes: Axes,
    relevance: Float,
    values: Float,
    ends: tuple[float, float],
    point: tuple[int, int] | None,
    limit: float,
    colors: Colormap,
) -> None:
    low, high = ends
    gray = 255 * np.nan_to_num((values - low) / ((high - low) or 1.0))
    gray = gray if gray.shape[-1] == 3 else gray.mean(axis=-1, keepdims=True)
    picture = np.broadcast_to(gray, (*gray.shape[:2], 3))
    axes.imshow(overlay(picture, relevance, limit, colors), interpolation="nearest")
    axes.set_axis_off()
    if point is not None:
        _mark(axes, point)


def _mark(axes: Axes, point: tuple[int, int]) -> None:
    """Triangles at the edges, which nothing of the picture lies under, point at where the other
    cuts go through.
    """
    down, right = point
    along_x, along_y = axes.get_xaxis_transform(), axes.get_yaxis_transform()
    for marker, x, y, transform in (
        ("v", right, 1.0, along_x), ("^", right, 0.0, along_x),
        (">", 0.0, down, along_y), ("<", 1.0, down, along_y),
    ):  # fmt: skip
        axes.plot(
            [x], [y], marker, color=QUIET, markersize=4, clip_on=False, transform=transform,
            scalex=False, scaley=False,
        )  # fmt: skip
