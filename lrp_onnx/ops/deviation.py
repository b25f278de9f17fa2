"""Norms by the statistics of the input itself: y = scale·(x - mean)·r + bias, r = 1/√(var + ε).

With g = s·scale, n = (x - mean)·r and means over the norm's axes, the vector-Jacobian product is

    r·(g - mean(g) - n·mean(g·n)),

and r·(g - mean(g)) with r detached, a constant: the form that rules made of shares take (Ali et al.
2022, section 3.2; Achtibat et al. 2024, proposition 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import along, by_shape, rank_of
from lrp_onnx.ops.scatter_add import reshape, size_of

__all__: list[str] = []


class _Norm:
    """The parts of one norm: centered input, r, and the transpose of taking both."""

    def __init__(self, emit: Emit, node: ir.Node, x: ir.Value | None, axes: Sequence[int]) -> None:
        self.emit, self.axes = emit, emit.ints(*axes)
        self.centered = emit.op("Sub", x, self.mean(x))
        variance = self.mean(emit.op("Mul", self.centered, self.centered))
        shifted = emit.op("Add", variance, node.attributes.get_float("epsilon", 1e-5))
        self.deviation = emit.op("Sqrt", shifted)

    def mean(self, value: ir.Value | None) -> ir.Value:
        return self.emit.op("ReduceMean", value, self.axes, keepdims=1)

    def over_deviation(self, value: ir.Value) -> ir.Value:
        return self.emit.op("Div", value, self.deviation)

    def product(self, g: ir.Value, detached: bool) -> ir.Value:
        """g: gradient of the centered input over the deviation -> that of the input."""
        c = self.emit.op("Sub", g, self.mean(g))
        if not detached:
            n = self.over_deviation(self.centered)
            along = self.mean(self.emit.op("Mul", g, n))
            c = self.emit.op("Sub", c, self.emit.op("Mul", n, along))
        return self.over_deviation(c)


def _first_axis(node: ir.Node) -> range:
    x = operand(node)
    rank = known_rank(x)
    return range(node.attributes.get_int("axis", -1) % rank, rank)


@op("LayerNormalization", kind="norm", outputs="all", detached=True, samples_apart=along(-1))
def layer_normalization(
    emit: Emit, node: ir.Node, s: Sequence[ir.Value | None], i: int, detached: bool = False
) -> ir.Value:
    """The module's formula over the axes from `axis` on.

    s: one part per output    scale: broadcasts to those axes    ->    c: shaped like x.
    Spec: ONNX LayerNormalization-17.
    """
    of_y, *others = s
    if of_y is None or any(part is not None for part in others):
        raise UnsupportedError(
            "its mean or deviation is read on the way to the target. Export it decomposed"
        )
    norm = _Norm(emit, node, node.inputs[0], _first_axis(node))
    return norm.product(emit.op("Mul", of_y, node.inputs[1]), detached)


@op("InstanceNormalization", kind="norm", detached=True, samples_apart=by_shape)
def instance_normalization(
    emit: Emit, node: ir.Node, s: ir.Value, i: int, detached: bool = False
) -> ir.Value:
    """The module's formula over the axes behind the channels.

    s: (N, C, *size)    scale: (C,)    ->    c: (N, C, *size).
    Spec: ONNX InstanceNormalization-6.
    """
    x = operand(node)
    rank = known_rank(x)
    scale = emit.op("Reshape", node.inputs[1], emit.ints(-1, *[1] * (rank - 2)))
    norm = _Norm(emit, node, x, range(2, rank))
    return norm.product(emit.op("Mul", s, scale), detached)


@op("GroupNormalization", kind="norm", domain="lrp", detached=True, samples_apart=by_shape)
@op("GroupNormalization", kind="norm", detached=True, samples_apart=by_shape)
def group_normalization(
    emit: Emit, node: ir.Node, s: ir.Value, i: int, detached: bool = False
) -> ir.Value:
    """The module's formula over all elements of a group of channels; `lrp::GroupNormalization` is
    the same at any opset.

    s: (N, C, *size)    scale: (C,)    ->    c: (N, C, *size).
    Spec: ONNX GroupNormalization-21.
    """
    x, scale = operand(node), operand(node, 1)
    groups, channels = node.attributes.get_int("num_groups", 1), size_of(emit, x, 1)
    per_channel = reshape(emit, scale, [channels, *[1] * (known_rank(x) - 2)])
    g = _grouped(emit, emit.op("Mul", s, per_channel), groups)
    norm = _Norm(emit, node, _grouped(emit, x, groups), [2])
    return emit.reshape_like(norm.product(g, detached), x)


def _grouped(emit: Emit, value: ir.Value, groups: int) -> ir.Value:
    """(N, C, *size) -> (N, groups, all else)."""
    return emit.op("Reshape", value, emit.ints(0, groups, -1))


def _keeps_batch(node: ir.Node, inputs: Sequence[int]) -> bool:
    return -rank_of(node.inputs[0]) not in node.attributes.get_ints("axes", ())


@op("Norm", kind="norm", domain="lrp", gates=(3, 4), detached=True, samples_apart=_keeps_batch)
def norm(emit: Emit, node: ir.Node, s: ir.Value, i: int, detached: bool = False) -> ir.Value:
    """The module's formula over `axes`, the mean and the deviation being computed by the model.

    `lrp::Norm(x, scale, bias, mean, deviation)` is (x - mean)/deviation·scale + bias, which no
    operator of the standard says for any axes, sizes and element type; `optimize` spells it.
    s: shaped like x    scale: broadcasts to x    ->    c: shaped like x.
    """
    x, scale, _, mean, deviation = node.inputs
    axes = emit.ints(*node.attributes.get_ints("axes", ()))
    over = emit.in_compute_dtype(deviation)
    g = s if scale is None else emit.op("Mul", s, scale)
    c = emit.op("Sub", g, emit.op("ReduceMean", g, axes, keepdims=1))
    if not detached:
        n = emit.op("Div", emit.op("Sub", x, mean), over)
        shared = emit.op("ReduceMean", emit.op("Mul", g, n), axes, keepdims=1)
        c = emit.op("Sub", c, emit.op("Mul", n, shared))
    return emit.op("Div", c, over)
