"""Attributes of nodes from plain values, and the labels of an Einsum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

__all__ = ["attribute_key", "attribute_of", "einsum_labels"]


def attribute_of(name: str, value: Any) -> ir.Attr:
    """An attribute from a plain value; onnx-ir's own conversion is slow."""
    if isinstance(value, ir.Attr):
        return value
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    if isinstance(value, float):
        return ir.AttrFloat32(name, value)
    if isinstance(value, str):
        return ir.AttrString(name, value)
    if isinstance(value, ir.Graph):
        return ir.AttrGraph(name, value)
    return ir.AttrInt64s(name, [int(v) for v in value])


def attribute_key(attributes: Mapping[str, Any]) -> Any:
    """What tells attributes from others."""
    plain = {k: a.value if isinstance(a, ir.Attr) else a for k, a in attributes.items()}
    return tuple(sorted((k, repr(v)) for k, v in plain.items() if v is not None))


def einsum_labels(node: ir.Node) -> tuple[list[str], str]:
    """Those of each operand and of the result, an ellipsis as it is; none without an arrow."""
    equation = node.attributes.get_string("equation", "") or ""
    operands, _, result = equation.replace(" ", "").partition("->")
    return operands.split(","), result
