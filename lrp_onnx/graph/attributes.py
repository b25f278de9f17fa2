"""Attributes of a node, with the specification's defaults."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

__all__ = ["integer", "ints", "text"]


def ints(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """An attribute of integers, with the specification's default."""
    attribute = node.attributes.get(name)
    return list(default) if attribute is None else list(attribute.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, with the specification's default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def text(node: ir.Node, name: str, default: str) -> str:
    """A string attribute, with the specification's default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()
