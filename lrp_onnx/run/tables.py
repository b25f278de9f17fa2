"""Results as tables: of pandas, and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import InputError

__all__ = ["arrays_html", "frame_of", "table_html"]


def frame_of(
    relevance: NDArray[Any],
    values: NDArray[Any] | None = None,
    axes: Sequence[str] = (),
    words: Sequence[str] | None = None,
    kind: str = "word",
) -> Any:
    """A pandas.DataFrame with a row for each element: its place, its value, its relevance.

    relevance: any shape. values: of the input, where they are of that shape. axes: names of the
    axes [sample, axis 1, …]. words: what stands at each place of the last axis, of that kind.
    Raises InputError where pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise InputError("a table needs pandas. Install it: pip install pandas.") from error
    names = [*axes] or ["sample", *(f"axis {k}" for k in range(1, relevance.ndim))]
    places = np.indices(relevance.shape).reshape(relevance.ndim, -1)
    columns: dict[str, Any] = dict(zip(names, places, strict=False))
    if words is not None:
        columns[kind] = [word for _, word in product(range(len(relevance)), words)]
    if values is not None and values.shape == relevance.shape:
        columns["value"] = values.ravel()
    return pandas.DataFrame({**columns, "relevance": relevance.ravel()})


def arrays_html(outputs: Mapping[str, Any], relevance: Mapping[str, Any]) -> str:
    """A row for each array: what it is, its shape, its sum and largest absolute value."""
    rows = [_row("output", name, value) for name, value in outputs.items()]
    rows += [_row("relevance of", name, value) for name, value in relevance.items()]
    return table_html(["", "name", "shape", "sum", "largest"], rows)


def table_html(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"


def _row(what: str, name: str, value: Any) -> list[str]:
    if not isinstance(value, np.ndarray):
        return [what, name, type(value).__name__, "", ""]
    if value.dtype.kind not in "iufb" or not value.size:
        return [what, name, str(list(value.shape)), "", ""]
    numbers = value.astype(np.float64)
    sums = f"{numbers.sum():.5g}", f"{np.abs(numbers).max():.5g}"
    return [what, name, str(list(value.shape)), *sums]
