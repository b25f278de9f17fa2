"""Reductions over axes: sums and means share out, a maximum gives all to its first winner.

A maximum over several axes is taken one axis at a time, last axis first; the first winner in
row-major order is then the first along the first axis, within it along the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.bounds import same_sign
from lrp_onnx.ops.operands import operand, optional
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import by_shape
from lrp_onnx.ops.scatter_add import counted, size_of

__all__ = ["REDUCES", "again", "give_back_mean", "give_to_winner", "keeping_axes", "reduced_axes"]

REDUCES: dict[str, Any] = {"gates": (1,), "statistic": True, "samples_apart": by_shape}
"""What reductions have in common."""
MOST = 4096
"""Elements of a mean for which the file carries a constant of as many."""


def reduced_axes(node: ir.Node) -> list[int] | None:
    """The axes a reduction works on, in order, counted from 0; None if the run chooses them."""
    x, axes = operand(node), optional(node, 1)
    numbers = [] if axes is None else constant_ints(axes)
    if numbers is None:
        return None
    rank = known_rank(x)
    if not numbers:
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({axis % rank for axis in numbers})


def keeping_axes(emit: Emit, node: ir.Node, s: ir.Value) -> ir.Value:
    """s, shaped like the output, with the reduced axes as axes of size 1."""
    axes = reduced_axes(node)
    if node.attributes.get_int("keepdims", 1) or axes == []:
        return s
    if axes is None:
        return emit.op("Reshape", s, emit.op("Shape", again(emit, node, node.inputs[0])))
    return emit.op("Unsqueeze", s, emit.ints(*axes))


def again(emit: Emit, node: ir.Node, x: ir.Value | None, op_type: str | None = None) -> ir.Value:
    """The node's reduction of x with its axes kept, by its own operator or another one."""
    noop = node.attributes.get_int("noop_with_empty_axes", 0)
    axes = optional(node, 1)
    return emit.op(op_type or node.op_type, x, axes, keepdims=1, noop_with_empty_axes=noop)


def _copied(emit: Emit, node: ir.Node, s: ir.Value) -> ir.Value:
    x = operand(node)
    if 0 in (x.shape or ()):  # runtimes copy one element to none as one
        return emit.op("Mul", x, 0.0)
    return emit.op("Expand", s, emit.shape_of(x))


@op("ReduceSum", kind="sum", sign=same_sign, folds=True, **REDUCES)
def reduce_sum(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to each element of its sum.  Spec: ONNX ReduceSum-13."""
    return s if reduced_axes(node) == [] else _copied(emit, node, keeping_axes(emit, node, s))


@op("ReduceMean", kind="sum", sign=same_sign, folds=True, **REDUCES)
def reduce_mean(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s divided by the number of elements, to each.  Spec: ONNX ReduceMean-18."""
    return give_back_mean(emit, node, keeping_axes(emit, node, s), reduced_axes(node))


def give_back_mean(emit: Emit, node: ir.Node, s: ir.Value, axes: Sequence[int] | None) -> ir.Value:
    """s, of size 1 along `axes` (None: those of the run), divided by the number of elements there
    and copied to each.
    """
    if axes is not None and not axes:
        return s
    x = operand(node)
    sizes = [None] if axes is None else [size_of(emit, x, axis) for axis in axes]
    known = [size for size in sizes if isinstance(size, int)]
    if emit.optimize and axes is not None and len(known) == len(sizes) and 0 < prod(known) <= MOST:
        # one product that broadcasts takes a third of the time of Mul and Expand
        along = dict(zip(axes, known, strict=True))
        shape = [along.get(axis, 1) for axis in range(known_rank(x))]
        return emit.op("Mul", s, emit.constant(np.full(shape, 1 / prod(known))))
    if len(known) == len(sizes):
        share = emit.op("Mul", s, 1 / max(1, prod(known)))
    else:
        one = emit.constant(1, ir.DataType.INT64)
        means = emit.op("Max", emit.op("Size", s), one)  # none in an empty batch
        count = emit.op("Div", emit.op("Size", x), means)
        share = emit.op("Div", s, emit.op("Cast", count, to=int(emit.dtype)))
    return _copied(emit, node, share)


@op("ReduceMax", kind="maximum", sign=same_sign, folds=True, **REDUCES)
@op("ReduceMin", kind="maximum", sign=same_sign, folds=True, **REDUCES)
def reduce_extreme(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the first winner in row-major order over the reduced axes.

    Spec: ONNX ReduceMax-20, ReduceMin-20.
    """
    axes, s = reduced_axes(node), keeping_axes(emit, node, s)
    if axes is None:
        return _give_to_winner_of_run(emit, node, s)
    return give_to_winner(emit, node, s, axes, node.op_type[len("Reduce") :])


def _give_to_winner_of_run(emit: Emit, node: ir.Node, s: ir.Value) -> ir.Value:
    """The same over axes that only the run knows: the winner of the lowest number of all."""
    x = node.inputs[0]
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    size = emit.op("Size", x)
    numbers = emit.op(
        "Reshape", emit.op("Range", zero, size, one), emit.op("Shape", x), allowzero=1
    )
    extreme = emit.op("Equal", x, again(emit, node, x))
    first = again(emit, node, emit.op("Where", extreme, numbers, size), "ReduceMin")
    wins = emit.op("Cast", emit.op("Equal", numbers, first), to=int(emit.dtype))
    return emit.op("Mul", s, wins)


def give_to_winner(
    emit: Emit, node: ir.Node, s: ir.Value, axes: Sequence[int], extreme: str = "Max"
) -> ir.Value:
    """s, of size 1 along `axes`, to the first extreme of x in row-major order over them."""
    x = operand(node)
    if 0 in (x.shape or ()):  # none of no elements is the winner
        return emit.op("Mul", x, 0.0)
    for k, axis in enumerate(axes):
        rest = axes[k + 1 :]
        along = emit.op(f"Reduce{extreme}", x, emit.ints(*rest), keepdims=1) if rest else x
        winner = emit.op(f"Arg{extreme}", along, axis=axis, keepdims=1)
        wins = emit.op("Equal", winner, _numbers(emit, x, axis))
        s = emit.op("Mul", s, emit.op("Cast", wins, to=int(emit.dtype)))
    return s


def _numbers(emit: Emit, x: ir.Value, axis: int) -> ir.Value:
    """0, 1, 2, … along one axis, shaped to broadcast against x."""
    size, behind = size_of(emit, x, axis), [1] * (known_rank(x) - axis - 1)
    if isinstance(size, int):
        return emit.constant(np.arange(size).reshape(-1, *behind), ir.DataType.INT64)
    numbers = counted(emit, size)
    return emit.op("Reshape", numbers, emit.ints(-1, *behind)) if behind else numbers
