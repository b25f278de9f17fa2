"""Norms by the statistics of the input itself: y = scale·(x - mean)·r + bias, r = 1/√(var + ε).

With g = s·scale, n = (x - mean)·r and means over the norm's axes, the vector-Jacobian product is

    r·(g - mean(g) - n·mean(g·n)),

and r·(g - mean(g)) with r held constant: the form that rules made of shares take (Ali et al. 2022,
section 3.2; Achtibat et al. 2024, proposition 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.attributes import integer
from lrp_onnx.graph.builder import Emit, known_rank
from lrp_onnx.ops.activation import number
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.scatter_add import reshape, size_of

__all__: list[str] = []

Arriving = Sequence[ir.Value | None]


class _Norm:
    """The parts of one norm: centerd input, r, and the transpose of taking both."""

    def __init__(self, emit: Emit, node: ir.Node, x: ir.Value | None, axes: Sequence[int]) -> None:
        self.emit, self.axes = emit, emit.ints(*axes)
        self.centerd = emit.op("Sub", x, self.mean(x))
        variance = self.mean(emit.op("Mul", self.centerd, self.centerd))
        shifted = emit.op("Add", variance, number(node, "epsilon", 1e-5))
        self.deviation = emit.op("Sqrt", shifted)

    def mean(self, value: ir.Value | None) -> ir.Value:
        return self.emit.op("ReduceMean", value, self.axes, keepdims=1)

    def over_deviation(self, value: ir.Value) -> ir.Value:
        return self.emit.op("Div", value, self.deviation)

    def product(self, g: ir.Value, held: bool) -> ir.Value:
        """g: gradient of the centerd input over the deviation -> that of the input."""
        c = self.emit.op("Sub", g, self.mean(g))
        if not held:
            n = self.over_deviation(self.centerd)
            along = self.mean(self.emit.op("Mul", g, n))
            c = self.emit.op("Sub", c, self.emit.op("Mul", n, along))
        return self.over_deviation(c)


def _first_axis(node: ir.Node) -> range:
    x = node.inputs[0]
    assert x is not None
    rank = known_rank(x)
    return range(integer(node, "axis", -1) % rank, rank)


def _layer_normalization(emit: Emit, node: ir.Node, s: Arriving, held: bool) -> ir.Value:
    of_y, *others = s
    if of_y is None or any(part is not None for part in others):
        raise UnsupportedError(
            "its mean or deviation is read on the way to the target. Export it decomposed"
        )
    norm = _Norm(emit, node, node.inputs[0], _first_axis(node))
    return norm.product(emit.op("Mul", of_y, node.inputs[1]), held)


def layer_normalization_held(emit: Emit, node: ir.Node, s: Arriving, i: int) -> ir.Value:
    """r·(g - mean(g)), g = s·scale."""
    return _layer_normalization(emit, node, s, held=True)


@op("LayerNormalization", kind="norm", outputs="all", held=layer_normalization_held)
def layer_normalization(emit: Emit, node: ir.Node, s: Arriving, i: int) -> ir.Value:
    """The module's formula over the axes from `axis` on.

    s: one part per output    scale: broadcasts to those axes    ->    c: shaped like x.
    Spec: ONNX LayerNormalization-17.
    """
    return _layer_normalization(emit, node, s, held=False)


def _instance_normalization(emit: Emit, node: ir.Node, s: ir.Value, held: bool) -> ir.Value:
    x = node.inputs[0]
    assert x is not None
    rank = known_rank(x)
    scale = emit.op("Reshape", node.inputs[1], emit.ints(-1, *[1] * (rank - 2)))
    norm = _Norm(emit, node, x, range(2, rank))
    return norm.product(emit.op("Mul", s, scale), held)


def instance_normalization_held(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """r·(g - mean(g)), g = s·scale."""
    return _instance_normalization(emit, node, s, held=True)


@op("InstanceNormalization", kind="norm", held=instance_normalization_held)
def instance_normalization(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The module's formula over the axes behind the channels.

    s: (N, C, *size)    scale: (C,)    ->    c: (N, C, *size).
    Spec: ONNX InstanceNormalization-6.
    """
    return _instance_normalization(emit, node, s, held=False)


def _group_normalization(emit: Emit, node: ir.Node, s: ir.Value, held: bool) -> ir.Value:
    x, scale = node.inputs[:2]
    assert x is not None
    assert scale is not None
    groups, channels = integer(node, "num_groups", 1), size_of(emit, x, 1)
    behind = [1] * (known_rank(x) - 2)
    spread = reshape(emit, scale, [channels, *behind])
    g = _grouped(emit, emit.op("Mul", s, spread), groups)
    norm = _Norm(emit, node, _grouped(emit, x, groups), [2])
    return emit.reshape_like(norm.product(g, held), x)


def _grouped(emit: Emit, value: ir.Value, groups: int) -> ir.Value:
    """(N, C, *size) -> (N, groups, all else)."""
    return emit.op("Reshape", value, emit.ints(0, groups, -1))


def group_normalization_held(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """r·(g - mean(g)), g = s·scale."""
    return _group_normalization(emit, node, s, held=True)


@op("GroupNormalization", kind="norm", domain="lrp", held=group_normalization_held)
@op("GroupNormalization", kind="norm", held=group_normalization_held)
def group_normalization(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The module's formula over all elements of a group of channels; `lrp::GroupNormalization` is
    the same at any opset.

    s: (N, C, *size)    scale: (C,)    ->    c: (N, C, *size).
    Spec: ONNX GroupNormalization-21.
    """
    return _group_normalization(emit, node, s, held=False)


def _measured(emit: Emit, node: ir.Node, s: ir.Value, held: bool) -> ir.Value:
    x, scale, _, mean, deviation = node.inputs
    axes = emit.ints(*node.attributes.get_ints("axes", ()))
    over = emit.in_compute_dtype(deviation)
    g = s if scale is None else emit.op("Mul", s, scale)
    c = emit.op("Sub", g, emit.op("ReduceMean", g, axes, keepdims=1))
    if not held:
        n = emit.op("Div", emit.op("Sub", x, mean), over)
        along = emit.op("ReduceMean", emit.op("Mul", g, n), axes, keepdims=1)
        c = emit.op("Sub", c, emit.op("Mul", n, along))
    return emit.op("Div", c, over)


def norm_held(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """r·(g - mean(g)), g = s·scale, r = 1/deviation."""
    return _measured(emit, node, s, held=True)


@op("Norm", kind="norm", domain="lrp", gates=(3, 4), held=norm_held)
def norm(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The module's formula over `axes`, the mean and the deviation being computed by the model.

    `lrp::Norm(x, scale, bias, mean, deviation)` is (x - mean)/deviation·scale + bias, which no
    operator of the standard says for any axes, sizes and element type; `optimize` spells it.
    s: shaped like x    scale: broadcasts to x    ->    c: shaped like x.
    """
    return _measured(emit, node, s, held=False)
