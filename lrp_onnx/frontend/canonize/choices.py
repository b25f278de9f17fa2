"""A layer whose every output is one of its inputs only moves elements.

    x·M with a single 1 in each column of M:                  Gather along the last axis,
    Conv, 1 × 1, with a single 1 in each channel's kernel:    Gather along the channels,
    ConvTranspose of ones from each channel to its own, its
    kernel as large as its strides:                           Resize to the nearest,
    the same with a single 1 for each tap of an output:       Gather and DepthToSpace.

Relevance then moves with them, as of a permutation or an upsampling in any other spelling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constant_values import is_zero
from lrp_onnx.graph.constants import stored
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.windows import window_of

__all__ = ["choices"]

Array = NDArray[Any]

FIRST = 64
"""As many weights are looked at before all are."""


@each("MatMul", "Conv", "ConvTranspose")
def choices(view: View, node: ir.Node) -> bool:
    """Write such a layer as Gather or Resize."""
    x, weight = node.inputs[0], stored(node.inputs[1])
    biased = len(node.inputs) > 2 and node.inputs[2] is not None and not is_zero(node.inputs[2])
    if x is None or x.is_initializer() or weight is None or weight.size < 2 or biased:
        return False
    if not all(np.isin(part, (0, 1)).all() for part in (weight.flat[:FIRST], weight)):
        return False
    build = Build(view.graph, node, "choice")
    y = WRITTEN[node.op_type](build, x, weight)
    if y is None:
        return False
    build.replace(y)
    return True


def _gathered(build: Build, x: ir.Value, table: Array, axis: int) -> ir.Value | None:
    """table: (inputs, outputs)."""
    if (table.sum(0) != 1).any() or len(table) < 2:
        return None
    places: NDArray[np.intp] = table.argmax(0)
    y = build.node.outputs[0]
    return build.op("Gather", x, build.ints(*map(int, places)), axis=axis, like=y)


def _of_matrix(build: Build, x: ir.Value, matrix: Array) -> ir.Value | None:
    return _gathered(build, x, matrix, -1) if matrix.ndim == 2 and len(x.shape or ()) > 1 else None


def _of_kernel(build: Build, x: ir.Value, kernel: Array) -> ir.Value | None:
    alone = kernel.size == kernel.shape[0] * kernel.shape[1]
    if not alone or not _is_plain(build.node, (1,) * (kernel.ndim - 2)):
        return None
    return _gathered(build, x, kernel.reshape(kernel.shape[:2]).T, 1)


def _repeated(build: Build, x: ir.Value, kernel: Array) -> ir.Value | None:
    """kernel: (inputs, outputs a group, window)."""
    window, group = kernel.shape[2:], build.node.attributes.get_int("group", 1)
    own = np.eye(len(kernel)) if group == 1 else np.ones((len(kernel), 1))
    alike = own.shape == kernel.shape[:2] and group in (1, len(kernel))
    own = own.reshape(*own.shape, *[1] * len(window))
    if x.dtype is None or np.prod(window) == 1 or not _is_plain(build.node, window, group):
        return None
    if not alike or (kernel != own).any():
        return _shuffled(build, x, kernel) if group == 1 else None
    scales = build.constant([1, 1, *window], ir.DataType.FLOAT)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = build.node.outputs[0]
    return build.op("Resize", x, None, scales, mode="nearest", like=y, **how)


def _shuffled(build: Build, x: ir.Value, kernel: Array) -> ir.Value | None:
    """The taps of each output from channels of their own, in DepthToSpace's order CRD."""
    table, (high, *others) = kernel.reshape(len(kernel), -1), kernel.shape[2:]
    if others != [high] or (table.sum(0) != 1).any() or len(table) < 2 or not x.shape:
        return None
    places = table.argmax(0)
    if (places != np.arange(len(table))).any():
        batch, _, *rest = list(x.shape)
        chosen = build.op("Gather", x, build.ints(*map(int, places)), axis=1)
        chosen.type, chosen.shape = x.type, ir.Shape([batch, len(places), *rest])
        x = chosen
    y = build.node.outputs[0]
    return build.op("DepthToSpace", x, blocksize=high, mode="CRD", like=y)


def _is_plain(node: ir.Node, strides: tuple[int, ...], group: int = 1) -> bool:
    """Whether its windows lie side by side, with nothing between or around them."""
    window = window_of(node, len(strides))
    return (
        (window.mode, window.strides) == ("NOTSET", strides)
        and node.attributes.get_int("group", 1) == group
        and not (window.dilated or any(window.pads + window.output_padding))
        and "output_shape" not in node.attributes
    )


WRITTEN = {"MatMul": _of_matrix, "Conv": _of_kernel, "ConvTranspose": _repeated}
"""What writes each operator as a move; None where it is none."""
