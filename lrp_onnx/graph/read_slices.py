"""What the body of a Scan or Loop reads slice by slice, one in each iteration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from lrp_onnx.graph.makers import standard_nodes
from lrp_onnx.graph.subgraphs import bodies_of, ports_of

__all__ = ["ReadSlice", "read_slices"]


class ReadSlice(NamedTuple):
    """A slice as the body has it, and the tensor that it is of, an input of `reader`."""

    part: ir.Value
    whole: ir.Value
    reader: ir.Node
    position: int
    axis: int = 0
    reverse: bool = False


def read_slices(node: ir.Node) -> Iterator[ReadSlice]:
    """Those of a Scan, and of a Loop what its body gathers from outside by its own counter."""
    (body, *_), ports = bodies_of(node), ports_of(node)
    for s in ports.read:
        if (whole := node.inputs[s.node]) is not None:
            yield ReadSlice(body.inputs[s.body], whole, node, s.node, s.axis, s.reverse)
    if node.op_type != "Loop":
        return
    for gather in standard_nodes(body, "Gather"):
        whole, counter = gather.inputs
        outside = whole is not None and whole.graph is not body and not whole.is_initializer()
        first = gather.attributes.get_int("axis", 0) == 0
        if whole is not None and outside and first and counter is body.inputs[0]:
            yield ReadSlice(gather.outputs[0], whole, gather, 0)
