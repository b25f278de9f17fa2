"""Variadic operators: Sum becomes Adds of two; one operand alone is the value itself.

x₁ + x₂ + x₃ = (x₁ + x₂) + x₃, in the order given, so that the sum is rounded as it was.  The
extreme of many is that of the extremes of a few, since each input is compared with all others.  Of
equals a constant wins, so constants stand first.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import aliases
from lrp_onnx.graph.constants import bypass
from lrp_onnx.graph.replacement import Build

__all__ = ["AS_BINARY", "binary_sums"]

OF_ONE = ("Sum", "Mean", "Max", "Min", "Concat")
"""With a single input, that input."""
AS_BINARY = ("Sum",)
"""With several, one operator after the other."""
EXTREMES = ("Max", "Min")
MOST_COMPARED = 16
"""As many inputs of an extreme are compared with each other."""


def binary_sums(model: ir.Model) -> bool:
    """Sum(a, b, c) becomes Add(Add(a, b), c), Max and Min of many are taken of a few at once; Sum,
    Mean, Max, Min and Concat of one vanish.
    """
    own = [node for node in model.graph if not node.domain]
    of_one = [node for node in own if node.op_type in OF_ONE and len(node.inputs) == 1]
    sums = [node for node in own if node.op_type in AS_BINARY and node not in of_one]
    for node in of_one:
        _vanish(model, node)
    extremes = [n for n in own if n.op_type in EXTREMES and len(n.inputs) > MOST_COMPARED]
    for node in sums:
        _as_adds(model.graph, node)
    for node in extremes:
        _in_parts(model.graph, node)
    return bool(of_one or sums or extremes)


def _vanish(model: ir.Model, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if not y.is_graph_output():
        aliases(model)[y.name] = x.name
        y.replace_all_uses_with(x)
        model.graph.remove(node, safe=True)
    elif x.producer() is not None and not x.is_graph_output():
        bypass(model, node, x)
    else:
        node.op_type = "Identity"
        node.attributes.clear()


def _as_adds(graph: ir.Graph, node: ir.Node) -> None:
    """All but the last Add in front; the node itself becomes the last."""
    (total, *others), build = node.inputs, Build(graph, node)
    for other in others[:-1]:
        total = build.op("Add", total, other)
    build.insert_before(node)
    node.resize_inputs(2)
    node.replace_input_with(0, total)
    node.replace_input_with(1, others[-1])
    node.op_type = "Add"


def _in_parts(graph: ir.Graph, node: ir.Node) -> None:
    """The extremes of parts in front; the node itself is left with a few inputs."""
    build, values = Build(graph, node), sorted(node.inputs, key=lambda v: not _is_constant(v))
    while len(values) > MOST_COMPARED:
        parts = [values[k : k + MOST_COMPARED] for k in range(0, len(values), MOST_COMPARED)]
        values = [build.op(node.op_type, *part) if len(part) > 1 else part[0] for part in parts]
    build.insert_before(node)
    node.resize_inputs(len(values))
    for k, value in enumerate(values):
        node.replace_input_with(k, value)


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None
