"""Nodes and weights that nothing reads, and optional inputs and outputs that are left out: they go.

The same as onnx-ir's RemoveUnusedNodesPass, which asks onnx for the schema of every node each time:
that took a tenth of the compilation of a small model.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnx_ir as ir

from lrp_onnx.graph.subgraphs import bodies_of, graphs_of

__all__ = ["remove_unused"]

Option = onnx.defs.OpSchema.FormalParameterOption


def remove_unused(model: ir.Model) -> None:
    """Remove what no output of the model needs, in bodies and functions too."""
    graph = model.graph
    opset = graph.opset_imports.get("")
    _clean(graph, opset)
    for one in graphs_of(graph):
        interface = {*one.inputs, *one.outputs}
        for name, value in list(one.initializers.items()):
            if value not in interface and not value.uses():
                del one.initializers[name]
    for function in model.functions.values():
        _clean(function, function.opset_imports.get("", opset))


def _clean(graph: ir.Graph | ir.Function, opset: int | None) -> None:
    ends, unused = set(graph.outputs), list[ir.Node]()
    for node in reversed(graph):
        if not any(value in ends or value.uses() for value in node.outputs):
            node.resize_inputs(0)
            unused.append(node)
            continue
        count = len(node.inputs)
        while count and node.inputs[count - 1] is None:
            count -= 1
        if count < len(node.inputs):
            node.resize_inputs(count)
        if not node.domain and opset is not None:
            _leave_out_optional(node, ends, opset)
        for body in bodies_of(node):
            _clean(body, opset)
    graph.remove(unused)  # together, as in graph/dialect.py


def _leave_out_optional(node: ir.Node, ends: set[ir.Value], opset: int) -> None:
    """Take the names off optional outputs that nothing reads, and drop those at the end."""
    if node.op_type == "BatchNormalization":
        if not _has_training_mode(opset):  # the number of outputs says which it is
            return
        mode = node.attributes.get("training_mode")
        if mode is not None and (mode.is_ref() or mode.value != 0):
            return
        node.attributes.pop("training_mode", None)
    optional = _optional_outputs(node.op_type, opset)
    if not any(optional):
        return
    for value, may_go in zip(node.outputs, optional, strict=False):
        if may_go and value not in ends and not value.uses():
            value.name = ""
    count = len(node.outputs)
    while count and not node.outputs[count - 1].name:
        count -= 1
    node.resize_outputs(count)


@cache
def _optional_outputs(op_type: str, opset: int) -> tuple[bool, ...]:
    """Which outputs of a standard operator may be left out; none of one that has any number."""
    if not onnx.defs.has(op_type, opset, ""):
        return ()
    options = [output.option for output in onnx.defs.get_schema(op_type, opset, "").outputs]
    return () if Option.Variadic in options else tuple(o == Option.Optional for o in options)


@cache
def _has_training_mode(opset: int) -> bool:
    return "training_mode" in onnx.defs.get_schema("BatchNormalization", opset, "").attributes
