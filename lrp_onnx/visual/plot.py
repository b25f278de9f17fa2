"""Pictures of relevance: heatmaps beside their input, bars, colored text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.arguments import as_array, checked
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.charts import draw_bars, draw_tokens
from lrp_onnx.visual.heatmap import color_limit, colors_named, relevance_maps, shown_pictures
from lrp_onnx.visual.page import FOR_AND_AGAINST, PAD, Ends, Page, kind_of
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

__all__ = ["MOST_SAMPLES", "heatmap_page", "picture_panels", "pictures_of", "save_heatmap"]

MOST_SAMPLES = 16  # more would be no picture any more; a line says how many are left out
CHART_WIDTH = 7.0
PLAIN = PictureOptions()


@checked
def save_heatmap(
    path: str | os.PathLike[str],
    relevance: NDArray[Any],
    *,
    input: NDArray[Any] | None = None,
    title: str | Sequence[str] = "",
    subtitle: str | Sequence[str] = "",
    axes: str | None = None,
    preprocess: Preprocess | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    what: str = "relevance",
    ends: Ends = FOR_AND_AGAINST,
    options: PictureOptions = PLAIN,
) -> None:
    """Draw relevance into a PNG, JPEG, SVG or PDF file, one row a sample (the first 16).

    relevance: (C, H, W), (H, W), (H, W, C), the same with a batch axis in front, or (F) features;
        anything else by `axes`, such as "NF" or "NCHW". Channels are summed.
    input: what the model was given, shaped like the relevance: it and an overlay are drawn beside.
    preprocess: how the input was made, so that it is shown as the picture it was.
    title, subtitle: one for all, or one a sample. tokens: the words of each sample. names: of the
        features.
    metadata: kept in the file. what: the captions' word for it, such as a method. ends: what the
        lowest and the highest color stand for. options: how it is drawn.
    Raises OutputError where the file cannot be written, InputError for an array it cannot draw.
    """
    kind_of(path)
    page = heatmap_page(
        relevance,
        input=input,
        title=title,
        subtitle=subtitle,
        axes=axes,
        preprocess=preprocess,
        tokens=tokens,
        names=names,
        what=what,
        ends=ends,
        options=options,
    )
    page.save(path, metadata or {})


def heatmap_page(
    relevance: NDArray[Any],
    *,
    input: NDArray[Any] | None = None,
    title: str | Sequence[str] = "",
    subtitle: str | Sequence[str] = "",
    axes: str | None = None,
    preprocess: Preprocess | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    what: str = "relevance",
    ends: Ends = FOR_AND_AGAINST,
    options: PictureOptions = PLAIN,
    boxes: Sequence[Box | None] = (),
    asides: Sequence[str] = (),
    each: str = "feature",
) -> Page:
    """The page that `save_heatmap` writes.

    boxes: one a sample, of what is explained. asides: what relevance of each is not that of a word.
    each: what is counted along bars.
    """
    maps = relevance_maps(as_array(relevance, "relevance"), axes)
    titles, subtitles = _each(title, len(maps)), _each(subtitle, len(maps))
    if tokens is not None and len(tokens) != len(maps):
        raise InputError(f"heatmap: {len(maps)} samples. Give as many lists of tokens.")
    if maps.ndim == 3:
        pictures = pictures_of(input, axes, preprocess, len(maps))
        for picture in pictures:
            if picture is not None and picture.shape[:2] != maps.shape[1:]:
                sizes = (
                    f"{list(picture.shape[:2])} places, and the relevance {list(maps.shape[1:])}"
                )
                raise InputError(f"input: it has {sizes}. Give the input that was explained.")
        own = boxes or [None] * len(maps)
        return _picture_page(maps, pictures, titles, subtitles, what, ends, options, own)
    page = Page(CHART_WIDTH)
    _say_how_many(page, len(maps))
    for index, values in enumerate(maps[:MOST_SAMPLES]):
        page.head(titles[index], subtitles[index])
        if tokens is not None:
            aside = asides[index] if asides else ""
            draw_tokens(page, values, tokens[index], aside, options.limits)
        else:
            draw_bars(page, values, names, each)
    return page


def pictures_of(
    values: NDArray[Any] | None, axes: str | None, preprocess: Preprocess | None, count: int
) -> Sequence[NDArray[np.uint8] | None]:
    """The inputs of that many samples as pictures (H, W, 3).

    Raises InputError for another number.
    """
    if values is None:
        return [None] * count
    pictures = shown_pictures(as_array(values, "input"), axes, preprocess)
    if len(pictures) != count:
        fact = f"{len(pictures)} inputs, but relevance of {count} samples"
        raise InputError(f"heatmap: {fact}. Give the input that was explained.")
    return list(pictures)


def _each(text: str | Sequence[str], count: int) -> Sequence[str]:
    """A text for each sample: of one for all the first has it, and the others have none."""
    each = [text, *[""] * (count - 1)] if isinstance(text, str) else [*text]
    if len(each) != count:
        raise InputError(f"heatmap: {count} samples. Give as many titles.")
    return each


def _picture_page(
    maps: NDArray[np.float64],
    pictures: Sequence[NDArray[np.uint8] | None],
    titles: Sequence[str],
    subtitles: Sequence[str],
    what: str,
    ends: Ends,
    options: PictureOptions,
    boxes: Sequence[Box | None],
) -> Page:
    rows, columns_of_map = maps[0].shape
    stacked = rows < LONG * columns_of_map
    width, height = panel_size([maps[0]], LONG_INCHES if stacked else 3.0)
    columns = 3 if options.panel == "all" and pictures[0] is not None and not stacked else 1
    page = Page(PAD + columns * (column_of(width) + PAD) + BAR_SPACE)
    _say_how_many(page, len(maps))
    colors = colors_named(options.cmap)
    samples = zip(maps[:MOST_SAMPLES], pictures, titles, subtitles, boxes, strict=False)
    for relevance, picture, title, subtitle, box in samples:
        page.head(title, subtitle)
        panels, notes = picture_panels(relevance, picture, what, options, box)
        page.notes += notes
        first, beside = None, [[panel] for panel in panels] if stacked else [panels]
        for row in beside:
            page.top += draw_row(page, row, width, height)
            first = page.top if first is None else first
            page.top += height + PAD
        bottom, page.top = page.top, first or page.top
        clipped = any(panel.clipped for panel in panels)
        tall = min(bottom - PAD - page.top, 2.0) if stacked else height
        page.color_bar(page.width - BAR_SPACE + PAD, tall, clipped, ends, colors)
        page.top = bottom
    return page


def picture_panels(
    relevance: NDArray[np.float64],
    picture: NDArray[np.uint8] | None,
    what: str,
    options: PictureOptions,
    box: Box | None = None,
) -> tuple[list[Panel], list[str]]:
    """The panels of one map (H, W) and its input (H, W, 3), and what should be said of them.

    box: of what is explained.
    """
    colors, shown = colors_named(options.cmap), drawn(relevance, options)
    limit = options.limits or color_limit(shown.values)
    broken = relevance.size - int(np.isfinite(relevance).sum())
    notes = [shown.done, f"{broken} values not finite" if broken else ""]
    note = "".join(f", {text}" for text in notes if text)
    heatmap = Panel(shown.values, f"{what}{note}", limit, colors, box)
    if picture is None or options.panel == "heatmap":
        return [heatmap], shown.notes
    mixed = shown.over(picture, limit, colors, options.opacity)
    if options.panel == "overlay":
        return [Panel(mixed, f"{what} over input{note}", box=box)], shown.notes
    over = Panel(mixed, f"{what} over input", box=box)
    panels = [Panel(picture, "input", box=box), heatmap, over]
    return panels, shown.notes


def _say_how_many(page: Page, count: int) -> None:
    if count > MOST_SAMPLES:
        page.top += page.text(f"the first {MOST_SAMPLES} of {count} samples", PAD, page.width)
