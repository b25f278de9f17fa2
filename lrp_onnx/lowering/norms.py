"""The compiler's own norms in operators of the standard, as their models spelled them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.replacement import Build

__all__ = ["lower_group_norm", "lower_norm"]


def lower_norm(graph: ir.Graph, node: ir.Node) -> None:
    """(x - mean)/deviation·scale + bias."""
    x, scale, bias, mean, deviation = node.inputs
    build = Build(graph, node)
    value = build.op("Div", build.op("Sub", x, mean), deviation)
    value = value if scale is None else build.op("Mul", value, scale)
    build.replace(value if bias is None else build.op("Add", value, bias))


def lower_group_norm(graph: ir.Graph, node: ir.Node) -> None:
    """InstanceNormalization over (N, groups, all else), then ·scale + bias per channel."""
    x, scale, *bias = node.inputs
    assert x is not None
    assert x.dtype is not None
    build, groups = Build(graph, node), node.attributes["num_groups"].as_int()
    one, zero = (build.constant(np.full(groups, k), x.dtype, f"{k}") for k in (1, 0))
    apart = build.op("Reshape", x, build.ints(0, groups, -1))
    epsilon = node.attributes["epsilon"].as_float()
    normalized = build.op("InstanceNormalization", apart, one, zero, epsilon=epsilon)
    value = build.op("Reshape", normalized, build.op("Shape", x))
    column = build.ints(*_column(x))
    value = build.op("Mul", value, build.op("Reshape", scale, column))
    build.replace(build.op("Add", value, build.op("Reshape", bias[0], column)) if bias else value)


def _column(x: ir.Value) -> Sequence[int]:
    """(C,) as it broadcasts to (N, C, *size)."""
    assert x.shape is not None
    return [-1, *[1] * (len(x.shape) - 2)]
