"""Answers with a page of their own: charts of tables, lines of sound and other series, slices of
volumes; and the relevance of a table's rows and columns as .csv.
"""

from __future__ import annotations

import copy
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.answer.samples import Sample
from lrp_onnx.data.table import Table
from lrp_onnx.errors import OutputError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import PictureOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result

if TYPE_CHECKING:
    from lrp_onnx.visual.page import Page

__all__ = [
    "lines_of",
    "noun_of",
    "page_of",
    "pictured_apart",
    "pictured_input",
    "title_of_rows",
    "write_csv",
]

MOST_LINES = 12
"""Channels of a series that are drawn as lines: more are a picture, as spectrograms are."""
MOST_TOLD = 4
"""Classes of the rows of a table that a title names."""
SHORTEST = 4
"""How many times longer than its channels are many a series is."""
LONGEST_CELL = 24
"""Letters of a category that a picture shows."""


def noun_of(explainer: Explainer) -> str:
    """The word for what the model computes: relevance, or a gradient method."""
    return METHODS[explainer.metadata["method"]].noun


def page_of(
    explainer: Explainer,
    result: Result,
    inputs: Inputs,
    samples: Sequence[Sample],
    options: PictureOptions,
) -> Page | None:
    """The page of a table, a series or a volume; None for what is drawn as a picture, as bars or
    words.
    """
    method = METHODS[explainer.metadata["method"]]
    by = method.describe(explainer.metadata)
    if inputs.table is not None and _is_of_table(explainer, inputs.table):
        title, subtitle = samples[0].headline, samples[0].subtitle(by)
        if len(samples) > 1:
            title, subtitle = (
                title_of_rows(samples, inputs.table.name),
                f"of each row its prediction · {by}",
            )
        return _table_page(explainer, result, inputs.table, title, subtitle, options)
    name = pictured_input(explainer)
    if name in inputs.texts:
        return None
    sound = inputs.sounds.get(name)
    relevance, values = np.asarray(result.relevance[name]), np.asarray(inputs.feeds[name])
    lines = lines_of(values, sound is not None)
    if values.ndim == 5:
        return _volume_page(explainer, relevance, values, samples, options)
    if lines is None:
        return None
    from lrp_onnx.visual.series import series_page

    maps = lines_of(relevance, sound is not None)
    return series_page(
        np.asarray(maps, np.float64),
        np.asarray(lines, np.float64).repeat(len(relevance) // len(values), 0),
        [sample.headline for sample in samples],
        [sample.subtitle(by) for sample in samples],
        rate=None if sound is None else sound.rate,
        what=method.noun,
        ends=method.ends,
        options=options,
    )


def _is_of_table(explainer: Explainer, table: Table) -> bool:
    return any(name in table.columns for name in json.loads(explainer.metadata["explained"]))


def title_of_rows(samples: Sequence[Sample], name: str) -> str:
    """What is explained of many rows: `8 rows of bc.csv: benign (1) 7 times, bad (0) once`."""
    each = Counter(sample.headline.rpartition(", ")[0] for sample in samples).most_common()
    told = [f"{text} {'once' if n == 1 else f'{n} times'}" for text, n in each[:MOST_TOLD] if text]
    told += [f"{len(each) - MOST_TOLD} others"] * (len(each) > MOST_TOLD)
    return f"{len(samples)} rows of {name}{': ' * bool(told)}{', '.join(told)}"


def _volume_page(
    explainer: Explainer,
    relevance: Array,
    values: Array,
    samples: Sequence[Sample],
    options: PictureOptions,
) -> Page:
    """Slices of a volume [N, C, D, H, W], with its channels first, second or last, or frames of a
    clip: that is one whose channels are three.
    """
    from lrp_onnx.visual.volume import volume_page

    method = METHODS[explainer.metadata["method"]]
    channels = next((k for k in (1, 2, 4) if values.shape[k] in (1, 3)), 1)
    maps = relevance.astype(np.float64).sum(axis=channels)
    pictures = np.moveaxis(values.astype(np.float64), channels, -1)
    by = method.describe(explainer.metadata)
    return volume_page(
        maps,
        pictures.repeat(len(maps) // len(pictures), 0),
        [sample.headline for sample in samples],
        [sample.subtitle(by) for sample in samples],
        is_clip=values.shape[channels] == 3,
        ends=method.ends,
        options=options,
    )


def lines_of(values: Array, is_sound: bool) -> Array | None:
    """An input as lines, (N, channels, length); None where it has too many to be lines.

    is_sound: whether it is one, whatever its rank.
    """
    if is_sound and values.ndim < 3:
        return values.reshape(-1, 1, values.shape[-1])
    if values.ndim != 3:
        return None
    _, first, last = values.shape
    if first <= MOST_LINES and last >= SHORTEST * first:
        return values
    if last <= MOST_LINES and first >= SHORTEST * last:
        return values.transpose(0, 2, 1)
    return None


def pictured_input(explainer: Explainer) -> str:
    """The one explained input."""
    (name,) = json.loads(explainer.metadata["explained"])
    return str(name)


def pictured_apart(explainer: Explainer, table: Table | None) -> list[Explainer]:
    """What would explain each input alone, whose picture stands below that of the others; the
    columns of a table together.
    """
    names: list[str] = json.loads(explainer.metadata["explained"])
    of_table = [name for name in names if table is not None and name in table.columns]
    groups = [of_table] * bool(of_table) + [[name] for name in names if name not in of_table]
    if len(groups) == 1:
        return [explainer]
    parts = []
    for group in groups:
        parts.append(copy.copy(explainer))
        parts[-1].metadata = {**explainer.metadata, "explained": json.dumps(group)}
    return parts


def write_csv(
    path: Path, explainer: Explainer, result: Result, table: Table | None, samples: Sequence[Sample]
) -> None:
    """A line for each row: its number, its prediction, and the relevance of each column.

    Raises OutputError where the input is no table.
    """
    if table is None:
        raise OutputError(
            f"output '{path}': a .csv has the columns of a table, and this input is no table. "
            "Write .npz."
        )
    columns, relevance = _joined(explainer, table, result.relevance)
    rows = np.repeat(table.rows, len(relevance) // len(table.rows)).tolist()
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "prediction", "explained", *columns])
        for row, sample, own in zip(rows, samples, relevance, strict=True):
            numbers = [f"{value:.7g}" for value in own]
            writer.writerow([row, sample.prediction, sample.explained, *numbers])


def _table_page(
    explainer: Explainer,
    result: Result,
    table: Table,
    title: str,
    subtitle: str,
    options: PictureOptions,
) -> Page:
    """One row's columns, or all rows beside their mean."""
    from lrp_onnx.visual.table import table_page

    columns, relevance = _joined(explainer, table, result.relevance)
    _, values = _joined(explainer, table, table.feeds)
    shown = [list(map(_cell, row)) for row in values.repeat(len(relevance) // len(values), 0)]
    rows = np.repeat(table.rows, len(relevance) // len(table.rows)).tolist()
    return table_page(relevance, columns, shown, rows, title, subtitle, noun_of(explainer), options)


def _cell(value: object) -> str:
    """A number or a category of a table."""
    text = value if isinstance(value, str) else f"{value:.4g}"
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _joined(
    explainer: Explainer, table: Table, arrays: Mapping[str, Array]
) -> tuple[list[str], Array]:
    """The columns that are explained, and what the arrays hold of them, [N, columns]."""
    names = [n for n in json.loads(explainer.metadata["explained"]) if n in table.columns]
    parts = [np.asarray(arrays[name]) for name in names]
    parts = [part if part.dtype == object else part.astype(np.float64) for part in parts]
    columns = [column for name in names for column in table.columns[name]]
    return columns, np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
