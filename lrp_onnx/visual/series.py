"""Relevance of sound and other series: lines on the color of their relevance, and how much of it
each stretch has beneath.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.heatmap import color_limit, color_scale, colors_named
from lrp_onnx.visual.page import FOR_AND_AGAINST, PAD, QUIET, Ends, Page

__all__ = ["series_page"]

WIDTH, LEFT, RIGHT = 7.8, 0.55, 1.0
MOST_BINS = 240
"""Stretches that relevance is summed over: more could not be told apart."""
MOST_SAMPLES = 8
PLAIN = PictureOptions()
INK = "#2b2b2b"
Float = NDArray[np.float64]


def series_page(
    relevance: Float,
    values: Float,
    titles: Sequence[str],
    subtitles: Sequence[str],
    rate: int | None = None,
    what: str = "relevance",
    ends: Ends = FOR_AND_AGAINST,
    options: PictureOptions = PLAIN,
) -> Page:
    """Lines of samples, (N, channels, length), with their relevance.

    rate: values a second. what: the word for relevance. ends: what blue and red stand for.
    """
    page = Page(WIDTH)
    if len(relevance) > MOST_SAMPLES:
        page.top += page.text(f"the first {MOST_SAMPLES} of {len(relevance)} samples", PAD, WIDTH)
    samples = zip(relevance[:MOST_SAMPLES], values, titles, subtitles, strict=False)
    for own, lines, title, subtitle in samples:
        page.head(title, subtitle)
        _draw_sample(page, own, lines, rate, what, ends, options)
    return page


def _draw_sample(
    page: Page,
    relevance: Float,
    values: Float,
    rate: int | None,
    what: str,
    ends: Ends,
    options: PictureOptions,
) -> None:
    colors = colors_named(options.cmap)
    bins, starts = _binned(relevance)
    time = np.append(starts, relevance.shape[1]) / (rate or 1)
    limit, wide = options.limits or color_limit(bins), WIDTH - LEFT - RIGHT
    high = float(np.clip(4.0 / len(values), 0.4, 1.5))
    top = page.top
    page.top += 0.05 + page.text(f"the input, on the color of its {what}", LEFT, wide, 7.5, QUIET)
    for k, (own, line) in enumerate(zip(bins, values, strict=True)):
        axes = page.axes(LEFT, wide, high)
        _draw_line(axes, line, own, time, limit, colors)
        if len(values) == 1:
            axes.set_yticks(_ends(line), [f"{end:.3g}" for end in _ends(line)])
            axes.tick_params("y", labelsize=7.5, length=2, width=0.5)
        else:
            axes.set_ylabel(f"{k + 1}", fontsize=7.5, rotation=0, va="center", labelpad=10)
        page.top += high + 0.05
    page.top += 0.08
    page.top += page.text(
        f"{what} of each stretch, sum {relevance.sum():.4g}", LEFT, wide, 7.5, QUIET
    )
    axes = page.axes(LEFT, wide, 0.75)
    _draw_sums(axes, bins.sum(axis=0), time, colors)
    axes.set_xlabel("seconds" if rate else "step", fontsize=8)
    clipped = bool(np.abs(bins).max() > limit)
    bottom, page.top = page.top + 0.75 + 0.5, top
    page.color_bar(WIDTH - RIGHT + 0.15, min(1.5, bottom - top - 0.5), clipped, ends, colors)
    page.top = bottom


def _ends(line: Float) -> tuple[float, float]:
    """The least and the largest number."""
    return float(np.nanmin(line)), float(np.nanmax(line))


def _binned(relevance: Float) -> tuple[Float, NDArray[np.intp]]:
    """Sums over stretches of equal length, (channels, stretches), and where each begins."""
    length = relevance.shape[1]
    starts = np.arange(0, length, -(-length // MOST_BINS))
    return np.add.reduceat(np.nan_to_num(relevance), starts, axis=1), starts


def _draw_line(
    axes: Axes, line: Float, relevance: Float, time: Float, limit: float, colors: Colormap
) -> None:
    low, high = _ends(line)
    room = 0.08 * (high - low or 1.0)
    axes.set(xlim=(time[0], time[-1]), ylim=(low - room, high + room), xticks=[], yticks=[])
    axes.pcolormesh(
        time, [low - room, high + room], relevance[None], cmap=colors, norm=color_scale(limit),
        rasterized=True, linewidth=0, alpha=0.85,
    )  # fmt: skip
    steps = np.linspace(time[0], time[-1], len(line), endpoint=False)
    dense = len(line) > 2000  # a filled shape would hide its color
    axes.plot(steps, line, color=INK, linewidth=0.3 if dense else 1.0, alpha=0.6 if dense else 1)
    axes.spines[:].set(linewidth=0.4, color="#bbbbbb")


def _draw_sums(axes: Axes, sums: Float, time: Float, colors: Colormap) -> None:
    signs = colors(color_scale(1.0)(np.where(sums < 0, -0.6, 0.6)))
    axes.bar(time[:-1], sums, width=np.diff(time), align="edge", color=signs, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.5)
    axes.set_xlim(time[0], time[-1])
    axes.set_yticks([])
    axes.tick_params(labelsize=7.5, length=2, width=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_linewidth(0.4)
