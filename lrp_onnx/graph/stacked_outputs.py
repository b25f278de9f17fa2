"""Values of each iteration of a Scan or Loop as further outputs of it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.appending import append_node
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.subgraphs import ports_of

__all__ = ["last_first", "stacked_outputs"]


def stacked_outputs(
    emit: Emit, node: ir.Node, body: ir.Graph, values: Sequence[ir.Value]
) -> list[ir.Value]:
    """Values of the body along a new first axis, in the order of the iterations, or with the last
    first (`last_first`).
    """
    first, written, way = len(node.outputs), len(ports_of(node).written), last_first(node)
    node.resize_outputs(first + len(values))
    stacked = list(node.outputs[first:])
    for original, value in zip(values, stacked, strict=True):
        # no input is an output; of one that is read inside too tract 0.23 mistakes the shape
        name = emit.fresh("lrp/kept")
        same = ir.Value(name=emit.fresh("lrp"), shape=original.shape, type=original.type)
        append_node(body, "Identity", [original], [same], name)
        body.outputs.append(same)
        value.name, value.type = emit.fresh("lrp"), original.type
    more = {"scan_output_axes": 0, "scan_output_directions": int(way)}
    for name, number in more.items():
        if node.op_type == "Scan":
            old = node.attributes[name].as_ints() if name in node.attributes else [0] * written
            node.attributes[name] = ir.AttrInt64s(name, [*old, *[number] * len(values)])
    return stacked


def last_first(node: ir.Node) -> bool:
    """Whether a Scan's stacked outputs are in the order of what it reads from its end."""
    read = ports_of(node).read
    return bool(read) and read[0].reverse
