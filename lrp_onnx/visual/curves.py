"""Curves of pixel flipping as a PNG file: what is left of the score while units are replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lrp_onnx.visual.page import PAD, TEXT_POINTS, Page

__all__ = ["Line", "save_curves"]

WIDTH, HEIGHT = 4.2, 3.0  # of one pair of axes, in inches
LEFT = 0.55  # for the numbers beside them
COLORS = colormaps["tab10"]
GRAYS = ("#666666", "#999999", "#bbbbbb")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One curve in each of the panels: mean and standard error at the shares."""

    name: str
    means: Sequence[Float]
    errors: Sequence[Float]
    is_reference: bool = False


def save_curves(
    path: str | os.PathLike[str],
    share: Float,
    lines: Sequence[Line],
    panels: Sequence[str],
    *,
    title: str = "",
    score: str = "score",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Draw a panel for each order of replacement, all lines in each, and name them beside it.

    share: of units that are replaced, at which the lines are known. score: what the axis says.
    Raises OutputError where the file cannot be written.
    """
    names = max((len(line.name) for line in lines), default=0)
    legend = 0.55 + 0.075 * names
    page = Page(PAD + len(panels) * (LEFT + WIDTH + PAD) + legend)
    page.title(title)
    page.top += 0.25
    ends = _ends(lines)
    for number, panel in enumerate(panels):
        axes = page.axes(PAD + LEFT + number * (LEFT + WIDTH + PAD), WIDTH, HEIGHT)
        axes.set_ylim(*ends)
        _draw(axes, share, lines, number, panel, score if number == 0 else "")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=TEXT_POINTS, frameon=False,
        borderaxespad=0,
    )  # fmt: skip
    page.top += HEIGHT + 0.5
    page.save(path, metadata or {})


def _ends(lines: Sequence[Line]) -> tuple[float, float]:
    """The least and the largest value, with room around them; one scale for all panels."""
    values = np.concatenate([mean for line in lines for mean in line.means])
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low or 1.0)
    return low - room, high + room


def _draw(
    axes: Axes, share: Float, lines: Sequence[Line], number: int, panel: str, score: str
) -> None:
    references = 0
    for k, line in enumerate(lines):
        color = GRAYS[references % len(GRAYS)] if line.is_reference else COLORS(k % 10)
        references += line.is_reference
        mean, error = line.means[number], np.nan_to_num(line.errors[number])
        style = "--" if line.is_reference else "-"
        axes.plot(share, mean, style, color=color, linewidth=1.4, label=line.name)
        if not line.is_reference:
            low, high = mean - error, mean + error
            axes.fill_between(share, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_title(panel, fontsize=TEXT_POINTS + 0.5, loc="left")
    axes.set_xlabel("share of units replaced", fontsize=TEXT_POINTS)
    axes.set_ylabel(score, fontsize=TEXT_POINTS)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=TEXT_POINTS, length=2, width=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.5)
    axes.grid(linewidth=0.3, color="#dddddd")
