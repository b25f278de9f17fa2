"""Facts proven before anything is emitted: which tensors are never negative, which never positive.

A fact is +1 (every element ≥ 0) or -1 (every element ≤ 0); no entry means that nothing is known,
and a constant of zeros counts as +1.  It follows from the sign and the range that an operator's
record declares; ranges tell the sign of such as 1 - Sigmoid(x) and Clip(x, -3, 3) + 3.  NaN is
nobody's fact: a tensor that holds NaN makes every result NaN whatever its sign.  Nor is the
quotient of a division by zero.

A fact holds for what a runtime computes, rounding included.  So Erf and Gelu, whose approximations
may overshoot ±1 by a rounding, keep only the sign of what is ≥ 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.subgraphs import CONTROL, bodies_of, ports_of
from lrp_onnx.ops.bounds import ANYTHING, Range, hull, of_sign, sign_of
from lrp_onnx.ops.registry import Op, find

__all__ = ["bounds", "signs"]

Known = Mapping[ir.Value, Range]
LARGEST_CONSTANT = 1 << 16
"""Elements up to which a constant is looked at."""


def signs(graph: ir.Graph) -> dict[ir.Value, int]:
    """The proven sign of each tensor of the graph."""
    return {value: sign for value, lies in bounds(graph).items() if (sign := sign_of(lies))}


def bounds(graph: ir.Graph) -> dict[ir.Value, Range]:
    """Between which numbers each tensor of the graph is proven to lie."""
    known: dict[ir.Value, Range] = {}
    _learn(graph, known)
    return known


def _learn(graph: ir.Graph, known: dict[ir.Value, Range]) -> None:
    """Add what is known of a graph and of the bodies inside it."""
    known.update((value, _of_constant(value)) for value in graph.initializers.values())
    for node in graph:
        if node.op_type in CONTROL and not node.domain:
            _learn_bodies(node, known)
            continue
        operator = find(node)
        # of several outputs only those of Split are alike; others are masks or indices
        outputs = node.outputs if operator is not None and operator.moves else node.outputs[:1]
        known.update(dict.fromkeys(outputs, _of_node(node, operator, known)))


def _learn_bodies(node: ir.Node, known: dict[ir.Value, Range]) -> None:
    """A slice lies where the whole does, and all slices together; a result where those of all
    bodies do.  Of a carried value nothing is known.
    """
    ports, bodies = ports_of(node), bodies_of(node)
    for body in bodies:
        for s in ports.read:
            known[body.inputs[s.body]] = _of(node.inputs[s.node], known)
        _learn(body, known)
    results = [*((s.node, s.body) for s in ports.written), *ports.results]
    for n, b in results:
        known[node.outputs[n]] = hull([_of(body.outputs[b], known) for body in bodies])


def _of(value: ir.Value | None, known: Known) -> Range:
    return ANYTHING if value is None else known.get(value, ANYTHING)


def _of_constant(value: ir.Value) -> Range:
    tensor = value.const_value
    if tensor is None or not 0 < tensor.size <= LARGEST_CONSTANT:
        return ANYTHING
    array = tensor.numpy()
    if not tensor.dtype.is_floating_point() or np.isnan(array).any():
        return ANYTHING
    return float(array.min()), float(array.max())


def _of_node(node: ir.Node, operator: Op | None, known: Known) -> Range:
    """What its operator proves of the sign, and of the range."""
    if operator is None:
        return ANYTHING
    of = [_of(value, known) for value in node.inputs]
    sign, bound = operator.sign, operator.range
    by_sign = ANYTHING if sign is None else of_sign(sign(node, [sign_of(r) for r in of]))
    by_range = ANYTHING if bound is None else bound(node, of)
    return max(by_sign[0], by_range[0]), min(by_sign[1], by_range[1])
