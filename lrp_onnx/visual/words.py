"""The relevance of words in a terminal or a page: each on its color, the largest in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from lrp_onnx.errors import plain
from lrp_onnx.visual.heatmap import COLORS, LUMA, color_scale

__all__ = ["colored_words", "html_words", "largest_words"]

MOST = 8


def colored_words(
    words: Sequence[str],
    apart: Sequence[bool],
    relevance: NDArray[np.float64],
    limit: float | None = None,
) -> Text:
    """The text as a line, each word on the color of its relevance.

    words: of the text, with their relevance, (words). apart: whether a blank stands before each.
    limit: what the darkest color stands for [the largest |R|].
    """
    line = Text()
    for word, is_apart, (ink, ground) in zip(words, apart, _colors(relevance, limit), strict=True):
        line.append(" " * (is_apart and bool(line)))
        line.append(word, Style(color=ink, bgcolor=ground))
    return line


def html_words(
    words: Sequence[str], relevance: NDArray[np.float64], limit: float | None = None
) -> str:
    """The text as a paragraph of HTML, each word on the color of its relevance, which is shown as
    a number where the pointer rests; punctuation stands at its word.
    """
    parts = list[str]()
    colors = _colors(relevance, limit)
    for word, value, (ink, ground) in zip(words, relevance, colors, strict=True):
        gap = " " if parts and any(map(str.isalnum, word)) else ""
        style = f"color: {ink}; background: {ground}"
        shown = escape(plain(word))
        parts.append(f'{gap}<span style="{style}" title="{value:+.4g}">{shown}</span>')
    return f'<p class="words">{"".join(parts)}</p>'


def _colors(relevance: NDArray[np.float64], limit: float | None) -> list[tuple[str, str]]:
    """Of each word the color of its letters and of its ground."""
    scale = color_scale(limit or float(np.abs(relevance).max(initial=0)) or 1.0)
    colors = [COLORS(scale(value))[:3] for value in relevance]
    inks = ["white" if np.dot(color, LUMA) < 0.5 else "black" for color in colors]
    return list(zip(inks, map(to_hex, colors), strict=True))


def largest_words(words: Sequence[str], relevance: NDArray[np.float64]) -> str:
    """The words with the most relevance, each with its own: `great +0.31, not -0.12`."""
    order = np.argsort(-np.abs(relevance), kind="stable")[:MOST]
    return ", ".join(f"{words[k]} {relevance[k]:+.3g}" for k in order)
