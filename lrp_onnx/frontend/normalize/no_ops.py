"""Nodes that hand on what they read, at inference: they go."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import aliases
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.shapes import same_sizes
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["drop_no_ops"]


def drop_no_ops(model: ir.Model) -> bool:
    """Remove Identity, Dropout at inference, Cast to the same type, and what moves or repeats
    elements and leaves them where they are, in bodies too, wherever that renames no graph output.

    What became of a removed tensor is kept in `annotations.aliases`, removed name → name.
    """
    removed, changed = aliases(model), False
    for node in list(nodes_of(model.graph)):
        x, y = (node.inputs[0] if node.inputs else None), node.outputs[0]
        if x is None or not _is_no_op(node) or y.is_graph_output():
            continue
        removed[y.name] = x.name
        y.replace_all_uses_with(x)
        assert isinstance(node.graph, ir.Graph)
        node.graph.remove(node, safe=True)
        changed = True
    return changed


def _is_no_op(node: ir.Node) -> bool:
    if node.domain:
        return False
    if node.op_type == "Cast":
        dtype = None if node.inputs[0] is None else node.inputs[0].dtype
        return dtype is not None and dtype == node.attributes["to"].as_int()
    if node.op_type == "Dropout":
        return len(node.inputs) < 3 and not any(
            v.uses() or v.is_graph_output() for v in node.outputs[1:]
        )
    if node.op_type in ("Expand", "Tile", "Reshape", "Slice", "Pad"):
        return same_sizes(node.inputs[0], node.outputs[0]) and _is_in_place(node)
    return node.op_type == "Identity"


def _is_in_place(node: ir.Node) -> bool:
    """Whether a node that leaves all sizes leaves the elements, too: a Slice backwards does not,
    nor a Pad by as much as it cuts.
    """
    if node.op_type == "Slice":
        steps = constant_ints(node.inputs[4]) if len(node.inputs) > 4 else []
        return steps is not None and all(step > 0 for step in steps)
    if node.op_type == "Pad":
        pads = constant_ints(node.inputs[1])
        return pads is not None and not any(pads)
    return True
