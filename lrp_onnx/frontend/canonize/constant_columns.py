"""A column of constants beside the data of a product is a bias.

    [x, c]·[W; V] = x·W + c·V,

as of homogeneous coordinates, where c is 1.  Relevance of c is that of a bias, and is not counted
among the inputs of a receptive field.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import Float, array_of
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.replacement import Build

__all__ = ["columns_as_biases"]

Part = ir.Value | Float
"""What varies, or one number a column."""


@each("MatMul", "Gemm")
def columns_as_biases(view: View, node: ir.Node) -> bool:
    """Write such a product as one of what varies, and a bias."""
    parts = _parts(node.inputs[0])
    return len(parts) > 1 and _written(view, node, parts)


def _parts(v: ir.Value | None) -> list[Part]:
    """What stands beside each other along the last axis."""
    node = made_by(v, "Concat", "Pad")
    if node is None or v is None or v.shape is None:
        return []
    last = len(v.shape) - 1
    if node.op_type == "Concat" and node.attributes.get_int("axis", 0) in (last, -1):
        parts = [None if x is None else _constant(x) for x in node.inputs]
        return [x if part is None else part for x, part in zip(node.inputs, parts, strict=True)
                if x is not None]  # fmt: skip
    return _padded(node, last) if node.op_type == "Pad" else []


def _padded(pad: ir.Node, last: int) -> list[Part]:
    """The parts of what is padded along the last axis alone."""
    x, amounts, filling, axes = [*pad.inputs, None, None][:4]
    counts, value = constant_ints(amounts), 0.0
    if filling is not None:
        number = array_of(filling)
        if number is None:
            return []
        value = float(number.flat[0])
    plain = pad.attributes.get_string("mode", "constant") == "constant" and axes is None
    if not plain or counts is None or x is None or min(counts) < 0:
        return []
    before, behind = counts[last], counts[-1]
    if sum(counts) != before + behind:
        return []
    sides: list[Part] = [np.full(before, value), x, np.full(behind, value)]
    return [part for part in sides if isinstance(part, ir.Value) or len(part)]


def _constant(x: ir.Value) -> Float | None:
    """One number a column, if each is the same in all rows."""
    size = x.shape[-1] if x.shape else None
    if (spread := inputs_by(x, "Expand")) and spread[0] is not None:
        own = _constant(spread[0]) if spread[0].shape else array_of(spread[0])
        if not isinstance(size, int) or own is None or own.size not in (1, size):
            return None
        return np.broadcast_to(own, (size,))
    if (filled := made_by(x, "ConstantOfShape")) is not None and isinstance(size, int):
        value = filled.attributes.get_tensor("value", None)
        return np.full(size, 0.0 if value is None else float(value.numpy().flat[0]))
    array = array_of(x)
    if array is None or not array.ndim:
        return None
    rows = array.reshape(-1, array.shape[-1])
    return rows[0] if len(rows) and (rows == rows[0]).all() else None


def _written(view: View, node: ir.Node, parts: list[Part]) -> bool:
    gemm, matrix = node.op_type == "Gemm", array_of(node.inputs[1])
    varying = [part for part in parts if isinstance(part, ir.Value)]
    if len(varying) != 1 or varying[0] in view.constants or matrix is None or matrix.ndim != 2:
        return False
    (x,), y = varying, node.outputs[0]
    turned = gemm and node.attributes.get_int("transB", 0) != 0
    matrix = matrix.T if turned else matrix
    own = np.concatenate([np.full(_size(p), isinstance(p, ir.Value)) for p in parts])
    if len(own) != len(matrix) or (gemm and node.attributes.get_int("transA", 0) != 0):
        return False
    held = np.concatenate([np.zeros(_size(p)) if isinstance(p, ir.Value) else p for p in parts])
    build, dtype = Build(view.graph, node, "columns"), x.dtype
    if dtype is None:
        return False
    result = build.op("MatMul", x, build.constant(matrix[own], dtype, "weight"), like=y)
    if held.any():
        bias = build.constant(held @ matrix, dtype, "bias")
        result = build.op("Add", result, bias, like=y)
    for beside in node.inputs[2:]:
        result = build.op("Add", result, beside, like=y)
    build.replace(result)
    return True


def _size(part: Part) -> int:
    """How many columns; 0 where only the run knows."""
    if not isinstance(part, ir.Value):
        return len(part)
    size = part.shape[-1] if part.shape else None
    return size if isinstance(size, int) else 0
