"""What scales and shifts a norm's channels behind moves belongs to the norm.

    (n(x)·γ + β)ᵀ·s + t = (n(x)·(γ·s) + (β·s + t))ᵀ

Where nothing lies between `recognize` takes both in; here moves may keep the channels together, as
behind a norm over the channels of an image that is computed with these last.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.affine import Behind
from lrp_onnx.graph.constants import Float, array_of
from lrp_onnx.graph.replacement import Build

__all__ = ["fold_behind_norms"]

OPERATORS = {
    ("", "LayerNormalization"): -1,
    ("", "InstanceNormalization"): 1,
    ("lrp", "GroupNormalization"): 1,
    ("lrp", "Norm"): -1,
}
"""Norms with a scale and a shift, and the axis that these vary along."""


def fold_behind_norms(model: ir.Model) -> bool:
    """Take scales and shifts behind moves into the norms in front of them."""
    nodes = [node for node in model.graph if (node.domain, node.op_type) in OPERATORS]
    return sum(_folded(model, node) for node in nodes) > 0


def _folded(model: ir.Model, norm: ir.Node) -> bool:
    y, axis = norm.outputs[0], _axis(norm)
    size = None if axis is None or y.shape is None else y.shape[axis]
    scale, bias = (_parameter(norm, k, size) for k in (1, 2))
    if axis is None or y.shape is None or not isinstance(size, int):
        return False
    behind, shape = Behind.of(y, axis, size), y.shape
    if not behind.moves or not behind.total.shift.any() or scale is None or bias is None:
        return False
    total = behind.total
    sizes = [-1] + [1] * (len(shape) - 1 - axis if norm.op_type == "Norm" else 0)
    _set(model, norm, 1, (scale * total.scale).reshape(sizes))
    _set(model, norm, 2, (bias * total.scale + total.shift).reshape(sizes))
    behind.take_out(model)
    return True


def _axis(norm: ir.Node) -> int | None:
    """The axis that its scale and its shift vary along, or may."""
    y, axis = norm.outputs[0], OPERATORS[norm.domain, norm.op_type]
    if y.shape is None:
        return None
    if norm.op_type == "Norm":
        axes = norm.attributes.get_ints("axes", ())
        return axes[0] % len(y.shape) if len(axes) == 1 else None
    first = norm.attributes.get_int("axis", -1)
    return axis % len(y.shape) if first in (-1, len(y.shape) - 1) else None


def _parameter(norm: ir.Node, k: int, size: object) -> Float | None:
    """Scale or shift, one number or one a channel; None where it is neither."""
    value = norm.inputs[k] if len(norm.inputs) > k else None
    array = array_of(value) if value is not None else np.full(1, 1.0 if k == 1 else 0.0)
    return array.reshape(-1) if array is not None and array.size in (1, size) else None


def _set(model: ir.Model, norm: ir.Node, k: int, array: Float) -> None:
    """A constant of its own, so that what others read stays."""
    x = norm.inputs[0]
    assert x is not None
    assert x.dtype is not None
    build = Build(model.graph, norm)
    if k >= len(norm.inputs):
        norm.resize_inputs(k + 1)
    norm.replace_input_with(k, build.constant(array, x.dtype, {1: "scale", 2: "bias"}[k]))
