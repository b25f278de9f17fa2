"""Relevance of features as bars, of a text's tokens as colored words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lrp_onnx.errors import InputError, plain
from lrp_onnx.visual.heatmap import COLORS, LUMA, color_scale
from lrp_onnx.visual.page import FONTS, PAD, Page, boxes_for_missing_letters

__all__ = ["draw_bars", "draw_tokens"]

MOST_NAMED = 30  # more names than this cannot be read
INK = "#444444"
WORDS_LEFT, WORD_HEIGHT = PAD + 0.03, 0.27
CLOSER = 0.05  # inches that a punctuation mark stands nearer to its word


def draw_bars(
    page: Page,
    values: NDArray[np.float64],
    names: Sequence[str] | None,
    each: str = "feature",
) -> None:
    """One sample's features, (F): by name, the most relevant first, or in their own order.

    each: what is counted along them.
    """
    if names is not None and len(names) != len(values):
        fact = f"{len(names)} names for {len(values)} features"
        raise InputError(f"bars: {fact}. Give one name for each.")
    if names is None:
        _caption(page, values)
        _draw_sequence(page, values, each)
    else:
        _draw_named(page, values, names)


def draw_tokens(
    page: Page,
    values: NDArray[np.float64],
    tokens: Sequence[str],
    aside: str = "",
    limit: float | None = None,
) -> None:
    """One sample's tokens, each on its color; positions beyond the last token are left out.

    aside: what relevance is not that of a token. limit: what the darkest color stands for [the
    largest |R|].
    """
    if len(tokens) > len(values):
        fact = f"{len(tokens)} tokens for {len(values)} positions"
        raise InputError(f"text: {fact}. Give the tokens that the model was given.")
    own = float(np.nanmax(np.abs(values), initial=0)) or 1.0  # few words: none is an outlier
    scale = color_scale(limit or own)
    _caption(page, values, f"; and {aside}" * bool(aside))
    left, top = WORDS_LEFT, page.top
    for token, value in zip(tokens, values, strict=False):
        left -= CLOSER * (left > WORDS_LEFT and not any(map(str.isalnum, token)))
        word = _word(page, token, COLORS(scale(value)))
        with boxes_for_missing_letters():
            wide = word.get_window_extent().width / page.figure.dpi
        if left + wide > page.width - 1.2 and left > WORDS_LEFT:
            left, top = WORDS_LEFT, top + WORD_HEIGHT
        word.set_x(left / page.width)
        page.texts.append((word, top + WORD_HEIGHT / 2))
        left += wide + 0.11
    tall = max(0.8, top + WORD_HEIGHT - page.top)
    page.color_bar(page.width - 1.0, tall, clipped=limit is not None)
    page.top += tall + PAD


def _word(page: Page, token: str, color: tuple[float, ...]) -> Text:
    ink = "white" if np.dot(color[:3], LUMA) < 0.5 else "black"
    box = {"facecolor": color, "linewidth": 0, "pad": 2.5}
    return page.figure.text(
        0, 0, token or " ", fontsize=11, family=FONTS, color=ink, va="center", bbox=box,
        parse_math=False,
    )  # fmt: skip


def _caption(page: Page, values: NDArray[np.float64], note: str = "") -> None:
    text = f"relevance, sum {np.nansum(values):.4g}{note}"
    page.top += page.text(text, PAD, page.width) + 0.05


def _draw_sequence(page: Page, values: NDArray[np.float64], each: str) -> None:
    axes = page.axes(0.75, page.width - 0.75 - PAD, 2.0)
    positions = np.arange(len(values))
    colors = _colors(values)
    if len(values) <= 300:
        axes.bar(positions, values, width=0.85, color=colors)
    else:
        axes.vlines(positions, 0, values, colors=[tuple(c) for c in colors], linewidth=0.8)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xlabel(plain(each), fontsize=8.5, labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)
    page.top += 2.0 + 0.45


def _draw_named(page: Page, values: NDArray[np.float64], names: Sequence[str]) -> None:
    order = np.argsort(-np.abs(values), kind="stable")[:MOST_NAMED]
    cut = len(order) < len(values)
    _caption(page, values, f"; the {len(order)} largest of {len(values)}" if cut else "")
    shown = [_short(names[index]) for index in order]
    left = 0.4 + 0.078 * max(map(len, shown))
    height = 0.2 * len(order) + 0.1
    axes = page.axes(left, page.width - left - PAD, height)
    rows = np.arange(len(order))
    axes.barh(rows, values[order], height=0.75, color=_colors(values)[order])
    axes.set_yticks(rows, labels=shown, family=FONTS, parse_math=False)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    _plain(axes)
    page.top += height + 0.45


def _short(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"


def _colors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pale bars would hardly be seen, so their color says the sign and no more."""
    signs = np.where(values < 0, -0.6, 0.6)
    colors: NDArray[np.float64] = COLORS(color_scale(1.0)(signs))
    return colors


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8.5, length=2, width=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.5)
