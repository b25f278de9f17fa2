"""Parallel products of one tensor with matrices that end in a sum are one product.

    x·A + s·(x·B)·C + b = x·(A + s·B·C) + b,

as of a low-rank adapter that was not merged; x itself counts as x·1 beside two of them.  What is
multiplied may be a part of x, as where a product is shared out among devices: [x₁, x₂]·[A₁; A₂] =
x₁·A₁ + x₂·A₂.
Source: Hu et al. 2022, LoRA: low-rank adaptation of large language models, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.affine import affine_of
from lrp_onnx.frontend.canonize.sums import (
    FARTHEST,
    Term,
    common_inputs,
    fits,
    is_own,
    selected,
    sums_of,
    terms_of,
    write_sum,
)
from lrp_onnx.graph.constants import Float, array_of
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.unused import remove_unused

__all__ = ["merge_dense_branches"]

MOST = 1 << 24
"""Elements of the largest matrix that is formed."""


@dataclass(frozen=True)
class _Map:
    """x·matrix + bias; no matrix where x is only scaled."""

    matrix: Float | None
    scale: Float
    bias: Float
    weighted: bool = False
    """Whether the matrix is made of weights: a part of x is x times ones and zeros."""

    def whole(self, rows: int) -> Float:
        """The matrix with its scale."""
        return (np.eye(rows) if self.matrix is None else self.matrix) * self.scale


def merge_dense_branches(model: ir.Model) -> bool:
    """Each sum of products of one tensor becomes a product, and what is left."""
    merged = sum(_merged(model.graph, root) for root in sums_of(model.graph)) > 0
    if merged:
        remove_unused(model)
    return merged


def _merged(graph: ir.Graph, root: ir.Node) -> bool:
    terms = terms_of(root)
    for x in common_inputs(terms):
        own = [_map_of(value, x) for value, _ in terms]
        parts = [(m, sign) for m, (_, sign) in zip(own, terms, strict=True) if m is not None]
        sizes = {m.matrix.shape for m, _ in parts if m.matrix is not None}
        if sum(m.weighted for m, _ in parts) < 2 or len(sizes) != 1:
            continue
        rows, columns = sizes.pop()
        if rows != columns and any(m.matrix is None for m, _ in parts):
            continue
        matrix = np.sum([sign * m.whole(rows) for m, sign in parts], 0)
        bias = np.sum([sign * np.broadcast_to(m.bias, columns) for m, sign in parts], 0)
        if not fits(x.dtype, matrix, bias):
            continue
        rest = [term for term, m in zip(terms, own, strict=True) if m is None]
        _write(graph, root, x, matrix, bias, rest)
        return True
    return False


def _map_of(value: ir.Value, x: ir.Value, left: int = FARTHEST) -> _Map | None:
    """The value as a map of x; None where it is none."""
    if value is x:
        return _Map(None, np.ones(1), np.zeros(1))
    node = made_by(value)
    if left < 0 or node is None or not is_own(value):
        return None
    at = next((k for k, v in enumerate(node.inputs) if v is not None and array_of(v) is None), 0)
    step = (_step(node, at) or _selection(value)) if node.inputs else None
    operand = node.inputs[at] if step is not None else None
    before = None if operand is None else _map_of(operand, x, left - 1)
    if before is None or step is None:
        return None
    if step.matrix is None:
        bias = before.bias * step.scale + step.bias
        return _Map(before.matrix, before.scale * step.scale, bias, before.weighted)
    rows, columns = step.matrix.shape
    if before.matrix is None:
        matrix = np.broadcast_to(before.scale, rows)[:, None] * step.matrix
    elif len(before.matrix) * columns > MOST:
        return None
    else:
        matrix = before.whole(rows) @ step.matrix
    bias = np.broadcast_to(before.bias, rows) @ step.matrix + step.bias
    return _Map(matrix, np.ones(1), bias, step.weighted or before.weighted)


def _step(node: ir.Node, at: int) -> _Map | None:
    """What one node does to its input; None where it is no such map."""
    if node.op_type in ("MatMul", "Gemm"):
        return _product(node) if at == 0 else None
    x, constant = node.inputs[at], array_of(node.inputs[1 - at]) if len(node.inputs) == 2 else None
    if constant is None or x is None or not x.shape:
        return None
    step = affine_of(node, at, len(x.shape) - 1, constant.size)
    return None if step is None else _Map(None, step.scale, step.shift)


def _selection(value: ir.Value) -> _Map | None:
    """A part of a tensor along its last axis."""
    part = selected(value, len(value.shape) - 1) if value.shape is not None else None
    if part is None or part[3] * (part[2] - part[1]) > MOST:
        return None
    _, start, stop, size = part
    return _Map(np.eye(size)[:, start:stop], np.ones(1), np.zeros(1))


def _product(node: ir.Node) -> _Map | None:
    """x·W, and the bias of a Gemm of one number a column."""
    matrix, bias = array_of(node.inputs[1]), np.zeros(1)
    if matrix is None or matrix.ndim != 2 or matrix.size > MOST:
        return None
    if node.attributes.get_int("transA", 0):
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        own = array_of(node.inputs[2])
        if own is None or own.size not in (1, *own.shape[-1:]):
            return None
        bias = own.reshape(-1)
    turned = bool(node.attributes.get_int("transB", 0))
    return _Map(matrix.T if turned else matrix, np.ones(1), bias, weighted=True)


def _write(
    graph: ir.Graph, root: ir.Node, x: ir.Value, matrix: Float, bias: Float, rest: list[Term]
) -> None:
    build, like = Build(graph, root, "merged"), root.outputs[0]
    assert x.dtype is not None
    y = build.op("MatMul", x, build.constant(matrix, x.dtype, "weight"), like=like)
    if bias.any():
        y = build.op("Add", y, build.constant(bias, x.dtype, "bias"), like=like)
    write_sum(build, y, rest)
