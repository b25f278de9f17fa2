"""Contrib operators that are a few standard ones in a row.

Source: ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.activation import MICROSOFT
from lrp_onnx.frontend.decompose.heads import known_size, rank_of
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

Value = ir.Value | None


@decomposes("BiasSoftmax", domain=MICROSOFT)
def bias_softmax(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Softmax of data + bias over all axes from `axis` on.

    Spec: ONNX Runtime contrib operators, BiasSoftmax.
    """
    data, bias = node.inputs
    z = build.op("Add", data, bias)
    rank, axis = rank_of(data, "data"), node.attributes.get_int("axis", 1)
    if axis % rank == rank - 1:
        return [build.op("Softmax", z, axis=-1)]
    flat = build.op("Softmax", build.op("Flatten", z, axis=axis), axis=-1)
    return [build.op("Reshape", flat, build.op("Shape", z))]


@decomposes("CDist", domain=MICROSOFT)
def pairwise_distance(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """The distance of each row of A (M, K) from each of B (N, K), or its square: (M, N).

    Spec: ONNX Runtime contrib operators, CDist.
    """
    a, b = node.inputs
    rows, columns = build.op("Unsqueeze", a, build.ints(1)), build.op("Unsqueeze", b, build.ints(0))
    apart = build.op("Sub", rows, columns)
    square = build.op("ReduceSum", build.op("Mul", apart, apart), build.ints(-1), keepdims=0)
    metric = node.attributes.get_string("metric", "sqeuclidean")
    return [square if metric == "sqeuclidean" else build.op("Sqrt", square)]


@decomposes("UnfoldTensor", domain=MICROSOFT)
def unfold(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Windows of `size` along axis `dim`, `step` apart; the places in a window come last.

    Spec: ONNX Runtime contrib operators, UnfoldTensor.
    """
    x, size = node.inputs[0], node.attributes.get_int("size")
    step = node.attributes.get_int("step", 1)
    rank = rank_of(x, "input")
    axis = node.attributes.get_int("dim", -1) % rank
    count = (known_size(x, axis, "size along the unfolded axis") - size) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(size)
    windows = build.op("Gather", x, build.constant(places), axis=axis)
    others = [k for k in range(rank + 1) if k != axis + 1]
    return [build.op("Transpose", windows, perm=[*others, axis + 1])]


@decomposes("LinearAttentionGate", domain=MICROSOFT)
def linear_attention_gate(build: Build, node: ir.Node) -> Sequence[Value]:
    """decay_scale · softplus(a + dt_bias), and σ(b).

    Spec: ONNX Runtime contrib operators, LinearAttentionGate.
    """
    a, bias, scale, b = [*node.inputs, None][:4]
    decay = build.op("Mul", build.op("Softplus", build.op("Add", a, bias)), scale)
    return [decay, None if b is None else build.op("Sigmoid", b)]


@decomposes("ConvTransposeWithDynamicPads", domain=MICROSOFT)
def transposed_convolution(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """ConvTranspose-11 whose pads are an input, which must be constant here.

    Spec: ONNX Runtime contrib operators, ConvTransposeWithDynamicPads.
    """
    x, w, pads, bias = [*node.inputs, None, None][:4]
    attributes = {name: attribute(node, name) for name in node.attributes}
    if pads is not None:
        if pads.const_value is None:
            raise UnsupportedError("its pads are computed. Export the model with constant ones")
        attributes["pads"] = pads.const_value.numpy().tolist()
    return [build.op("ConvTranspose", x, w, bias, **attributes)]


@decomposes("GroupNorm", domain=MICROSOFT)
def group_norm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GroupNorm over channels that are last, SiLU behind it if asked for.

    X: (N, H, W, C)    gamma, beta: (C,).    Spec: ONNX Runtime contrib operators, GroupNorm.
    """
    x, gamma, beta = node.inputs
    return [_group_norm(build, node, x, gamma, beta, x)]


@decomposes("SkipGroupNorm", domain=MICROSOFT)
def skip_group_norm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GroupNorm of X + skip + bias, and that sum.

    skip: shaped like X, or (N, 1, 1, C) or (N, C).    Spec: ONNX Runtime contrib operators,
    SkipGroupNorm.
    """
    x, gamma, beta, skip, bias = [*node.inputs, None][:5]
    if rank_of(skip, "skip") == 2:
        skip = build.op("Unsqueeze", skip, build.ints(1, 2))
    total = build.op("Add", x, skip)
    total = total if bias is None else build.op("Add", total, bias)
    return [_group_norm(build, node, total, gamma, beta, x), total]


def _group_norm(
    build: Build, node: ir.Node, x: Value, gamma: Value, beta: Value, like: Value
) -> ir.Value:
    """As exporters spell it, which is recognized as one norm."""
    if not node.attributes.get_int("channels_last", 1):
        raise UnsupportedError("its channels are not last. Export the model with such channels")
    groups = node.attributes.get_int("groups")
    first = build.op("Transpose", x, perm=[0, 3, 1, 2])
    one, zero = (build.constant(np.full(groups, v), ir.DataType.FLOAT) for v in (1, 0))
    one, zero = (build.op("CastLike", v, like) for v in (one, zero))
    apart = build.op("Reshape", first, build.ints(0, groups, -1))
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    normalized = build.op("InstanceNormalization", apart, one, zero, epsilon=epsilon)
    whole = build.op("Reshape", normalized, build.op("Shape", first))
    column = build.ints(1, -1, 1, 1)
    gamma, beta = (build.op("CastLike", v, like) for v in (gamma, beta))
    scaled = build.op("Mul", whole, build.op("Reshape", gamma, column))
    y = build.op("Add", scaled, build.op("Reshape", beta, column))
    if node.attributes.get_int("activation", 0):
        y = build.op("Mul", y, build.op("Sigmoid", y))
    return build.op("Transpose", y, perm=[0, 2, 3, 1])
