"""Rows of a table as a model's inputs.

A column of an input's name holds that input: numbers, lists of them, or pictures by their paths. A
model with one input of features takes the columns that hold numbers, in the table's order, or those
that the user names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from lrp_onnx.data.inputs import fit_array, load_input
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.scale.plan import Shard

__all__ = ["rows_of"]

ROWS_AT_ONCE = 256
Feeds = dict[str, Array]


def rows_of(
    shard: Shard,
    wanted: Sequence[Wanted],
    preprocess: Preprocess | None,
    columns: Sequence[str],
) -> Iterator[Feeds | str]:
    """What the model is fed for each row of the shard, or why it cannot be.

    Raises InputError where the table has no columns for the model.
    """
    with parquet.ParquetFile(shard.files[0]) as file:
        names = _columns(file, shard, wanted, columns)
        groups, skipped = _groups(file, shard)
        number, rest = shard.start, shard.rows
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=names):
            part = batch.slice(skipped, rest)
            skipped -= min(skipped, batch.num_rows)
            where = [f"{shard.of}, row {number + k}" for k in range(part.num_rows)]
            if columns or any(want.name not in names for want in wanted):
                yield from _features(part, wanted[0], where)
            else:
                yield from _by_input(part, wanted, preprocess, where)
            number, rest = number + part.num_rows, rest - part.num_rows
            if not rest:
                return


def _columns(
    file: parquet.ParquetFile, shard: Shard, wanted: Sequence[Wanted], columns: Sequence[str]
) -> list[str]:
    """The columns to read: of the inputs' names, or the features."""
    schema = file.schema_arrow
    names = [want.name for want in wanted]
    if not columns and all(name in schema.names for name in names):
        return names
    missing = [name for name in columns if name not in schema.names]
    one = len(wanted) == 1 and len(wanted[0].shape) == 2
    if missing or not one:
        listing = ", ".join(map(repr, schema.names))
        raise InputError(
            f"'{shard.of}': no column {(missing or names)[0]!r}; it has {listing}. Name a column "
            "for each input of the model, or with --columns those that are its features."
        )
    chosen = list(columns) or _numeric(file)
    count = wanted[0].shape[1]
    if isinstance(count, int) and count != len(chosen):
        raise InputError(
            f"'{shard.of}': the model's input {names[0]!r} has {count} features, and the table "
            f"{len(chosen)} columns of numbers: {', '.join(map(repr, chosen))}. Name the features "
            "with --columns A,B,…, in the model's order."
        )
    return chosen


def _numeric(file: parquet.ParquetFile) -> list[str]:
    """The columns of numbers; of text, as a CSV file has it, those whose first row is one."""
    schema = file.schema_arrow
    first = next(file.iter_batches(1), None)
    texts = {} if first is None else first.to_pylist()[0]
    return [
        field.name
        for field in schema
        if pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_decimal(field.type)
        or (pa.types.is_string(field.type) and _is_number(texts.get(field.name)))
    ]


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _groups(file: parquet.ParquetFile, shard: Shard) -> tuple[list[int], int]:
    """The row groups that hold the shard, and how many of their rows come before it."""
    counts = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
    ends = list(itertools.accumulate(counts))
    starts = [end - count for end, count in zip(ends, counts, strict=True)]
    groups = [k for k, end in enumerate(ends) if end > shard.start and starts[k] < shard.stop]
    return groups, shard.start - starts[groups[0]] if groups else 0


def _features(part: pa.RecordBatch, want: Wanted, where: Sequence[str]) -> Iterator[Feeds | str]:
    """Columns side by side, float64 until they become what the model takes."""
    numbers = [_numbers(column) for column in part.columns]
    values = np.stack(numbers, 1) if numbers else np.zeros((part.num_rows, 0))
    for k, place in enumerate(where):
        broken = np.flatnonzero(np.isnan(values[k]))
        if broken.size:
            name = part.schema.names[broken[0]]
            value = part.column(int(broken[0]))[k].as_py()
            yield f"'{place}': column {name!r} holds {value!r}, which is no number. Mend that cell."
            continue
        row = values[k : k + 1]
        yield {want.name: row.astype(want.dtype)}


def _numbers(column: pa.Array) -> Array:
    """A column as float64, NaN where it holds no number."""
    try:
        cast = compute.cast(column, pa.float64(), safe=False)
        return np.asarray(cast.to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        return np.array([float(v) if _is_number(v) else math.nan for v in column.to_pylist()])


def _by_input(
    part: pa.RecordBatch,
    wanted: Sequence[Wanted],
    preprocess: Preprocess | None,
    where: Sequence[str],
) -> Iterator[Feeds | str]:
    columns = [part.column(want.name) for want in wanted]
    for k, place in enumerate(where):
        try:
            yield {
                want.name: _cell(column[k], want, preprocess, place)
                for want, column in zip(wanted, columns, strict=True)
            }
        except InputError as error:
            yield str(error)


def _cell(cell: pa.Scalar, want: Wanted, preprocess: Preprocess | None, where: str) -> Array:
    """One cell as a batch of one."""
    place = f"{where}, column {want.name!r}"
    if not cell.is_valid:
        raise InputError(f"'{place}': it is empty. Fill it.")
    if pa.types.is_string(cell.type) and want.dtype != object:
        return load_input(cell.as_py(), want.shape, want.dtype, preprocess, name=want.name)
    x = np.asarray(_numpy(cell))
    sizes = list(want.shape[1:])
    if x.ndim < len(sizes) or x.ndim == 0:
        x = _shaped(x, sizes, want, place)
    return fit_array(x[None], want.shape, want.dtype, name=want.name, place=place)


def _numpy(cell: pa.Scalar) -> object:
    if isinstance(cell, pa.FixedShapeTensorScalar):
        return cell.to_numpy()
    if isinstance(cell, pa.ListScalar) and not pa.types.is_nested(cell.type.value_type):
        return cell.values.to_numpy(zero_copy_only=False)
    return cell.as_py()


def _shaped(x: Array, sizes: Sequence[object], want: Wanted, place: str) -> Array:
    """A flat list in the model's shape, where that leaves one size open at most."""
    known = [size if isinstance(size, int) else -1 for size in sizes]
    try:
        return x.reshape(known)
    except ValueError as error:
        raise InputError(
            f"'{place}': {x.size} numbers, and the model's input is {want.dtype} "
            f"{list(want.shape)}. Give as many, or a tensor of that shape."
        ) from error
