"""Relevance of a table's columns: sorted bars of one row; of many rows the mean of |R| beside each
row in colors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.heatmap import color_limit, color_scale, colors_named
from lrp_onnx.visual.page import FONTS, PAD, Page

__all__ = ["table_page"]

MOST_COLUMNS, MOST_ROWS = 20, 60
WIDTH, ROW = 7.4, 0.25  # of the page, and the height of a bar's line, in inches
RED, BLUE, GRAY, INK = "#c8372d", "#2a63b7", "#5b6573", "#333333"
PLAIN = PictureOptions()
Float = NDArray[np.float64]


def table_page(
    relevance: Float,
    columns: Sequence[str],
    values: Sequence[Sequence[str]],
    rows: Sequence[int],
    title: str = "",
    subtitle: str = "",
    what: str = "relevance",
    options: PictureOptions = PLAIN,
) -> Page:
    """The relevance of rows, [N, columns].

    values: what stands in the table, for each row and column. rows: their numbers. what: the
    caption's word for relevance.
    """
    page = Page(WIDTH)
    page.head(title, subtitle)
    size = np.abs(relevance).mean(axis=0)
    order = np.argsort(-size, kind="stable")[:MOST_COLUMNS]
    if len(relevance) == 1:
        names = [f"{_short(columns[k])}  =  {values[0][k]}" for k in order]
        _draw_row(page, relevance[0], order, names, what)
    else:
        _draw_rows(page, relevance, order, [_short(columns[k]) for k in order], rows, what, options)
    return page


def _draw_row(
    page: Page, relevance: Float, order: NDArray[np.intp], names: Sequence[str], what: str
) -> None:
    rest = len(relevance) - len(order)
    left_out = float(relevance.sum() - relevance[order].sum())
    more = f"; {rest} other columns together {left_out:+.3g}" if rest else ""
    page.top += page.text(f"{what} of each column, sum {relevance.sum():.4g}{more}", PAD, WIDTH)
    page.top += 0.06
    axes, height = _axes(page, PAD + _room(names), WIDTH - PAD - 0.35, len(order))
    shown = relevance[order]
    places = np.arange(len(order))
    axes.barh(places, shown, height=0.72, color=[BLUE if v < 0 else RED for v in shown])
    reach = float(np.abs(shown).max(initial=0)) or 1.0
    low, high = min(0.0, float(shown.min())), max(0.0, float(shown.max()))
    none = not shown.any()
    axes.set_xlim(low - 0.17 * reach * (low < 0 or none), high + 0.17 * reach * (high > 0 or none))
    for place, value in zip(places, shown, strict=True):
        side = "right" if value < 0 else "left"
        axes.annotate(
            f"{value:+.3g}", (value, place), (-3 if value < 0 else 3, 0),
            textcoords="offset points", ha=side, va="center", fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.7)
    _label(axes, names)
    axes.set_xticks([])
    page.top += height + 0.08
    page.top += page.text("red speaks for what is explained, blue against it", PAD, WIDTH, 7.5)


def _draw_rows(
    page: Page,
    relevance: Float,
    order: NDArray[np.intp],
    names: Sequence[str],
    rows: Sequence[int],
    what: str,
    options: PictureOptions,
) -> None:
    shown = relevance[:MOST_ROWS, order].T
    left, middle, right = PAD + _room(names), 0.0, WIDTH - 0.95
    middle = left + 0.38 * (right - left)
    start = page.top
    cut = len(order) < relevance.shape[1]
    more = f", the {len(order)} largest of {relevance.shape[1]} columns" if cut else ""
    heights = [
        page.text(f"mean |{what}| of {len(relevance)} rows{more}", left, middle - left),
        page.text(_rows_caption(rows, len(relevance)), middle + 0.15, right - middle),
    ]
    page.top = start + max(heights) + 0.04
    axes, height = _axes(page, left, middle, len(order))
    size = np.abs(relevance).mean(axis=0)[order]
    axes.barh(np.arange(len(order)), size, height=0.72, color=GRAY)
    axes.set_xlim(0, (float(size.max(initial=0)) or 1.0) * 1.02)
    _label(axes, names)
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(axis="x", labelsize=7.5, length=2, width=0.5)
    limit, colors = options.limits or color_limit(relevance), colors_named(options.cmap)
    single = page.axes(middle + 0.15, right - middle - 0.15, height)
    single.imshow(
        shown, cmap=colors, norm=color_scale(limit), aspect="auto", interpolation="nearest"
    )
    single.set(xticks=[], yticks=[])
    single.set_yticks(np.arange(len(order) + 1) - 0.5, minor=True)
    single.grid(which="minor", axis="y", color="white", linewidth=1.2)
    single.tick_params(which="minor", length=0)
    single.spines[:].set_visible(False)
    clipped = bool(np.abs(relevance).max() > limit)
    page.color_bar(right + 0.12, min(height, 1.6), clipped, colors=colors)
    page.top += height + 0.3


def _rows_caption(rows: Sequence[int], count: int) -> str:
    first, last = (rows[0], rows[min(count, MOST_ROWS) - 1]) if rows else (1, min(count, MOST_ROWS))
    return f"rows {first} to {last}, from left to right"


def _axes(page: Page, left: float, right: float, lines: int) -> tuple[Axes, float]:
    height = ROW * lines
    axes = page.axes(left, right - left, height)
    axes.set_ylim(lines - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    return axes, height


def _label(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(names)), labels=names, family=FONTS, parse_math=False)
    axes.tick_params(axis="y", labelsize=8.5, length=0)


def _room(names: Sequence[str]) -> float:
    return 0.15 + 0.074 * max(map(len, names))


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:29]}…"
