"""Several explanations of one input side by side, the input once: classes, or composites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.heatmap import color_limit, colors_named
from lrp_onnx.visual.page import FOR_AND_AGAINST, PAD, Ends, Page
from lrp_onnx.visual.panel import (
    BAR_SPACE,
    LONG,
    LONG_INCHES,
    Box,
    Panel,
    column_of,
    draw_row,
    drawn,
    panel_size,
)

__all__ = ["Comparison", "comparison_page", "comparison_panels"]

COLUMNS = 6  # the input among them
INCHES = {2: 3.0, 3: 3.0, 4: 2.5}
SMALLEST = 2.1
TALLEST = 3.6
"""Inches of a picture of which there are two rows."""


@dataclass(frozen=True)
class Comparison:
    """One input and what speaks for what in it."""

    picture: NDArray[np.uint8] | None
    """(H, W, 3)"""
    maps: Sequence[NDArray[np.float64]]
    """(H, W) each"""
    captions: Sequence[str]
    title: str = ""
    subtitle: str = ""
    one_scale: bool = True
    """Whether the darkest color is the same relevance in all maps; else each has limits of its
    own, as maps of different composites need.
    """
    boxes: Sequence[Box | None] = ()
    """Of what each map explains."""


def comparison_page(
    comparisons: Sequence[Comparison],
    options: PictureOptions,
    ends: Ends = FOR_AND_AGAINST,
) -> Page:
    """Draw each input beside its maps, wrapped into rows of at most five maps; very wide ones below
    each other.
    """
    height, width = comparisons[0].maps[0].shape
    stacked = height < LONG * width
    most = 1 if stacked else min(COLUMNS - 1, max(len(c.maps) for c in comparisons))
    has_picture = any(c.picture is not None for c in comparisons)
    both = has_picture and options.panel == "all"
    columns = 1 + both if stacked else most + has_picture
    inches = LONG_INCHES / (1 + both) if stacked else INCHES.get(columns, SMALLEST)
    size = panel_size([comparisons[0].maps[0]], inches)
    if both and not stacked and size[1] > TALLEST:
        size = size[0] * TALLEST / size[1], TALLEST
    page = Page(PAD + columns * (column_of(size[0]) + PAD) + BAR_SPACE)
    for one in comparisons:
        panels, notes, said = comparison_panels(one, options)
        page.head(one.title, said)
        page.notes += notes
        has_input = one.picture is not None
        _draw(page, has_input, panels, size, most, ends, options, stacked)
    return page


def comparison_panels(
    one: Comparison, options: PictureOptions
) -> tuple[list[Panel], list[str], str]:
    """The input, if there is one, then the overlays, then the heatmaps, as far as they are asked
    for; what should be said of them; and the subtitle with what was done to all alike.
    """
    colors, every = colors_named(options.cmap), [drawn(r, options) for r in one.maps]
    limits = [options.limits or color_limit(shown.values) for shown in every]
    limits = [max(limits)] * len(limits) if one.one_scale else limits
    alike = len({shown.done for shown in every}) == 1
    subtitle = " · ".join(filter(None, (one.subtitle, every[0].done if alike else "")))
    captions = [
        ", ".join(filter(None, (text, "" if alike else shown.done)))
        for text, shown in zip(one.captions, every, strict=True)
    ]
    notes = [note for shown in every for note in shown.notes]
    boxes = one.boxes or [None] * len(one.maps)
    sets = list(zip(every, limits, captions, boxes, strict=True))
    heatmaps = [Panel(shown.values, text, limit, colors, box) for shown, limit, text, box in sets]
    if one.picture is None:
        return heatmaps, notes, subtitle
    first = Panel(one.picture, "input", box=boxes[0] if len({*boxes}) == 1 else None)
    if options.panel == "heatmap":
        return [first, *heatmaps], notes, subtitle
    overlays = [
        Panel(shown.over(one.picture, limit, colors, options.opacity), text, box=box)
        for shown, limit, text, box in sets
    ]
    return [first, *overlays, *(heatmaps if options.panel == "all" else [])], notes, subtitle


def _draw(
    page: Page,
    has_input: bool,
    panels: Sequence[Panel],
    size: tuple[float, float],
    most: int,
    ends: Ends,
    options: PictureOptions,
    stacked: bool,
) -> None:
    """Overlays in rows, the heatmap of each below it, the color bar beside the first.

    stacked: whether the input has a row of its own, and each heatmap stands beside its overlay.
    """
    first, rest = list(panels[:has_input]), panels[has_input:]
    if stacked and first:
        page.top += draw_row(page, first, *size) + size[1] + PAD
        has_input = False
    kinds = 2 if first and options.panel == "all" else 1
    each = len(rest) // kinds
    bar = None
    for start in range(0, each, most):
        for kind in range(1 if stacked else kinds):
            own = [*rest[kind * each : (kind + 1) * each]][start : start + most]
            if stacked and kinds == 2:
                own.append(replace(rest[each + start], caption=""))
            lead = [first[0] if start == kind == 0 else None] if has_input else []
            bare = kind > 0  # what stands above says what it is
            row = [*lead, *([replace(p, caption="") for p in own] if bare else own)]
            captions = draw_row(page, row, *size)
            bar = page.top + captions if bar is None else bar
            page.top += captions + size[1] + PAD
    bottom, page.top = page.top, bar or page.top
    clipped = any(panel.clipped for panel in panels)
    colors, tall = colors_named(options.cmap), min(bottom - PAD - page.top, 2.0)
    page.color_bar(
        page.width - BAR_SPACE + PAD, tall if stacked else size[1], clipped, ends, colors
    )
    page.top = bottom
