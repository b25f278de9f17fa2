"""Operators of opset 22 to 28 in the words of opset 21.

A node whose attributes, inputs and element types opset 21 knows stays as it is: from 22 on,
versions only took more of these, apart from the operators in `forms`. Anything else becomes the
same between casts where only half precision is too new for it, or is refused, and then what the
operator's own function says stands for it. Pooling from 22 on leaves out windows that start in the
right padding; ONNX Runtime always has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import onnx_ir as ir
from onnx import defs

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.opset.node import Rewrite, require_valid
from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.replacement import Build

__all__ = ["lowered"]


def lowered(
    build: Build, node: ir.Node, ceiling: int, forms: Mapping[str, Rewrite]
) -> Sequence[ir.Value] | None:
    """What is nearer to opset `ceiling` and computes what `node` computes at the model's opset.

    forms: what stands for operators that mean another thing there, or nothing.
    """
    _drop_defaults(node, build.opset, ceiling)
    if node.op_type in forms:
        require_valid(node, build.opset)
        values = forms[node.op_type](build, node)
        if values is not None or build.nodes:
            return values
    reason = _misfit(node, build.opset, ceiling)
    return _in_single_precision(build, node, reason, ceiling) if reason else None


def _drop_defaults(node: ir.Node, opset: int, ceiling: int) -> None:
    """Drop attributes that the older opset lacks and that only spell out what it does anyway."""
    old, new = _schema(node.op_type, ceiling), _schema(node.op_type, opset)
    if old is None or new is None:
        return
    for name in set(new.attributes) - set(old.attributes):
        default, known = new.attributes[name].default_value, node.attributes.get(name)
        if known is None or not default.name:
            continue
        if known.value == ir.serde.deserialize_attribute(default).value:
            del node.attributes[name]


@cache
def _schema(op_type: str, opset: int) -> defs.OpSchema | None:
    """The standard operator as of `opset`, None where it does not exist (yet)."""
    return defs.get_schema(op_type, opset, "") if defs.has(op_type, opset, "") else None


def _misfit(node: ir.Node, opset: int, ceiling: int) -> str:
    """Why the node is none of the older opset; empty if it is one, or if no opset knows it."""
    old, new = _schema(node.op_type, ceiling), _schema(node.op_type, opset)
    if new is None:
        return ""
    if old is None:
        return f"the operator exists only from opset {new.since_version} on"
    for name, attribute in node.attributes.items():
        if name in new.attributes and name not in old.attributes:
            return f"{name} = {attribute.value} has no form at opset {ceiling}"
    for value, held in _wrong_types(node, old):
        return f"'{value.name}' is a {held}, which opset {ceiling} does not take there"
    return ""


def _in_single_precision(
    build: Build, node: ir.Node, reason: str, ceiling: int
) -> Sequence[ir.Value]:
    """The node between casts, where only half precision is too new for it; else UnsupportedError
    with the reason.
    """
    old = _schema(node.op_type, ceiling)
    wrong = {} if old is None else dict(_wrong_types(node, old))
    if not wrong or any(value.dtype not in HALF for value in wrong):
        raise UnsupportedError(reason)
    inputs = [build.op("Cast", v, to=int(ir.DataType.FLOAT)) if v in wrong else v
              for v in node.inputs]  # fmt: skip
    outputs = build.copy(node, inputs, named=node.name)
    return [
        build.op("Cast", z, to=int(y.dtype or 0)) if y in wrong else z
        for y, z in zip(node.outputs, outputs, strict=True)
    ]


def _wrong_types(node: ir.Node, schema: defs.OpSchema) -> Iterator[tuple[ir.Value, str]]:
    """Each tensor of an element type that the operator does not take, and that type."""
    allowed = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for position, value in enumerate(values):
            formal = formals[min(position, len(formals) - 1)]
            if value is not None and isinstance(value.type, ir.TensorType):
                held = f"tensor({value.type.dtype.name.lower()})"  # as schemas spell it
                if held not in allowed.get(formal.type_str, (formal.type_str,)):
                    yield value, held
