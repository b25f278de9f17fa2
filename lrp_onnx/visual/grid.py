"""Rows of pictures and maps, each map with limits of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from lrp_onnx.visual.page import PAD, Page, kind_of
from lrp_onnx.visual.panel import BAR_SPACE, Panel, column_of, draw_row, panel_size

__all__ = ["save_grid"]

GRID_PANEL = 1.6  # inches of one picture


def save_grid(
    path: str | os.PathLike[str],
    rows: Sequence[Sequence[Panel | None]],
    *,
    title: str = "",
    subtitle: str = "",
    row_titles: Sequence[str] | None = None,
    inches: float = GRID_PANEL,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Draw rows of panels: photo | heatmaps, or many digits and their heatmaps.

    Every heatmap has limits of its own, so one color bar without numbers stands for all.
    Raises OutputError where the file cannot be written.
    """
    kind_of(path)
    images = [panel.image for row in rows for panel in row if panel is not None]
    width, height = panel_size(images, inches)
    columns = max(len(row) for row in rows)
    page = Page(PAD + columns * (column_of(width) + PAD) + BAR_SPACE)
    page.head(title, subtitle)
    bar_top: float | None = None
    for row, row_title in zip(rows, row_titles or [""] * len(rows), strict=True):
        page.title(row_title)
        captions = draw_row(page, row, width, height)
        bar_top = page.top + captions if bar_top is None else bar_top
        page.top += captions + height + PAD
    bottom, page.top = page.top, bar_top or page.top
    bar_height = min(2.0, bottom - PAD - page.top)
    page.color_bar(page.width - BAR_SPACE + PAD, bar_height, clipped=True)
    page.top = bottom
    page.save(path, metadata or {})
