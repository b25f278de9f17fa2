"""Pictures of relevance as PNG files: heatmaps beside their input, grids, bars, colored text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError, OutputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.visual.charts import draw_bars, draw_tokens
from lrp_onnx.visual.heatmap import (
    COLORS,
    color_limit,
    norm,
    overlay,
    relevance_maps,
    shown_pictures,
)
from lrp_onnx.visual.page import PAD, Page

__all__ = ["Panel", "heatmap_png", "save_grid", "save_heatmap"]

MOST_SAMPLES = 16  # more would be no picture any more; a line says how many are left out
BAR_SPACE = 1.15  # inches for the color bar and its numbers
CHART_WIDTH = 7.0
GRID_PANEL = 1.6  # inches of one picture of a grid


@dataclass(frozen=True)
class Panel:
    """One picture of a grid: uint8 pixels, (H, W) or (H, W, 3), or a map of relevance, (H, W)."""

    image: NDArray[Any]
    caption: str = ""

    @property
    def limit(self) -> float | None:
        """The relevance that gets the darkest color; None for pixels."""
        return None if self.image.dtype == np.uint8 else color_limit(self.image)


def save_heatmap(
    path: str | os.PathLike[str],
    relevance: NDArray[Any],
    *,
    input: NDArray[Any] | None = None,
    title: str | Sequence[str] = "",
    axes: str | None = None,
    preprocess: Preprocess | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    what: str = "relevance",
) -> None:
    """Draw relevance into a PNG file, one row a sample (the first 16).

    relevance: (C, H, W), (H, W), (H, W, C), the same with a batch axis in front, or (F) features;
        anything else by `axes`, such as "NF" or "NCHW". Channels are summed.
    input: what the model was given, shaped like the relevance: it and an overlay are drawn beside.
    preprocess: how the input was made, so that it is shown as the picture it was.
    title: one for all, or one a sample. tokens: the words of each sample. names: of the features.
    metadata: kept in the file's text chunks. what: the captions' word for it, such as a method.
    Raises OutputError where the file cannot be written, InputError for an array it cannot draw.
    """
    _check_suffix(path)
    png = heatmap_png(
        relevance,
        input=input,
        title=title,
        axes=axes,
        preprocess=preprocess,
        tokens=tokens,
        names=names,
        metadata=metadata,
        what=what,
    )
    with atomic(path) as temporary:
        temporary.write_bytes(png)


def heatmap_png(
    relevance: NDArray[Any],
    *,
    input: NDArray[Any] | None = None,
    title: str | Sequence[str] = "",
    axes: str | None = None,
    preprocess: Preprocess | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    what: str = "relevance",
) -> bytes:
    """The bytes of the file that `save_heatmap` writes."""
    maps = relevance_maps(np.asarray(relevance), axes)
    per_sample = [*title] if not isinstance(title, str) else [""] * len(maps)
    if len(per_sample) != len(maps) or (tokens is not None and len(tokens) != len(maps)):
        raise InputError(f"heatmap: {len(maps)} samples. Give as many titles and lists of tokens.")
    if maps.ndim == 3:
        pictures = _pictures(input, axes, preprocess, len(maps))
        whole = title if isinstance(title, str) else ""
        page = _heatmap_page(maps, pictures, whole, per_sample, what)
    else:
        page = Page(CHART_WIDTH)
        _head(page, title if isinstance(title, str) else "", len(maps))
        for index, values in enumerate(maps[:MOST_SAMPLES]):
            page.title(per_sample[index])
            if tokens is not None:
                draw_tokens(page, values, tokens[index])
            else:
                draw_bars(page, values, names)
    return page.png(_chunks(metadata))


def save_grid(
    path: str | os.PathLike[str],
    rows: Sequence[Sequence[Panel]],
    *,
    title: str = "",
    row_titles: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Draw rows of panels into a PNG file: photo | heatmaps, or many digits and their heatmaps.

    Every heatmap has limits of its own, so one color bar without numbers stands for all.
    Raises OutputError where the file cannot be written.
    """
    _check_suffix(path)
    width, height = _panel_size([panel.image for row in rows for panel in row], GRID_PANEL)
    columns = max(len(row) for row in rows)
    page = Page(PAD + columns * (width + PAD) + BAR_SPACE)
    page.title(title)
    bar_top: float | None = None
    for row, row_title in zip(rows, row_titles or [""] * len(rows), strict=True):
        page.title(row_title)
        captions = _draw_row(page, row, width, height)
        bar_top = page.top + captions if bar_top is None else bar_top
        page.top += captions + height + PAD
    bottom, page.top = page.top, bar_top or page.top
    bar_height = min(2.0, bottom - PAD - page.top)
    page.color_bar(page.width - BAR_SPACE + PAD, bar_height, None, clipped=True)
    page.top = bottom
    with atomic(path) as temporary:
        temporary.write_bytes(page.png(_chunks(metadata)))


def _heatmap_page(
    maps: NDArray[np.float64],
    pictures: Sequence[NDArray[np.uint8] | None],
    title: str,
    titles: Sequence[str],
    what: str,
) -> Page:
    width, height = _panel_size([maps[0]], 3.0)
    columns = 1 if pictures[0] is None else 3
    page = Page(PAD + columns * (width + PAD) + BAR_SPACE)
    _head(page, title, len(maps))
    samples = zip(maps[:MOST_SAMPLES], pictures, titles, strict=False)
    for relevance, picture, text in samples:
        page.title(text)
        limit = color_limit(relevance)
        captions = _draw_row(page, _panels(relevance, picture, limit, what), width, height)
        page.top += captions
        clipped = bool(np.nanmax(np.abs(relevance), initial=0) > limit)
        page.color_bar(page.width - BAR_SPACE + PAD, height, limit, clipped)
        page.top += height + PAD
    return page


def _panels(
    relevance: NDArray[np.float64], picture: NDArray[np.uint8] | None, limit: float, what: str
) -> list[Panel]:
    broken = relevance.size - int(np.isfinite(relevance).sum())
    note = f"; {broken} values not finite" if broken else ""
    heatmap = Panel(relevance, f"{what}, sum {np.nansum(relevance):.4g}{note}")
    if picture is None:
        return [heatmap]
    mixed = Panel(overlay(picture, relevance, limit), f"{what} over input")
    return [Panel(picture, "input"), heatmap, mixed]


def _head(page: Page, title: str, count: int) -> None:
    page.title(title)
    if count > MOST_SAMPLES:
        page.top += page.text(f"the first {MOST_SAMPLES} of {count} samples", PAD, page.width)


def _draw_row(page: Page, row: Sequence[Panel], width: float, height: float) -> float:
    """Draw panels below their captions, not moving on; return the height of the captions."""
    lefts = [PAD + index * (width + PAD) for index in range(len(row))]
    start = page.top
    depths = [page.text(panel.caption, left, width) for panel, left in zip(row, lefts, strict=True)]
    captions = max(depths)
    page.top = start + captions
    for panel, left in zip(row, lefts, strict=True):
        _draw_panel(page.axes(left, width, height), panel, page.figure.dpi * width)
    page.top = start
    return captions


def _draw_panel(axes: Axes, panel: Panel, dots: float) -> None:
    axes.set_axis_off() if panel.limit is None else axes.set(xticks=[], yticks=[])
    axes.spines[:].set(linewidth=0.4, color="#999999")
    # single values stay sharp squares; where there are more of them than dots they are averaged
    smooth = "antialiased" if panel.image.shape[1] > dots else "nearest"
    scale = norm(panel.limit) if panel.limit is not None else norm(1.0)
    cmap = COLORS if panel.limit is not None else "gray"
    vmin_vmax = {"norm": scale} if panel.limit is not None else {"vmin": 0, "vmax": 255}
    axes.imshow(panel.image, cmap=cmap, interpolation=smooth, aspect="auto", **vmin_vmax)


def _panel_size(images: Sequence[NDArray[Any]], inches: float) -> tuple[float, float]:
    """One size for all, of the proportions of the first; very long pictures are drawn squashed."""
    height, width = images[0].shape[:2]
    aspect = float(np.clip(height / width, 0.2, 3.0))
    wide = inches * aspect**-0.25 if aspect < 1 else inches * aspect**-0.5
    return wide, wide * aspect


def _pictures(
    values: NDArray[Any] | None, axes: str | None, preprocess: Preprocess | None, count: int
) -> Sequence[NDArray[np.uint8] | None]:
    if values is None:
        return [None] * count
    pictures = shown_pictures(np.asarray(values), axes, preprocess)
    if len(pictures) != count:
        fact = f"{len(pictures)} inputs, but relevance of {count} samples"
        raise InputError(f"heatmap: {fact}. Give the input that was explained.")
    return list(pictures)


def _chunks(metadata: Mapping[str, str] | None) -> dict[str, str]:
    return {"Software": "lrp-onnx", **(metadata or {})}


def _check_suffix(path: str | os.PathLike[str]) -> None:
    if Path(path).suffix.lower() != ".png":
        raise OutputError(f"output '{path}': heatmaps are written as PNG. Name it with .png.")
