"""Rows of a table as a model's inputs: .csv, .tsv or .parquet, by the names of the columns or in
their order.

A model takes a table as one matrix [N, features], or as an input [N, 1] for each column, as
converters of scikit-learn's pipelines make it. Text goes to inputs of text, in front of whose
encoder the categories are that the model knows.
"""

from __future__ import annotations

import csv
import itertools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.source_file import ordinary

__all__ = ["SUFFIXES", "Table", "is_table", "read_table"]

SUFFIXES = (".csv", ".tsv", ".parquet")
NO_FEATURES = {"target", "label", "class", "y", "id", "index", "unnamed: 0", "prediction"}
"""Names of columns that hold the answer, or count the rows."""
MOST_SHOWN = 6


@dataclass(frozen=True)
class Table:
    """Rows of a table, as a model takes them."""

    name: str
    """Of its file."""
    feeds: Mapping[str, Array]
    columns: Mapping[str, Sequence[str]]
    """The names of the columns of each input."""
    rows: Sequence[int]
    """The number of each row in the file, from 1."""
    notice: str | None = None
    """Which columns were left out, in words."""
    zeros: Mapping[str, object] = field(default_factory=dict)
    """By input of categories the one that the model's encoder counts as 0."""


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is read as a table."""
    return Path(path).suffix.lower() in SUFFIXES


def read_table(
    path: str | os.PathLike[str],
    inputs: Sequence[Wanted],
    row: int | None = None,
) -> Table:
    """The rows of a table, or one of them, for the inputs of a model.

    row: its number, from 1. Raises InputError where the file cannot be read, pandas is not
    installed, or columns are missing, too many or of another kind.
    """
    frame, named = _read(Path(path))
    if row is not None and not 1 <= row <= len(frame):
        raise InputError(f"'{path}' has {len(frame)} rows, and no row {row}. Count from 1.")
    rows = range(len(frame)) if row is None else range(row - 1, row)
    if not len(frame):
        raise InputError(f"'{path}' has no rows. Give a table with at least one.")
    columns, notice = _columns(frame, inputs, named, str(path))
    feeds = {}
    for wanted in inputs:
        parts = [_values(frame[c].iloc[list(rows)], wanted, str(path), named)
                 for c in columns[wanted.name]]  # fmt: skip
        _check_known(parts[0], wanted.known, columns[wanted.name][0], path)
        _check_batch(wanted, len(rows), path)
        array = np.stack(parts, 1)
        feeds[wanted.name] = array[:, 0] if len(wanted.shape) == 1 else array
    names = {n: [str(c) if named else f"column {c + 1}" for c in cs] for n, cs in columns.items()}
    zeros = {w.name: w.zero for w in inputs if w.zero is not None}
    return Table(Path(path).name, feeds, names, [k + 1 for k in rows], notice, zeros)


def _read(path: Path) -> tuple[Any, bool]:
    """The table, and whether its columns have names."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise InputError(
            f"'{path}': tables are read by pandas, which is not installed. Install it: "
            "pip install 'lrp-onnx[table]'."
        ) from error
    try:
        if ordinary(path).suffix.lower() == ".parquet":
            return pandas.read_parquet(path), True
        named, separator = _head(path)
        with warnings.catch_warnings(action="error", category=pandas.errors.ParserWarning):
            frame = pandas.read_csv(
                path,
                sep=separator,
                header=0 if named else None,
                skipinitialspace=True,
                index_col=False,  # else values without a name shift the others
            )
        return frame, named
    except pandas.errors.ParserWarning as error:
        raise InputError(
            f"'{path}': a row has more values than the first has names. Name each column."
        ) from error
    except DAMAGED as error:
        fact = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"'{path}': {fact}. Give a table with one row a sample.") from error


DAMAGED = (
    *(OSError, ValueError, ImportError, csv.Error, TypeError, KeyError, IndexError, OverflowError),
    *(MemoryError, RecursionError, NotImplementedError, AttributeError),
)
"""What pandas and PyArrow raise on files that are no table, or a damaged one."""


def _head(path: Path) -> tuple[bool, str]:
    """Whether the first line names the columns, as it does where it holds no number, and what
    stands between them.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = "".join(itertools.islice(file, 5))
    separator = max(",;\t", key=lines.partition("\n")[0].count)
    first = next(csv.reader([lines.partition("\n")[0].strip()], delimiter=separator), [])
    return not any(_is_number(cell) for cell in first), separator


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(
    frame: Any, inputs: Sequence[Wanted], named: bool, path: str
) -> tuple[dict[str, list[Any]], str | None]:
    """The columns that each input takes, and which are left out, in words."""
    every = list(frame.columns)
    by_plain = {_plain(str(column)): column for column in every}
    alone = all(_width(w) == 1 for w in inputs)
    if named and alone and all(_plain(w.name) in by_plain for w in inputs):
        columns = {w.name: [by_plain[_plain(w.name)]] for w in inputs}
    else:
        columns = _in_order(every, inputs, path)
    used = {column for own in columns.values() for column in own}
    left = [str(column) for column in every if column not in used]
    if not left:
        return columns, None
    shown = ", ".join(left[:MOST_SHOWN]) + ", …" * (len(left) > MOST_SHOWN)
    return columns, f"'{path}': left out {shown}"


def _in_order(every: Sequence[Any], inputs: Sequence[Wanted], path: str) -> dict[str, list[Any]]:
    widths = {w.name: _width(w) for w in inputs}
    open_ones = [name for name, width in widths.items() if width is None]
    wanted = sum(width for width in widths.values() if width is not None)
    own = list(every)
    if len(own) > wanted and not open_ones:
        own = [column for column in own if _plain(str(column)) not in NO_FEATURES]
    if len(open_ones) > 1 or len(own) < wanted or (len(own) != wanted and not open_ones):
        names = ", ".join(map(str, every[:MOST_SHOWN])) + ", …" * (len(every) > MOST_SHOWN)
        several = f" in {len(inputs)} inputs" if len(inputs) > 1 else ""
        raise InputError(
            f"'{path}' has {len(every)} columns ({names}), and the model wants {wanted}{several}. "
            "Give those it was trained with, in its order or by the names of its inputs."
        )
    columns, place = {}, 0
    for name, width in widths.items():
        size = len(own) - wanted if width is None else width
        columns[name] = own[place : place + size]
        place += size
    return columns


def _width(wanted: Wanted) -> int | None:
    """How many columns an input takes; None where that is open."""
    if len(wanted.shape) == 1:
        return 1
    size = wanted.shape[-1] if len(wanted.shape) == 2 else 0
    if size == 0:
        raise InputError(
            f"input {wanted.name!r} has {len(wanted.shape)} axes: it takes no rows of a table. "
            "Give it as .npy."
        )
    return size if isinstance(size, int) and size > 0 else None


def _plain(name: str) -> str:
    """Converters write `petal_length` for `petal length (cm)`."""
    return "".join(c if c.isalnum() else " " for c in name.casefold()).strip()


def _values(column: Any, wanted: Wanted, path: str, named: bool) -> Array:
    """The values of a column as the input takes them."""
    if wanted.dtype == object:
        return np.array([str(value) for value in column], object)
    name = column.name if named else f"column {column.name + 1}"
    try:
        values = column.to_numpy(np.float64)
    except (ValueError, TypeError, OverflowError):
        strange = (str(value) for value in column if not _is_number(str(value)))
        text = next(strange, str(column.iloc[0]))
        raise InputError(
            f"'{path}', {name!r}: {text!r} is no number, and the model takes {wanted.dtype} there. "
            "Write the number that it was trained with, or leave the column out."
        ) from None
    if wanted.dtype.kind in "iub":
        _check_whole(values, wanted.dtype, f"'{path}', {name!r}")
    with np.errstate(over="ignore"):
        cast = values.astype(wanted.dtype)
    large = values[np.isinf(cast)]
    if large.size:
        raise InputError(
            f"'{path}', {name!r}: {large[0]:g} is too large for {wanted.dtype}. Scale or correct "
            "it."
        )
    return np.asarray(cast)


def _check_whole(values: Array, dtype: np.dtype[Any], where: str) -> None:
    """Raise InputError for what an input of whole numbers cannot hold."""
    if broken := int(np.isnan(values).sum()):
        raise InputError(f"{where}: {broken} values are missing. Fill them in.")
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    wrong = values[(values != np.rint(values)) | (values < low) | (values > high)]
    if wrong.size:
        raise InputError(
            f"{where}: {wrong[0]:g} is none of the whole numbers that the model takes there "
            f"({dtype}). Write the number that it was trained with."
        )


def _check_known(
    values: Array, known: Sequence[Any], column: Any, path: str | os.PathLike[str]
) -> None:
    """Raise InputError for a category that the model's encoder does not have."""
    strange = [value for value in values.tolist() if known and value not in known]
    if strange:
        listing = ", ".join(map(repr, known[:MOST_SHOWN])) + ", …" * (len(known) > MOST_SHOWN)
        raise InputError(
            f"'{path}', {column!r}: the model knows no {strange[0]!r}. It knows {listing}."
        )


def _check_batch(wanted: Wanted, rows: int, path: str | os.PathLike[str]) -> None:
    size = wanted.shape[0] if wanted.shape else 1
    if isinstance(size, int) and 0 < size != rows:
        raise InputError(
            f"'{path}' has {rows} rows, and the model takes {size} at a time. Choose one with "
            "--row."
        )
