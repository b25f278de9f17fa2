"""Norms of the standard whose scale or bias the model computes, or whose statistics it reads.

    norm(x, scale, bias) = norm(x, 1, 0) · scale + bias

so that the scale and the bias have rules of their own: those of a product and of a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.frontend.decompose.heads import rank_of
from lrp_onnx.frontend.decompose.operands import computed, per_channel
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

Value = ir.Value | None


def _filled(build: Build, number: float, like: Value) -> ir.Value:
    """A number in the shape of a parameter."""
    return build.op("Expand", build.like(number, like), build.op("Shape", like))


@decomposes("LayerNormalization")
def layer_normalization(build: Build, node: ir.Node) -> Sequence[Value] | None:
    """The norm, then · scale + bias; mean and 1/√(var + ε) by themselves if they are read.

    Spec: ONNX LayerNormalization-17.
    """
    x, scale, bias = [*node.inputs, None][:3]
    read = any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
    if not (read or computed(scale) or computed(bias)):
        return None
    attributes: dict[str, Any] = dict(node.attributes)
    statistics = _statistics(build, node) if read else ()
    if not (computed(scale) or computed(bias)):
        return [build.op("LayerNormalization", x, scale, bias, **attributes), *statistics]
    y = build.op("LayerNormalization", x, _filled(build, 1.0, scale), **attributes)
    y = build.op("Mul", y, scale)
    return [y if bias is None else build.op("Add", y, bias), *statistics]


def _statistics(build: Build, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    """The mean and 1/√(var + ε) over the axes from `axis` on, in the type `stash_type`."""
    x, axis = node.inputs[0], node.attributes.get_int("axis", -1)
    first = axis - rank_of(x) if axis >= 0 else axis
    axes = build.ints(*range(first, 0))
    stash = ir.DataType(attribute(node, "stash_type", int(ir.DataType.FLOAT)))
    precise = x if x is None or x.dtype == stash else build.op("Cast", x, to=int(stash))
    mean = build.op("ReduceMean", precise, axes, keepdims=1)
    centered = build.op("Sub", precise, mean)
    variance = build.op("ReduceMean", build.op("Mul", centered, centered), axes, keepdims=1)
    epsilon = build.constant(node.attributes.get_float("epsilon", 1e-5), stash)
    deviation = build.op("Sqrt", build.op("Add", variance, epsilon))
    return mean, build.op("Reciprocal", deviation)


@decomposes("InstanceNormalization")
@decomposes("GroupNormalization")
def channel_norm(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """The norm, then · scale + bias per channel.

    Spec: ONNX InstanceNormalization-6, GroupNormalization-21.
    """
    x, scale, bias = node.inputs
    if not (computed(scale) or computed(bias)):
        return None
    attributes: dict[str, Any] = dict(node.attributes)
    rank = rank_of(x)
    ones, zeros = (_filled(build, number, scale) for number in (1.0, 0.0))
    y = build.op(node.op_type, x, ones, zeros, **attributes)
    y = build.op("Mul", y, per_channel(build, scale, rank))
    return [build.op("Add", y, per_channel(build, bias, rank))]
