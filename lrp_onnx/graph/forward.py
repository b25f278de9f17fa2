"""Copies of one node of the forward graph that read other tensors."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.shapes import of_forward

__all__ = ["forward_copy"]


def forward_copy(
    emit: Emit, node: ir.Node, replaced: dict[int, Input], op_type: str | None = None
) -> ir.Value:
    """Emit a copy of a forward node with some inputs replaced; returns output 0, shaped like
    the node's.
    """
    size = max(len(node.inputs), *(i + 1 for i in replaced), 1)
    inputs = [
        replaced.get(i, node.inputs[i] if i < len(node.inputs) else None) for i in range(size)
    ]
    same = dict(node.attributes) if op_type is None else _shared_attributes(emit, node, op_type)
    (value,) = emit.outputs(op_type or node.op_type, tuple(inputs), same, domain=node.domain)
    if value.shape is None and (copy := value.producer()) is not None:
        emit.shaped(value, of_forward(node, copy.inputs))
    return value


def _shared_attributes(emit: Emit, node: ir.Node, op_type: str) -> dict[str, ir.Attr]:
    """The attributes that `op_type` has too; UnsupportedError where it cannot stand in."""
    version = emit.opset
    known = onnx.defs.get_schema(op_type, version).attributes
    lacking = [k for k, a in known.items() if a.required and k not in node.attributes]
    lost = {k: a for k, a in node.attributes.items() if k not in known and k != "storage_order"}
    if "dilations" in lost and set(lost["dilations"].as_ints()) == {1}:
        del lost["dilations"]
    if lacking or lost:
        names = ", ".join([*lacking, *lost])
        raise UnsupportedError(
            f"{op_type} at opset {version} cannot stand in for it because of {names}. "
            "Choose another rule, or compile with a higher --opset"
        )
    return {k: a for k, a in node.attributes.items() if k in known}
