"""After emission: internal operators become standard ones, dead nodes and unused initializers
go.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

__all__ = ["optimise"]


def optimise(model: ir.Model) -> None:
    """Lower what only the compiler knows and remove what nothing reads."""
    for node in list(model.graph):
        if node.domain == "lrp":
            lower_matmul_add(model.graph, node)
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
