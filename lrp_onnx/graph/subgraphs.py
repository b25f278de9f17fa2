"""Nodes with bodies: how the inputs and outputs of If, Loop and Scan meet those of their bodies.

Spec: ONNX If-25, Loop-25, Scan-25.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import onnx
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.annotations import NAME, PLACE

__all__ = [
    "CONTROL",
    "RECURRENT",
    "Ports",
    "ReadSlice",
    "Sequence",
    "bodies_of",
    "captures",
    "graphs_of",
    "name_bodies",
    "nodes_of",
    "ports_of",
    "proto_bodies",
    "proto_graphs",
    "proto_nodes",
    "read_slices",
]

CONTROL = ("If", "Loop", "Scan")
RECURRENT = ("LSTM", "GRU", "RNN")
"""Layers that go through a sequence by themselves, without a body."""


@dataclass(frozen=True)
class Sequence:
    """A tensor that a body reads or writes slice by slice: positions at the node and in the body,
    the axis of the slices, and whether the last comes first.
    """

    node: int
    body: int
    axis: int = 0
    reverse: bool = False


@dataclass(frozen=True)
class Ports:
    """Where a body's inputs come from and its outputs go to."""

    states: tuple[tuple[int, int, int], ...] = ()
    """(input of the node, input of the body, output of the body) of each carried value; the
    output's position at the node is that of the state."""
    read: tuple[Sequence, ...] = ()
    written: tuple[Sequence, ...] = ()
    results: tuple[tuple[int, int], ...] = ()
    """(output of the node, output of the body) of what is handed out as it is."""

    @property
    def inputs(self) -> dict[int, int]:
        """Input of the node → input of the body."""
        return {n: b for n, b, _ in self.states} | {s.node: s.body for s in self.read}

    @property
    def outputs(self) -> dict[int, int]:
        """Output of the node → output of the body."""
        last = {k: out for k, (_, _, out) in enumerate(self.states)}
        return last | {s.node: s.body for s in self.written} | dict(self.results)


def bodies_of(node: ir.Node) -> tuple[ir.Graph, ...]:
    """The graphs inside a node."""
    attributes = node.attributes.data  # asked for so often that a view of them shows
    if not attributes:
        return ()
    return tuple(a.as_graph() for a in attributes.values() if a.type is ir.AttributeType.GRAPH)


def nodes_of(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """The nodes of a graph, each before those of its bodies."""
    for node in graph:
        yield node
        for body in bodies_of(node):
            yield from nodes_of(body)


def graphs_of(graph: ir.Graph) -> list[ir.Graph]:
    """The graph and those inside its nodes, each before those inside it."""
    inner = (body for node in graph for body in bodies_of(node))
    return [graph, *(nested for body in inner for nested in graphs_of(body))]


def name_bodies(graph: ir.Graph, around: str = "") -> None:
    """Note the names of all that lies in bodies."""
    for node in graph:
        node.meta[PLACE] = f"{around}{node.name or ''}"
        for body in bodies_of(node):
            values = [*body.inputs, *(v for inner in body for v in inner.outputs)]
            for value in values:
                value.meta[NAME] = value.name
            for inner in body:
                inner.meta[NAME] = inner.name
            name_bodies(body, f"{node.meta[PLACE]}/")


def proto_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The same of a graph that is not in onnx-ir's form."""
    yield graph
    for node in graph.node:
        for body in proto_bodies(node):
            yield from proto_graphs(body)


def proto_bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node that is not in onnx-ir's form."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def proto_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph that is not in onnx-ir's form, each before those of its bodies."""
    for node in graph.node:
        yield node
        for body in proto_bodies(node):
            yield from proto_nodes(body)


def captures(node: ir.Node) -> Iterator[ir.Value]:
    """Values that the node's bodies read, those of outer graphs among them."""
    for body in bodies_of(node):
        for inner in nodes_of(body):
            yield from (v for v in inner.inputs if v is not None)


def ports_of(node: ir.Node) -> Ports:
    """The connections of an If, Loop or Scan; UnsupportedError for anything else."""
    body = bodies_of(node)[0]
    if node.op_type == "If":
        return Ports(results=tuple((k, k) for k in range(len(body.outputs))))
    if node.op_type == "Loop":
        return _loop(node, body)
    if node.op_type == "Scan":
        return _scan(node, body)
    raise UnsupportedError("it has a body")


def _loop(node: ir.Node, body: ir.Graph) -> Ports:
    """The body takes iteration and condition first, and gives a condition first."""
    count = len(body.inputs) - 2
    states = tuple((2 + k, 2 + k, 1 + k) for k in range(count))
    written = range(count, len(body.outputs) - 1)
    return Ports(states, written=tuple(Sequence(k, k + 1) for k in written))


def _scan(node: ir.Node, body: ir.Graph) -> Ports:
    read = node.attributes["num_scan_inputs"].as_int()
    count = len(body.inputs) - read
    written = len(body.outputs) - count

    def sequences(kind: str, number: int) -> tuple[Sequence, ...]:
        axes, directions = (
            node.attributes[f"scan_{kind}_{what}"].as_ints()
            if f"scan_{kind}_{what}" in node.attributes
            else [0] * number
            for what in ("axes", "directions")
        )
        return tuple(
            Sequence(count + k, count + k, axes[k], bool(directions[k])) for k in range(number)
        )

    states = tuple((k, k, k) for k in range(count))
    return Ports(states, sequences("input", read), sequences("output", written))


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
    for gather in body:
        if gather.op_type != "Gather" or gather.domain:
            continue
        whole, counter = gather.inputs
        outside = whole is not None and whole.graph is not body and not whole.is_initializer()
        first = gather.attributes.get_int("axis", 0) == 0
        if whole is not None and outside and first and counter is body.inputs[0]:
            yield ReadSlice(gather.outputs[0], whole, gather, 0)
