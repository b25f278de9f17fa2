"""What the rewrites of nodes for another opset have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.replacement import Build

__all__ = ["Rewrite", "append_input", "pop", "require_valid", "set_attributes"]

Rewrite = Callable[[Build, ir.Node], Sequence[ir.Value] | None]
"""What stands for a node's outputs; None where the node stays, changed in place or not."""


def require_valid(node: ir.Node, opset: int) -> None:
    """Raise ModelError unless the node has the inputs and attributes its operator wants."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = 10, {"": opset}
    try:
        onnx.checker.check_node(ir.serde.serialize_node(node), context)
    except onnx.checker.ValidationError as error:
        raise ModelError(str(error).splitlines()[0].rstrip(".")) from error


def pop(node: ir.Node, name: str, default: Any = None) -> Any:
    """Take an attribute off the node: its value, `default` where it is absent."""
    attribute = node.attributes.pop(name, None)
    return default if attribute is None else attribute.value


def set_attributes(node: ir.Node, **values: Any) -> None:
    """Give the node attributes."""
    for attribute in ir.convenience.convert_attributes(values):
        node.attributes.add(attribute)


def append_input(node: ir.Node, value: ir.Value | None) -> None:
    """Give the node one more input."""
    count = len(node.inputs)
    node.resize_inputs(count + 1)
    node.replace_input_with(count, value)
