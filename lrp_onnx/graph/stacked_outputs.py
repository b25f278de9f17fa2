"""Values of each iteration of a Scan or Loop as further outputs of it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.appending import append_node
from lrp_onnx.graph.builder import Emit

__all__ = ["stacked_outputs"]


def stacked_outputs(
    emit: Emit, node: ir.Node, body: ir.Graph, sources: Sequence[ir.Value]
) -> list[ir.Value]:
    """Values of the body along a new first axis, in the order of the iterations."""
    first = len(node.outputs)
    node.resize_outputs(first + len(sources))
    stacked = list(node.outputs[first:])
    for source, value in zip(sources, stacked, strict=True):
        # no input is an output; of one that is read inside too tract 0.23 mistakes the shape
        name = emit.fresh("lrp/kept")
        same = ir.Value(name=emit.fresh("lrp"), shape=source.shape, type=source.type)
        append_node(body, "Identity", [source], [same], name)
        body.outputs.append(same)
        value.name, value.type = emit.fresh("lrp"), source.type
    for name in ("scan_output_axes", "scan_output_directions"):
        if name in node.attributes:
            old = list(node.attributes[name].as_ints())
            node.attributes[name] = ir.AttrInt64s(name, [*old, *[0] * len(sources)])
    return stacked
