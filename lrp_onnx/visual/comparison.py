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
    columns = 1 if stacked else most + any(c.picture is not None for c in comparisons)
    inches = LONG_INCHES if stacked else INCHES.get(columns, SMALLEST)
    size = panel_size([comparisons[0].maps[0]], inches)
    page = Page(PAD + columns * (column_of(size[0]) + PAD) + BAR_SPACE)
    for one in comparisons:
        page.head(one.title, one.subtitle)
        panels, notes = comparison_panels(one, options)
        page.notes += notes
        has_input = one.picture is not None
        _draw(page, has_input, panels, size, most, ends, options, stacked)
    return page


def comparison_panels(one: Comparison, options: PictureOptions) -> tuple[list[Panel], list[str]]:
    """The input, if there is one, then the overlays, then the heatmaps, as far as they are asked
    for; and what should be said of them.
    """
    colors, every = colors_named(options.cmap), [drawn(r, options) for r in one.maps]
    limits = [options.limits or color_limit(shown.values) for shown in every]
    limits = [max(limits)] * len(limits) if one.one_scale else limits
    captions = [
        ", ".join(filter(None, (text, shown.done)))
        for text, shown in zip(one.captions, every, strict=True)
    ]
    notes = [note for shown in every for note in shown.notes]
    boxes = one.boxes or [None] * len(one.maps)
    sets = list(zip(every, limits, captions, boxes, strict=True))
    heatmaps = [Panel(shown.values, text, limit, colors, box) for shown, limit, text, box in sets]
    if one.picture is None:
        return heatmaps, notes
    first = Panel(one.picture, "input", box=boxes[0] if len({*boxes}) == 1 else None)
    if options.panel == "heatmap":
        return [first, *heatmaps], notes
    overlays = [
        Panel(shown.over(one.picture, limit, colors, options.opacity), text, box=box)
        for shown, limit, text, box in sets
    ]
    return [first, *overlays, *(heatmaps if options.panel == "all" else [])], notes


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

    stacked: whether the input has a row of its own.
    """
    first, rest = list(panels[:has_input]), panels[has_input:]
    if stacked and first:
        page.top += draw_row(page, first, *size) + size[1] + PAD
        has_input = False
    kinds = 2 if first and options.panel == "all" else 1
    each = len(rest) // kinds
    bar = None
    for start in range(0, each, most):
        for kind in range(kinds):
            own = [*rest[kind * each : (kind + 1) * each]][start : start + most]
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
