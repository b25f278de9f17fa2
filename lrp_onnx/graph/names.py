"""What the user is told a node or tensor is called.

A node in a body goes by the nodes around it too, `loop/if/conv`; a copy that the backward pass
recomputes goes by the name of what it copies.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import NAME, PLACE

__all__ = ["name_of", "names_of", "tensor_name"]


def name_of(node: ir.Node) -> str:
    """The node's name behind those of the nodes around it."""
    return str(node.meta.get(PLACE) or node.name or "")


def names_of(node: ir.Node) -> tuple[str, ...]:
    """The names that a pattern may give: its own, and that behind those around it."""
    return str(node.meta.get(NAME) or node.name or ""), name_of(node)


def tensor_name(value: ir.Value) -> str:
    """The tensor's name in the model."""
    return str(value.meta.get(NAME) or value.name)
