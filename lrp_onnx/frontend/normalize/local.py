"""Small integer constants that a body reads: each body gets its own.

Axes, sizes and positions decide shapes; onnx.shape_inference follows the values of constants only
within the graph that holds them, and would lose the rank behind an Unsqueeze whose axes lie outside
the body.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import local_copies
from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.subgraphs import graphs_of

__all__ = ["make_local"]

LIMIT = 256
"""Bytes up to which a constant is copied: no shape is longer."""
DECISIVE = (ir.DataType.INT64, ir.DataType.INT32)


def make_local(model: ir.Model) -> None:
    """Copy each such constant into the bodies whose nodes read it."""
    for body in graphs_of(model.graph)[1:]:
        copies: dict[ir.Value, ir.Value] = {}
        for node in body:
            for position, value in enumerate(node.inputs):
                if value is None or not _is_decisive(value) or value.graph is body:
                    continue
                if value not in copies:
                    copies[value] = _copied(model, body, value)
                node.replace_input_with(position, copies[value])


def _is_decisive(value: ir.Value) -> bool:
    if not value.is_initializer() or value.const_value is None or value.dtype not in DECISIVE:
        return False
    return value.const_value.nbytes <= LIMIT


def _copied(model: ir.Model, body: ir.Graph, value: ir.Value) -> ir.Value:
    tensor = value.const_value
    assert tensor is not None
    held = local_copies(model)
    number = held[value.name] = held.get(value.name, 0) + 1
    return new_constant(body, f"{value.name}/in_body_{number}", tensor.numpy(), tensor.dtype)
