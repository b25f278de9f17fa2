"""How results are stored: a row an input, arrays as flat lists with their shape beside them.

Relevance R is written as float32, or with half or a quarter of the bytes as q with R = q · scale,
where the largest |R| of the row decides the scale: a power of 2 for float16, so that only the last
digits of q are rounded, max|R| / 127 for int8. Pooled, it is summed over the channels and over the
cells of a grid, which keeps its sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lrp_onnx.data.layout import batched_axes
from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import RELEVANCE
from lrp_onnx.graph.arrays import Array

__all__ = ["FORMS", "Form", "Rows"]

FORMS = ("float32", "float16", "int8")
STEPS = 127
"""Of int8 on each side of 0."""


@dataclass(frozen=True)
class Form:
    """How relevance is stored."""

    dtype: str = "float16"
    pool: tuple[int, ...] = ()
    """How many cells along height and width, or along a signal; nothing keeps every value."""

    def of(self, relevance: Array, classes: int) -> Array:
        """One sample's relevance with its batch axis, pooled if it should be.

        classes: how many axes of classes stand behind the batch.
        """
        return _pooled(relevance, classes, self.pool) if self.pool else relevance[0]

    def scaled(self, relevance: Array) -> tuple[Array, float]:
        """q and scale, R = q · scale."""
        largest = float(np.abs(relevance).max(initial=0))
        if self.dtype == "float32" or largest == 0:
            return relevance.astype(self.dtype), 1.0
        if self.dtype == "float16":
            scale = float(2.0 ** np.ceil(np.log2(largest)))
            return (relevance / scale).astype(np.float16), scale
        scale = largest / STEPS
        return np.rint(relevance / scale).astype(np.int8), scale


def _pooled(relevance: Array, classes: int, pool: tuple[int, ...]) -> Array:
    """[1, …] or with classes [1, K, …]  ->  the cells, summed, behind the classes."""
    shape = (1, *relevance.shape[1 + classes :])
    axes = batched_axes(shape)[1:]
    places = [k + classes for k, axis in enumerate(axes) if axis in ("HW" if "H" in axes else "F")]
    if len(pool) not in (1, len(places)) or not places:
        raise InputError(
            f"--pool: relevance of shape {list(shape)} has {len(places)} axes of places, and "
            f"{len(pool)} numbers of cells are named. Give one, or one for each axis."
        )
    own = relevance[0]
    for place, cells in zip(places, pool * len(places) if len(pool) == 1 else pool, strict=True):
        own = _cells(own, place, cells)
    others = tuple(k for k in range(classes, own.ndim) if k not in places)
    summed: Array = own.sum(axis=others, dtype=np.float32)
    return summed


def _cells(x: Array, axis: int, count: int) -> Array:
    size = x.shape[axis]
    if count > size:
        raise InputError(f"--pool {count}: there are {size} places along an axis. Give fewer.")
    starts = [k * size // count for k in range(count)]
    cells: Array = np.add.reduceat(x, starts, axis)
    return cells


class Rows:
    """Rows that wait to be written."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.bytes = 0
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """A row: what is said of it, and its arrays; those of relevance in their form."""
        row = dict(about)
        for name, x in arrays.items():
            row[f"{name}.shape"] = np.array(x.shape, np.int32)
            if name.endswith(RELEVANCE):
                row[f"{name}.sum"] = float(x.sum(dtype=np.float64))
                x, row[f"{name}.scale"] = self.form.scaled(x)
            row[name] = np.ascontiguousarray(x).reshape(-1)
            self.bytes += row[name].nbytes
        self._rows.append(row)

    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows as a table, and none wait."""
        columns = {
            field.name: _column([row.get(field.name) for row in self._rows], field.type)
            for field in schema
        }
        self._rows, self.bytes = [], 0
        return pa.table(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_list(kind) and not pa.types.is_large_list(kind):
        return pa.array(values, kind)
    held = [v for v in values if v is not None]
    flat = np.concatenate(held) if held else np.zeros(0)
    ends = np.cumsum([0 if v is None else len(v) for v in values])
    mask = pa.array([v is None for v in values])
    offsets = pa.array(np.concatenate([[0], ends]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(flat, kind.value_type), mask=mask).cast(
        kind
    )
