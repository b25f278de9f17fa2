"""The columns of what is written: the input and what failed, the prediction, arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx_ir as ir
import pyarrow as pa

from lrp_onnx.graph.annotations import RELEVANCE, each_output, stamp_of
from lrp_onnx.scale.stored import Form

__all__ = ["OUTPUTS", "schema_of"]

OUTPUTS = ("explained", "all", "none")
"""Which of the model's own outputs are written."""


def schema_of(
    model: ir.Model, original: Collection[str], form: Form, outputs: str, labels: bool
) -> pa.Schema:
    """The columns for a compiled model.

    original: the names of the outputs that it had before. outputs: one of OUTPUTS. labels: whether
    classes have names.
    """
    fields = [("input", pa.string()), ("row", pa.int64()), ("error", pa.string())]
    stamps = each_output(stamp_of(model.metadata_props))
    for one in stamps:
        if one["class_axis"] and not one.get("head"):
            name = one["output"]
            fields += [(f"{name}.class", pa.int64()), (f"{name}.score", pa.float32())]
            fields += [(f"{name}.label", pa.string())] if labels else []
    wanted = {
        "explained": {one["output"] for one in stamps},
        "all": set(original),
        "none": set[str](),
    }[outputs]
    for value in model.graph.outputs:
        name = str(value.name)
        if name not in original or name in wanted:
            fields += _array(name, value, name not in original, form)
    return pa.schema(fields)


def _array(
    name: str, value: ir.Value, added: bool, form: Form
) -> Iterator[tuple[str, pa.DataType]]:
    relevance = added and name.endswith(RELEVANCE)
    yield name, pa.list_(pa.from_numpy_dtype(form.dtype) if relevance else _type(value))
    yield f"{name}.shape", pa.list_(pa.int32())
    if relevance:
        yield f"{name}.scale", pa.float32()
        yield f"{name}.sum", pa.float32()


def _type(value: ir.Value) -> pa.DataType:
    if value.dtype is None:  # maps, which become arrays
        return pa.float32()
    if value.dtype == ir.DataType.STRING:
        return pa.string()
    return pa.from_numpy_dtype(value.dtype.numpy())
