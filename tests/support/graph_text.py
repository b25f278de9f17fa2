"""Graphs as lines of text, for golden files and examples."""

from __future__ import annotations

import onnx


def text_of(model: onnx.ModelProto) -> str:
    """One line per node: outputs, operator, attributes, inputs, name."""
    return "".join(f"{_line(node)}\n" for node in model.graph.node)


def _line(node: onnx.NodeProto) -> str:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    attributes = ", ".join(f"{k}={values[k]}" for k in sorted(values))
    call = f"{node.op_type}<{attributes}>" if attributes else node.op_type
    return f"{', '.join(node.output)} = {call}({', '.join(node.input)})  # {node.name}"
