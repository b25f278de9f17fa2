"""Relevance of volumes as three orthogonal slices through its strongest point, of clips as the
frames with the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.heatmap import color_limit, colors_named
from lrp_onnx.visual.page import FOR_AND_AGAINST, PAD, QUIET, Ends, Page
from lrp_onnx.visual.panel import Drawn, Panel, draw_panel, drawn

__all__ = ["frames_of", "slices_of", "volume_page"]

SIDE, RIGHT = 2.5, 1.0
MOST_SAMPLES = 8
PLAIN = PictureOptions()
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
    options: PictureOptions = PLAIN,
) -> Page:
    """Cuts through samples, each over the input and, unless options choose one, below it.

    relevance: (N, D, H, W), summed over channels. values: (N, D, H, W, C). is_clip: whether D is
    time. ends: what blue and red stand for.
    """
    page, colors = Page(PAD + 3 * (SIDE + PAD) + RIGHT), colors_named(options.cmap)
    if len(relevance) > MOST_SAMPLES:
        text = f"the first {MOST_SAMPLES} of {len(relevance)} samples"
        page.top += page.text(text, PAD, page.width)
    samples = zip(relevance[:MOST_SAMPLES], values, titles, subtitles, strict=False)
    for own, picture, title, subtitle in samples:
        page.head(title, subtitle)
        cuts = frames_of(own, picture) if is_clip else slices_of(own, picture)
        every = _all_drawn([cut[1] for cut in cuts], options)
        page.notes += every[0].notes
        maps = [one.values for one in every]
        limit = options.limits or color_limit(np.concatenate([m.ravel() for m in maps]))
        pixels = [_pixels(cut[2], picture) for cut in cuts]
        over = [
            one.over(own_pixels, limit, colors, options.opacity)
            for one, own_pixels in zip(every, pixels, strict=True)
        ]
        heat = [Panel(own_map, "", limit, colors) for own_map in maps]
        rows: dict[str, list[Panel]] = {
            "all": [*map(Panel, pixels), *map(Panel, over)],
            "overlay": [*map(Panel, over)],
            "heatmap": heat,
        }
        top = _draw_rows(page, rows[options.panel], cuts)
        bottom, page.top = page.top, top
        clipped = any(panel.clipped for panel in heat)
        page.color_bar(page.width - RIGHT + 0.1, SIDE, clipped, ends, colors)
        page.top = bottom
    return page


def _all_drawn(maps: Sequence[Float], options: PictureOptions) -> list[Drawn]:
    """The maps as the options want them drawn, all alike: by the longest of their lattices."""
    each = [drawn(own, options) for own in maps]
    period = max((one.period or 0 for one in each), default=0)
    if options.smooth != "auto" or not period:
        return each
    alike = [drawn(own, replace(options, smooth=period)) for own in maps]
    return [replace(one, asked=False) for one in alike]


def _draw_rows(page: Page, panels: Sequence[Panel], cuts: Sequence[Cut]) -> float:
    """The panels in rows as long as there are cuts, moving on; returns where the first begins."""
    count = len(cuts)
    lefts = [PAD + k * (SIDE + PAD) for k in range(count)]
    page.top += max(page.text(cut[0], x, SIDE) for cut, x in zip(cuts, lefts, strict=True))
    first = page.top
    tall = SIDE * max(min(1.0, panel.image.shape[0] / panel.image.shape[1]) for panel in panels)
    for start in range(0, len(panels), count):
        row = panels[start : start + count]
        for panel, (*_, point), left in zip(row, cuts, lefts, strict=True):
            axes = page.axes(left, SIDE, tall)
            draw_panel(axes, panel, page.figure.dpi * SIDE, square=True)
            if point is not None:
                _mark(axes, point)
        page.top += tall + PAD
    return first


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


def _pixels(values: Float, whole: Float) -> NDArray[np.uint8]:
    """A cut (H, W, C) as a picture (H, W, 3), from the least to the largest value of the whole."""
    low, high = float(np.nanmin(whole)), float(np.nanmax(whole))
    gray = 255 * np.nan_to_num((values - low) / ((high - low) or 1.0))
    gray = gray if gray.shape[-1] == 3 else gray.mean(axis=-1, keepdims=True)
    picture: NDArray[np.uint8] = np.broadcast_to(gray, (*gray.shape[:2], 3)).astype(np.uint8)
    return picture


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
