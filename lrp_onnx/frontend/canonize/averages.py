"""A sum or an average in the form of weights that are all alike is a sum or an average.

    Conv of one kernel a channel with all weights w,
    whether grouped or with zeros for all other channels: Πk·w · AveragePool(x),
    Conv of one output channel, 1 × 1, all weights w:     C·w · ReduceMean(x) over the channels,
    x·M with M a column of n weights w:                   n·w · ReduceMean(x) over the last axis,
    M·x with M a row of them:                             n·w · ReduceMean(x) over the one before.

Their rule is that of sums, which have no weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constants import Float, array_of
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.windows import window_of

__all__ = ["averages"]


@each("Conv", "MatMul")
def averages(view: View, node: ir.Node) -> bool:
    """Write such a node as AveragePool or ReduceMean, times a number where it is not 1."""
    at = 1 if node.op_type == "Conv" or array_of(node.inputs[0]) is None else 0
    x, weight = node.inputs[1 - at], array_of(node.inputs[at])
    group = node.attributes.get_int("group", 1)
    if weight is not None and node.op_type == "Conv":
        weight, group = _of_own_channels(weight, group)
    if x is None or weight is None or weight.size < 2 or (weight != weight.flat[0]).any():
        return False
    if not weight.flat[0]:
        return False
    build = Build(view.graph, node, "average")
    y = (
        _of_matrix(build, x, weight, at)
        if node.op_type == "MatMul"
        else _of_kernel(build, x, weight, group)
    )
    if y is None:
        return False
    factor = float(weight.flat[0]) * _count(weight)
    if abs(factor - 1) > 1e-6:
        y = build.op("Mul", y, build.like(factor, x), like=node.outputs[0])
    build.replace(y)
    return True


def _of_own_channels(kernel: Float, group: int) -> tuple[Float, int]:
    """The kernels of each channel alone, where all others weigh nothing."""
    rows, columns = kernel.shape[:2]
    if columns == 1 or rows != columns * group or kernel[0, 1:].any() or kernel[-1, :-1].any():
        return kernel, group
    own = np.arange(rows), np.arange(rows) % columns
    others = kernel.copy()
    others[own] = 0
    return (kernel, group) if others.any() else (kernel[own][:, None], rows)


def _count(weight: Float) -> int:
    """How many elements are averaged."""
    return weight.size if weight.shape[0] == 1 or weight.ndim == 2 else int(weight[0].size)


def _of_matrix(build: Build, x: ir.Value, matrix: Float, at: int) -> ir.Value | None:
    if matrix.ndim != 2 or matrix.shape[at] != 1 or len(x.shape or ()) < 2:
        return None
    axis = build.ints(-1 if at else -2)
    return build.op("ReduceMean", x, axis, keepdims=1, like=build.node.outputs[0])


def _of_kernel(build: Build, x: ir.Value, kernel: Float, group: int) -> ir.Value | None:
    conv, rank = build.node, kernel.ndim
    bias = array_of(conv.inputs[2]) if len(conv.inputs) > 2 else np.zeros(1)
    window, y = window_of(conv), conv.outputs[0]
    if bias is None or bias.any() or window.mode != "NOTSET" or window.dilated or rank < 3:
        return None
    if len(kernel) == group and kernel.shape[1] == 1 and np.prod(kernel.shape[2:]) > 1:
        size = list(kernel.shape[2:])
        own = {k: conv.attributes[k] for k in ("strides", "pads") if k in conv.attributes}
        return build.op("AveragePool", x, kernel_shape=size, count_include_pad=1, like=y, **own)
    pointwise = all(n == 1 for n in kernel.shape[2:]) and kernel.shape[0] == 1 and group == 1
    if not pointwise or not window.stays:
        return None
    return build.op("ReduceMean", x, build.ints(1), keepdims=1, like=y)
