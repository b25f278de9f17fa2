"""The files that `explain` writes: a picture, a page or arrays, by the ending of the name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrp_onnx.answer.detection import corners_of
from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.answer.own_page import (
    noun_of,
    page_of,
    pictured_apart,
    pictured_input,
    write_csv,
)
from lrp_onnx.answer.results import class_count, top_channels
from lrp_onnx.answer.samples import Sample, note_on
from lrp_onnx.data.features import upright
from lrp_onnx.data.layout import PICTURE_CHANNELS, batched_axes, single_axes
from lrp_onnx.graph.arrays import Array
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import PictureOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result

if TYPE_CHECKING:
    from lrp_onnx.visual.drawing import Drawing
    from lrp_onnx.visual.page import Page
    from lrp_onnx.visual.panel import Box

__all__ = [
    "drawing_of",
    "noun_of",
    "thumbnail",
    "whole_page",
    "without_folders",
    "write",
    "write_drawing",
    "write_page",
]

ALIKE = 1e-3
"""How far apart sums of channels are that a rule as flat gives the same."""
SMALLEST_SPOT = 0.02
"""Half of the side of the square around one place of a map, in parts of the picture."""
NOT_DRAWN = (
    "without the box of the detection: its four numbers are no corners and no center and size in "
    "the picture, or not told apart"
)


def write(
    path: Path,
    explainer: Explainer,
    result: Result,
    inputs: Inputs,
    samples: Sequence[Sample],
    metadata: Mapping[str, str],
    options: PictureOptions,
) -> str:
    """Write the picture, the page or the arrays; return what was done to what is drawn and should
    be said, empty where that is nothing.
    """
    from lrp_onnx.visual.report import save_arrays

    if path.suffix.lower() == ".npz":
        arrays = {f"{name}_relevance": r for name, r in result.relevance.items()}
        save_arrays(path, {**result.outputs, **arrays}, metadata)
        return ""
    if path.suffix.lower() == ".csv":
        write_csv(path, explainer, result, inputs.table, samples)
        return ""
    own = whole_page(explainer, result, inputs, samples, options)
    if own is not None:
        return write_page(path, explainer, own, metadata)
    return write_drawing(
        path, explainer, drawing_of(explainer, result, inputs, samples, options), metadata
    )


def whole_page(
    explainer: Explainer,
    result: Result,
    inputs: Inputs,
    samples: Sequence[Sample],
    options: PictureOptions,
) -> Page | None:
    """The page of what is no picture, bars or words alone: of several explained inputs one below
    the other, each with its part of |relevance|.
    """
    parts = pictured_apart(explainer, inputs.table)
    if len(parts) == 1:
        return page_of(explainer, result, inputs, samples, options)
    from lrp_onnx.visual.page import joined

    pages, names = [], [json.loads(part.metadata["explained"]) for part in parts]
    for part in parts:
        own = page_of(part, result, inputs, samples, options)
        pages.append(own or drawing_of(part, result, inputs, samples, options).page())
    sizes = [sum(float(np.abs(result.relevance[n]).sum()) for n in group) for group in names]
    whole = sum(sizes) or 1.0
    headings = [
        f"{', '.join(group)}: {size / whole:.0%} of |{noun_of(explainer)}|"
        for group, size in zip(names, sizes, strict=True)
    ]
    return joined(pages, headings)


def thumbnail(
    explainer: Explainer,
    result: Result,
    inputs: Inputs,
    samples: Sequence[Sample],
    options: PictureOptions,
) -> bytes:
    """The first sample in one small picture, as PNG; nothing where there is none to draw."""
    from lrp_onnx.visual.report import thumbnail_of

    if len(json.loads(explainer.metadata["explained"])) != 1:
        return b""
    panels = drawing_of(explainer, result, inputs, samples, options).sample_panels(0)
    return thumbnail_of(panels[-1]) if panels else b""


def write_drawing(
    path: Path, explainer: Explainer, drawing: Drawing, metadata: Mapping[str, str]
) -> str:
    """Write what is drawn as a picture or a page; return what was done to it and should be said."""
    if path.suffix.lower() == ".html":
        return _write_page(path, explainer, drawing, metadata)
    page = drawing.page()
    page.save(path, metadata)
    return "; ".join(dict.fromkeys(page.notes))


def drawing_of(
    explainer: Explainer,
    result: Result,
    inputs: Inputs,
    samples: Sequence[Sample],
    options: PictureOptions,
) -> Drawing:
    """What is drawn of a result: a map of each sample, or of its K largest classes."""
    from lrp_onnx.visual.drawing import Drawing

    name, method = pictured_input(explainer), METHODS[explainer.metadata["method"]]
    text, tokens, asides = inputs.texts.get(name), None, list[str]()
    values: Array | None
    if text is None:
        relevance, values, axes = _pictured(explainer, name, result, inputs, len(samples))
    else:
        relevance, axes = text.sums(result.relevance[name]), "NF"
        values, tokens = None, [[word.text for word in text.words]] * len(samples)
        asides = [text.aside(result.relevance[name])] * len(samples)
    samples = [*samples] * (len(relevance) // len(samples))
    by = method.describe(explainer.metadata)
    count = class_count(explainer)
    together = f"{by} · probabilities by softmax" if samples[0].by_softmax else by
    boxes = [_box(sample, axes, relevance) for sample in samples]
    no_place = any(s.detection and not box for s, box in zip(samples, boxes, strict=True))
    return Drawing(
        relevance=relevance,
        input=values,
        axes=axes,
        preprocess=inputs.preprocess.get(name),
        tokens=tokens,
        asides=asides,
        titles=[sample.headline for sample in samples],
        subtitles=_subtitles(samples, by, relevance, axes),
        tables=[_table(explainer, sample) for sample in samples],
        what=method.noun,
        ends=method.ends,
        options=options,
        together=count or 1,
        headings=[f"The {count} largest classes"] * len(relevance) if count else (),
        by=together,
        boxes=boxes,
        each="feature" if values is None or values.dtype.kind == "f" else f"place in {name}",
        notes=[NOT_DRAWN] * no_place,
    )


def _subtitles(samples: Sequence[Sample], by: str, relevance: Array, axes: str) -> list[str]:
    """What stands below each title; of pictures of many channels, which are drawn as their sum,
    where most of it is.
    """
    texts = [sample.subtitle(by) for sample in samples]
    if axes == "NCHW" and relevance.shape[1] not in PICTURE_CHANNELS:
        channels = map(_most_in, relevance)
        texts = [f"{text} · {most}" for text, most in zip(texts, channels, strict=True)]
    return texts


def _most_in(relevance: Array) -> str:
    """Where most of the relevance [C, H, W] is, or that a rule gives every channel the same."""
    sums = relevance.sum(axis=(1, 2), dtype=np.float64)
    if np.ptp(sums) <= ALIKE * np.abs(sums).max():
        return f"the first layer's rule shares it out to all {len(sums)} channels alike"
    return f"channels {top_channels(relevance[None])}"


def _box(sample: Sample, axes: str, relevance: Array) -> Box | None:
    """Where the explained detection or the place of a map lies in the picture; None where there is
    none to draw.
    """
    from lrp_onnx.visual.panel import Box

    if not {"H", "W"} <= set(axes):
        return None
    if sample.spot is not None:
        down, right, size = sample.spot
        half = max(size / 2, SMALLEST_SPOT)
        return Box(right - half, down - half, right + half, down + half)
    if sample.detection is None:
        return None
    height, width = (relevance.shape[axes.index(axis)] for axis in "HW")
    corners = corners_of(sample.detection, height, width)
    return None if corners is None else Box(*corners, sample.headline.rpartition(", ")[0])


def write_page(path: Path, explainer: Explainer, page: Page, metadata: Mapping[str, str]) -> str:
    """Write a page as a picture or in HTML; return what was done to it and should be said."""
    from lrp_onnx.visual.report import Section, figure_of, save_html

    if path.suffix.lower() != ".html":
        page.save(path, metadata)
        return "; ".join(dict.fromkeys(page.notes))
    heading = f"{noun_of(explainer).capitalize()}: {Path(metadata['model']).name}"
    section = Section("", [figure_of(page)])
    save_html(path, [section], heading=heading, metadata=without_folders(metadata))
    return "; ".join(dict.fromkeys(page.notes))


def _write_page(
    path: Path, explainer: Explainer, drawing: Drawing, metadata: Mapping[str, str]
) -> str:
    from lrp_onnx.visual.heatmap import colors_named
    from lrp_onnx.visual.report import save_html

    sections, notes = drawing.sections()
    through = f", through {metadata['condition']}" if "condition" in metadata else ""
    save_html(
        path,
        sections,
        heading=f"{drawing.what.capitalize()}: {Path(metadata['model']).name}{through}",
        meaning=METHODS[explainer.metadata["method"]].meaning,
        ends=drawing.ends,
        colors=colors_named(drawing.options.cmap),
        metadata=without_folders(metadata),
    )
    return "; ".join(dict.fromkeys(notes))


def without_folders(metadata: Mapping[str, str]) -> dict[str, str]:
    """The same with the names of files alone: what goes out says nothing of the machine."""
    own = dict(metadata)
    for key in ("model", "input"):
        if key in own:
            own[key] = re.sub(r"[^=,]*[/\\]", "", own[key])
    return own


def _pictured(
    explainer: Explainer, name: str, result: Result, inputs: Inputs, samples: int
) -> tuple[Array, Array, str]:
    """Relevance and input with their samples along axis 0, and what each axis is."""
    relevance, values = result.relevance[name], inputs.feeds[name]
    if name in inputs.sounds and relevance.ndim == values.ndim == 3:
        return upright(relevance), upright(values), "NHW"
    layout = inputs.preprocess[name].layout if name in inputs.preprocess else None
    if not relevance.ndim or len(relevance) == samples:
        wanted = next(w for w in explainer.inputs if w.name == name)
        return relevance, values, layout or batched_axes(wanted.shape)
    axes = layout or single_axes(relevance.shape)
    if "N" in axes:
        return relevance, values, axes
    return relevance[None], values[None], f"N{axes}"


def _table(explainer: Explainer, sample: Sample) -> dict[str, str]:
    """What a page says of one sample."""
    from lrp_onnx.visual.report import table_rows

    metadata = explainer.metadata
    target = sample.explained or metadata["target"]
    if sample.start is None:
        return {
            "prediction": sample.prediction,
            "target": target,
            "method": METHODS[metadata["method"]].describe(metadata),
            f"sum of {noun_of(explainer)}": f"{sample.total:.5g}",
        }
    rows = table_rows(
        prediction=sample.prediction,
        target=target,
        composite=metadata["composite"],
        total=sample.total,
        start=sample.start,
    )
    note = note_on([sample])
    return rows | ({"note": note} if note else {})
