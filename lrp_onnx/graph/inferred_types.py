"""Types and shapes that shape inference finds in a ModelProto, taken over by a model in memory.

The nodes stay the objects that they are: to make them anew of the result takes as long as all else
that inference does.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir

from lrp_onnx.graph.map_outputs import is_map
from lrp_onnx.graph.small_model import in_small
from lrp_onnx.graph.subgraphs import bodies_of, graphs_of, proto_bodies

__all__ = ["take_types"]


def take_types(model: ir.Model, infer: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    """Give every tensor, those of bodies included, the type that `infer` finds.

    infer: keeps the nodes and their order.  Its errors are raised as they are.
    """
    proto, _ = in_small(model)
    _take(model.graph, infer(proto).graph)
    for graph in graphs_of(model.graph):
        _forget_readers_outside(graph)


def _take(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    known = {v.name: v for v in (*proto.value_info, *proto.output) if not is_map(v)}
    for node, inner in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            if value.name in known:
                ir.serde.deserialize_value_info_proto(known[value.name], value)
        for body, inferred in zip(bodies_of(node), proto_bodies(inner), strict=True):
            _take_inputs(body, inferred)
            _take(body, inferred)


def _forget_readers_outside(graph: ir.Graph) -> None:
    """What was built and not used reads no value: whether a node is the only reader is asked."""
    made = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.initializers.values(), *made):
        for reader, position in value.uses():
            if reader.graph is None:
                reader.replace_input_with(position, None)


def _take_inputs(body: ir.Graph, proto: onnx.GraphProto) -> None:
    """Those of a body have the types of what the node reads."""
    for value, inferred in zip(body.inputs, proto.input, strict=True):
        ir.serde.deserialize_value_info_proto(inferred, value)
