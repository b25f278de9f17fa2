"""The function that defines an operator, written out in place of a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TypeProto, defs

from lrp_onnx.frontend.opset.scope import Scope, subgraphs

__all__ = ["expanded"]

Rename = Callable[[str], str]


def expanded(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Return the nodes of the operator's function, none if it has no function.

    New nodes and tensors are named under the node; the one that computes its first output keeps its
    name.
    """
    function = definition(node, scope)
    if function is None:
        return []
    base = node.name or node.output[0]
    names: dict[str, str] = dict(
        zip(function.input, [*node.input, *[""] * len(function.input)], strict=False)
    )
    names |= {
        formal: name for formal, name in zip(function.output, node.output, strict=False) if name
    }

    def rename(name: str) -> str:
        if name and name not in names:
            names[name] = scope.fresh(f"{base}/{name}")
        return names.get(name, "")

    attributes = {attribute.name: attribute for attribute in _defaults(node, scope.opset)}
    attributes |= {attribute.name: attribute for attribute in node.attribute}
    nodes = [_written_out(inner, rename, attributes) for inner in function.node]
    for inner in nodes:
        first = node.output[0] in inner.output
        inner.name = node.name if first else scope.fresh(f"{base}/{inner.op_type}")
        inner.metadata_props.extend(node.metadata_props)
    return nodes


def definition(node: NodeProto, scope: Scope) -> FunctionProto | None:
    """Return the function that defines the operator at the model's opset, for this node's types."""
    schema: Any = defs.get_schema(node.op_type, scope.opset, "")  # onnx types none of what follows
    if schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= scope.opset)
        return _parsed(schema.get_function_with_opset_version(version))
    types = [scope.types.get(name, TypeProto()).SerializeToString() for name in node.input]
    known = all(name in scope.types for name in node.input if name)
    if not schema.has_context_dependent_function or not known:
        return None
    version = max(v for v in schema.context_dependent_function_opset_versions if v <= scope.opset)
    built = schema.get_context_dependent_function_with_opset_version(
        version, node.SerializeToString(), types
    )
    return _parsed(built) if built else None


def _parsed(serialized: bytes) -> FunctionProto:
    function = FunctionProto()
    function.ParseFromString(serialized)
    return function


def _defaults(node: NodeProto, opset: int) -> list[AttributeProto]:
    """Return the default values of the operator's attributes."""
    schema = defs.get_schema(node.op_type, opset, "")
    return [a.default_value for a in schema.attributes.values() if a.default_value.name]


def _written_out(
    inner: NodeProto, rename: Rename, attributes: dict[str, AttributeProto]
) -> NodeProto:
    """Return a copy of a function's node with actual names and attribute values."""
    copy = NodeProto()
    copy.CopyFrom(inner)
    copy.input[:] = [rename(name) for name in inner.input]
    copy.output[:] = [rename(name) for name in inner.output]
    del copy.attribute[:]
    for attribute in inner.attribute:
        source = attributes.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if source is not None:
            copy.attribute.add().CopyFrom(source)
            copy.attribute[-1].name = attribute.name
    for graph in subgraphs(copy):
        _rename_graph(graph, rename, attributes)
    return copy


def _rename_graph(graph: GraphProto, rename: Rename, attributes: dict[str, AttributeProto]) -> None:
    """Write out a graph inside a function in place."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = rename(value.name)
    nodes = [_written_out(node, rename, attributes) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
