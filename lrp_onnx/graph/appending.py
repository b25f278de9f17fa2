"""What joins a graph's signature: inputs, and nodes whose outputs are made already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import ADDED
from lrp_onnx.graph.attributes import attribute_of
from lrp_onnx.graph.constants import rename
from lrp_onnx.graph.subgraphs import bodies_of, ports_of

__all__ = ["append_node", "graph_input", "hand_out", "make_room"]


def make_room(graph: ir.Graph, *names: str) -> None:
    """Rename inner tensors and weights that have names which the compiled model's signature takes.

    Names of inputs and outputs stay.
    """
    inner = (*graph.initializers.values(), *(v for node in graph for v in node.outputs))
    wanted, taken = set(names), {*names, *(v.name for v in (*graph.inputs, *inner))}
    for value in inner:
        if value.name in wanted and not value.is_graph_output():
            free = next(n for k in count() if (n := f"{value.name}/inner_{k}") not in taken)
            taken.add(free)
            rename(value, free)


def append_node(
    graph: ir.Graph,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[ir.Value],
    name: str,
    attributes: Mapping[str, Any] | None = None,
    domain: str = "",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Append one node whose outputs are made already: it stands alone, however many are equal."""
    converted = [attribute_of(k, v) for k, v in (attributes or {}).items()]
    graph.append(
        ir.Node(
            domain,
            op_type,
            inputs,
            converted,
            outputs=outputs,
            name=name,
            metadata_props=dict(metadata or {}),
        )
    )


def hand_out(node: ir.Node, like: ir.Value, inner: Sequence[ir.Value], name: str) -> ir.Value:
    """One output more of an If, Loop or Scan: a value of each of its bodies, as they hand out
    another of the node's outputs.
    """
    ports, place = ports_of(node), node.outputs.index(like)
    for body, value in zip(bodies_of(node), inner, strict=True):
        own = ir.Value(name=f"{name}/out", shape=value.shape, type=value.type)
        append_node(body, "Identity", [value], [own], f"{name}/out")
        body.outputs.append(own)
    for k, sequence in enumerate(ports.written):
        if sequence.node == place and node.op_type == "Scan":
            for what in ("axes", "directions"):
                key = f"scan_output_{what}"
                if (attribute := node.attributes.get(key)) is not None:
                    numbers = attribute.as_ints()
                    node.attributes[key] = attribute_of(key, [*numbers, numbers[k]])
    node.resize_outputs(len(node.outputs) + 1)
    value = node.outputs[-1]
    value.name, value.shape, value.type = name, like.shape, like.type
    return value


def graph_input(graph: ir.Graph, name: str, dtype: ir.DataType, shape: ir.Shape | None) -> ir.Value:
    """Add an input to the graph, unless another explanation in it has; TargetError where one of the
    model has its name.
    """
    added = (v for v in graph.inputs if v.name == name and ADDED in v.meta)
    if (value := next(added, None)) is not None:
        return value
    if any(v.name == name for v in (*graph.inputs, *graph.outputs)):
        raise TargetError(
            f"input {name!r}: the model already has an input or output of that name. Rename it."
        )
    make_room(graph, name)
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))
    value.meta[ADDED] = True
    graph.inputs.append(value)
    return value
