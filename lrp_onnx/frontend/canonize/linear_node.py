"""Linear nodes as canonization sees them: which axis is which, and how weight and bias change.

For y = W·x + b along the axis of a node's output channels, s·y + t is the node with weight s·W and
bias s·b + t, s multiplying the weight's rows of each output channel.  For x = s·u + t along the
axis of its input channels, y = (W·s)·u + (b + W·t), s multiplying the weight's columns of each
input channel; W·t, the response to the constant t, is the same everywhere only where every output
element sees every tap of the kernel, so not with padding and not in a ConvTranspose.  Products are
formed in float64 and stored in the weight's dtype; where that overflows nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.frontend.canonize.affine import Affine
from lrp_onnx.graph.constants import Float, array_of, set_constant, stored
from lrp_onnx.graph.windows import window_of
from lrp_onnx.ops.registry import find

__all__ = ["LinearNode", "becomes_biased", "linear_node_of"]

Weight = NDArray[Any]


@dataclass(frozen=True)
class LinearNode:
    """A linear node: input `x`, weight `w` (positions), the rank of both ends, channel axes.

    `rows` and `columns`: the weight's axes that hold output and input channels, counted from the
    end for dense layers; `out_axis`, `in_axis` the axes of y and x that hold them.
    """

    node: ir.Node
    x: int
    w: int
    rank: int
    out_axis: int
    in_axis: int
    rows: int
    columns: int
    group: int = 1

    @property
    def weight(self) -> ir.Value:
        """The weight's value."""
        value = self.node.inputs[self.w]
        assert value is not None
        return value

    @property
    def size(self) -> int:
        """How many output channels."""
        assert self.weight.shape is not None
        rows = int(self.weight.shape[self.rows])  # type: ignore[arg-type]
        return rows * (self.group if self.node.op_type == "ConvTranspose" else 1)

    @property
    def in_size(self) -> int:
        """How many input channels."""
        assert self.weight.shape is not None
        columns = int(self.weight.shape[self.columns])  # type: ignore[arg-type]
        return columns * (self.group if self.node.op_type == "Conv" else 1)

    @property
    def bias(self) -> ir.Value | None:
        """The bias' value, if it has one."""
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    def follow(self, graph: ir.Graph, behind: Affine) -> bool:
        """Take an affine map of the output channels into weight and bias; says whether it could."""
        weight, bias = stored(self.weight), array_of(self.bias)
        scales = bool((behind.scale != 1).any())
        if (scales and weight is None) or (self.bias is not None and bias is None):
            return False
        old = np.zeros(1) if bias is None else bias
        new = old * self._over_output(behind.scale) + self._over_output(behind.shift)
        return self._store(
            graph,
            self._times(weight, behind.scale, True) if scales and weight is not None else None,
            new if bias is not None or behind.shift.any() else None,
        )

    def precede(self, graph: ir.Graph, before: Affine) -> bool:
        """Take an affine map of the input channels into weight and bias; says whether it could."""
        weight, bias = stored(self.weight), array_of(self.bias)
        shifts = bool(before.shift.any())
        if weight is None or (self.bias is not None and bias is None):
            return False
        if shifts and self._position_matters():
            return False
        old = np.zeros(1) if bias is None else bias
        new = old + self._response(weight, before.shift) if shifts else None
        return self._store(graph, self._times(weight, before.scale, False), new)

    def _position_matters(self) -> bool:
        window = window_of(self.node)
        implied = window.mode not in ("NOTSET", "VALID")
        return any(window.pads) or implied or self.node.op_type == "ConvTranspose"

    def _over_output(self, per_channel: Float) -> Float:
        """Shaped to broadcast with the bias."""
        if _has_kernel(self.node):
            return per_channel
        return per_channel.reshape([-1] + [1] * (self.rank - 1 - self.out_axis))

    def _times(self, weight: Weight, scale: Float, rows: bool) -> Weight:
        """The weight with its rows (or columns) of each channel multiplied, in its own dtype."""
        axis = self.rows if rows else self.columns
        if not _has_kernel(self.node):
            return _product(weight, scale.reshape([-1] + [1] * (-1 - axis)))
        # axis 0 of the weight is divided into groups, of input or of output channels
        g, rest = self.group, weight.shape[2:]
        grouped = weight.reshape(g, weight.shape[0] // g, weight.shape[1], *rest)
        shape = [g, 1, 1, *[1] * len(rest)]
        shape[1 + axis] = scale.size // g
        return _product(grouped, scale.reshape(shape)).reshape(weight.shape)

    def _response(self, weight: Weight, shift: Float) -> Float:
        """The output for the constant input `shift`, shaped like a bias."""
        terms = self._times(weight.astype(np.float64), shift, False)
        if self.node.op_type == "Conv":
            return np.asarray(terms.reshape(len(terms), -1).sum(1))
        total = terms.sum(self.columns, keepdims=True)
        return self._over_output(total.reshape(-1)) if weight.ndim == 2 else np.asarray(total)

    def _store(self, graph: ir.Graph, weight: Weight | None, bias: Float | None) -> bool:
        dtype = self.weight.dtype if self.bias is None else self.bias.dtype
        if bias is not None and dtype is not None:
            with np.errstate(over="ignore"):
                bias = bias.astype(dtype.numpy())
        if not all(array is None or np.isfinite(array).all() for array in (weight, bias)):
            return False
        if weight is not None:
            set_constant(graph, self.node, self.w, weight)
        if bias is not None:
            set_constant(graph, self.node, 2, bias)
            if self.node.op_type == "MatMul":
                becomes_biased(self.node)
        return True


def _product(weight: Weight, scale: Float) -> Weight:
    """Formed in float64 element by element, never held in it."""
    product = np.empty(weight.shape, weight.dtype)
    with np.errstate(over="ignore"):
        np.multiply(weight, scale, out=product, dtype=np.float64, casting="unsafe")
    return product


def _has_kernel(node: ir.Node) -> bool:
    operator = find(node)
    return operator is not None and operator.window == "kernel"


def becomes_biased(node: ir.Node) -> None:
    """Make a MatMul with a third input, its bias, a Gemm or, of higher rank, a MatMulAdd."""
    shapes = [None if v is None else v.shape for v in node.inputs[:2]]
    if all(shape is not None and len(shape) == 2 for shape in shapes):
        node.op_type = "Gemm"
    else:
        node.op_type, node.domain = "MatMulAdd", "lrp"


def linear_node_of(node: ir.Node, constants: set[ir.Value]) -> LinearNode | None:
    """The linear node's facts; None where it is none or shapes are unknown.

    A Gemm is taken only with alpha and beta 1.
    """
    operator = find(node)
    if operator is None or not operator.weighted or operator.name == "Einsum":
        return None
    if operator.window:
        return _convolution(node)
    a, b = node.inputs[:2]
    if (a in constants) == (b in constants) or a is None or b is None:
        return None
    w = 1 if b in constants else 0
    x_shape, w_shape = ((b, a)[w].shape, (a, b)[w].shape)
    if x_shape is None or w_shape is None or len(w_shape) < 2 or not w_shape.is_static():
        return None
    if node.op_type == "Gemm":
        return _gemm(node, w)
    if len(x_shape) < 2:
        return None
    rank = max(len(x_shape), len(w_shape))
    near, far = (rank - 1, -1) if w else (rank - 2, -2)
    return LinearNode(node, 1 - w, w, rank, near, len(x_shape) + far, far, -3 - far)


def _gemm(node: ir.Node, w: int) -> LinearNode | None:
    """A Gemm's axes: W is (K, N) at position 1 and (M, K) at 0, transposed or not."""
    attributes = node.attributes
    if any(attributes[k].as_float() != 1 for k in ("alpha", "beta") if k in attributes):
        return None
    x_turned, w_turned = (
        k in attributes and bool(attributes[k].as_int())
        for k in (("transA", "transB") if w else ("transB", "transA"))
    )
    rows = w if not w_turned else 1 - w
    in_axis = w if not x_turned else 1 - w
    return LinearNode(node, 1 - w, w, 2, w, in_axis, rows - 2, (1 - rows) - 2)


def _convolution(node: ir.Node) -> LinearNode | None:
    w = node.inputs[1]
    if w is None or w.shape is None or not w.shape.is_static():
        return None
    group = node.attributes.get("group")
    rows, columns = (0, 1) if node.op_type == "Conv" else (1, 0)
    count = 1 if group is None else group.as_int()
    return LinearNode(node, 0, 1, len(w.shape), 1, 1, rows, columns, count)
