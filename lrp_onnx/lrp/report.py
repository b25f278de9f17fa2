"""What becomes of relevance at every node, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.graph.annotations import CONTRAST, NAME, RESEMBLES, RULE
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.tensors import outputs_of
from lrp_onnx.lrp.assigned import Assigned

__all__ = ["RESEMBLING", "NodeReport", "lines_of"]

RESEMBLING = (
    "looks like a softmax or a norm, as it divides by what depends on the dividend, and behaves "
    "like none that is known, so that its parts are explained one by one"
)


@dataclass(frozen=True)
class NodeReport:
    """One line of `Compiled.report`: a node of the canonized graph and what becomes of relevance
    there.
    """

    name: str
    op_type: str
    kind: str
    rule: str
    reason: str
    outputs: tuple[str, ...] = ()
    """The tensors that it computes."""


def lines_of(graph: ir.Graph, nodes: Sequence[Assigned]) -> Iterator[NodeReport]:
    """A line for every node of a graph, each followed by those of its bodies on the path."""
    by_node = {a.step.node: a for a in nodes}
    copies = {name_of(node): node for node in graph if _is_copy(node)}
    for node in graph:
        if _is_copy(node):
            continue
        assigned = by_node.get(copies.get(name_of(node), node))
        yield _line(node, assigned)
        if assigned is not None:
            pairs = zip(assigned.step.bodies, assigned.bodies, strict=True)
            for body, inner in pairs:
                yield from lines_of(body.graph, inner)


def _line(node: ir.Node, assigned: Assigned | None) -> NodeReport:
    name, op_type, outputs = name_of(node), node.op_type, outputs_of(node)
    if assigned is None:
        return NodeReport(name, op_type, "", "", "no relevance passes here", outputs)
    kind, rule, reason = assigned.step.kind, assigned.rule.name, assigned.reason
    reason = f"{reason}; {RESEMBLING}" if RESEMBLES in node.meta else reason
    acts_as = assigned.step.place.acts_as
    reason = f"{reason}; taken as a {acts_as} by its meaning" if acts_as else reason
    reason = f"{reason}; less the mean of all classes" if _is_copy(assigned.step.node) else reason
    return NodeReport(name, op_type, kind, rule, reason, outputs)


def _is_copy(node: ir.Node) -> bool:
    """Whether it takes the place of a node of the model on the explanation path."""
    return node.metadata_props.get(RULE) == CONTRAST and NAME in node.meta
