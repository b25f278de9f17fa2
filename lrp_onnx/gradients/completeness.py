"""Mean gradients made to sum up to what they decompose.

A network of ReLUs is differentiable but in kinks, and along the way from x₀ to x deep ones have so
many that the gradient jumps from point to point: whatever the points, 128 of them may leave the sum
off by several percent.  But what it must be is known from two forwards:

    Δ·G = m·y(x) - m·y(x₀),    Δ = x - x₀, G the mean gradient.

So the estimate of G is replaced by the nearest that fulfils it,

    G' = G + Δ · (m·y(x) - m·y(x₀) - Δ·G) / |Δ|².

This is the orthogonal projection onto a plane in which the true mean gradient lies, so G' is never
further from it than G.  With one step, in the middle, G' is the midpoint discrete gradient of
Gonzalez 1996 (Time integration and discrete Hamiltonian systems, J. Nonlinear Sci. 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce

import onnx_ir as ir

from lrp_onnx.gradients.path_points import Gradients, StraightPath, cast_like, in_dtype
from lrp_onnx.graph.annotations import COMPLETENESS
from lrp_onnx.graph.appending import append_node
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.clone import copied
from lrp_onnx.graph.ranks import known_rank

__all__ = ["Completion"]

TINY = 1e-30
"""Stands for |Δ|² where x is x₀, and nothing is lacking."""


class Completion:
    """What mean gradients must sum up to: for each sample, or for all together where samples may
    meet.
    """

    def __init__(self, emit: Emit, point_path: StraightPath, axes: tuple[int, int] | None) -> None:
        self.emit, self.point_path = emit, point_path
        self.axis = None if axes is None else axes[0]
        behind = None if axes is None else axes[1]
        emit.write_for(point_path.y, "path", "complete")
        self.here = _summed(emit, _explained(emit, point_path, point_path.y), behind)
        there = _explained(emit, point_path, _at_baseline(emit, point_path))
        self.there = _summed(emit, there, behind)
        self.squared = emit.op("Max", self.reached(point_path.way), TINY)

    def reached(self, means: Mapping[ir.Value, ir.Value]) -> ir.Value:
        """Δ·G."""
        products = [_product(self.emit, self.point_path, x, means[x]) for x in means]
        sums = [_summed(self.emit, product, self.axis) for product in products]
        return reduce(partial(self.emit.op, "Add"), sums)

    def nearest(self, means: Gradients) -> Gradients:
        """The nearest gradients that are complete."""
        emit = self.emit
        lacking = emit.op("Sub", emit.op("Sub", self.here, self.there), self.reached(means))
        share = emit.op("Div", lacking, self.squared)
        return {
            x: _completed(emit, self.point_path, x, g, share, self.axis or 0)
            for x, g in means.items()
        }

    def add_account(self, name: str, means: Gradients, coarse: Gradients) -> None:
        """COMPLETENESS as an output of the model: f(x), f(x₀), Δ·G, and max|R - R'|/max|R| with
        R' of coarse gradients, in the sample where that is most.
        """
        emit = self.emit
        emit.write_for(self.point_path.y, "path", "complete")
        sums = [self.here, self.there, self.reached(means)]
        totals = [emit.op("ReduceSum", v, keepdims=1) for v in sums]
        own, other = self.nearest(means), self.nearest(coarse)
        difference = self._largest({x: emit.op("Sub", own[x], other[x]) for x in own})
        share = emit.op("Div", difference, emit.op("Max", self._largest(own), TINY))
        change = emit.op("ReduceMax", share, emit.ints(0), keepdims=1)
        _add_output(emit, f"{COMPLETENESS}{name}", [*totals, change])

    def _largest(self, means: Gradients) -> ir.Value:
        """max|Δ·G| [N], or [1] of everything."""
        emit, parts = self.emit, list[ir.Value]()
        for x, g in means.items():
            size = emit.op("Abs", _product(emit, self.point_path, x, g))
            parts.append(_reduced(emit, "ReduceMax", size, self.axis))
        return reduce(partial(emit.op, "Max"), parts)


def _product(emit: Emit, point_path: StraightPath, x: ir.Value, g: ir.Value) -> ir.Value:
    return emit.shaped(emit.op("Mul", in_dtype(emit, point_path.way[x]), in_dtype(emit, g)), x)


def _explained(emit: Emit, point_path: StraightPath, y: ir.Value) -> ir.Value:
    """m·y, 0 wherever m is, be y infinite there."""
    none = emit.op("Equal", point_path.mask, 0.0)
    return emit.shaped(
        emit.op("Where", none, 0.0, emit.op("Mul", point_path.mask, y)), point_path.y
    )


def _at_baseline(emit: Emit, point_path: StraightPath) -> ir.Value:
    """The explained output at x₀."""
    replaced = {}
    for x in point_path.leaves:
        emit.write_for(x, f"baseline/{x.name}")
        replaced[x] = cast_like(emit, point_path.begin[x], x)
        replaced[x].shape, replaced[x].type = x.shape, x.type
    nodes = point_path.nodes_behind(point_path.leaves)
    values, _ = copied(point_path.model.graph, nodes, replaced, "lrp/at_baseline")
    emit.write_for(point_path.y, "path")
    return values.get(point_path.y, point_path.y)


def _summed(emit: Emit, value: ir.Value, axis: int | None) -> ir.Value:
    """The sum [N] for each index of the axis, or [1] of everything."""
    return _reduced(emit, "ReduceSum", value, axis)


def _reduced(emit: Emit, op_type: str, value: ir.Value, axis: int | None) -> ir.Value:
    if axis:
        value = emit.op("Transpose", value, perm=_first(axis, known_rank(value)))
    flat = emit.op("Flatten", value, axis=int(axis is not None))
    return emit.op(op_type, flat, emit.ints(1), keepdims=0)


def _first(axis: int, rank: int) -> list[int]:
    """All axes, this one first."""
    return [axis, *(k for k in range(rank) if k != axis)]


def _completed(
    emit: Emit, point_path: StraightPath, x: ir.Value, g: ir.Value, share: ir.Value, axis: int
) -> ir.Value:
    """g and the share of the way."""
    emit.write_for(x)
    beside = [-1 if k == axis else 1 for k in range(known_rank(x))]  # a number has no axes
    column = emit.op("Reshape", in_dtype(emit, share), emit.ints(*beside))
    return emit.op("Add", g, emit.op("Mul", point_path.way[x], column))


def _add_output(emit: Emit, name: str, numbers: Sequence[ir.Value]) -> None:
    graph = emit.graph
    account = ir.Value(name=name, shape=ir.Shape([len(numbers)]), type=ir.TensorType(emit.dtype))
    append_node(graph, "Concat", numbers, [account], f"lrp/{name}", {"axis": 0})
    graph.outputs.append(account)
