"""If with a condition that is a constant: the branch taken stands in its place."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.graph.annotations import branches_taken
from lrp_onnx.graph.replacement import Build, take_place
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["inline", "inline_branches"]


def inline_branches(model: ir.Model) -> bool:
    """Put the branch that is always taken in the place of each such If, in bodies too; says whether
    there was one.

    A branch reads the tensors around it directly and has no inputs of its own.
    """
    nodes = nodes_of(model.graph)
    decided = [(n, c) for n in nodes if (c := _condition(n)) is not None]
    inline(model, [(n, "then_branch" if c else "else_branch") for n, c in decided])
    return bool(decided)


def inline(model: ir.Model, taken: Sequence[tuple[ir.Node, str]]) -> None:
    """Put one branch, given by name, in the place of each of these Ifs."""
    for node, name in reversed(taken):  # those inside another one first
        branches_taken(model)[node.outputs[0].name] = name
        assert isinstance(node.graph, ir.Graph)
        _inline(node.graph, node, node.attributes[name].as_graph())
    if taken:
        common.NameFixPass()(model)  # two branches may use the same names
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


def _condition(node: ir.Node) -> bool | None:
    if node.op_type != "If" or node.domain or node.inputs[0] is None:
        return None
    condition = node.inputs[0]
    if not condition.is_initializer() or condition.const_value is None:
        return None
    return bool(condition.const_value.numpy().reshape(-1)[0])


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    results = list(branch.outputs)
    branch.outputs.clear()
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        while value.name in graph.initializers:
            value.name = f"{value.name}_"
        graph.register_initializer(value)
    nodes = list(branch)
    branch.remove(nodes)
    graph.insert_before(node, nodes)
    for value, result in zip(node.outputs, results, strict=True):
        _replace(graph, node, value, result)
    graph.remove(node, safe=True)


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value, result: ir.Value) -> None:
    """`result` in the place of `value`; an output of the graph keeps its name by an Identity."""
    if value.is_graph_output():
        build = Build(graph, node)
        result = build.op("Identity", result)
        build.insert_before(node)
        take_place(value, result)
        return
    value.replace_all_uses_with(result)
