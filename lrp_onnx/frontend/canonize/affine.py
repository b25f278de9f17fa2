"""Nodes that scale and shift each entry along one axis by constants, in whatever spelling.

y = scale·x + shift along an axis, the same for everything else: BatchNormalization, whose scale is
γ/√(v+ε) and shift β − μ·scale, and Add, Sub, Mul, Div with a constant that varies along that axis
only, Neg, a convolution of one weight a channel, in a row.  Of two in a row, s₂·(s₁·x + t₁) + t₂,
the scale is s₁·s₂ and the shift s₂·t₁ + t₂.  A node that moves whole entries of that axis
(Transpose, Squeeze, Unsqueeze, some Reshapes), cuts other axes (Slice) or rounds (Cast) commutes
with them: only the axis is another one behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.annotations import CHANGED
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import Float, array_of, bypass, sole_reader
from lrp_onnx.graph.windows import window_of

__all__ = ["Affine", "Behind", "affine_of", "axis_before", "axis_behind"]


@dataclass(frozen=True)
class Affine:
    """y = scale·x + shift per entry of one axis; both of shape (size,)."""

    scale: Float
    shift: Float

    @classmethod
    def identity(cls, size: int) -> Affine:
        """y = x."""
        return cls(np.ones(size), np.zeros(size))

    def then(self, later: Affine) -> Affine:
        """`later` applied to the result of this one."""
        return Affine(self.scale * later.scale, self.shift * later.scale + later.shift)


def affine_of(node: ir.Node, position: int, axis: int, size: int) -> Affine | None:
    """What a node does to its input at `position` along `axis`; None if it is not of that form.

    None also where a constant has other elements than one or `size` along that axis.
    """
    if node.domain:
        return None
    if node.op_type == "BatchNormalization":
        return _batch_normalization(node, size) if (position, axis) == (0, 1) else None
    if node.op_type == "Conv":
        return _pointwise(node, size) if (position, axis) == (0, 1) else None
    one, none = np.ones(size), np.zeros(size)
    if node.op_type == "Neg":
        return Affine(-one, none)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    c = _along(node.inputs[1 - position], node.inputs[position], axis)
    if c is None or c.size not in (1, size):
        return None
    if node.op_type == "Mul":
        return Affine(c * one, none)
    if node.op_type == "Div":
        return Affine(one / c, none) if position == 0 and c.all() else None
    if node.op_type == "Add":
        return Affine(one, c * one)
    return Affine(one, -c * one) if position == 0 else Affine(-one, c * one)


def _batch_normalization(node: ir.Node, size: int) -> Affine | None:
    """Scale γ/√(v+ε) and shift β − μ·scale, at inference."""
    gamma, beta, mean, variance = (array_of(v) for v in node.inputs[1:5])
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    if node.attributes.get_int("training_mode", 0) or gamma.shape != (size,):
        return None
    divisor = variance + node.attributes.get_float("epsilon", 1e-5)
    if not (divisor > 0).all():
        return None
    scale = gamma / np.sqrt(divisor)
    return Affine(scale, beta - mean * scale)


def _pointwise(node: ir.Node, size: int) -> Affine | None:
    """Of a convolution that looks at each element alone."""
    kernel = array_of(node.inputs[1])
    bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(size)
    if kernel is None or bias is None or kernel.size not in (size, size * size):
        return None
    if not window_of(node).stays or any(n != 1 for n in kernel.shape[2:]) or len(kernel) != size:
        return None
    matrix = kernel.reshape(size, -1)
    if matrix.shape[1] == 1 and node.attributes.get_int("group", 1) == size:
        return Affine(matrix[:, 0], bias)
    diagonal = matrix.shape[1] == size and (matrix == np.diag(matrix.diagonal())).all()
    return Affine(matrix.diagonal().copy(), bias) if diagonal and size > 1 else None


def _along(constant: ir.Value | None, x: ir.Value | None, axis: int) -> Float | None:
    """The elements of a constant that, broadcast to x, varies along `axis` only."""
    array = array_of(constant)
    if array is None or x is None or x.shape is None or array.ndim > len(x.shape):
        return None
    aligned = array.reshape([1] * (len(x.shape) - array.ndim) + list(array.shape))
    return array.reshape(-1) if aligned.shape[axis] == array.size else None


@dataclass(frozen=True)
class Behind:
    """What scales and shifts the entries along one axis behind a value, read by nothing else."""

    total: Affine
    absorbed: tuple[ir.Node, ...]
    """The nodes that the map is made of."""
    moves: tuple[ir.Node, ...]
    """Those that keep the entries together, in front of the last of these."""

    @classmethod
    def of(cls, value: ir.Value, axis: int, size: int) -> Behind:
        """All that follows a value, its entries along `axis`."""
        total, absorbed = Affine.identity(size), list[ir.Node]()
        moves, passed = list[ir.Node](), 0
        while (reader := sole_reader(value)) is not None:
            node, position = reader
            step = affine_of(node, position, axis, size)
            if step is None:
                axis_there = axis_behind(node, position, axis)
                if axis_there is None:
                    break
                axis = axis_there
                moves.append(node)
            elif _is_of_sigmoid(node, step):
                break
            else:
                total = total.then(step)
                absorbed.append(node)
                passed = len(moves)
            value = node.outputs[0]
        return cls(total, tuple(absorbed), tuple(moves[:passed]))

    def take_out(self, model: ir.Model) -> None:
        """Remove its nodes: the value does their work from now on."""
        for node in self.absorbed:
            bypass(model, node, next(v for v in node.inputs if v and not v.is_initializer()))
        for move in self.moves:
            if (before := move.inputs[0]) is not None:
                before.meta[CHANGED] = True if move.op_type in ("Slice", "Cast") else move


def _is_of_sigmoid(node: ir.Node, step: Affine) -> bool:
    """Whether it is the minus of 1/(1 + exp(−x)): x has to stay, relevance may start there."""
    reader = sole_reader(node.outputs[0])
    negates = (step.scale == -1).all() and not step.shift.any()
    return bool(negates) and reader is not None and reader[0].op_type == "Exp"


def axis_behind(node: ir.Node, position: int, axis: int) -> int | None:
    """The axis that holds the same entries behind a node that moves them as a whole; else None."""
    x = node.inputs[0] if node.inputs else None
    if node.domain or position != 0 or x is None or x.shape is None:
        return None
    if node.op_type == "Transpose":
        reverse = list(range(len(x.shape)))[::-1]
        perm = node.attributes.get("perm")
        return (reverse if perm is None else list(perm.as_ints())).index(axis)
    if node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Flatten"):
        y = node.outputs[0]
        return None if y.shape is None else _same_axis([*_sizes(x)], [*_sizes(y)], axis)
    if node.op_type == "Slice":  # where a constant says along which axes
        cut = constant_ints(node.inputs[3]) if len(node.inputs) > 3 else None
        return None if cut is None or axis in {k % len(x.shape) for k in cut} else axis
    return axis if node.op_type == "Identity" or _is_of_floats(node) else None


def _is_of_floats(node: ir.Node) -> bool:
    """Whether it is a Cast between types of floats, as of half precision."""
    types = [v.dtype for v in (node.inputs[0], node.outputs[0]) if v is not None]
    return node.op_type == "Cast" and all(t and t.is_floating_point() for t in types)


def axis_before(node: ir.Node, axis: int) -> int | None:
    """The axis in front of a moving node that holds what `axis` holds behind it."""
    x = node.inputs[0] if node.inputs else None
    axes = range(0 if x is None or x.shape is None else len(x.shape))
    return next((a for a in axes if axis_behind(node, 0, a) == axis), None)


def _same_axis(before: list[object], behind: list[object], axis: int) -> int | None:
    """Where an axis is after a reshape: sizes up to it, or from it on, are the same.

    Row-major order then keeps its entries together.  Sizes of 1 hold no order.
    """
    if before[axis] == 1:
        return None
    for at, size in enumerate(behind):
        if size != before[axis]:
            continue
        if _beyond_ones(before[:axis]) == _beyond_ones(behind[:at]):
            return at
        if _beyond_ones(before[axis + 1 :]) == _beyond_ones(behind[at + 1 :]):
            return at
    return None


def _beyond_ones(sizes: list[object]) -> list[object]:
    return [size for size in sizes if size != 1]


def _sizes(value: ir.Value) -> Iterator[object]:
    for size in value.shape or ():
        # a size without number or name equals nothing else
        yield size if isinstance(size, int) else object() if size.value is None else size.value
