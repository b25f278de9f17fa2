"""The operator that says a norm: one of the standard where there is one, else `lrp::Norm`.

LayerNormalization is over the last axes, their sizes known; InstanceNormalization over those behind
the channels; `lrp::GroupNormalization` over groups of channels.  Their ε stands in the root, and is
too coarse for float64.  Any other norm reads its mean and its deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.norm import Norm
from lrp_onnx.graph.constants import Float
from lrp_onnx.graph.replacement import Build

__all__ = ["write_norm"]


def write_norm(build: Build, norm: Norm, x: ir.Value) -> ir.Value | None:
    """The norm of x; None where no operator says it."""
    if norm.met.groups > 1:
        return _group_norm(build, norm, x)
    if not norm.centered:
        return _by_size(build, norm, x)
    sizes, channels = _last_sizes(norm, x), _channels(norm, x)
    if norm.place != "in the root" or x.dtype == ir.DataType.DOUBLE:
        return _by_statistics(build, norm, x)
    if sizes is not None and _varies_along(norm, norm.met.axes):
        axis = -len(sizes)
        return _operator(build, "LayerNormalization", norm, x, sizes, False, axis=axis)
    if channels is not None and _varies_along(norm, (1,)) and not _is_plain(norm):
        return _operator(build, "InstanceNormalization", norm, x, (channels,), True)
    return _by_statistics(build, norm, x)


def _group_norm(build: Build, norm: Norm, x: ir.Value) -> ir.Value | None:
    at = norm.met.channels
    channels = x.shape[at] if x.shape is not None else None
    if not norm.centered or norm.place != "in the root" or not isinstance(channels, int):
        return None
    own = {"domain": "lrp", "num_groups": norm.met.groups}
    if at == 1:
        return _operator(build, "GroupNormalization", norm, x, (channels,), False, **own)
    order = [0, at, *(axis for axis in norm.met.axes if axis != at)]
    first = build.op("Transpose", x, perm=order)
    y = _operator(build, "GroupNormalization", norm, first, (channels,), False, **own)
    y.type, y.shape = first.type, first.shape
    return build.op("Transpose", y, perm=[order.index(axis) for axis in range(len(order))])


def _operator(
    build: Build,
    op_type: str,
    norm: Norm,
    x: ir.Value,
    sizes: Sequence[int],
    always_biased: bool,
    **attributes: Any,
) -> ir.Value:
    """An operator with γ and β of those sizes."""
    assert x.dtype is not None
    scale = np.ones(1) if norm.scale is None else norm.scale
    bias = np.zeros(1) if norm.bias is None and always_biased else norm.bias
    parts = [("scale", scale)] + ([] if bias is None else [("bias", bias)])
    constants = [build.constant(_of_sizes(a, sizes), x.dtype, part) for part, a in parts]
    name, epsilon = build.node.name, norm.epsilon
    own = {"named": name, "epsilon": epsilon, **attributes}
    return build.outputs(op_type, 1, x, *constants, **own)[0]


def _of_sizes(array: Float, sizes: Sequence[int]) -> Float:
    """Its elements, which vary along axes of those sizes alone."""
    if array.size not in (1, np.prod(sizes)):
        return np.broadcast_to(array.reshape(array.shape[-len(sizes) :]), sizes)
    return np.broadcast_to(array.reshape(sizes if array.size > 1 else 1), sizes)


def _last_sizes(norm: Norm, x: ir.Value) -> tuple[int, ...] | None:
    """The sizes of the axes, if these are the last ones and all is known."""
    shape, axes = [*(x.shape or ())], norm.met.axes
    sizes = tuple(n for axis in axes if isinstance(n := shape[axis], int))
    last = axes == tuple(range(len(shape) - len(axes), len(shape)))
    return sizes if last and len(sizes) == len(axes) else None


def _channels(norm: Norm, x: ir.Value) -> int | None:
    """How many channels there are, if the axes are all behind them."""
    shape = [*(x.shape or ())]
    if norm.met.axes != tuple(range(2, len(shape))):
        return None
    return shape[1] if isinstance(shape[1], int) else None


def _varies_along(norm: Norm, axes: Sequence[int]) -> bool:
    """Whether γ and β vary along no other axes."""
    arrays = [a for a in (norm.scale, norm.bias) if a is not None]
    return all(n == 1 or axis in axes for a in arrays for axis, n in enumerate(a.shape))


def _is_plain(norm: Norm) -> bool:
    return norm.scale is None and norm.bias is None


def _by_statistics(build: Build, norm: Norm, x: ir.Value) -> ir.Value:
    """`lrp::Norm`."""
    axes = _from_back(norm, x)
    mean = build.op("ReduceMean", x, build.ints(*axes), keepdims=1)
    mean.type, mean.shape = x.type, _reduced(norm, x)
    deviation = _deviation(build, norm, build.op("Sub", x, mean, like=x))
    constants = [None if a is None else _like(build, a, x) for a in (norm.scale, norm.bias)]
    name = build.node.name
    return build.outputs(
        "Norm", 1, x, *constants, mean, deviation, domain="lrp", named=name, axes=axes
    )[0]


def _by_size(build: Build, norm: Norm, x: ir.Value) -> ir.Value:
    """x/d·γ + β: relevance passes by the divisor."""
    y = build.op("Div", x, _deviation(build, norm, x), like=x)
    y = y if norm.scale is None else build.op("Mul", y, _like(build, norm.scale, x), like=x)
    return y if norm.bias is None else build.op("Add", y, _like(build, norm.bias, x), like=x)


def _deviation(build: Build, norm: Norm, centered: ir.Value) -> ir.Value:
    """d of x − m, or of x."""
    squares = build.op("Mul", centered, centered, like=centered)
    variance = build.op("ReduceMean", squares, build.ints(*_from_back(norm, centered)), keepdims=1)
    variance.type, variance.shape = centered.type, _reduced(norm, centered)
    epsilon = build.like(norm.epsilon, centered)
    if norm.place == "in the root":
        shifted = build.op("Add", variance, epsilon, like=variance)
        return build.op("Sqrt", shifted, like=variance)
    op_type = "Add" if norm.place == "behind the root" else "Max"
    root = build.op("Sqrt", variance, like=variance)
    return build.op(op_type, root, epsilon, like=variance)


def _from_back(norm: Norm, x: ir.Value) -> list[int]:
    return [axis - len(x.shape or ()) for axis in norm.met.axes]


def _reduced(norm: Norm, x: ir.Value) -> ir.Shape:
    return ir.Shape([1 if k in norm.met.axes else n for k, n in enumerate(x.shape or ())])


def _like(build: Build, array: Float, x: ir.Value) -> ir.Value:
    assert x.dtype is not None
    return build.constant(array, x.dtype)
