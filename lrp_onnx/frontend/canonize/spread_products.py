"""A product that is broadcast and summed up is a product of matrices.

Σ_c x[…, c, 1]·W[c, d] = x·W,    Σ_c x[…, 1, c]·W[d, c] = x·Wᵀ.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import array_of, sole_reader
from lrp_onnx.graph.makers import either_way, made_by
from lrp_onnx.graph.replacement import Build

__all__ = ["matrix_products"]


@each("ReduceSum")
def matrix_products(view: View, node: ir.Node) -> bool:
    """Write such a sum as MatMul."""
    product = made_by(node.inputs[0], "Mul")
    axes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    if product is None or axes is None:
        return False
    y = product.outputs[0]
    if y.shape is None or sole_reader(y) is None or len(axes) != 1 or len(y.shape) < 3:
        return False
    if node.attributes.get_int("keepdims", 1):
        return False
    for spread, weight in either_way(product.inputs):
        at = axes[0] % len(y.shape) - len(y.shape)
        x, matrix = _unspread(spread, -3 - at), array_of(weight)
        if x is None or matrix is None or matrix.ndim != 2 or at not in (-1, -2):
            continue
        if spread is None or spread.shape is None or len(spread.shape) != len(y.shape):
            continue
        if x.shape is None or x.shape[-1] != matrix.shape[at]:
            continue
        build = Build(view.graph, node)
        assert x.dtype is not None
        w = build.constant(matrix if at == -2 else matrix.T, x.dtype, "weight")
        build.replace(build.op("MatMul", x, w, like=node.outputs[0]))
        return True
    return False


def _unspread(value: ir.Value | None, axis: int) -> ir.Value | None:
    """What an Unsqueeze gives an axis of size 1, at that place from the end."""
    node = made_by(value, "Unsqueeze")
    if node is None or value is None:
        return None
    axes = constant_ints(node.inputs[1])
    if axes is None or len(axes) != 1 or value.shape is None:
        return None
    rank = len(value.shape)
    return node.inputs[0] if axes[0] % rank == axis % rank else None
