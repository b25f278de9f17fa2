"""The relevance of words in a terminal: each on its color, and the largest in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from lrp_onnx.visual.heatmap import COLORS, LUMA, norm

__all__ = ["colored_words", "largest_words"]

MOST = 8


def colored_words(
    words: Sequence[str], apart: Sequence[bool], relevance: NDArray[np.float64]
) -> Text:
    """The text as a line, each word on the color of its relevance.

    words: of the text, with their relevance, (words). apart: whether a blank stands before each.
    """
    scale = norm(float(np.abs(relevance).max(initial=0)) or 1.0)
    line = Text()
    for word, is_apart, value in zip(words, apart, relevance, strict=True):
        color = COLORS(scale(value))[:3]
        ink = "white" if np.dot(color, LUMA) < 0.5 else "black"
        level = "".join(f"{round(255 * part):02x}" for part in color)
        line.append(" " * (is_apart and bool(line)))
        line.append(word, Style(color=ink, bgcolor=f"#{level}"))
    return line


def largest_words(words: Sequence[str], relevance: NDArray[np.float64]) -> str:
    """The words with the most relevance, each with its own: `great +0.31, not -0.12`."""
    order = np.argsort(-np.abs(relevance), kind="stable")[:MOST]
    return ", ".join(f"{words[k]} {relevance[k]:+.3g}" for k in order)
