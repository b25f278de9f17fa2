"""Operators that are linear in one input and have a weight: Conv, ConvTranspose, Gemm, MatMul,
MatMulAdd.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import onnx_ir as ir

from lrp_onnx.graph.broadcasting import sum_to
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.windows import window_of
from lrp_onnx.ops.conv_backward_filter import over_kernel
from lrp_onnx.ops.conv_geometry import sliding
from lrp_onnx.ops.linear_vjp import linear_vjp
from lrp_onnx.ops.one_hot_matmul import class_of, one_row
from lrp_onnx.ops.operands import LAST, operand, optional
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import by_shape, rank_of

__all__: list[str] = []


WEIGHTED: dict[str, Any] = {"kind": ("linear", "bilinear"), "inputs": (0, 1), "weighted": True}
"""Linear if one operand depends on the explained input, bilinear if both do."""


def _kernel_channel(node: ir.Node, i: int) -> int:
    """Axis 1 of the input and of Conv's kernel, axis 0 of ConvTranspose's."""
    return 0 if i and node.op_type == "ConvTranspose" else 1


CONVOLUTION: dict[str, Any] = {
    **WEIGHTED,
    "biased": True,
    "window": "kernel",
    "channel_axis": _kernel_channel,
    "one_sample": lambda node, i: i == 0,
    "samples_apart": by_shape,
}


@op("Conv", **CONVOLUTION, cost=lambda shape: prod(shape[1:]))
def conv(emit: Emit, node: ir.Node, s: ir.Value, i: int, w: ir.Value) -> ir.Value:
    """Transpose of Conv over its input; over its kernel see `over_kernel`.

    s: (N, M, *out)    w: (M, C/group, *k)    ->    c: (N, C, *in).    Spec: ONNX Conv-11,
    ConvTranspose-11.
    """
    if i == 1:
        return over_kernel(emit, w, s, sliding(node))
    return linear_vjp(emit, node, i, [s], [w])[0]


@op("ConvTranspose", **CONVOLUTION, cost=lambda shape: prod(shape) // max(shape[1], 1))
def conv_transpose(emit: Emit, node: ir.Node, s: ir.Value, i: int, w: ir.Value) -> ir.Value:
    """Transpose of ConvTranspose over its input: Conv with the same attributes; over its kernel see
    `over_kernel`.

    s: (N, M, *out)    w: (C, M/group, *k)    ->    c: (N, C, *in).    Spec: ONNX ConvTranspose-11,
    Conv-11.
    """
    at = sliding(node)
    if i == 1:
        return over_kernel(emit, s, w, at)
    n = at.axes
    extra = window_of(node, n).output_padding
    if any(e >= t for e, t in zip(extra, at.strides, strict=True)):
        # output_padding of a whole stride or more would make Conv read one row too many
        s = emit.op(
            "Slice",
            s,
            emit.ints(*[0] * n),
            emit.ints(*(-e if e else LAST for e in extra)),
            emit.ints(*range(2, n + 2)),
        )
    return emit.op(
        "Conv",
        s,
        w,
        kernel_shape=at.kernel,
        strides=at.strides,
        dilations=at.dilations,
        pads=at.pads,
        group=at.group,
    )


def _gemm_channel(node: ir.Node, i: int) -> int:
    transposed = node.attributes.get_int("transA" if i == 0 else "transB", 0)
    return 1 - transposed if i == 0 else transposed


def _bias_per_sample(node: ir.Node, rank: int) -> bool:
    """Whether the bias has an axis for the samples, so that their results differ."""
    b = optional(node, 2)
    return b is not None and known_rank(b) == rank and b.shape is not None and b.shape[0] != 1


def _gemm_rows_alike(node: ir.Node, i: int) -> bool:
    return i == 0 and not node.attributes.get_int("transA", 0) and not _bias_per_sample(node, 2)


@op(
    "Gemm",
    **WEIGHTED,
    biased=True,
    channel_axis=_gemm_channel,
    one_sample=_gemm_rows_alike,
    samples_apart=lambda node, inputs: list(inputs) in ([0], [0, 2]),
)
def gemm(emit: Emit, node: ir.Node, s: ir.Value, i: int, w: ir.Value) -> ir.Value:
    """Transpose of A'·B' over one operand (alpha and beta are 1 after canonization).

    s: (M, N)    w: the other operand    ->    c: shaped like operand i.    Spec: ONNX Gemm-13.
    """
    trans_a, trans_b = node.attributes.get_int("transA", 0), node.attributes.get_int("transB", 0)
    if i == 0 and not trans_a and (chosen := class_of(emit, s, w)) is not None:
        return one_row(emit, s, w if trans_b else _swapped(emit, w), chosen)
    if i == 0:  # c = s·B'ᵀ, or its transpose B'·sᵀ
        return (
            emit.op("Gemm", w, s, transA=trans_b, transB=1)
            if trans_a
            else emit.op("Gemm", s, w, transB=1 - trans_b)
        )
    return (
        emit.op("Gemm", s, w, transA=1, transB=trans_a)
        if trans_b
        else emit.op("Gemm", w, s, transA=1 - trans_a)
    )


def _swapped(emit: Emit, value: ir.Value) -> ir.Value:
    """The last two axes exchanged."""
    rank = known_rank(value)
    return emit.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _rows_alike(node: ir.Node, i: int) -> bool:
    x, w = node.inputs[:2]
    if i or x is None or w is None or known_rank(x) < 2 or known_rank(w) > 2:
        return False
    return not _bias_per_sample(node, known_rank(x))


def _rows_apart(node: ir.Node, inputs: Sequence[int]) -> bool:
    """If the right operand holds samples too, all must hold them along the same batch axis."""
    ranks = {rank_of(node.inputs[i]) for i in inputs}
    return 1 not in inputs or (min(ranks) > 2 and len(ranks) == 1)


MATRIX_PRODUCT: dict[str, Any] = {
    **WEIGHTED,
    "channel_axis": lambda node, i: -1 - i,
    "one_sample": _rows_alike,
    "samples_apart": _rows_apart,
}


@op("MatMul", **MATRIX_PRODUCT)
def matmul(emit: Emit, node: ir.Node, s: ir.Value, i: int, w: ir.Value) -> ir.Value:
    """Transpose of numpy's matmul over one operand, with batch axes and vectors.

    s: (*batch, M, N)    w: the other operand    ->    c: shaped like operand i.    Spec: ONNX
    MatMul-13.
    """
    x = operand(node, i)
    rank_x, rank_w = known_rank(x), known_rank(w)
    if rank_w == 1:
        s = emit.op("Unsqueeze", s, emit.ints(-1 - i)) if rank_x > 1 else s
        w = emit.op("Unsqueeze", w, emit.ints(i)) if rank_x > 1 else w
        if rank_x == 1:
            return emit.op("Mul", s, w)
        return emit.op("MatMul", s, w) if i == 0 else emit.op("MatMul", w, s)
    if rank_x == 1:
        s = emit.op("Unsqueeze", s, emit.ints(-2 + i))
    transposed = _swapped(emit, w)
    if i == 0 and rank_w == 2 and rank_x > 1 and (chosen := class_of(emit, s, w)) is not None:
        return one_row(emit, s, transposed, chosen)
    c = emit.op("MatMul", s, transposed) if i == 0 else emit.op("MatMul", transposed, s)
    if rank_x == 1:
        c = emit.op("Squeeze", c, emit.ints(-2 + i))
        return (
            emit.op("ReduceSum", c, emit.ints(*range(rank_w - 2)), keepdims=0) if rank_w > 2 else c
        )
    return c if rank_w == 2 else _sum_batch(emit, c, x, node.outputs[0], i)


def _sum_batch(emit: Emit, c: ir.Value, x: ir.Value, z: ir.Value, i: int) -> ir.Value:
    """Sum over batch axes along which x was broadcast."""
    for value in (x, z):
        known_rank(value)  # refuses an operand whose rank is unknown
    emit.shaped(c, [*(z.shape or ())[:-2], *(x.shape or ())[-2:]])
    return sum_to(emit, c, x, c)


@op("MatMulAdd", domain="lrp", **{**MATRIX_PRODUCT, "kind": "linear"}, biased=True)
def matmul_add(emit: Emit, node: ir.Node, s: ir.Value, i: int, w: ir.Value) -> ir.Value:
    """Transpose of MatMul with a bias (see `canonize`): that of MatMul."""
    return matmul(emit, node, s, i, w)
