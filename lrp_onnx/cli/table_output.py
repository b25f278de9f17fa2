"""The answer for a table: a chart, or the relevance of each row and column as .csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.cli.samples import Sample
from lrp_onnx.data.table import Table
from lrp_onnx.errors import OutputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.graph.session import Array
from lrp_onnx.run.explainer import Explainer, Result

if TYPE_CHECKING:
    from lrp_onnx.visual.page import Page

__all__ = ["page_of", "write_csv"]


def page_of(
    explainer: Explainer, result: Result, table: Table, title: str, subtitle: str, noun: str
) -> Page:
    """One row's columns, or all rows beside their mean."""
    from lrp_onnx.visual.table import table_page

    columns, relevance = _joined(explainer, table, result.relevance)
    _, values = _joined(explainer, table, table.feeds)
    values = values.repeat(len(relevance) // len(values), 0)
    shown = [[f"{value:.4g}" for value in row] for row in values]
    rows = np.repeat(table.rows, len(relevance) // len(table.rows)).tolist()
    return table_page(relevance, columns, shown, rows, title, subtitle, noun)


def write_csv(
    path: Path, explainer: Explainer, result: Result, table: Table | None, samples: Sequence[Sample]
) -> None:
    """A line for each row: its number, its prediction, and the relevance of each column.

    Raises OutputError where the input is no table.
    """
    if table is None:
        raise OutputError(
            f"output '{path}': a .csv has the columns of a table, and the input is none. Write "
            ".npz."
        )
    columns, relevance = _joined(explainer, table, result.relevance)
    rows = np.repeat(table.rows, len(relevance) // len(table.rows)).tolist()
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "prediction", "explained", *columns])
        for row, sample, own in zip(rows, samples, relevance, strict=True):
            numbers = [f"{value:.7g}" for value in own]
            writer.writerow([row, sample.prediction, sample.explained, *numbers])


def _joined(
    explainer: Explainer, table: Table, arrays: Mapping[str, Array]
) -> tuple[list[str], NDArray[np.float64]]:
    """The columns that are explained, and what the arrays hold of them, [N, columns]."""
    names = [n for n in json.loads(explainer.metadata["explained"]) if n in table.columns]
    parts = [np.asarray(arrays[name]).astype(np.float64) for name in names]
    columns = [column for name in names for column in table.columns[name]]
    return columns, np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
