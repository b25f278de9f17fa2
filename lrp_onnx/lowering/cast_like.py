"""Element types that follow the model's: an emitted Cast to float32 becomes a CastLike of a weight,
and an output that the explanation reads is read through one.

onnxconverter-common (1.16) makes a model float16 by changing the types of its weights and tensors.
It leaves a Cast's `to` as it is, and with keep_io_types an output becomes float32 for all of its
readers: either makes a file that no runtime opens.  A CastLike follows the types around it; ONNX
Runtime makes it the Cast that it is, or nothing, when it opens the file.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import RULE
from lrp_onnx.graph.appending import make_room
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["cast_like_weights"]

CONVERTED = (
    *("Add", "Sub", "Mul", "Div", "PRelu", "Gather", "MatMul", "Gemm", "Conv", "ConvTranspose"),
    *("BatchNormalization", "LayerNormalization"),
)
"""A weight that only these read becomes float16 with the model; one of Resize or Max does not."""


def cast_like_weights(model: ir.Model) -> None:
    """Rewrite emitted Casts and reads of outputs, in place, if there is a float32 weight."""
    weight = _float_weight(model.graph)
    if weight is None:
        return
    for node in list(nodes_of(model.graph)):
        to_float = node.attributes.get_int("to", 0) == ir.DataType.FLOAT
        if RULE in node.metadata_props and node.op_type == "Cast" and to_float:
            node.op_type = "CastLike"
            node.attributes.clear()
            node.resize_inputs(2)
            node.replace_input_with(1, weight)
    for y in model.graph.outputs:
        _read_through(model.graph, y, weight)


def _float_weight(graph: ir.Graph) -> ir.Value | None:
    """The smallest float32 weight that has a float16 twin in a converted model."""
    weights = [
        v
        for v in graph.initializers.values()
        if v.dtype == ir.DataType.FLOAT and not v.is_graph_output() and _is_converted(v)
    ]
    return min(weights, key=_elements, default=None)


def _elements(weight: ir.Value) -> int:
    return 0 if weight.const_value is None else weight.const_value.size


def _is_converted(weight: ir.Value) -> bool:
    readers = [node for node, _ in weight.uses()]
    return bool(readers) and all(n.op_type in CONVERTED and not n.domain for n in readers)


def _read_through(graph: ir.Graph, y: ir.Value, weight: ir.Value) -> None:
    """Let emitted nodes read an output of the model by a CastLike behind it."""
    maker = y.producer()
    readers = [(node, i) for node, i in y.uses() if RULE in node.metadata_props]
    if maker is None or RULE in maker.metadata_props or y.dtype != ir.DataType.FLOAT or not readers:
        return
    name = f"lrp/{y.name}/like_weights"
    make_room(graph, name)
    build = Build(graph, readers[0][0])
    (value,) = build.outputs("CastLike", 1, y, weight, like=y, named=f"lrp/{y.name}/CastLike")
    value.name = name
    graph.insert_after(maker, build.nodes)
    for node, i in readers:
        node.replace_input_with(i, value)
