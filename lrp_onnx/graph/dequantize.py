"""The value that a quantized tensor stands for, spelled by Cast, Sub and Mul.

x = (q - zero point) · scale, with one scale for the tensor, one for each entry of an axis, or one
for each block along it (ONNX DequantizeLinear-21).  It is not spelled by DequantizeLinear, because
runtimes fuse that node with what reads it, and would take its copies for the same one.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.constant_values import is_zero
from lrp_onnx.graph.ranks import known_rank

__all__ = ["Writer", "dequantized", "for_elements_of"]


class Writer(Protocol):
    """What adds standard nodes to a graph: `Build` or `Emit`."""

    def op(self, op_type: str, *inputs: Any, **attributes: Any) -> ir.Value:
        """Add one node; returns its first output."""

    def ints(self, *values: int) -> ir.Value:
        """A one-dimensional int64 constant."""


def dequantized(
    write: Writer,
    q: ir.Value | None,
    scale: ir.Value | None,
    zero_point: ir.Value | None = None,
    axis: int = 1,
    block: int = 0,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """The float value of q, in the element type of its scale, or in `dtype`."""
    if q is None or scale is None:
        raise UnsupportedError("an input or its scale is missing. Export the model again")
    dtype = dtype or scale.dtype or ir.DataType.FLOAT
    to = int(dtype)
    x = _like(write.op("Cast", q, to=to), q, dtype)
    if zero_point is not None and not is_zero(zero_point):
        zero = write.op("Cast", for_elements_of(write, q, zero_point, axis, block), to=to)
        x = _like(write.op("Sub", x, zero), q, dtype)
    factor = for_elements_of(write, q, scale, axis, block)
    if scale.dtype != dtype:
        factor = write.op("Cast", factor, to=to)
    return _like(write.op("Mul", x, factor), q, dtype)


def _like(value: ir.Value, q: ir.Value, dtype: ir.DataType) -> ir.Value:
    """The value with the shape of q, by which constant folding knows what it would take."""
    value.shape, value.type = q.shape, ir.TensorType(dtype)
    return value


def for_elements_of(
    write: Writer, x: ir.Value, parameter: ir.Value, axis: int = 1, block: int = 0
) -> ir.Value:
    """A scale or zero point shaped so that it broadcasts against x.

    parameter: () or (1,), one per entry of the axis, or, with `block`, shaped like x but for the
    axis. UnsupportedError where shapes are unknown.
    """
    rank = known_rank(parameter)
    if block:
        return _of_blocks(write, x, parameter, axis, block)
    if rank == 0 or parameter.shape == (1,):
        return parameter
    if rank > 1:
        return parameter
    shape = [1] * known_rank(x)
    shape[axis] = -1
    return write.op("Reshape", parameter, write.ints(*shape))


def _of_blocks(write: Writer, x: ir.Value, parameter: ir.Value, axis: int, block: int) -> ir.Value:
    """Each entry repeated for the elements of its block; the last block may be cut."""
    size = None if x.shape is None else x.shape[axis]
    if not isinstance(size, int):
        raise UnsupportedError("it is quantized in blocks along an axis whose size is unknown")
    return write.op("Gather", parameter, write.ints(*(np.arange(size) // block)), axis=axis)
