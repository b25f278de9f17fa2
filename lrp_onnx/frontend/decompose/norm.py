"""Normalizations over the last axes with what a runtime fuses into them: the residual sum, the
embeddings.

LayerNormalization-17 is the standard's own operator; a root mean square is spelled out as an
exporter of PyTorch does.  Source: ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.activation import MICROSOFT
from lrp_onnx.frontend.decompose.heads import known_size, positions, rank_of, size_of
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__ = ["root_mean_square"]

Value = ir.Value | None


def root_mean_square(
    build: Build, x: Value, like: Value, axes: Sequence[int], epsilon: float
) -> tuple[ir.Value, ir.Value]:
    """x / √(mean(x²) + ε) over `axes` in the element type of `like`, and the reciprocal of the
    root.
    """
    mean = build.op("ReduceMean", build.op("Mul", x, x), build.ints(*axes))
    root = build.op("Sqrt", build.op("Add", mean, build.like(epsilon, like)))
    return build.op("Div", x, root), build.op("Reciprocal", root)


def _last_axes(node: ir.Node) -> list[int]:
    """The axes from `axis` on, counted from the back."""
    x, axis = node.inputs[0], node.attributes.get_int("axis", -1)
    if axis < 0:
        return list(range(axis, 0))
    if x is None or x.shape is None:
        raise UnsupportedError("the rank of its input is unknown")
    return list(range(axis - len(x.shape), 0))


def _wide(build: Build, x: Value) -> ir.Value:
    """A value of the element type that statistics of x are computed in: at least float32."""
    if x is not None and x.dtype == ir.DataType.DOUBLE:
        return x
    return build.constant(0.0, ir.DataType.FLOAT)


def _simplified(
    build: Build, x: Value, like: Value, scale: Value, axes: Sequence[int], epsilon: float
) -> tuple[ir.Value, ir.Value]:
    """RMSNorm of x times scale, in x's element type, and the reciprocal root."""
    narrow = like is not None and like.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    precise = build.op("Cast", x, to=ir.DataType.FLOAT) if narrow else x
    ratio, inverse = root_mean_square(build, precise, _wide(build, like), axes, epsilon)
    ratio = build.op("CastLike", ratio, scale) if narrow else ratio
    return build.op("Mul", ratio, scale), inverse


@decomposes("SimplifiedLayerNormalization", domain=MICROSOFT)
def simplified_layer_norm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x / √(mean(x²) + ε) · scale.  Spec: ONNX Runtime, SimplifiedLayerNormalization-1."""
    x, scale = node.inputs[:2]
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    return _simplified(build, x, x, scale, _last_axes(node), epsilon)


@decomposes("GatedRMSNorm", domain=MICROSOFT)
def gated_rms_norm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """RMSNorm of each C numbers of X, C being the length of the scale, times a gate of its own.

    Spec: ONNX Runtime contrib operators, GatedRMSNorm.
    """
    x, scale, gate = node.inputs
    width = known_size(scale, 0, "scale's length")
    rows = build.op("Reshape", x, build.ints(-1, width))
    y, _ = _simplified(build, rows, x, scale, [-1], node.attributes.get_float("epsilon", 1e-5))
    opened = build.op("Sigmoid", gate)
    if node.attributes.get_string("activation", "silu") != "sigmoid":
        opened = build.op("Mul", gate, opened)
    return [build.op("Mul", build.op("Reshape", y, build.op("Shape", x)), opened)]


@decomposes("BranchwiseRMSNorm", domain=MICROSOFT)
def branchwise_rms_norm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """RMSNorm of each branch of X: (..., C, H), or (..., C·H) with their number given.

    Spec: ONNX Runtime contrib operators, BranchwiseRMSNorm.
    """
    x, scale = [*node.inputs, None][:2]
    count = node.attributes.get_int("num_branches", 0)
    apart = x
    if count:
        leading = [0] * (rank_of(x, "input") - 1)
        apart = build.op("Reshape", x, build.ints(*leading, count, -1))
    width = known_size(x, -1, "last size") // (count or 1)
    if scale is None:
        scale = build.op("CastLike", build.constant(np.ones(width), ir.DataType.FLOAT), x)
    elif known_size(scale, 0, "scale's length") != width or rank_of(scale, "scale") == 2:
        scale = build.op("Reshape", scale, build.ints(-1, width))
    y, _ = _simplified(build, apart, x, scale, [-1], node.attributes.get_float("epsilon", 1e-5))
    return [build.op("Reshape", y, build.op("Shape", x)) if count else y]


def _residual(build: Build, node: ir.Node, bias: Value) -> ir.Value:
    """input + skip + bias, the bias added first to the product that it belongs to."""
    terms = list(node.inputs[:2])
    if bias is not None:
        own = 0 if _is_product(terms[0]) else 1
        terms[own] = build.op("Add", terms[own], bias)
    return build.op("Add", *terms)


def _is_product(value: Value) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type in ("MatMul", "FusedMatMul", "Gemm")


@decomposes("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(build: Build, node: ir.Node) -> Sequence[Value]:
    """LayerNorm(input + skip + bias).  Spec: ONNX Runtime contrib operators,
    SkipLayerNormalization.
    """
    _, _, gamma, beta, bias = [*node.inputs, None, None][:5]
    total = _residual(build, node, bias)
    epsilon = node.attributes.get_float("epsilon", 1e-12)
    outputs = build.outputs(
        "LayerNormalization", 3, total, gamma, beta, axis=-1, epsilon=epsilon, stash_type=1
    )
    return [*outputs, total]


@decomposes("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_norm(build: Build, node: ir.Node) -> Sequence[Value]:
    """RMSNorm(input + skip + bias).  Spec: ONNX Runtime contrib operators,
    SkipSimplifiedLayerNormalization.
    """
    x, _, gamma, bias = [*node.inputs, None][:4]
    total = _residual(build, node, bias)
    epsilon = node.attributes.get_float("epsilon", 1e-12)
    y, inverse = _simplified(build, total, x, gamma, [-1], epsilon)
    return [y, None, inverse, total]


@decomposes("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(build: Build, node: ir.Node) -> Sequence[Value]:
    """LayerNorm(word[ids] + position[positions] + segment[segments]), and the lengths by the mask.

    Without position ids a token's position is its index.  The lengths count the ones of the mask, 0
    without one.  Spec: ONNX Runtime contrib operators, EmbedLayerNormalization.
    """
    inputs = [*node.inputs, None, None][:9]
    return _embedded(build, node, *inputs)


@decomposes("QEmbedLayerNormalization", domain=MICROSOFT)
def quantized_embed_layer_norm(build: Build, node: ir.Node) -> Sequence[Value]:
    """EmbedLayerNormalization of tables, scale and bias that are dequantized before.

    Spec: ONNX Runtime contrib operators, QEmbedLayerNormalization.
    """
    ids, segments, *tables = node.inputs[:7]
    scales, zeros = node.inputs[8:13], node.inputs[13:18]
    words, position, segment, gamma, beta = (
        None if table is None else build.op("DequantizeLinear", table, scale, zero)
        for table, scale, zero in zip(tables, scales, zeros, strict=True)
    )
    mask = node.inputs[7]
    outputs = _embedded(
        build, node, ids, segments, words, position, segment, gamma, beta, mask, None
    )
    return outputs[:2]


def _embedded(
    build: Build,
    node: ir.Node,
    ids: Value,
    segments: Value,
    words: Value,
    position: Value,
    segment: Value,
    gamma: Value,
    beta: Value,
    mask: Value,
    places: Value,
) -> Sequence[Value]:
    """The output, the lengths, the sum of the embeddings."""
    if places is None:
        places = positions(build, size_of(build, ids, 1))
    total = build.op("Add", build.op("Gather", words, ids), build.op("Gather", position, places))
    if segments is not None and segment is not None:
        total = build.op("Add", total, build.op("Gather", segment, segments))
    epsilon = node.attributes.get_float("epsilon", 1e-12)
    y = build.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon)
    return [y, _lengths(build, ids, mask), total]


def _lengths(build: Build, ids: Value, mask: Value) -> ir.Value:
    """How many ones the mask of each sample has."""
    if mask is not None:
        return build.op("ReduceSum", mask, build.ints(1), keepdims=0)
    batch = build.op("Shape", ids, start=0, end=1)
    return build.op("Expand", build.constant(0, ir.DataType.INT32), batch)
