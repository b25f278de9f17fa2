"""Operators along one axis that add up, turn around or leave out: CumSum, ReverseSequence, Trilu,
Compress, TopK, Unique.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.bounds import same_sign
from lrp_onnx.ops.gather_transpose import give_back
from lrp_onnx.ops.operands import operand, optional
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import along
from lrp_onnx.ops.scatter_add import reshape

__all__: list[str] = []


@op("CumSum", kind="sum", gates=(1,), folds=True)
def cumulative_sum(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The sum of s over the results that an element is part of: CumSum from the other end.

    Spec: ONNX CumSum-14.
    """
    reverse, exclusive = (node.attributes.get_int(name, 0) for name in ("reverse", "exclusive"))
    return emit.op("CumSum", s, node.inputs[1], reverse=1 - reverse, exclusive=exclusive)


@op("ReverseSequence", kind="move", gates=(1,))
def reverse_sequence(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s turned around again.  Spec: ONNX ReverseSequence-10."""
    time, batch = node.attributes.get_int("time_axis", 0), node.attributes.get_int("batch_axis", 1)
    return emit.op("ReverseSequence", s, node.inputs[1], time_axis=time, batch_axis=batch)


@op("Trilu", kind="move", gates=(1,), sign=same_sign, folds=True)
def triangle(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s in the triangle that was kept.  Spec: ONNX Trilu-14."""
    k = optional(node, 1)
    return emit.op("Trilu", s, k, upper=node.attributes.get_int("upper", 1))


@op("Compress", kind="move", gates=(1,))
def compress(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s at the places that the condition chose, 0 elsewhere; without an axis x is taken flattened.

    s: (*before, K, *behind)    ->    c: (*before, D, *behind).    Spec: ONNX Compress-11.
    """
    chosen = emit.op("Squeeze", emit.op("NonZero", node.inputs[1]), emit.ints(0))
    return _to_places(emit, node, s, chosen)


@op("Unique", kind="move", constant_outputs=(1, 2, 3))
def unique(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the first occurrence of each value, 0 to its repetitions.

    s: (*before, K, *behind)    ->    c: (*before, D, *behind).    Spec: ONNX Unique-11, whose
    `indices` are the first occurrences.
    """
    return _to_places(emit, node, s, _output(emit, node, 1))


def _to_places(emit: Emit, node: ir.Node, s: ir.Value, chosen: ir.Value) -> ir.Value:
    """s to the distinct places `chosen` along the node's axis, or of the flattened x."""
    x = operand(node)
    if "axis" in node.attributes:
        axis = node.attributes.get_int("axis", 0) % known_rank(x)
        return give_back(emit, s, chosen, x, axis, unique=True)
    flat = reshape(emit, x, [-1])
    return emit.reshape_like(give_back(emit, s, chosen, flat, 0, unique=True), x)


@op("TopK", kind="move", gates=(1,), constant_outputs=(1,), samples_apart=along(-1))
def largest(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the elements that were chosen, 0 to the others.

    s: (*before, k, *behind)    ->    c: (*before, D, *behind).    Spec: ONNX TopK-11.
    """
    x = operand(node)
    zeros = expand_like(emit, 0.0, x)
    chosen = _output(emit, node, 1)
    return emit.op("ScatterElements", zeros, chosen, s, axis=node.attributes.get_int("axis", -1))


def _output(emit: Emit, node: ir.Node, k: int) -> ir.Value:
    """Output k of a node, which may have left it out: then its own copy has it."""
    if len(node.outputs) > k and node.outputs[k].name:
        return node.outputs[k]
    return emit.outputs(node.op_type, tuple(node.inputs), dict(node.attributes), k + 1)[k]
