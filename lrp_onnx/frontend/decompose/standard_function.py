"""Operators of the standard that their own function defines, written out by it.

The function body of the installed onnx at the model's opset is added to the model as a local
function and inlined, attributes with their defaults included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["BY_FUNCTION", "call_function", "inline_functions", "write_out_functions"]

BY_FUNCTION: set[tuple[str, str]] = {
    ("", "CenterCropPad"),
    ("", "MeanVarianceNormalization"),
    ("", "NegativeLogLikelihoodLoss"),
    ("", "ReduceLogSum"),
    ("", "ReduceSumSquare"),
    ("", "SoftmaxCrossEntropyLoss"),
    ("ai.onnx.preview", "FlexAttention"),
}
"""Operators, by domain, whose parts have rules and whose function is the right way to explain
them.
"""

DOMAIN = "lrp.function"


def write_out_functions(model: ir.Model, only: Callable[[ir.Node], bool] | None = None) -> bool:
    """Inline the function of each node in BY_FUNCTION, with `only` of those alone that it accepts;
    says whether there was one.
    """
    for node in list(nodes_of(model.graph)):
        if (node.domain, node.op_type) in BY_FUNCTION and (only is None or only(node)):
            call_function(model, node)
    return inline_functions(model)


def call_function(model: ir.Model, node: ir.Node) -> bool:
    """Make the node a call of the function that defines its operator, to be inlined; says whether
    there is one.  Nodes are named under the node; the one of its first output keeps its name.
    """
    function = _function(node, model.graph.opset_imports)
    if function is None or not _has_outputs(function, len(node.outputs)):
        return False
    base, node.name = node.name or node.outputs[0].name, None
    for inner in function.node:
        first = function.output[0] in inner.output
        inner.name = f"{base}" if first else f"{base}/{inner.op_type}"
    function.domain, function.name = DOMAIN, f"{node.op_type}_{len(model.functions)}"
    called = ir.serde.deserialize_function(function)
    model.functions[called.identifier()] = called
    node.domain, node.op_type = DOMAIN, called.name
    return True


def inline_functions(model: ir.Model) -> bool:
    """Write out such calls; says whether there was one."""
    if not model.functions:
        return False
    model.graph.opset_imports[DOMAIN] = 1
    common.InlinePass()(model)
    model.graph.opset_imports.pop(DOMAIN, None)
    return True


def _function(node: ir.Node, opsets: Mapping[str, int]) -> onnx.FunctionProto | None:
    """The function for this node, its attributes' defaults written into the node."""
    opset = opsets[node.domain]
    # onnx types none of what follows
    schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
    for name, attribute in schema.attributes.items():
        if attribute.default_value.name and name not in node.attributes:
            node.attributes[name] = ir.serde.deserialize_attribute(attribute.default_value)
    parsed = onnx.FunctionProto()
    if schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= opset)
        parsed.ParseFromString(schema.get_function_with_opset_version(version))
        return _at(parsed, opsets[""])
    if not schema.has_context_dependent_function:
        return None
    if any(v is not None and v.type is None for v in node.inputs):
        return None
    types = [_type(v) for v in node.inputs]
    version = max(v for v in schema.context_dependent_function_opset_versions if v <= opset)
    built = schema.get_context_dependent_function_with_opset_version(
        version, ir.serde.serialize_node(node).SerializeToString(), types
    )
    if not built:
        return None
    parsed.ParseFromString(built)
    _drop_graphs(node, parsed)
    return _at(parsed, opsets[""])


def _drop_graphs(node: ir.Node, function: onnx.FunctionProto) -> None:
    """Take off the graphs among the attributes: the function built for this node contains them."""
    for name in [k for k, a in node.attributes.items() if a.type == ir.AttributeType.GRAPH]:
        del node.attributes[name]
        function.attribute.remove(name)


def _at(function: onnx.FunctionProto, opset: int) -> onnx.FunctionProto:
    """The function at the model's opset: a body holds from its version up to the next one's."""
    del function.opset_import[:]
    function.opset_import.append(onnx.helper.make_opsetid("", opset))
    return function


def _has_outputs(function: onnx.FunctionProto, count: int) -> bool:
    """Whether it computes as many outputs; those behind, which are built for other uses, go."""
    del function.output[count:]
    made = {name for node in function.node for name in node.output}
    return made.issuperset(function.output)


def _type(value: ir.Value | None) -> bytes:
    """The serialized type of an input, empty where it is absent."""
    if value is None or value.type is None:
        return b""
    proto = onnx.ValueInfoProto()
    ir.serde.serialize_value_into(proto, value)
    serialized: bytes = proto.type.SerializeToString()
    return serialized
