"""Norms whose scale or bias the model computes from its inputs, or whose statistics it reads: the
norm alone, then scale and bias, each with a rule of its own.

    y = Norm(x) · scale + bias    mean = ReduceMean(x)    1/√(mean((x - mean)²) + ε)

The operator itself stays in the forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.expand.build import Build, attribute
from lrp_onnx.expand.operands import per_channel, rank_of, varies
from lrp_onnx.expand.registry import expands

__all__: list[str] = []

Value = ir.Value | None


@expands("LayerNormalization")
def layer_normalization(build: Build, node: ir.Node) -> Sequence[Value] | None:
    """LayerNorm(x) · scale + bias, the mean and the inverse deviation.

    Spec: ONNX LayerNormalization-17.
    """
    x, scale, bias = [*node.inputs, None][:3]
    read = [v if v.uses() or v.is_graph_output() else None for v in node.outputs]
    if not any([varies(scale), varies(bias), *read[1:]]):
        return None
    z = build.op("Mul", _normal(build, node, scale), scale)
    wanted = [z if bias is None else build.op("Add", z, bias)]
    if any(read[1:]):
        wanted += _statistics(build, node, x)
    return [
        None if y is None else build.explained(y, part)
        for y, part in zip(read, wanted, strict=False)
    ]


def _normal(build: Build, node: ir.Node, scale: Value, *bias: Value) -> ir.Value:
    """The node with scale 1 and bias 0."""
    plain = [
        build.op("Expand", build.like(number, v), build.op("Shape", v))
        for number, v in zip((1.0, 0.0), (scale, *bias), strict=False)
    ]
    kept: dict[str, Any] = dict(node.attributes)
    return build.op(node.op_type, node.inputs[0], *plain, **kept)


def _statistics(build: Build, node: ir.Node, x: Value) -> Iterator[ir.Value]:
    """Mean and inverse deviation in the precision that they are given in."""
    rank, given = rank_of(x), node.outputs[1].dtype
    if given is None:
        raise UnsupportedError("the element type of its input is unknown")
    if x is not None and x.dtype != given:
        x = build.op("Cast", x, to=int(given))
        x.type = ir.TensorType(given)
    axes = build.ints(*range(attribute(node, "axis", -1) % rank, rank))
    mean = build.op("ReduceMean", x, axes)
    yield mean
    centred = build.op("Sub", x, mean)
    variance = build.op("ReduceMean", build.op("Mul", centred, centred), axes)
    shifted = build.op("Add", variance, build.like(attribute(node, "epsilon", 1e-5), x))
    yield build.op("Reciprocal", build.op("Sqrt", shifted))


@expands("InstanceNormalization")
@expands("GroupNormalization")
def normalised_channels(build: Build, node: ir.Node) -> Sequence[Value] | None:
    """Norm(x) · scale + bias, per channel.

    Spec: ONNX InstanceNormalization-6, GroupNormalization-21 (that of 18 is deprecated).
    """
    x, scale, bias = node.inputs
    if not (varies(scale) or varies(bias)):
        return None
    normal = _normal(build, node, scale, bias)
    factor, addend = (per_channel(build, v, rank_of(x)) for v in (scale, bias))
    z = build.op("Add", build.op("Mul", normal, factor), addend)
    return [build.explained(node.outputs[0], z)]
