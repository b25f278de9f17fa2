"""What a softmax sees of its logits: each less the mean of all.

A shift that all logits have in common changes no probability, so it must not change what explains
them.  With start `contrast` the network goes on by one linear map, y_k − mean(y), and relevance
starts there: for class c with y_c − mean(y).  Where a linear layer computes the logits both are one
layer, whose weights are those of the classes less their mean, so that every rule is blind to what
the classes share.  Elsewhere the mean is a node of its own, through which the rules go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.centered_layer import centered_weights
from lrp_onnx.graph.annotations import CONTRAST, CONTRASTED, NAME, PLACE, provenance
from lrp_onnx.graph.appending import append_node, hand_out
from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.subgraphs import CONTROL, bodies_of, ports_of

__all__ = ["contrasted"]

SAME_CHANNELS = ("Cast", "Flatten", "GlobalAveragePool", "Identity", "Reshape", "Squeeze")
"""Operators that a mean over the channels may be taken in front of, if these stay along axis 1."""


def contrasted(graph: ir.Graph, y: ir.Value, axis: int) -> ir.Value:
    """y less its mean along the axis, appended to the graph; shaped like y."""
    made: dict[tuple[ir.Graph, int], ir.Value] = y.meta.setdefault(CONTRASTED, {})
    if (graph, axis) not in made:
        made[graph, axis] = _in_front(graph, y, axis) or _behind(graph, y, axis)
    return made[graph, axis]


def _in_front(graph: ir.Graph, y: ir.Value, axis: int) -> ir.Value | None:
    """The same by the linear layer that computes y, through nodes that keep its channels."""
    node = y.producer()
    if node is None:
        return None
    if node.op_type in CONTROL and not node.domain:
        return _inside(node, y, axis)
    if (weights := centered_weights(y, axis)) is not None:
        inputs, arrays = [*node.inputs], [a for a in weights if a is not None]
        places = [k for k, v in enumerate(inputs) if v is not None and v.is_initializer()]
        for k, array in zip(places, arrays, strict=True):
            old = inputs[k]
            assert old is not None
            assert old.dtype is not None
            name = f"lrp/{node.name}/contrast/{'weight' if array is arrays[0] else 'bias'}"
            inputs[k] = new_constant(graph, name, array.astype(old.dtype.numpy()), old.dtype)
        return _copy(graph, node, inputs)
    if node.op_type not in SAME_CHANNELS or node.domain or axis != 1:
        return None
    x, *others = node.inputs
    if x is None or not _keeps_channels(x, y):
        return None
    inner = _in_front(graph, x, axis)
    return inner and _copy(graph, node, [inner, *others])


def _inside(node: ir.Node, y: ir.Value, axis: int) -> ir.Value | None:
    """The same by the layers inside the bodies of a node, where one hands out y."""
    ports, place = ports_of(node), node.outputs.index(y)
    slices = next((s.axis for s in ports.written if s.node == place), None)
    if place < len(ports.states) or slices == axis:
        return None
    own = axis if slices is None else axis - (slices < axis)
    results = [(body, body.outputs[ports.outputs[place]]) for body in bodies_of(node)]
    inner = [_in_front(body, result, own) for body, result in results]
    if not any(inner):
        return None
    made = [x or _behind(*result, own) for x, result in zip(inner, results, strict=True)]
    return hand_out(node, y, made, f"lrp/{y.name}/contrast")


def _keeps_channels(x: ir.Value, y: ir.Value) -> bool:
    """Whether axis 1 of both is the same, and nothing else is taken apart."""
    if x.shape is None or y.shape is None or len(x.shape) < 2 or len(y.shape) < 2:
        return False
    if not isinstance(x.shape[1], int) or (x.shape[0], x.shape[1]) != (y.shape[0], y.shape[1]):
        return False
    return len(x.shape) == len(y.shape) or all(size == 1 for size in x.shape[2:])


def _behind(graph: ir.Graph, y: ir.Value, axis: int) -> ir.Value:
    """y − mean(y), by nodes behind it."""
    axes = new_constant(graph, f"lrp/{y.name}/contrast/axes", np.array([axis]), ir.DataType.INT64)
    shape = None if y.shape is None else [1 if k == axis else d for k, d in enumerate(y.shape)]
    mean = ir.Value(
        name=f"lrp/{y.name}/mean",
        shape=None if shape is None else ir.Shape(shape),
        type=y.type,
    )
    less = ir.Value(name=f"lrp/{y.name}/contrast", shape=y.shape, type=y.type)
    props = provenance(str(y.name), CONTRAST)
    append_node(graph, "ReduceMean", [y, axes], [mean], str(mean.name), metadata=props)
    append_node(graph, "Sub", [y, mean], [less], str(less.name), metadata=props)
    return less


def _copy(graph: ir.Graph, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Value:
    """What the node makes of other inputs, appended under its name in reports."""
    like, name = node.outputs[0], f"lrp/{node.name}/contrast"
    value = ir.Value(name=f"lrp/{like.name}/contrast", shape=like.shape, type=like.type)
    props = provenance(node.name or node.op_type, CONTRAST)
    append_node(graph, node.op_type, inputs, [value], name, node.attributes, node.domain, props)
    copy = graph[-1]
    copy.meta[NAME], copy.meta[PLACE] = node.name, name_of(node)
    return value
