"""Operators of opset 22 to 28 in the words of opset 21.

A node whose attributes, inputs and element types opset 21 knows stays as it is: from 22 on,
versions only took more of these, apart from the operators in `opset_forms`. Anything else becomes
the same between casts where only half precision is too new for it, or what the operator's own
function says, or is refused by name. Pooling from 22 on leaves out windows
that start in the right padding; ONNX Runtime always has.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from onnx import NodeProto, TensorProto, TypeProto, defs, helper

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.opset.forms import FORMS
from lrp_onnx.frontend.opset.function import expanded
from lrp_onnx.frontend.opset.scope import Scope, label, require_valid

__all__ = ["CEILING", "lowered", "misfit"]

CEILING = 21
HALF = {"tensor(float16)", "tensor(bfloat16)"}


def lowered(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Return nodes nearer to opset 21 that compute what `node` computes at the model's opset.

    The node itself means that it fits. Raises ModelError where there is no way.
    """
    drop_defaults(node, scope.opset)
    nodes = [node]
    if node.op_type in FORMS:
        require_valid(node, scope.opset)
        nodes = FORMS[node.op_type](node, scope)
    if len(nodes) > 1 or not (reason := misfit(nodes[0], scope)):
        return nodes
    if single := in_single_precision(nodes[0], scope):
        return single
    if inlined := expanded(node, scope):
        return inlined
    raise ModelError(f"{label(node)}: {reason}")


def drop_defaults(node: NodeProto, opset: int) -> None:
    """Drop attributes that opset 21 lacks and that only spell out what it does anyway."""
    old, new = find_schema(node.op_type, CEILING), find_schema(node.op_type, opset)
    if old is None or new is None:
        return
    for name in set(new.attributes) - set(old.attributes):
        default = new.attributes[name].default_value
        for attribute in [a for a in node.attribute if a.name == name]:
            if helper.get_attribute_value(attribute) == helper.get_attribute_value(default):
                node.attribute.remove(attribute)


@cache
def find_schema(op_type: str, opset: int) -> defs.OpSchema | None:
    """Return the standard operator as of `opset`, None where it does not exist (yet)."""
    return defs.get_schema(op_type, opset, "") if defs.has(op_type, opset, "") else None


def misfit(node: NodeProto, scope: Scope) -> str:
    """Say why the node is none of opset 21; empty if it is one, or if no opset knows it."""
    old, new = find_schema(node.op_type, CEILING), find_schema(node.op_type, scope.opset)
    if new is None:
        return ""
    if old is None:
        return f"the operator exists only from opset {new.since_version} on"
    for attribute in node.attribute:
        if attribute.name in new.attributes and attribute.name not in old.attributes:
            value = helper.get_attribute_value(attribute)
            return f"{attribute.name} = {value} has no form at opset {CEILING}"
    wrong = next(_wrong_types(node, old, scope), None)
    if wrong is None:
        return ""
    return f"'{wrong[0]}' is a {wrong[1]}, which opset {CEILING} does not take there"


def in_single_precision(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Return the node between casts, where only half precision is too new for it; else nothing."""
    old = find_schema(node.op_type, CEILING)
    wrong = {} if old is None else dict(_wrong_types(node, old, scope))
    if not wrong or not set(wrong.values()) <= HALF:
        return []
    before, after, names = [], [], {}
    for name in wrong:
        if name in node.input:
            cast = scope.node(node, "Cast", [name], to=TensorProto.FLOAT)
            before.append(cast)
            names[name] = cast.output[0]
        else:
            names[name] = scope.fresh(f"{name}/single")
            cast = scope.node(node, "Cast", [names[name]], to=scope.element_type(name))
            cast.output[0] = name
            after.append(cast)
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    return [*before, node, *after]


def _wrong_types(node: NodeProto, schema: defs.OpSchema, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield each tensor of an element type that the operator does not take, and that type."""
    allowed = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    for names, formals in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for position, name in enumerate(names):
            formal = formals[min(position, len(formals) - 1)]
            held = type_name(scope.types.get(name))
            if held and held not in allowed.get(formal.type_str, (formal.type_str,)):
                yield name, held


def type_name(value: TypeProto | None) -> str:
    """Spell a tensor's type as operator schemas do; empty where it is unknown or no tensor."""
    if value is None or not value.tensor_type.elem_type:
        return ""
    return f"tensor({TensorProto.DataType.Name(value.tensor_type.elem_type).lower()})"
