"""After emission: internal operators become standard ones, dead nodes and unused initializers
go.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

__all__ = ["optimise"]


def optimise(model: ir.Model) -> None:
    """Lower what only the compiler knows and remove what nothing reads."""
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        graph = node.graph
        if node.domain == "lrp" and isinstance(graph, ir.Graph):
            LOWERINGS[node.op_type](graph, node)
    common.RemoveUnusedNodesPass()(model)
    model.opset_imports.pop("lrp", None)


def lower_matmul_add(graph: ir.Graph, node: ir.Node) -> None:
    """x·w + b as MatMul and Add; the result keeps its name."""
    x, w, *rest = node.inputs
    result = node.outputs[0]
    props = dict(node.metadata_props)
    product = ir.Node(
        "",
        "MatMul",
        [x, w],
        name=f"{node.name}/MatMul" if rest else node.name,
        metadata_props=props,
    )
    added = (
        [ir.Node("", "Add", [product.outputs[0], rest[0]], name=node.name, metadata_props=props)]
        if rest
        else []
    )
    last = (added or [product])[0].outputs[0]
    name, last.shape, last.type = result.name, result.shape, result.type
    result.replace_all_uses_with(last, replace_graph_outputs=True)
    graph.insert_after(node, [product, *added])
    graph.remove(node, safe=True)
    result.name, last.name = f"{name}/replaced", name


def lower_explained_by(graph: ir.Graph, node: ir.Node) -> None:
    """The value itself; an output of the graph keeps its name by an Identity."""
    value, result = node.inputs[0], node.outputs[0]
    assert value is not None
    if value.type is None:
        value.type, value.shape = result.type, result.shape
    if result.is_graph_output():
        node.domain, node.op_type = "", "Identity"
        node.resize_inputs(1)
        return
    result.replace_all_uses_with(value)
    graph.remove(node, safe=True)


def lower_norm(graph: ir.Graph, node: ir.Node) -> None:
    """(x - mean)/deviation·scale + bias; the result keeps its name."""
    x, scale, bias, mean, deviation = node.inputs
    result, made = node.outputs[0], list[ir.Node]()
    value = x
    for op_type, other in (("Sub", mean), ("Div", deviation), ("Mul", scale), ("Add", bias)):
        if other is not None:
            props = dict(node.metadata_props)
            name = f"{node.name}/{op_type}"
            made.append(ir.Node("", op_type, [value, other], name=name, metadata_props=props))
            value = made[-1].outputs[0]
            value.name = f"{result.name}/{op_type}"
    assert value is not None
    name, value.shape, value.type = result.name, result.shape, result.type
    result.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.insert_after(node, made)
    graph.remove(node, safe=True)
    result.name, value.name = f"{name}/replaced", name


LOWERINGS = {
    "MatMulAdd": lower_matmul_add,
    "ExplainedBy": lower_explained_by,
    "Norm": lower_norm,
}
"""What stands for each operator of domain `lrp` in the compiled model."""
